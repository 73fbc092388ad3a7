//! Handing out the tasks of swarms, and the members that come and go with them.
//!
//! A step is a compare-and-set on the swarm's generation and on the task's, so that a task goes to one member, and one member is
//! added for it, however many look at the same time and whenever a server dies.

use super::{
    Grown, NewWork, Quota, Store, StoreError,
    agents::{END_AGENT, MARK_TERMINATED},
    db::{micros, on, uncancelled, word},
    insert::reached,
    meters,
    tasks::TaskRow,
    work::insert_work,
};
use crate::model::{
    agent::{Agent, AgentType},
    id::{AgentId, KeyId, SwarmId, TaskId},
    swarm::{
        Swarm,
        scaling::{Scaling, ScalingKind},
    },
    task::{Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A task of a swarm that no member has, or one that will not do it any more.
const UNASSIGNED: &str = "t.swarm_id IS NOT NULL AND t.status = 'created' AND NOT t.cancel_requested AND (t.agent_id IS NULL \
                          OR EXISTS (SELECT 1 FROM agent a WHERE a.id = t.agent_id \
                          AND (a.terminate_requested OR a.status IN ('terminated', 'failed', 'lost'))))";
/// A member that was added and rests with nothing before it, and had nothing since. A message that wants no answer keeps nobody: it
/// would never be read. Parameter 1: since.
const IS_SURPLUS: &str = "a.scaled AND NOT a.terminate_requested AND a.status IN ('idle', 'parked') \
                          AND NOT EXISTS (SELECT 1 FROM task t WHERE t.agent_id = a.id AND (t.ended_at > $1 \
                          OR t.status IN ('created', 'assigned', 'in_progress'))) \
                          AND NOT EXISTS (SELECT 1 FROM team_delivery d JOIN team_message m ON m.id = d.message_id \
                          WHERE d.agent_id = a.id AND d.read_at IS NULL AND d.circle IS NULL AND m.requires_response) \
                          AND a.created_at <= $1";
pub(super) const TOUCH_SWARM: &str = "UPDATE swarm SET generation = generation + 1, updated_at = $3 \
                                      WHERE id = $1 AND generation = $2 AND status = 'active'";
const ASSIGN: &str = "UPDATE task SET agent_id = $3, mode = 'queue', backend = $4, generation = generation + 1, updated_at = $5 \
                      WHERE id = $1 AND generation = $2 AND status = 'created' AND NOT cancel_requested";
const INSERT_SCALING: &str =
    "INSERT INTO swarm_scaling (id, swarm_id, at, kind, agent_id, task_id) VALUES ($1, $2, $3, $4, $5, $6)";
/// Whoever gives an agent work takes its row first.
const HOLD_AGENT: &str = "UPDATE agent SET generation = generation WHERE id = $1";

impl Store {
    /// The swarms with tasks that no member has.
    pub async fn list_swarms_with_waiting_tasks(&self) -> Result<Vec<SwarmId>, StoreError> {
        let sql = format!("SELECT DISTINCT t.swarm_id FROM task t WHERE {UNASSIGNED}");
        let ids: Vec<Uuid> = on!(read & self.db, |p| sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(p).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Of the tasks of a swarm that no member has, the first of each type and key: the most urgent, then the oldest, in this order.
    pub async fn list_next_tasks(&self, swarm: SwarmId) -> Result<Vec<Task>, StoreError> {
        let sql = format!(
            "SELECT * FROM (SELECT t.*, ROW_NUMBER() OVER (PARTITION BY t.agent_type, t.key_id ORDER BY t.priority, t.id) AS place \
             FROM task t WHERE t.swarm_id = $1 AND {UNASSIGNED}) AS waiting WHERE place = 1 ORDER BY priority, id"
        );
        let rows: Vec<TaskRow> =
            on!(read & self.db, |p| sqlx::query_as(AssertSqlSafe(sql)).bind(swarm.uuid()).fetch_all(p).await?);
        super::tasks::all(rows)
    }

    /// How many tasks of a swarm no member has, by type.
    pub async fn count_unassigned_tasks(&self, swarm: SwarmId) -> Result<Vec<(AgentType, i64)>, StoreError> {
        let sql = format!(
            "SELECT t.agent_type, count(*) FROM task t WHERE t.swarm_id = $1 AND {UNASSIGNED} GROUP BY t.agent_type ORDER BY 1"
        );
        let rows: Vec<(String, i64)> =
            on!(read & self.db, |p| sqlx::query_as(AssertSqlSafe(sql)).bind(swarm.uuid()).fetch_all(p).await?);
        rows.into_iter().map(|(name, count)| Ok((word(&name)?, count))).collect()
    }

    /// The members of a swarm that have work which waits or runs.
    pub async fn list_busy_members(&self, swarm: SwarmId) -> Result<BTreeSet<AgentId>, StoreError> {
        const SQL: &str = "SELECT DISTINCT t.agent_id FROM task t JOIN agent a ON a.id = t.agent_id WHERE a.swarm_id = $1 \
                           AND t.status IN ('created', 'assigned', 'in_progress')";
        let ids: Vec<Uuid> = on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(swarm.uuid()).fetch_all(p).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Gives a waiting task to a member, which `new` adds to the swarm, within the limits. `swarm` and `task` are as they were read.
    pub async fn assign_task(
        &self,
        swarm: &Swarm,
        task: &Task,
        agent: &Agent,
        new: Option<&Quota>,
        at: DateTime<Utc>,
    ) -> Result<Grown, StoreError> {
        let db = self.db.clone();
        let (swarm, generation) = (swarm.id.uuid(), swarm.generation);
        let (task, task_generation) = (task.id.uuid(), task.generation);
        let (member, backend, at) = (agent.id.uuid(), agent.backend, micros(at));
        let agents: Vec<Agent> = new.map(|_| agent.clone()).into_iter().collect();
        let (is_new, work) = (new.is_some(), NewWork { agents, tasks: Vec::new() }.prepare()?);
        let (checks, key_id) = new.map_or_else(|| (vec![], None), |quota| (quota.checks(true), quota.key_id));
        uncancelled(async move {
            let mut over = None;
            let done = on!(tx db, |t| {
                let touch = sqlx::query(TOUCH_SWARM).bind(swarm).bind(generation).bind(at);
                let mut holds = touch.execute(&mut *t).await?.rows_affected() == 1;
                if holds {
                    let _ended = insert_work!(t, work);
                    let hold = sqlx::query(super::insert::WRITE_TO_AGENT).bind(member).bind(at);
                    holds &= hold.execute(&mut *t).await?.rows_affected() == 1;
                    let assign = sqlx::query(ASSIGN).bind(task).bind(task_generation).bind(member);
                    let assign = assign.bind(backend.as_str()).bind(at);
                    holds &= assign.execute(&mut *t).await?.rows_affected() == 1;
                }
                if holds && is_new {
                    let insert = sqlx::query(INSERT_SCALING).bind(Uuid::now_v7()).bind(swarm).bind(at);
                    let insert = insert.bind(ScalingKind::Added.as_str()).bind(member).bind(Some(task));
                    insert.execute(&mut *t).await?;
                    over = reached!(t, checks, key_id.map(KeyId::uuid), at, own: 1.0);
                }
                (holds && over.is_none()).then_some(())
            });
            Ok(match (done, over) {
                (Some(()), _) => Grown::Done,
                (None, Some(limit)) => Grown::Refused(limit),
                (None, None) => Grown::Stale,
            })
        })
        .await
    }

    /// Cancels the tasks of a swarm that have not begun: it takes none any more. Gives them.
    pub async fn cancel_waiting_tasks(&self, swarm: SwarmId, at: DateTime<Utc>) -> Result<Vec<TaskId>, StoreError> {
        const SQL: &str = "UPDATE task SET status = 'cancelled', updated_at = $2, ended_at = $2, generation = generation + 1 \
                           WHERE swarm_id = $1 AND status = 'created' \
                           AND EXISTS (SELECT 1 FROM swarm s WHERE s.id = $1 AND s.status <> 'active') RETURNING id";
        let ids: Vec<Uuid> =
            on!(write & self.db, |p| sqlx::query_scalar(SQL).bind(swarm.uuid()).bind(micros(at)).fetch_all(p).await?);
        meters::ended(TaskStatus::Cancelled, None, ids.len() as u64);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// The members that were added and have had nothing to do since `since`, with their swarms.
    pub async fn list_surplus_members(&self, since: DateTime<Utc>) -> Result<Vec<(AgentId, SwarmId)>, StoreError> {
        let sql = format!("SELECT a.id, a.swarm_id FROM agent a WHERE a.swarm_id IS NOT NULL AND {IS_SURPLUS} ORDER BY a.id");
        let rows: Vec<(Uuid, Uuid)> =
            on!(read & self.db, |p| sqlx::query_as(AssertSqlSafe(sql)).bind(micros(since)).fetch_all(p).await?);
        Ok(rows.into_iter().map(|(agent, swarm)| (agent.into(), swarm.into())).collect())
    }

    /// Ends such a member, with a record of it; one with a process as soon as its actor hears of it. `false`: it has got
    /// something to do meanwhile, and nothing was written.
    pub async fn end_surplus_member(
        &self,
        agent: AgentId,
        swarm: SwarmId,
        since: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = format!("SELECT count(*) FROM agent a WHERE a.id = $2 AND {IS_SURPLUS}");
        let db = self.db.clone();
        uncancelled(async move {
            let done: Option<()> = on!(tx db, |t| {
                sqlx::query(HOLD_AGENT).bind(agent.uuid()).execute(&mut *t).await?;
                // A statement of its own: it sees what whoever had the row before has stored.
                let surplus = sqlx::query_scalar(AssertSqlSafe(sql)).bind(micros(since)).bind(agent.uuid());
                let surplus: i64 = surplus.fetch_one(&mut *t).await?;
                if surplus == 1 {
                    sqlx::query(MARK_TERMINATED).bind(agent.uuid()).bind(micros(at)).execute(&mut *t).await?;
                    sqlx::query(END_AGENT).bind(agent.uuid()).execute(&mut *t).await?;
                    let insert = sqlx::query(INSERT_SCALING).bind(Uuid::now_v7()).bind(swarm.uuid()).bind(micros(at));
                    let insert = insert.bind(ScalingKind::Ended.as_str()).bind(agent.uuid()).bind(None::<Uuid>);
                    insert.execute(&mut *t).await?;
                    Some(())
                } else {
                    None
                }
            });
            Ok(done.is_some())
        })
        .await
    }

    /// How a swarm was scaled, the latest first.
    pub async fn list_scalings(&self, swarm: SwarmId, limit: u32) -> Result<Vec<Scaling>, StoreError> {
        const SQL: &str = "SELECT at, kind, agent_id, task_id FROM swarm_scaling WHERE swarm_id = $1 ORDER BY id DESC LIMIT $2";
        let rows: Vec<(DateTime<Utc>, String, Uuid, Option<Uuid>)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(swarm.uuid()).bind(i64::from(limit)).fetch_all(p).await?);
        let scaling = |(at, kind, agent, task): (DateTime<Utc>, String, Uuid, Option<Uuid>)| {
            Ok(Scaling { at, kind: word(&kind)?, agent_id: agent.into(), task_id: task.map(Into::into) })
        };
        rows.into_iter().map(scaling).collect()
    }
}
