//! Agents: reading and changing them. Those with a process change with their events (`events.rs`).

use super::{
    Store, StoreError,
    db::{micros, on, text, uncancelled, word},
    json::JsonText,
    meters,
    tasks::change_sql,
};
use crate::model::{
    agent::{Agent, AgentStatus, AgentType},
    id::{AgentId, RunId, TaskId},
    run::{Failure, FailureCode},
    task::TaskStatus,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Which agents to list.
#[derive(Debug, Clone, Copy)]
pub struct AgentFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<AgentStatus>,
    /// Only those of this role.
    pub agent_type: Option<AgentType>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<AgentId>,
    /// At most so many.
    pub limit: u32,
}

/// What the runs of an agent have used so far, as far as the CLI said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgentUsage {
    /// Runs.
    pub turns: i64,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// Tokens of all models.
    pub tokens: Option<i64>,
}

/// A row of `agent`.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
pub(super) struct AgentRow {
    id: Uuid,
    owner: String,
    name: String,
    agent_type: String,
    backend: String,
    project: String,
    model: Option<String>,
    status: String,
    generation: i64,
    session_id: Uuid,
    workspace: String,
    branch: Option<String>,
    base_commit: Option<String>,
    provenance: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    key_id: Option<Uuid>,
    durable: bool,
    system_prompt: Option<String>,
    limits: Option<JsonText>,
    session_started: bool,
    forked_from: Option<Uuid>,
    terminate_requested: bool,
    failure: Option<JsonText>,
    idempotency_key: Option<String>,
    request_hash: String,
    swarm_id: Option<Uuid>,
    swarm_place: Option<i64>,
    workspace_name: Option<String>,
    scaled: bool,
}

