//! Making tasks, messages and agents, within the limits of their key and of the gateway.
//!
//! Limits are counted in the transaction that inserts, under a lock, so that a burst of requests cannot pass them.

use super::{
    Quota, Store, StoreError,
    agents::{AgentRow, INSERT_AGENT},
    db::{micros, on, text, uncancelled},
    json::JsonText,
    tasks::TaskRow,
    team::{TeamChange, apply_change},
};
use crate::model::{
    agent::{Agent, AgentStatus},
    id::{AgentId, KeyId, RunId},
    quota::LimitReached,
    task::Task,
};
use chrono::{DateTime, NaiveTime, Utc};

/// What became of a new task or agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted<T> {
    /// It was stored.
    New,
    /// Its owner used the idempotency key before: that one, and nothing was written.
    Existing(Box<T>),
    /// The agent or the swarm it is for takes nothing any more, and nothing was written.
    AgentEnded,
    /// A limit is reached, and nothing was written.
    Refused(LimitReached),
}

/// The first moment of the day (UTC).
pub(super) fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_time(NaiveTime::MIN).single().unwrap_or(at)
}

const SUM_USD_EXCEPT: &str = "SELECT CAST(COALESCE(sum(r.cost_usd), 0) AS DOUBLE PRECISION) FROM run r JOIN task t ON t.id = r.task_id \
                              WHERE r.started_at >= $2 AND ($1 IS NULL OR t.key_id = $1) AND r.id <> $3";
/// Holds up everybody else who counts until this transaction ends. The row is the one that appends take cursors from.
pub(super) const LOCK: &str = "UPDATE event_cursor SET last = last";

pub(super) const INSERT_TASK: &str = "INSERT INTO task (id, owner, title, description, agent_type, project, model, priority, \
                           timeout_seconds, budget_usd, on_lost, output_schema, idempotency_key, request_hash, status, generation, \
                           cancel_requested, agent_id, run_id, failure, provenance, created_at, updated_at, started_at, \
                           ended_at, key_id, limits, mode, workflow_run_id, workspace_name, reviewed, traceparent, backend, swarm_id) \
                           VALUES ($1, $2, $3, $4, $5, \
                           $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, \
                           $27, $28, $29, $30, $31, $32, $33, $34) \
                           ON CONFLICT (owner, idempotency_key) DO NOTHING";
const EXISTING_TASK: &str = "SELECT * FROM task WHERE owner = $1 AND idempotency_key = $2";
const EXISTING_AGENT: &str = "SELECT * FROM agent WHERE owner = $1 AND idempotency_key = $2";
/// Takes the agent's row, so that it cannot end meanwhile.
pub(super) const WRITE_TO_AGENT: &str = "UPDATE agent SET durable = TRUE, updated_at = $2 WHERE id = $1 AND NOT terminate_requested \
                              AND status NOT IN ('terminated', 'failed', 'lost')";

/// Takes the swarm's row, so that it cannot be stopped meanwhile.
pub(super) const HOLD_SWARM: &str = "UPDATE swarm SET updated_at = updated_at WHERE id = $1 AND status = 'active'";

const REVIVE_AGENT: &str = "UPDATE agent SET status = 'parked', generation = generation + 1, updated_at = $3, failure = NULL, \
                            terminate_requested = FALSE WHERE id = $1 AND status = $2 AND NOT EXISTS \
                            (SELECT 1 FROM process WHERE agent_id = $1 AND ended_at IS NULL)";

