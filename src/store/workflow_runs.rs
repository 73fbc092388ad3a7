//! Runs of workflows: what happened in them, and every next step as one transaction.

use super::{
    AgentUsage, Inserted, NewWork, Quota, Store, StoreError, TaskChange,
    db::{micros, on, text, uncancelled, word},
    insert::{HOLD_SWARM, reached},
    json::JsonText,
    meters,
    tasks::change_sql,
    work::insert_work,
};
use crate::model::{
    id::{AgentId, KeyId, RunId, SwarmId, TaskId, WorkflowRunId},
    run::Failure,
    task::TaskStatus,
    workflow::run::{Change, Transition, WorkflowRun, WorkflowRunStatus},
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// Which runs to list.
#[derive(Debug, Clone, Copy)]
pub struct WorkflowRunFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<WorkflowRunStatus>,
    /// Only those of this workflow.
    pub workflow: Option<&'a str>,
    /// Only those of this swarm.
    pub swarm: Option<SwarmId>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<WorkflowRunId>,
    /// At most so many.
    pub limit: u32,
}

/// The next step of a run.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The run.
    pub id: WorkflowRunId,
    /// The generation it was computed from.
    pub generation: i64,
    /// Where the run stands then.
    pub status: WorkflowRunStatus,
    /// Its result.
    pub result: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What is recorded, after what is there already.
    pub changes: Vec<Change>,
    /// Place of the last recorded change.
    pub last_seq: i64,
    /// Turns to start, and agents for them.
    pub work: NewWork,
    /// Tasks whose review has come out.
    pub judged: Vec<(TaskId, TaskChange)>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// It is stored.
    Done,
    /// It has another generation by now, and nothing was written.
    Stale,
    /// This agent takes no turns any more, and nothing was written.
    AgentEnded(AgentId),
}

/// Where the task of a turn stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnTask {
    /// The task.
    pub id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// Its run.
    pub run_id: Option<RunId>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A row of `workflow_run`.