impl AgentRow {
    pub(super) fn into_agent(self) -> Result<Agent, StoreError> {
        Ok(Agent {
            id: self.id.into(),
            owner: self.owner,
            key_id: self.key_id.map(Into::into),
            name: self.name,
            agent_type: word(&self.agent_type)?,
            backend: word(&self.backend)?,
            project: self.project,
            model: self.model,
            status: word(&self.status)?,
            generation: self.generation,
            durable: self.durable,
            system_prompt: self.system_prompt,
            limits: self.limits.as_ref().map(JsonText::parse).transpose()?.unwrap_or_default(),
            session_id: self.session_id,
            session_started: self.session_started,
            swarm_id: self.swarm_id.map(Into::into),
            swarm_place: self.swarm_place,
            scaled: self.scaled,
            workspace_name: self.workspace_name,
            forked_from: self.forked_from.map(Into::into),
            terminate_requested: self.terminate_requested,
            failure: self.failure.as_ref().map(JsonText::parse).transpose()?,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            workspace: self.workspace,
            branch: self.branch,
            base_commit: self.base_commit,
            provenance: word(&self.provenance)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Parameters as [`bind_agent`] gives them.
pub(super) const INSERT_AGENT: &str = "INSERT INTO agent (id, owner, name, agent_type, backend, project, model, status, generation, \
                                       session_id, workspace, branch, base_commit, provenance, created_at, updated_at, key_id, \
                                       durable, system_prompt, limits, session_started, forked_from, terminate_requested, \
                                       idempotency_key, request_hash, swarm_id, swarm_place, workspace_name, scaled) VALUES ($1, $2, $3, \
                                       $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
                                       $23, $24, $25, $26, $27, $28, $29) \
                                       ON CONFLICT (owner, idempotency_key) DO NOTHING";

/// Binds an agent to [`INSERT_AGENT`]; a macro, because the type of a query names its engine.
macro_rules! bind_agent {
    ($query:expr, $agent:expr, $limits:expr) => {
        $query
            .bind($agent.id.uuid())
            .bind($crate::store::db::text(&$agent.owner))
            .bind($crate::store::db::text(&$agent.name))
            .bind($agent.agent_type.as_str())
            .bind($agent.backend.as_str())
            .bind($crate::store::db::text(&$agent.project))
            .bind($agent.model.as_deref().map($crate::store::db::text))
            .bind($agent.status.as_str())
            .bind($agent.generation)
            .bind($agent.session_id)
            .bind($crate::store::db::text(&$agent.workspace))
            .bind($agent.branch.as_deref().map($crate::store::db::text))
            .bind($agent.base_commit.as_deref().map($crate::store::db::text))
            .bind($agent.provenance.as_str())
            .bind($crate::store::db::micros($agent.created_at))
            .bind($crate::store::db::micros($agent.updated_at))
            .bind($agent.key_id.map($crate::model::id::KeyId::uuid))
            .bind($agent.durable)
            .bind($agent.system_prompt.as_deref().map($crate::store::db::text))
            .bind($limits)
            .bind($agent.session_started)
            .bind($agent.forked_from.map($crate::model::id::AgentId::uuid))
            .bind($agent.terminate_requested)
            .bind($agent.idempotency_key.as_deref().map($crate::store::db::text))
            .bind(&$agent.request_hash)
            .bind($agent.swarm_id.map($crate::model::id::SwarmId::uuid))
            .bind($agent.swarm_place)
            .bind($agent.workspace_name.as_deref().map($crate::store::db::text))
            .bind($agent.scaled)
    };
}
pub(super) use bind_agent;

/// Marks an agent as to be ended. Parameters: agent, at.
pub(super) const MARK_TERMINATED: &str =
    "UPDATE agent SET terminate_requested = TRUE, updated_at = $2 WHERE id = $1 AND status <> 'terminated'";
/// Ends a marked agent at once when it has no process.
pub(super) const END_AGENT: &str = "UPDATE agent SET status = 'terminated', generation = generation + 1, failure = NULL WHERE id = $1 \
                                    AND (status IN ('parked', 'failed', 'lost') OR (status = 'starting' AND generation = 0))";
/// Ends the messages that wait for an agent which takes no more. Tasks of its swarm go to another member instead. Parameters: agent,
/// status, failure, at.
pub(super) const END_WAITING: &str = "UPDATE task SET status = $2, failure = $3, updated_at = $4, ended_at = $4, \
                                      generation = generation + 1 WHERE agent_id = $1 AND status = 'created' AND mode IS NOT NULL \
                                      AND swarm_id IS NULL";
/// The same for an agent that has been ended by a request its actor did not hear of. Parameters: agent, at.
pub(super) const END_WAITING_OF_TERMINATED: &str = "UPDATE task SET status = 'cancelled', failure = NULL, updated_at = $2, ended_at = $2, generation = generation + 1 \
     WHERE agent_id = $1 AND status = 'created' AND mode IS NOT NULL AND swarm_id IS NULL \
     AND EXISTS (SELECT 1 FROM agent WHERE id = $1 AND status = 'terminated')";

/// Within a transaction: marks an agent as to be ended, ends it at once when it has no process, and cancels what waits for it.
macro_rules! end_agent {
    ($t:expr, $agent:expr, $at:expr) => {{
        use $crate::{
            model::task::TaskStatus,
            store::{agents, json::JsonText, meters},
        };
        sqlx::query(agents::MARK_TERMINATED).bind($agent).bind($at).execute(&mut *$t).await?;
        sqlx::query(agents::END_AGENT).bind($agent).execute(&mut *$t).await?;
        let end = sqlx::query(agents::END_WAITING).bind($agent).bind(TaskStatus::Cancelled.as_str());
        let end = end.bind(None::<JsonText>).bind($at).execute(&mut *$t).await?;
        meters::ended(TaskStatus::Cancelled, None, end.rows_affected());
    }};
}
pub(super) use end_agent;

impl Store {
    /// The agent, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_agent(&self, id: AgentId, owner: Option<&str>) -> Result<Option<Agent>, StoreError> {
        const SQL: &str = "SELECT * FROM agent WHERE id = $1";
        let row: Option<AgentRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))).map(AgentRow::into_agent).transpose()
    }

    /// The agents that pass the filter, newest first.
    pub async fn list_agents(&self, filter: &AgentFilter<'_>) -> Result<Vec<Agent>, StoreError> {
        let rows: Vec<AgentRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM agent WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(agent_type) = filter.agent_type {
                query.push(" AND agent_type = ").push_bind(agent_type.as_str());
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(AgentRow::into_agent).collect()
    }

    /// What the agent's runs have used, but for one of them.
    pub async fn agent_usage(&self, id: AgentId, except: Option<RunId>) -> Result<AgentUsage, StoreError> {
        const SQL: &str = "SELECT count(*), sum(cost_usd), CAST(sum(tokens) AS BIGINT) FROM run WHERE agent_id = $1 AND id <> $2";
        let except = except.map_or(Uuid::nil(), RunId::uuid);
        let (turns, cost_usd, tokens): (i64, Option<f64>, Option<i64>) =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).bind(except).fetch_one(p).await?);
        Ok(AgentUsage { turns, cost_usd, tokens })
    }

    /// Puts an agent to rest that was woken but gets no process, or ends it when that was asked for meanwhile.
    pub async fn lay_down_agent(&self, id: AgentId, at: DateTime<Utc>) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE agent SET status = CASE WHEN terminate_requested THEN 'terminated' ELSE 'parked' END, \
                           generation = generation + 1, updated_at = $2 WHERE id = $1 AND status = 'starting' AND generation > 0 \
                           AND NOT EXISTS (SELECT 1 FROM process WHERE agent_id = $1 AND ended_at IS NULL)";
        let changed =
            on!(write & self.db, |p| sqlx::query(SQL).bind(id.uuid()).bind(micros(at)).execute(p).await?.rows_affected());
        Ok(changed == 1)
    }

    /// Where the agent works and whether its session exists, once that is known.
    pub async fn settle_agent(&self, agent: &Agent) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE agent SET workspace = $2, branch = $3, base_commit = $4, session_started = $5 WHERE id = $1";
        on!(write & self.db, |p| sqlx::query(SQL)
            .bind(agent.id.uuid())
            .bind(text(&agent.workspace))
            .bind(agent.branch.as_deref().map(text))
            .bind(agent.base_commit.as_deref().map(text))
            .bind(agent.session_started)
            .execute(p)
            .await
            .map(drop)?);
        Ok(())
    }

    /// Marks the agent as to be ended and cancels the messages that wait for it. One without a process is ended at once.
    /// `None`: there is no such agent.
    pub async fn request_termination(&self, id: AgentId, at: DateTime<Utc>) -> Result<Option<Agent>, StoreError> {
        let db = self.db.clone();
        uncancelled(async move {
            let _done: Option<()> = on!(tx db, |t| {
                end_agent!(t, id.uuid(), micros(at));
                Some(())
            });
            Ok(())
        })
        .await?;
        self.get_agent(id, None).await
    }

    /// The agent cannot be started: it fails, with its task and the messages that wait for it.
    pub async fn fail_start(
        &self,
        agent: AgentId,
        task: Option<TaskId>,
        failure: &Failure,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        const FAIL: &str = "UPDATE agent SET status = CASE WHEN terminate_requested THEN 'terminated' ELSE 'failed' END, \
                            failure = CASE WHEN terminate_requested THEN NULL ELSE $2 END, generation = generation + 1, \
                            updated_at = $3 WHERE id = $1 AND status = 'starting'";
        let code = failure.code;
        let of_agent = JsonText::of(failure)?;
        let of_waiting = JsonText::of(&crate::store::waiting_failure(agent, failure))?;
        let db = self.db.clone();
        uncancelled(async move {
            let _done: Option<()> = on!(tx db, |t| {
                sqlx::query(FAIL).bind(agent.uuid()).bind(of_agent.clone()).bind(micros(at)).execute(&mut *t).await?;
                if let Some(task) = task {
                    let failed = sqlx::query(change_sql(TaskStatus::Failed, ""))
                        .bind(task.uuid())
                        .bind(TaskStatus::Failed.as_str())
                        .bind(Some(of_agent))
                        .bind(micros(at))
                        .bind(None::<DateTime<Utc>>)
                        .bind(Some(micros(at)))
                        .bind(false)
                        .execute(&mut *t)
                        .await?;
                    meters::ended(TaskStatus::Failed, Some(code), failed.rows_affected());
                }
                let end = sqlx::query(END_WAITING).bind(agent.uuid()).bind(TaskStatus::Failed.as_str());
                let end = end.bind(Some(of_waiting)).bind(micros(at)).execute(&mut *t).await?;
                meters::ended(TaskStatus::Failed, Some(FailureCode::AgentFailed), end.rows_affected());
                Some(())
            });
            Ok(())
        })
        .await
    }
}
