//! Swarms and who belongs to them.

use super::{
    AgentUsage, Inserted, NewWork, Quota, Store, StoreError,
    agents::{AgentRow, end_agent},
    db::{micros, on, text, uncancelled, word},
    insert::reached,
    meters,
    scaling::TOUCH_SWARM,
    work::insert_work,
};
use crate::model::{
    agent::{Agent, AgentType},
    id::{AgentId, KeyId, SwarmId, TaskId, WorkflowRunId},
    quota::LimitReached,
    swarm::{Swarm, SwarmStatus},
    task::TaskStatus,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Which swarms to list.
#[derive(Debug, Clone, Copy)]
pub struct SwarmFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<SwarmStatus>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<SwarmId>,
    /// At most so many.
    pub limit: u32,
}

/// What became of agents that were to join a swarm.
#[derive(Debug, Clone, PartialEq)]
pub enum Grown {
    /// They are members.
    Done,
    /// The swarm has another generation by now, or is not active, and nothing was written.
    Stale,
    /// A limit is reached, and nothing was written.
    Refused(LimitReached),
}

/// What the stopping of a swarm concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoppedSwarm {
    /// Its runs, which are to be stopped.
    pub runs: Vec<WorkflowRunId>,
    /// Its agents, which are to be ended.
    pub agents: Vec<AgentId>,
    /// Its tasks that had not begun, which are cancelled.
    pub tasks: Vec<TaskId>,
}

/// What a swarm has done so far.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmTotals {
    /// Tasks of its agents, and those that wait for one, by status.
    pub tasks: Vec<(TaskStatus, i64)>,
    /// Tasks that wait for one of its agents to be free, by type.
    pub unassigned: Vec<(AgentType, i64)>,
    /// Turns and what they used.
    pub usage: AgentUsage,
    /// Messages between its agents and with its user.
    pub messages: i64,
    /// Circles of delegation that were broken.
    pub circles: i64,
    /// Those whose last agent has not answered what it was asked.
    pub open_circles: i64,
}

/// A row of `swarm`.
#[derive(sqlx::FromRow)]
pub(super) struct SwarmRow {
    id: Uuid,
    owner: String,
    key_id: Option<Uuid>,
    name: String,
    topology: String,
    project: String,
    objective: Option<String>,
    max_agents: i64,
    auto_scale: bool,
    status: String,
    generation: i64,
    idempotency_key: Option<String>,
    request_hash: String,
    provenance: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    stopped_at: Option<DateTime<Utc>>,
}

impl SwarmRow {
    pub(super) fn into_swarm(self) -> Result<Swarm, StoreError> {
        Ok(Swarm {
            id: self.id.into(),
            owner: self.owner,
            key_id: self.key_id.map(Into::into),
            name: self.name,
            topology: word(&self.topology)?,
            project: self.project,
            objective: self.objective,
            max_agents: u32::try_from(self.max_agents).map_err(StoreError::internal)?,
            auto_scale: self.auto_scale,
            status: word(&self.status)?,
            generation: self.generation,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            provenance: word(&self.provenance)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
            stopped_at: self.stopped_at,
        })
    }
}

const INSERT_SWARM: &str = "INSERT INTO swarm (id, owner, key_id, name, topology, project, objective, max_agents, auto_scale, status, \
                            generation, idempotency_key, request_hash, provenance, created_at, updated_at, stopped_at) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
                            ON CONFLICT (owner, idempotency_key) DO NOTHING";
const EXISTING_SWARM: &str = "SELECT * FROM swarm WHERE owner = $1 AND idempotency_key = $2";

