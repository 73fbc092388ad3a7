//! Tasks: finding and changing them. They are made in `insert.rs` and claimed in `claim.rs`.

use super::{
    Store, StoreError,
    db::{micros, on, text, word},
    json::JsonText,
    meters,
};
use crate::model::{
    agent::AgentType,
    id::{AgentId, TaskId},
    run::Failure,
    task::{Priority, Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Which tasks to list.
#[derive(Debug, Clone, Copy)]
pub struct TaskFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<TaskStatus>,
    /// Only those for this agent.
    pub agent: Option<AgentId>,
    /// Only those given up after repeated tries, or only others.
    pub dead_letter: Option<bool>,
    /// Only those for this role.
    pub agent_type: Option<AgentType>,
    /// Only those of this project.
    pub project: Option<&'a str>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<TaskId>,
    /// At most so many.
    pub limit: u32,
}

/// A change of a task's status.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskChange {
    /// The new status.
    pub status: TaskStatus,
    /// Why it failed, if it did; replaces an earlier one.
    pub failure: Option<Failure>,
    /// Whether it failed although it was repeated as often as allowed.
    pub dead_letter: bool,
    /// When: `updated_at`, and `started_at` or `ended_at` where the status means a beginning or an end.
    pub at: DateTime<Utc>,
}

/// A row of `task`.
#[derive(sqlx::FromRow)]
pub(super) struct TaskRow {
    id: Uuid,
    owner: String,
    title: String,
    description: String,
    agent_type: String,
    project: String,
    model: Option<String>,
    priority: i16,
    timeout_seconds: i64,
    budget_usd: Option<f64>,
    on_lost: String,
    output_schema: Option<JsonText>,
    idempotency_key: Option<String>,
    request_hash: String,
    status: String,
    generation: i64,
    cancel_requested: bool,
    agent_id: Option<Uuid>,
    run_id: Option<Uuid>,
    failure: Option<JsonText>,
    provenance: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    key_id: Option<Uuid>,
    limits: Option<JsonText>,
    mode: Option<String>,
    joined_task_id: Option<Uuid>,
    dead_letter: bool,
    workflow_run_id: Option<Uuid>,
    workspace_name: Option<String>,
    reviewed: bool,
    traceparent: Option<String>,
    backend: String,
    swarm_id: Option<Uuid>,
}

impl TaskRow {
    pub(super) fn agent_id(&self) -> Option<Uuid> {
        self.agent_id
    }

    pub(super) fn into_task(self) -> Result<Task, StoreError> {
        Ok(Task {
            id: self.id.into(),
            owner: self.owner,
            key_id: self.key_id.map(Into::into),
            title: self.title,
            description: self.description,
            agent_type: word(&self.agent_type)?,
            project: self.project,
            model: self.model,
            priority: Priority::from_rank(self.priority).ok_or_else(|| StoreError::internal("a stored priority is unknown"))?,
            timeout_seconds: u32::try_from(self.timeout_seconds).map_err(StoreError::internal)?,
            budget_usd: self.budget_usd,
            limits: self.limits.as_ref().map(JsonText::parse).transpose()?.unwrap_or_default(),
            mode: self.mode.as_deref().map(word).transpose()?,
            joined_task_id: self.joined_task_id.map(Into::into),
            workflow_run_id: self.workflow_run_id.map(Into::into),
            swarm_id: self.swarm_id.map(Into::into),
            workspace_name: self.workspace_name,
            reviewed: self.reviewed,
            backend: word(&self.backend)?,
            on_lost: word(&self.on_lost)?,
            output_schema: self.output_schema.as_ref().map(JsonText::parse).transpose()?,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            status: word(&self.status)?,
            generation: self.generation,
            cancel_requested: self.cancel_requested,
            agent_id: self.agent_id.map(Into::into),
            run_id: self.run_id.map(Into::into),
            failure: self.failure.as_ref().map(JsonText::parse).transpose()?,
            dead_letter: self.dead_letter,
            provenance: word(&self.provenance)?,
            traceparent: self.traceparent,
            created_at: self.created_at,
            updated_at: self.updated_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
        })
    }
}

pub(super) fn one(row: Option<TaskRow>) -> Result<Option<Task>, StoreError> {
    row.map(TaskRow::into_task).transpose()
}

pub(super) fn all(rows: Vec<TaskRow>) -> Result<Vec<Task>, StoreError> {
    rows.into_iter().map(TaskRow::into_task).collect()
}

/// The statuses that pass, as an SQL list of quoted words.
pub(super) fn statuses(pass: impl Fn(TaskStatus) -> bool) -> String {
    TaskStatus::ALL.iter().filter(|status| pass(**status)).map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ")
}