/// Binds a task to [`INSERT_TASK`]; a macro, because the type of a query names its engine. The JSON columns come ready made.
macro_rules! bind_task {
    ($query:expr, $task:expr, $output_schema:expr, $failure:expr, $limits:expr) => {
        $query
            .bind($task.id.uuid())
            .bind($crate::store::db::text(&$task.owner))
            .bind($crate::store::db::text(&$task.title))
            .bind($crate::store::db::text(&$task.description))
            .bind($task.agent_type.as_str())
            .bind($crate::store::db::text(&$task.project))
            .bind($task.model.as_deref().map($crate::store::db::text))
            .bind($task.priority.rank())
            .bind(i64::from($task.timeout_seconds))
            .bind($task.budget_usd)
            .bind($task.on_lost.as_str())
            .bind($output_schema)
            .bind($task.idempotency_key.as_deref().map($crate::store::db::text))
            .bind(&$task.request_hash)
            .bind($task.status.as_str())
            .bind($task.generation)
            .bind($task.cancel_requested)
            .bind($task.agent_id.map($crate::model::id::AgentId::uuid))
            .bind($task.run_id.map($crate::model::id::RunId::uuid))
            .bind($failure)
            .bind($task.provenance.as_str())
            .bind($crate::store::db::micros($task.created_at))
            .bind($crate::store::db::micros($task.updated_at))
            .bind($task.started_at.map($crate::store::db::micros))
            .bind($task.ended_at.map($crate::store::db::micros))
            .bind($task.key_id.map($crate::model::id::KeyId::uuid))
            .bind($limits)
            .bind($task.mode.map($crate::model::task::MessageMode::as_str))
            .bind($task.workflow_run_id.map($crate::model::id::WorkflowRunId::uuid))
            .bind($task.workspace_name.as_deref().map($crate::store::db::text))
            .bind($task.reviewed)
            .bind($task.traceparent.as_deref())
            .bind($task.backend.as_str())
            .bind($task.swarm_id.map($crate::model::id::SwarmId::uuid))
    };
}
pub(super) use bind_task;

/// What happened inside the transaction, unless it was refused.
enum Outcome {
    Stored,
    Known,
}

/// Why the transaction was rolled back.
enum Refusal {
    Ended,
    Over(LimitReached),
}

/// Runs the checks of a quota inside a transaction; gives the first limit that is reached. `own`: how many of what is
/// counted the transaction itself has added.
macro_rules! reached {
    ($t:expr, $checks:expr, $key:expr, $at:expr, own: $own:expr) => {{
        let mut reached = None;
        if !$checks.is_empty() {
            sqlx::query($crate::store::insert::LOCK).execute(&mut *$t).await?;
        }
        for check in $checks.iter() {
            let key = (check.set_by == $crate::model::quota::SetBy::Key).then_some($key).flatten();
            let counted =
                sqlx::query_scalar(check.sql).bind(key).bind($crate::store::db::micros($crate::store::insert::midnight($at)));
            let counted: f64 = counted.fetch_one(&mut *$t).await?;
            if counted - $own >= check.most {
                reached = Some($crate::model::quota::LimitReached {
                    name: check.name.to_owned(),
                    set_by: check.set_by,
                    value: check.most,
                });
                break;
            }
        }
        reached
    }};
}
pub(super) use reached;

impl Store {
    /// Stores a new task, or a message to an agent when `mode` is set, also under concurrent calls.
    pub async fn insert_task(&self, task: &Task, quota: &Quota) -> Result<Inserted<Task>, StoreError> {
        self.insert_task_and(task, quota, None).await
    }