impl Store {
    /// Stores a new swarm with its agents, or nothing.
    pub async fn insert_swarm(&self, swarm: &Swarm, agents: Vec<Agent>, quota: &Quota) -> Result<Inserted<Swarm>, StoreError> {
        let (db, given) = (self.db.clone(), swarm.clone());
        let work = NewWork { agents, tasks: Vec::new() }.prepare()?;
        let (of_agents, key_id) = (quota.checks(true), quota.key_id.map(KeyId::uuid));
        // An objective is work as well: a swarm that may not begin with it is not made.
        let of_tasks = if swarm.objective.is_some() { quota.checks(false) } else { Vec::new() };
        let (stored, over) = uncancelled(async move {
            let (swarm, mut over) = (given, None);
            let stored = on!(tx db, |t| {
                let written = sqlx::query(INSERT_SWARM)
                    .bind(swarm.id.uuid())
                    .bind(text(&swarm.owner))
                    .bind(swarm.key_id.map(KeyId::uuid))
                    .bind(text(&swarm.name))
                    .bind(swarm.topology.as_str())
                    .bind(text(&swarm.project))
                    .bind(swarm.objective.as_deref().map(text))
                    .bind(i64::from(swarm.max_agents))
                    .bind(swarm.auto_scale)
                    .bind(swarm.status.as_str())
                    .bind(swarm.generation)
                    .bind(swarm.idempotency_key.as_deref().map(text))
                    .bind(&swarm.request_hash)
                    .bind(swarm.provenance.as_str())
                    .bind(micros(swarm.created_at))
                    .bind(micros(swarm.updated_at))
                    .bind(swarm.stopped_at.map(micros))
                    .execute(&mut *t)
                    .await?
                    .rows_affected();
                if written == 1 {
                    let _ended = insert_work!(t, work);
                    over = reached!(t, of_tasks, key_id, swarm.created_at, own: 0.0);
                    if over.is_none() {
                        // Counted with its own: the last of them must still have been allowed.
                        over = reached!(t, of_agents, key_id, swarm.created_at, own: 1.0);
                    }
                    over.is_none().then_some(())
                } else {
                    None
                }
            });
            Ok((stored, over))
        })
        .await?;
        match (stored, over) {
            (Some(()), _) => Ok(Inserted::New),
            (None, Some(limit)) => Ok(Inserted::Refused(limit)),
            (None, None) => {
                let (owner, key) = (text(&swarm.owner), swarm.idempotency_key.as_deref().map(text));
                let row: SwarmRow =
                    on!(write & self.db, |p| sqlx::query_as(EXISTING_SWARM).bind(owner).bind(key).fetch_one(p).await?);
                Ok(Inserted::Existing(Box::new(row.into_swarm()?)))
            }
        }
    }