/// The statement for a [`TaskChange`]: it touches only a row whose status may make the transition.
/// Parameters: id, status, failure, at, `started_at`, `ended_at`, `dead_letter`; `and` may add a condition with more.
/// One text per status, so the prepared ones are few.
pub(super) fn change_sql(status: TaskStatus, and: &str) -> AssertSqlSafe<String> {
    let before = statuses(|from| from.transition(status).is_ok());
    AssertSqlSafe(format!(
        "UPDATE task SET status = $2, failure = $3, updated_at = $4, generation = generation + 1, \
         started_at = COALESCE(started_at, $5), ended_at = $6, dead_letter = $7 WHERE id = $1 AND status IN ({before}){and} RETURNING *"
    ))
}

impl TaskChange {
    pub(super) fn started_at(&self) -> Option<DateTime<Utc>> {
        (self.status == TaskStatus::InProgress).then(|| micros(self.at))
    }

    pub(super) fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.status.is_terminal().then(|| micros(self.at))
    }
}

impl Store {
    /// The task, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_task(&self, id: TaskId, owner: Option<&str>) -> Result<Option<Task>, StoreError> {
        const SQL: &str = "SELECT * FROM task WHERE id = $1";
        let row: Option<TaskRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        one(row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))))
    }

    /// The tasks that pass the filter, newest first.
    pub async fn list_tasks(&self, filter: &TaskFilter<'_>) -> Result<Vec<Task>, StoreError> {
        all(on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM task WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(agent) = filter.agent {
                query.push(" AND agent_id = ").push_bind(agent.uuid());
            }
            if let Some(dead_letter) = filter.dead_letter {
                query.push(" AND dead_letter = ").push_bind(dead_letter);
            }
            if let Some(agent_type) = filter.agent_type {
                query.push(" AND agent_type = ").push_bind(agent_type.as_str());
            }
            if let Some(project) = filter.project {
                query.push(" AND project = ").push_bind(text(project));
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        }))
    }

    /// Changes the status of a task that still has this generation, and raises it. `None`, and nothing written: somebody
    /// was faster, there is no such task, or its status may not make the transition.
    pub async fn change_task(&self, id: TaskId, generation: i64, change: &TaskChange) -> Result<Option<Task>, StoreError> {
        let failure = JsonText::of_option(change.failure.as_ref())?;
        let changed = one(on!(write & self.db, |p| sqlx::query_as(change_sql(change.status, " AND generation = $8"))
            .bind(id.uuid())
            .bind(change.status.as_str())
            .bind(failure)
            .bind(micros(change.at))
            .bind(change.started_at())
            .bind(change.ended_at())
            .bind(change.dead_letter)
            .bind(generation)
            .fetch_optional(p)
            .await?));
        if let Ok(Some(task)) = &changed {
            meters::changed(task);
        }
        changed
    }

    /// Sets title and priority where given; the generation stays. `None`: there is no such task.
    pub async fn edit_task(
        &self,
        id: TaskId,
        title: Option<&str>,
        priority: Option<Priority>,
        at: DateTime<Utc>,
    ) -> Result<Option<Task>, StoreError> {
        const SQL: &str = "UPDATE task SET title = COALESCE($2, title), priority = COALESCE($3, priority), updated_at = $4 \
                           WHERE id = $1 RETURNING *";
        one(on!(write & self.db, |p| sqlx::query_as(SQL)
            .bind(id.uuid())
            .bind(title.map(text))
            .bind(priority.map(Priority::rank))
            .bind(micros(at))
            .fetch_optional(p)
            .await?))
    }

    /// Marks a task that has not ended as to be stopped; the generation stays. Returns the row, also of a task that has
    /// ended or was marked before, which stays as it is. `None`: there is no such task.
    pub async fn request_cancel(&self, id: TaskId, at: DateTime<Utc>) -> Result<Option<Task>, StoreError> {
        let open = statuses(|status| !status.is_terminal());
        let sql = format!(
            "UPDATE task SET cancel_requested = TRUE, updated_at = $2 \
             WHERE id = $1 AND status IN ({open}) AND NOT cancel_requested RETURNING *"
        );
        let row = on!(write & self.db, |p| sqlx::query_as(AssertSqlSafe(sql))
            .bind(id.uuid())
            .bind(micros(at))
            .fetch_optional(p)
            .await?);
        match one(row)? {
            Some(task) => Ok(Some(task)),
            None => self.get_task(id, None).await,
        }
    }

    /// Tasks that were claimed but have no run, oldest first: their runner died in between.
    pub async fn list_unprovisioned_tasks(&self) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = "SELECT * FROM task WHERE status = $1 AND run_id IS NULL ORDER BY id";
        all(on!(read & self.db, |p| sqlx::query_as(SQL).bind(TaskStatus::Assigned.as_str()).fetch_all(p).await?))
    }
}