#[derive(sqlx::FromRow)]
struct WorkflowRunRow {
    id: Uuid,
    owner: String,
    key_id: Option<Uuid>,
    workflow: String,
    title: String,
    definition: JsonText,
    input: JsonText,
    project: String,
    swarm_id: Option<Uuid>,
    status: String,
    generation: i64,
    cancel_requested: bool,
    result: Option<JsonText>,
    failure: Option<JsonText>,
    idempotency_key: Option<String>,
    request_hash: String,
    provenance: String,
    traceparent: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl WorkflowRunRow {
    fn into_run(self) -> Result<WorkflowRun, StoreError> {
        Ok(WorkflowRun {
            id: self.id.into(),
            owner: self.owner,
            key_id: self.key_id.map(Into::into),
            workflow: self.workflow,
            title: self.title,
            definition: self.definition.parse()?,
            input: self.input.parse()?,
            project: self.project,
            swarm_id: self.swarm_id.map(Into::into),
            status: word(&self.status)?,
            generation: self.generation,
            cancel_requested: self.cancel_requested,
            result: self.result.as_ref().map(JsonText::parse).transpose()?,
            failure: self.failure.as_ref().map(JsonText::parse).transpose()?,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            provenance: word(&self.provenance)?,
            traceparent: self.traceparent,
            created_at: self.created_at,
            updated_at: self.updated_at,
            ended_at: self.ended_at,
        })
    }
}

/// Some columns of `task`.
#[derive(sqlx::FromRow)]
struct TurnTaskRow {
    id: Uuid,
    status: String,
    cancel_requested: bool,
    run_id: Option<Uuid>,
    failure: Option<JsonText>,
}

impl TurnTaskRow {
    fn into_task(self) -> Result<TurnTask, StoreError> {
        Ok(TurnTask {
            id: self.id.into(),
            status: word(&self.status)?,
            cancel_requested: self.cancel_requested,
            run_id: self.run_id.map(Into::into),
            failure: self.failure.as_ref().map(JsonText::parse).transpose()?,
        })
    }
}

const INSERT_RUN: &str = "INSERT INTO workflow_run (id, owner, key_id, workflow, title, definition, input, project, swarm_id, status, \
                          generation, cancel_requested, idempotency_key, request_hash, provenance, traceparent, created_at, updated_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, FALSE, $12, $13, $14, $16, $15, $15) \
                          ON CONFLICT (owner, idempotency_key) DO NOTHING";
const EXISTING_RUN: &str = "SELECT * FROM workflow_run WHERE owner = $1 AND idempotency_key = $2";
const INSERT_TRANSITION: &str = "INSERT INTO workflow_transition (run_id, seq, at, kind, data) VALUES ($1, $2, $3, $4, $5)";
const ADVANCE: &str = "UPDATE workflow_run SET status = $3, generation = generation + 1, result = $4, failure = $5, updated_at = $6, \
                       ended_at = $7 WHERE id = $1 AND generation = $2 RETURNING created_at";
/// Turns nobody has begun.
const END_WAITING: &str = "UPDATE task SET status = 'cancelled', generation = generation + 1, updated_at = $2, ended_at = $2 \
                           WHERE workflow_run_id = $1 AND status = 'created'";
/// Results whose verdict will not come.
const END_JUDGED: &str = "UPDATE task SET status = 'cancelled', generation = generation + 1, updated_at = $2, ended_at = $2 \
                          WHERE workflow_run_id = $1 AND status IN ('review', 'revision')";
const STOP_RUNNING: &str = "UPDATE task SET cancel_requested = TRUE, updated_at = $2 \
                            WHERE workflow_run_id = $1 AND status IN ('assigned', 'in_progress') AND NOT cancel_requested";
/// The run's own agents: those that share its workspace.
const RELEASE_AGENTS: &str = "UPDATE agent SET terminate_requested = TRUE, updated_at = $2 WHERE workspace_name = $1 AND durable \
                              AND status <> 'terminated'";
const END_RESTING_AGENTS: &str = "UPDATE agent SET status = 'terminated', generation = generation + 1 WHERE workspace_name = $1 \
                                  AND durable AND (status IN ('parked', 'failed', 'lost') OR (status = 'starting' AND generation = 0))";

impl Store {
    /// Stores a new run. `AgentEnded`: its swarm was stopped.
    pub async fn insert_workflow_run(&self, run: &WorkflowRun, quota: &Quota) -> Result<Inserted<WorkflowRun>, StoreError> {
        let (db, given) = (self.db.clone(), run.clone());
        let (definition, input) = (JsonText::of(&run.definition)?, JsonText::of(&run.input)?);
        let (checks, key_id) = (quota.checks(false), quota.key_id);
        let (stored, over, is_stopped) = uncancelled(async move {
            let (run, mut over, mut is_stopped) = (given, None, false);
            let stored = on!(tx db, |t| {
                let written = sqlx::query(INSERT_RUN)
                    .bind(run.id.uuid())
                    .bind(text(&run.owner))
                    .bind(run.key_id.map(KeyId::uuid))
                    .bind(text(&run.workflow))
                    .bind(text(&run.title))
                    .bind(definition)
                    .bind(input)
                    .bind(text(&run.project))
                    .bind(run.swarm_id.map(SwarmId::uuid))
                    .bind(run.status.as_str())
                    .bind(run.generation)
                    .bind(run.idempotency_key.as_deref().map(text))
                    .bind(&run.request_hash)
                    .bind(run.provenance.as_str())
                    .bind(micros(run.created_at))
                    .bind(run.traceparent.as_deref())
                    .execute(&mut *t)
                    .await?
                    .rows_affected();
                if written == 1 && let Some(swarm) = run.swarm_id {
                    let active = sqlx::query(HOLD_SWARM).bind(swarm.uuid()).execute(&mut *t).await?.rows_affected();
                    is_stopped = active == 0;
                }
                if is_stopped {
                    None
                } else if written == 1 {
                    over = reached!(t, checks, key_id.map(KeyId::uuid), run.created_at, own: 0.0);
                    over.is_none().then_some(())
                } else {
                    None
                }
            });
            Ok((stored, over, is_stopped))
        })
        .await?;
        match (stored, over) {
            _ if is_stopped => Ok(Inserted::AgentEnded),
            (Some(()), _) => Ok(Inserted::New),
            (None, Some(limit)) => Ok(Inserted::Refused(limit)),
            (None, None) => {
                let (owner, key) = (text(&run.owner), run.idempotency_key.as_deref().map(text));
                let row: WorkflowRunRow =
                    on!(write & self.db, |p| sqlx::query_as(EXISTING_RUN).bind(owner).bind(key).fetch_one(p).await?);
                Ok(Inserted::Existing(Box::new(row.into_run()?)))
            }
        }
    }

