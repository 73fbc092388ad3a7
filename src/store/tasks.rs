//! Tasks: making, finding, claiming and changing them.

use super::{
    Store, StoreError,
    db::{Db, micros, on, text, word},
    json::JsonText,
};
use crate::model::{
    agent::AgentType,
    id::{AgentId, RunId, TaskId},
    run::Failure,
    task::{Priority, Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// What became of a new task.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    /// It was stored.
    New,
    /// Its owner used the idempotency key before: that task, and nothing was written.
    Existing(Box<Task>),
}

/// Which tasks to list.
#[derive(Debug, Clone, Copy)]
pub struct TaskFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<TaskStatus>,
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
}

impl TaskRow {
    pub(super) fn into_task(self) -> Result<Task, StoreError> {
        Ok(Task {
            id: self.id.into(),
            owner: self.owner,
            title: self.title,
            description: self.description,
            agent_type: word(&self.agent_type)?,
            project: self.project,
            model: self.model,
            priority: Priority::from_rank(self.priority).ok_or_else(|| StoreError::internal("a stored priority is unknown"))?,
            timeout_seconds: u32::try_from(self.timeout_seconds).map_err(StoreError::internal)?,
            budget_usd: self.budget_usd,
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
            provenance: word(&self.provenance)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
        })
    }
}

fn one(row: Option<TaskRow>) -> Result<Option<Task>, StoreError> {
    row.map(TaskRow::into_task).transpose()
}

fn all(rows: Vec<TaskRow>) -> Result<Vec<Task>, StoreError> {
    rows.into_iter().map(TaskRow::into_task).collect()
}

/// The statuses that pass, as an SQL list of quoted words.
fn statuses(pass: impl Fn(TaskStatus) -> bool) -> String {
    TaskStatus::ALL.iter().filter(|status| pass(**status)).map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ")
}

/// The statement for a [`TaskChange`]: it touches only a row whose status may make the transition.
/// Parameters: id, status, failure, at, `started_at`, `ended_at`; `and` may add a condition with more.
/// One text per status, so the prepared ones are few.
pub(super) fn change_sql(status: TaskStatus, and: &str) -> AssertSqlSafe<String> {
    let before = statuses(|from| from.transition(status).is_ok());
    AssertSqlSafe(format!(
        "UPDATE task SET status = $2, failure = $3, updated_at = $4, generation = generation + 1, \
         started_at = COALESCE(started_at, $5), ended_at = $6 WHERE id = $1 AND status IN ({before}){and} RETURNING *"
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
    /// Stores a new task, unless its owner has one with the same idempotency key, also under concurrent calls.
    pub async fn insert_task(&self, task: &Task) -> Result<Inserted, StoreError> {
        const SQL: &str = "INSERT INTO task (id, owner, title, description, agent_type, project, model, priority, \
                           timeout_seconds, budget_usd, on_lost, output_schema, idempotency_key, request_hash, status, generation, \
                           cancel_requested, agent_id, run_id, failure, provenance, created_at, updated_at, started_at, \
                           ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
                           $18, $19, $20, $21, $22, $23, $24, $25) ON CONFLICT (owner, idempotency_key) DO NOTHING";
        const EXISTING: &str = "SELECT * FROM task WHERE owner = $1 AND idempotency_key = $2";
        let output_schema = JsonText::of_option(task.output_schema.as_ref())?;
        let failure = JsonText::of_option(task.failure.as_ref())?;
        let written = on!(write & self.db, |p| sqlx::query(SQL)
            .bind(task.id.uuid())
            .bind(text(&task.owner))
            .bind(text(&task.title))
            .bind(text(&task.description))
            .bind(task.agent_type.as_str())
            .bind(text(&task.project))
            .bind(task.model.as_deref().map(text))
            .bind(task.priority.rank())
            .bind(i64::from(task.timeout_seconds))
            .bind(task.budget_usd)
            .bind(task.on_lost.as_str())
            .bind(output_schema)
            .bind(task.idempotency_key.as_deref().map(text))
            .bind(&task.request_hash)
            .bind(task.status.as_str())
            .bind(task.generation)
            .bind(task.cancel_requested)
            .bind(task.agent_id.map(AgentId::uuid))
            .bind(task.run_id.map(RunId::uuid))
            .bind(failure)
            .bind(task.provenance.as_str())
            .bind(micros(task.created_at))
            .bind(micros(task.updated_at))
            .bind(task.started_at.map(micros))
            .bind(task.ended_at.map(micros))
            .execute(p)
            .await?
            .rows_affected());
        if written == 1 {
            return Ok(Inserted::New);
        }
        // The other insert is committed: a conflict waits for it. Tasks are never deleted.
        let (owner, key) = (text(&task.owner), task.idempotency_key.as_deref().map(text));
        let row: TaskRow = on!(write & self.db, |p| sqlx::query_as(EXISTING).bind(owner).bind(key).fetch_one(p).await?);
        Ok(Inserted::Existing(Box::new(row.into_task()?)))
    }

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

    /// Assigns the most urgent, then oldest waiting task to the caller: nobody else gets it. `None`: none waits.
    pub async fn claim_task(&self, now: DateTime<Utc>) -> Result<Option<Task>, StoreError> {
        let lock = if matches!(self.db, Db::Postgres(_)) { " FOR UPDATE SKIP LOCKED" } else { "" };
        // `= (…)`, not `IN (…)`: PostgreSQL may run an IN sub-query again and lock more rows than it returns.
        let sql = format!(
            "UPDATE task SET status = '{}', generation = generation + 1, updated_at = $1 WHERE id = (SELECT id FROM task \
             WHERE status = '{}' AND NOT cancel_requested ORDER BY priority, id LIMIT 1{lock}) RETURNING *",
            TaskStatus::Assigned,
            TaskStatus::Created,
        );
        one(on!(write & self.db, |p| sqlx::query_as(AssertSqlSafe(sql)).bind(micros(now)).fetch_optional(p).await?))
    }

    /// Changes the status of a task that still has this generation, and raises it. `None`, and nothing written: somebody
    /// was faster, there is no such task, or its status may not make the transition.
    pub async fn change_task(&self, id: TaskId, generation: i64, change: &TaskChange) -> Result<Option<Task>, StoreError> {
        let failure = JsonText::of_option(change.failure.as_ref())?;
        one(on!(write & self.db, |p| sqlx::query_as(change_sql(change.status, " AND generation = $7"))
            .bind(id.uuid())
            .bind(change.status.as_str())
            .bind(failure)
            .bind(micros(change.at))
            .bind(change.started_at())
            .bind(change.ended_at())
            .bind(generation)
            .fetch_optional(p)
            .await?))
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