    /// The same, with a change of the team that is made if and only if the task is new.
    pub async fn insert_task_and(
        &self,
        task: &Task,
        quota: &Quota,
        change: Option<TeamChange>,
    ) -> Result<Inserted<Task>, StoreError> {
        let (db, given, quota) = (self.db.clone(), task.clone(), *quota);
        let change = change.map(TeamChange::prepare).transpose()?;
        let output_schema = JsonText::of_option(task.output_schema.as_ref())?;
        let failure = JsonText::of_option(task.failure.as_ref())?;
        let limits = JsonText::of(&task.limits)?;
        let checks = quota.checks(false);
        let agents = quota.keeps.map(|(key_id, key)| (key_id, Quota::of_agent(key_id, key, quota.gateway).checks(true)));
        let (outcome, refusal) = uncancelled(Box::pin(async move {
            let (task, mut refusal) = (given, None);
            let key = task.idempotency_key.as_deref().map(text);
            let outcome = on!(tx db, |t| {
                let known: Option<TaskRow> = match &key {
                    Some(key) => {
                        sqlx::query_as(EXISTING_TASK).bind(text(&task.owner)).bind(key.clone()).fetch_optional(&mut *t).await?
                    }
                    None => None,
                };
                let takes = match task.agent_id.filter(|_| task.mode.is_some()) {
                    Some(agent) if known.is_none() => {
                        let update = sqlx::query(WRITE_TO_AGENT).bind(agent.uuid()).bind(micros(task.created_at));
                        update.execute(&mut *t).await?.rows_affected() == 1
                    }
                    _ => match task.swarm_id.filter(|_| known.is_none() && task.agent_id.is_none()) {
                        Some(swarm) => {
                            sqlx::query(HOLD_SWARM).bind(swarm.uuid()).execute(&mut *t).await?.rows_affected() == 1
                        }
                        None => true,
                    },
                };
                let mut over = None;
                if known.is_none() && takes {
                    over = reached!(t, checks, quota.key_id.map(KeyId::uuid), task.created_at, own: 0.0);
                    if let (None, Some((key_id, checks))) = (&over, &agents) {
                        over = reached!(t, checks, key_id.map(KeyId::uuid), task.created_at, own: 1.0);
                    }
                }
                if known.is_some() {
                    Some(Outcome::Known)
                } else if !takes {
                    refusal = Some(Refusal::Ended);
                    None
                } else if let Some(limit) = over {
                    refusal = Some(Refusal::Over(limit));
                    None
                } else {
                    let written = bind_task!(sqlx::query(INSERT_TASK), task, output_schema, failure, limits)
                        .execute(&mut *t)
                        .await?
                        .rows_affected();
                    if let Some(change) = change.filter(|_| written == 1) {
                        // Under an id of its own, so it holds.
                        let _holds: bool = apply_change!(t, change);
                    }
                    Some(if written == 1 { Outcome::Stored } else { Outcome::Known })
                }
            });
            Ok((outcome, refusal))
        }))
        .await?;
        match (outcome, refusal) {
            (Some(Outcome::Stored), _) => Ok(Inserted::New),
            (None, Some(Refusal::Ended)) => Ok(Inserted::AgentEnded),
            (None, Some(Refusal::Over(limit))) => Ok(Inserted::Refused(limit)),
            // The other insert is committed: a conflict waits for it. Tasks are never deleted.
            (Some(Outcome::Known), _) | (None, None) => {
                let (owner, key) = (text(&task.owner), task.idempotency_key.as_deref().map(text));
                let row: TaskRow =
                    on!(write & self.db, |p| sqlx::query_as(EXISTING_TASK).bind(owner).bind(key).fetch_one(p).await?);
                Ok(Inserted::Existing(Box::new(row.into_task()?)))
            }
        }
    }

    /// Stores a new agent that has no process yet.
    pub async fn insert_agent(&self, agent: &Agent, quota: &Quota) -> Result<Inserted<Agent>, StoreError> {
        let (db, given, quota) = (self.db.clone(), agent.clone(), *quota);
        let limits = JsonText::of(&agent.limits)?;
        let checks = quota.checks(true);
        let (outcome, over) = uncancelled(async move {
            let (agent, mut over) = (given, None);
            let outcome = on!(tx db, |t| {
                let key = agent.idempotency_key.as_deref().map(text);
                let known: Option<AgentRow> = match &key {
                    Some(key) => {
                        sqlx::query_as(EXISTING_AGENT).bind(text(&agent.owner)).bind(key.clone()).fetch_optional(&mut *t).await?
                    }
                    None => None,
                };
                if known.is_none() {
                    over = reached!(t, checks, quota.key_id.map(KeyId::uuid), agent.created_at, own: 0.0);
                }
                if known.is_some() {
                    Some(Outcome::Known)
                } else if over.is_some() {
                    None
                } else {
                    let written = super::agents::bind_agent!(sqlx::query(INSERT_AGENT), agent, limits)
                        .execute(&mut *t)
                        .await?
                        .rows_affected();
                    Some(if written == 1 { Outcome::Stored } else { Outcome::Known })
                }
            });
            Ok((outcome, over))
        })
        .await?;
        match (outcome, over) {
            (Some(Outcome::Stored), _) => Ok(Inserted::New),
            (None, Some(limit)) => Ok(Inserted::Refused(limit)),
            (Some(Outcome::Known), _) | (None, None) => {
                let (owner, key) = (text(&agent.owner), agent.idempotency_key.as_deref().map(text));
                let row: AgentRow =
                    on!(write & self.db, |p| sqlx::query_as(EXISTING_AGENT).bind(owner).bind(key).fetch_one(p).await?);
                Ok(Inserted::Existing(Box::new(row.into_agent()?)))
            }
        }
    }