    /// The swarm, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_swarm(&self, id: SwarmId, owner: Option<&str>) -> Result<Option<Swarm>, StoreError> {
        const SQL: &str = "SELECT * FROM swarm WHERE id = $1";
        let row: Option<SwarmRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))).map(SwarmRow::into_swarm).transpose()
    }

    /// The swarms that pass the filter, newest first.
    pub async fn list_swarms(&self, filter: &SwarmFilter<'_>) -> Result<Vec<Swarm>, StoreError> {
        let rows: Vec<SwarmRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM swarm WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(SwarmRow::into_swarm).collect()
    }

    /// The agents of a swarm in the order of joining, ended ones included.
    pub async fn list_members(&self, swarm: SwarmId) -> Result<Vec<Agent>, StoreError> {
        const SQL: &str = "SELECT * FROM agent WHERE swarm_id = $1 ORDER BY swarm_place, id";
        let rows: Vec<AgentRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(swarm.uuid()).fetch_all(p).await?);
        rows.into_iter().map(AgentRow::into_agent).collect()
    }

    /// Adds agents to a swarm that is active, within the limits, and has members that were added for its tasks stay (`kept`).
    pub async fn add_members(
        &self,
        swarm: &Swarm,
        agents: Vec<Agent>,
        kept: Vec<AgentId>,
        quota: &Quota,
        at: DateTime<Utc>,
    ) -> Result<Grown, StoreError> {
        const KEEP: &str = "UPDATE agent SET scaled = FALSE, updated_at = $2 WHERE id = $1 AND NOT terminate_requested";
        let (db, id, generation) = (self.db.clone(), swarm.id, swarm.generation);
        let work = NewWork { agents, tasks: Vec::new() }.prepare()?;
        let (checks, key_id) = (quota.checks(true), quota.key_id);
        uncancelled(async move {
            let mut over = None;
            let done = on!(tx db, |t| {
                let touch = sqlx::query(TOUCH_SWARM).bind(id.uuid()).bind(generation).bind(micros(at));
                let mut holds = touch.execute(&mut *t).await?.rows_affected() == 1;
                for agent in &kept {
                    let keep = sqlx::query(KEEP).bind(agent.uuid()).bind(micros(at));
                    holds = keep.execute(&mut *t).await?.rows_affected() == 1 && holds;
                }
                if holds {
                    let _ended = insert_work!(t, work);
                    over = reached!(t, checks, key_id.map(KeyId::uuid), at, own: 1.0);
                    over.is_none().then_some(())
                } else {
                    None
                }
            });
            Ok(match (done, over) {
                (Some(()), _) => Grown::Done,
                (None, Some(limit)) => Grown::Refused(limit),
                (None, None) => Grown::Stale,
            })
        })
        .await
    }

    /// Stops a swarm: no objective is taken any more, its runs are to be stopped, and its agents are ended, or will be by
    /// their actors. Nothing happens to one that is stopped already. Gives the runs, agents and tasks concerned.
    pub async fn stop_swarm(&self, id: SwarmId, at: DateTime<Utc>) -> Result<StoppedSwarm, StoreError> {
        const STOP: &str = "UPDATE swarm SET status = 'stopped', generation = generation + 1, updated_at = $2, stopped_at = $2 \
                            WHERE id = $1 AND status <> 'stopped'";
        const RUNS: &str = "UPDATE workflow_run SET cancel_requested = TRUE, updated_at = $2 WHERE swarm_id = $1 \
                            AND status IN ('running', 'waiting') RETURNING id";
        const TASKS: &str = "UPDATE task SET status = 'cancelled', updated_at = $2, ended_at = $2, generation = generation + 1 \
                             WHERE swarm_id = $1 AND status = 'created' RETURNING id";
        const AGENTS: &str = "SELECT id FROM agent WHERE swarm_id = $1 AND status <> 'terminated' ORDER BY swarm_place";
        let db = self.db.clone();
        uncancelled(async move {
            let concerned = on!(tx db, |t| {
                sqlx::query(STOP).bind(id.uuid()).bind(micros(at)).execute(&mut *t).await?;
                let runs: Vec<Uuid> = sqlx::query_scalar(RUNS).bind(id.uuid()).bind(micros(at)).fetch_all(&mut *t).await?;
                let agents: Vec<Uuid> = sqlx::query_scalar(AGENTS).bind(id.uuid()).fetch_all(&mut *t).await?;
                let tasks: Vec<Uuid> = sqlx::query_scalar(TASKS).bind(id.uuid()).bind(micros(at)).fetch_all(&mut *t).await?;
                for agent in &agents {
                    end_agent!(t, *agent, micros(at));
                }
                Some(StoppedSwarm {
                    runs: runs.into_iter().map(Into::into).collect(),
                    agents: agents.into_iter().map(Into::into).collect(),
                    tasks: tasks.into_iter().map(Into::into).collect(),
                })
            });
            let concerned: StoppedSwarm = concerned.unwrap_or_default();
            meters::ended(TaskStatus::Cancelled, None, concerned.tasks.len() as u64);
            Ok(concerned)
        })
        .await
    }

    /// What a swarm has done so far.
    pub async fn swarm_totals(&self, id: SwarmId) -> Result<SwarmTotals, StoreError> {
        const TASKS: &str = "SELECT t.status, count(*) FROM task t JOIN agent a ON a.id = t.agent_id WHERE a.swarm_id = $1 \
                             GROUP BY t.status UNION ALL \
                             SELECT status, count(*) FROM task WHERE swarm_id = $1 AND agent_id IS NULL GROUP BY status";
        const SPENT: &str = "SELECT count(*), sum(r.cost_usd), CAST(sum(r.tokens) AS BIGINT) FROM run r \
                             JOIN agent a ON a.id = r.agent_id WHERE a.swarm_id = $1";
        const MESSAGES: &str = "SELECT count(*) FROM team_message WHERE swarm_id = $1";
        const CIRCLES: &str = "SELECT count(*), count(CASE WHEN EXISTS (SELECT 1 FROM team_cause c JOIN team_delivery a \
                               ON a.message_id = c.cause_id AND a.agent_id = m.from_agent AND a.answered_by IS NULL \
                               WHERE c.message_id = m.id) THEN 1 END) FROM team_message m JOIN team_delivery d ON d.message_id = m.id \
                               WHERE m.swarm_id = $1 AND d.circle IS NOT NULL";
        let rows: Vec<(String, i64)> = on!(read & self.db, |p| sqlx::query_as(TASKS).bind(id.uuid()).fetch_all(p).await?);
        let (turns, cost_usd, tokens): (i64, Option<f64>, Option<i64>) =
            on!(read & self.db, |p| sqlx::query_as(SPENT).bind(id.uuid()).fetch_one(p).await?);
        let messages = on!(read & self.db, |p| sqlx::query_scalar(MESSAGES).bind(id.uuid()).fetch_one(p).await?);
        let (circles, open_circles): (i64, i64) =
            on!(read & self.db, |p| sqlx::query_as(CIRCLES).bind(id.uuid()).fetch_one(p).await?);
        let mut tasks = Vec::with_capacity(rows.len());
        for (status, count) in rows {
            tasks.push((word::<TaskStatus>(&status)?, count));
        }
        Ok(SwarmTotals {
            tasks,
            usage: AgentUsage { turns, cost_usd, tokens },
            messages,
            circles,
            open_circles,
            unassigned: self.count_unassigned_tasks(id).await?,
        })
    }
}