    /// The run, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_workflow_run(&self, id: WorkflowRunId, owner: Option<&str>) -> Result<Option<WorkflowRun>, StoreError> {
        const SQL: &str = "SELECT * FROM workflow_run WHERE id = $1";
        let row: Option<WorkflowRunRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))).map(WorkflowRunRow::into_run).transpose()
    }

    /// The runs that pass the filter, newest first.
    pub async fn list_workflow_runs(&self, filter: &WorkflowRunFilter<'_>) -> Result<Vec<WorkflowRun>, StoreError> {
        let rows: Vec<WorkflowRunRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM workflow_run WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(workflow) = filter.workflow {
                query.push(" AND workflow = ").push_bind(text(workflow));
            }
            if let Some(swarm) = filter.swarm {
                query.push(" AND swarm_id = ").push_bind(swarm.uuid());
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(WorkflowRunRow::into_run).collect()
    }

    /// The runs that have not ended.
    pub async fn list_open_workflow_runs(&self) -> Result<Vec<WorkflowRunId>, StoreError> {
        const SQL: &str = "SELECT id FROM workflow_run WHERE status IN ('running', 'waiting') ORDER BY id";
        let ids: Vec<Uuid> = on!(read & self.db, |p| sqlx::query_scalar(SQL).fetch_all(p).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// How many runs that have not ended stand where.
    pub async fn count_open_workflow_runs(&self) -> Result<Vec<(WorkflowRunStatus, i64)>, StoreError> {
        const SQL: &str = "SELECT status, count(*) FROM workflow_run WHERE status IN ('running', 'waiting') GROUP BY status";
        let rows: Vec<(String, i64)> = on!(read & self.db, |p| sqlx::query_as(SQL).fetch_all(p).await?);
        rows.into_iter().map(|(status, count)| Ok((word(&status)?, count))).collect()
    }

    /// What happened in a run after a place, in order.
    pub async fn list_transitions(&self, id: WorkflowRunId, after: i64) -> Result<Vec<Transition>, StoreError> {
        const SQL: &str = "SELECT seq, at, data FROM workflow_transition WHERE run_id = $1 AND seq > $2 ORDER BY seq";
        let rows: Vec<(i64, DateTime<Utc>, JsonText)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).bind(after).fetch_all(p).await?);
        rows.into_iter().map(|(seq, at, data)| Ok(Transition { seq, at, change: data.parse()? })).collect()
    }

    /// Where the tasks of a run's turns stand, in the order of their making.
    pub async fn list_turn_tasks(&self, id: WorkflowRunId) -> Result<Vec<TurnTask>, StoreError> {
        const SQL: &str = "SELECT id, status, cancel_requested, run_id, failure FROM task WHERE workflow_run_id = $1 ORDER BY id";
        let rows: Vec<TurnTaskRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_all(p).await?);
        rows.into_iter().map(TurnTaskRow::into_task).collect()
    }

    /// The run that a user began under an idempotency key.
    pub async fn find_workflow_run(&self, owner: &str, key: &str) -> Result<Option<WorkflowRun>, StoreError> {
        let row: Option<WorkflowRunRow> =
            on!(read & self.db, |p| sqlx::query_as(EXISTING_RUN).bind(text(owner)).bind(text(key)).fetch_optional(p).await?);
        row.map(WorkflowRunRow::into_run).transpose()
    }

    /// Marks a run as to be stopped. `None`: there is no such run.
    pub async fn request_run_cancel(&self, id: WorkflowRunId, at: DateTime<Utc>) -> Result<Option<WorkflowRun>, StoreError> {
        const SQL: &str = "UPDATE workflow_run SET cancel_requested = TRUE, updated_at = $2 WHERE id = $1 \
                           AND status IN ('running', 'waiting') AND NOT cancel_requested";
        on!(write & self.db, |p| sqlx::query(SQL).bind(id.uuid()).bind(micros(at)).execute(p).await.map(drop)?);
        self.get_workflow_run(id, None).await
    }

    /// Stores the next step of a run, whole or not at all. With a status that is an end, the run's open turns are stopped and
    /// its own agents end.
    pub async fn advance_workflow_run(&self, advance: Advance) -> Result<Advanced, StoreError> {
        let db = self.db.clone();
        let (result, failure) = (JsonText::of_option(advance.result.as_ref())?, JsonText::of_option(advance.failure.as_ref())?);
        let changes: Vec<(&str, JsonText)> =
            advance.changes.iter().map(|change| Ok((change.kind(), JsonText::of(change)?))).collect::<Result<_, StoreError>>()?;
        let changes: Vec<(String, JsonText)> = changes.into_iter().map(|(kind, data)| (kind.to_owned(), data)).collect();
        let judged: Vec<(TaskId, TaskChange, Option<JsonText>)> = advance
            .judged
            .iter()
            .map(|(id, change)| Ok((*id, change.clone(), JsonText::of_option(change.failure.as_ref())?)))
            .collect::<Result<_, StoreError>>()?;
        let work = advance.work.prepare()?;
        let (id, generation, status, at, last_seq) =
            (advance.id, advance.generation, advance.status, micros(advance.at), advance.last_seq);
        uncancelled(async move {
            let (mut outcome, mut began) = (Advanced::Done, at);
            let workspace = id.to_string();
            let _done: Option<()> = on!(tx db, |t| {
                let ended_at = status.is_terminal().then_some(at);
                let advanced = sqlx::query_scalar(ADVANCE).bind(id.uuid()).bind(generation).bind(status.as_str()).bind(result);
                let advanced = advanced.bind(failure).bind(at).bind(ended_at).fetch_optional(&mut *t).await?;
                match advanced {
                    Some(created_at) => began = created_at,
                    None => outcome = Advanced::Stale,
                }
                if outcome == Advanced::Done && let Some(agent) = insert_work!(t, work) {
                    outcome = Advanced::AgentEnded(agent);
                }
                if outcome == Advanced::Done {
                    for (seq, (kind, data)) in (last_seq + 1..).zip(changes) {
                        let insert = sqlx::query(INSERT_TRANSITION).bind(id.uuid()).bind(seq).bind(at).bind(kind);
                        insert.bind(data).execute(&mut *t).await?;
                    }
                    for (task, change, failure) in judged {
                        let update = sqlx::query(change_sql(change.status, "")).bind(task.uuid()).bind(change.status.as_str());
                        let update = update.bind(failure).bind(at).bind(None::<DateTime<Utc>>);
                        let update = update.bind(change.ended_at()).bind(false).execute(&mut *t).await?;
                        if change.status.is_terminal() {
                            meters::ended(change.status, None, update.rows_affected());
                        }
                    }
                    if status.is_terminal() {
                        sqlx::query(END_WAITING).bind(id.uuid()).bind(at).execute(&mut *t).await?;
                        sqlx::query(END_JUDGED).bind(id.uuid()).bind(at).execute(&mut *t).await?;
                        sqlx::query(STOP_RUNNING).bind(id.uuid()).bind(at).execute(&mut *t).await?;
                        sqlx::query(RELEASE_AGENTS).bind(&workspace).bind(at).execute(&mut *t).await?;
                        sqlx::query(END_RESTING_AGENTS).bind(&workspace).execute(&mut *t).await?;
                    }
                }
                (outcome == Advanced::Done).then_some(())
            });
            if outcome == Advanced::Done && status.is_terminal() {
                meters::run_ended(status, began, at);
            }
            Ok(outcome)
        })
        .await
    }

    /// What the turns of a run have used.
    pub async fn workflow_run_usage(&self, id: WorkflowRunId) -> Result<AgentUsage, StoreError> {
        const SQL: &str = "SELECT count(*), sum(r.cost_usd), CAST(sum(r.tokens) AS BIGINT) FROM run r JOIN task t ON t.id = r.task_id \
                           WHERE t.workflow_run_id = $1";
        let (turns, cost_usd, tokens): (i64, Option<f64>, Option<i64>) =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_one(p).await?);
        Ok(AgentUsage { turns, cost_usd, tokens })
    }

    /// The agents that share a workspace, with whether they still have to end.
    pub async fn list_agents_of_workspace(&self, workspace: &str) -> Result<Vec<AgentId>, StoreError> {
        const SQL: &str = "SELECT id FROM agent WHERE workspace_name = $1 ORDER BY id";
        let ids: Vec<Uuid> = on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(workspace).fetch_all(p).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }
}