    /// Brings an agent that ended as `from` back to rest, unless a limit is reached; then nothing is written. Nothing
    /// happens to an agent that stands elsewhere by now.
    pub async fn revive_agent(
        &self,
        id: AgentId,
        from: AgentStatus,
        quota: &Quota,
        at: DateTime<Utc>,
    ) -> Result<Option<LimitReached>, StoreError> {
        let (db, key_id, checks) = (self.db.clone(), quota.key_id.map(KeyId::uuid), quota.checks(true));
        uncancelled(async move {
            let mut over = None;
            let _done: Option<()> = on!(tx db, |t| {
                let revive = sqlx::query(REVIVE_AGENT).bind(id.uuid()).bind(from.as_str()).bind(micros(at));
                if revive.execute(&mut *t).await?.rows_affected() == 1 {
                    over = reached!(t, checks, key_id, at, own: 1.0);
                }
                over.is_none().then_some(())
            });
            Ok(over)
        })
        .await
    }

    /// The task its owner made with this idempotency key.
    pub async fn find_task_by_key(&self, owner: &str, key: &str) -> Result<Option<Task>, StoreError> {
        super::tasks::one(on!(read & self.db, |p| {
            sqlx::query_as(EXISTING_TASK).bind(text(owner)).bind(text(key)).fetch_optional(p).await?
        }))
    }

    /// The agent its owner made with this idempotency key.
    pub async fn find_agent_by_key(&self, owner: &str, key: &str) -> Result<Option<Agent>, StoreError> {
        let row: Option<AgentRow> = on!(read & self.db, |p| {
            sqlx::query_as(EXISTING_AGENT).bind(text(owner)).bind(text(key)).fetch_optional(p).await?
        });
        row.map(AgentRow::into_agent).transpose()
    }

    /// US dollars of the runs that were begun today (UTC), but for one of them: those of the key, or all.
    pub async fn usd_today(&self, key: Option<KeyId>, except: RunId, now: DateTime<Utc>) -> Result<f64, StoreError> {
        Ok(on!(read & self.db, |p| sqlx::query_scalar(SUM_USD_EXCEPT)
            .bind(key.map(KeyId::uuid))
            .bind(micros(midnight(now)))
            .bind(except.uuid())
            .fetch_one(p)
            .await?))
    }

    /// The messages that wait for the agent, in the order they will get their turns, at most `limit`.
    pub async fn list_waiting_messages(&self, agent: AgentId, limit: u32) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = "SELECT * FROM task WHERE agent_id = $1 AND status = 'created' AND NOT cancel_requested \
                           ORDER BY priority, id LIMIT $2";
        super::tasks::all(on!(read & self.db, |p| {
            sqlx::query_as(SQL).bind(agent.uuid()).bind(i64::from(limit)).fetch_all(p).await?
        }))
    }

    /// The oldest message that is meant for the agent's running turn and waits.
    pub async fn next_steering_message(&self, agent: AgentId) -> Result<Option<Task>, StoreError> {
        const SQL: &str = "SELECT * FROM task WHERE agent_id = $1 AND status = 'created' AND NOT cancel_requested \
                           AND mode = 'steer' ORDER BY id LIMIT 1";
        super::tasks::one(on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).fetch_optional(p).await?))
    }

    /// The task the agent works on, or is being prepared for, if any.
    pub async fn running_task_of(&self, agent: AgentId) -> Result<Option<Task>, StoreError> {
        const SQL: &str = "SELECT t.* FROM task t LEFT JOIN run r ON r.id = t.run_id WHERE t.agent_id = $1 \
                           AND t.status IN ('assigned', 'in_progress') \
                           AND (t.run_id IS NULL OR r.task_id = t.id) \
                           ORDER BY t.id LIMIT 1";
        super::tasks::one(on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).fetch_optional(p).await?))
    }

    /// The message that was sent into a turn of another task and not taken up yet, if any.
    pub async fn sent_message_of(&self, agent: AgentId) -> Result<Option<Task>, StoreError> {
        const SQL: &str = "SELECT t.* FROM task t JOIN run r ON r.id = t.run_id WHERE t.agent_id = $1 AND t.status = 'assigned' \
                           AND r.task_id <> t.id ORDER BY t.id LIMIT 1";
        super::tasks::one(on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).fetch_optional(p).await?))
    }

    /// How many tasks wait for the agent.
    pub async fn count_waiting_messages(&self, agent: AgentId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM task WHERE agent_id = $1 AND status = 'created' AND NOT cancel_requested";
        Ok(on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(agent.uuid()).fetch_one(p).await?))
    }
}
