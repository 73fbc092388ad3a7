//! Claiming: which work a runner may begin, and taking it so that nobody else does.

use super::{
    Store, StoreError,
    agents::AgentRow,
    db::{Db, micros, on, uncancelled},
    tasks::TaskRow,
};
use crate::model::{
    agent::{Agent, AgentStatus},
    id::KeyId,
    task::{Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Tasks that need a process: those for no agent in particular, and messages to agents that have none. A task of a swarm is neither until
/// one of its members gets it.
fn waiting(without: &[KeyId], lock: &str) -> String {
    let keys: Vec<String> = (0..without.len()).map(|index| format!("${}", index + 2)).collect();
    let of_others = |table: &str| {
        let keys = keys.join(", ");
        if keys.is_empty() { String::new() } else { format!(" AND ({table}.key_id IS NULL OR {table}.key_id NOT IN ({keys}))") }
    };
    // A process counts for the key its agent was made with, whoever sends the message.
    format!(
        "SELECT t.id FROM task t WHERE t.status = '{}' AND NOT t.cancel_requested AND ((t.agent_id IS NULL AND t.swarm_id IS NULL{}) OR EXISTS \
         (SELECT 1 FROM agent a WHERE a.id = t.agent_id AND a.status = '{}' AND NOT a.terminate_requested{})) \
         ORDER BY t.priority, t.id LIMIT 1{lock}",
        TaskStatus::Created,
        of_others("t"),
        AgentStatus::Parked,
        of_others("a"),
    )
}

/// Who holds an agent may want its messages next, so this waits for nobody.
fn wake_agent(skip: &str) -> String {
    format!(
        "UPDATE agent SET status = 'starting', generation = generation + 1, updated_at = $2 WHERE id = \
         (SELECT id FROM agent WHERE id = $1 AND status = 'parked'{skip})"
    )
}

/// How many agents of a key have a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAgents {
    /// The key they were made with.
    pub key: KeyId,
    /// Their number.
    pub live: i64,
}

impl Store {
    /// Assigns the most urgent, then oldest task that needs a process to the caller: nobody else gets it. The agent of
    /// a message becomes `starting`. `without`: keys whose tasks have to wait. `None`: there is none.
    pub async fn claim_task(&self, now: DateTime<Utc>, without: &[KeyId]) -> Result<Option<Task>, StoreError> {
        let lock = if matches!(self.db, Db::Postgres(_)) { " FOR UPDATE OF t SKIP LOCKED" } else { "" };
        // `= (…)`, not `IN (…)`: PostgreSQL may run an IN sub-query again and lock more rows than it returns.
        let sql = format!(
            "UPDATE task SET status = '{}', generation = generation + 1, updated_at = $1 WHERE id = ({}) RETURNING *",
            TaskStatus::Assigned,
            waiting(without, lock),
        );
        let wake_agent = wake_agent(if lock.is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" });
        let (db, without) = (self.db.clone(), without.to_vec());
        let row = uncancelled(async move {
            Ok(on!(tx db, |t| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(micros(now));
                for key in without {
                    query = query.bind(key.uuid());
                }
                let row: Option<TaskRow> = query.fetch_optional(&mut *t).await?;
                match row {
                    Some(row) => {
                        let is_ours = match row.agent_id() {
                            None => true,
                            Some(agent) => {
                                let wake = sqlx::query(AssertSqlSafe(wake_agent)).bind(agent).bind(micros(now));
                                wake.execute(&mut *t).await?.rows_affected() == 1
                            }
                        };
                        // Somebody else woke the agent: the task waits for its turn.
                        is_ours.then_some(row)
                    }
                    None => None,
                }
            }))
        })
        .await?;
        super::tasks::one(row)
    }

    /// Whether [`Store::claim_task`] would find a task.
    pub async fn has_waiting_task(&self, without: &[KeyId]) -> Result<bool, StoreError> {
        // The first parameter is that of the claim.
        let sql = format!("SELECT count(*) FROM ({}) AS w WHERE $1 = $1", waiting(without, ""));
        let count: i64 = on!(read & self.db, |p| {
            let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(0_i64);
            for key in without {
                query = query.bind(key.uuid());
            }
            query.fetch_one(p).await?
        });
        Ok(count > 0)
    }

    /// Whether a task needs a process that would count for this key.
    pub async fn has_waiting_task_of(&self, key: KeyId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT count(*) FROM task t WHERE t.status = 'created' AND NOT t.cancel_requested \
                           AND ((t.agent_id IS NULL AND t.swarm_id IS NULL AND t.key_id = $1) OR EXISTS \
                           (SELECT 1 FROM agent a WHERE a.id = t.agent_id AND a.key_id = $1 AND a.status = 'parked'))";
        let count: i64 = on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(key.uuid()).fetch_one(p).await?);
        Ok(count > 0)
    }

    /// How many agents with a process each key has; claimed tasks whose agent is still being prepared are among them.
    pub async fn count_live_agents(&self) -> Result<Vec<LiveAgents>, StoreError> {
        const SQL: &str = "SELECT key_id, count(*) FROM (SELECT key_id FROM agent WHERE generation > 0 \
                           AND status IN ('starting', 'idle', 'busy', 'interrupting') UNION ALL \
                           SELECT key_id FROM task WHERE status = 'assigned' AND agent_id IS NULL) AS live \
                           WHERE key_id IS NOT NULL GROUP BY key_id";
        let rows: Vec<(Uuid, i64)> = on!(read & self.db, |p| sqlx::query_as(SQL).fetch_all(p).await?);
        Ok(rows.into_iter().map(|(key, live)| LiveAgents { key: key.into(), live }).collect())
    }

    /// Takes the oldest new agent, which nobody has looked at yet.
    pub async fn claim_new_agent(&self, now: DateTime<Utc>) -> Result<Option<Agent>, StoreError> {
        let lock = if matches!(self.db, Db::Postgres(_)) { " FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "UPDATE agent SET generation = 1, updated_at = $1 WHERE id = (SELECT id FROM agent WHERE status = 'starting' \
             AND generation = 0 ORDER BY id LIMIT 1{lock}) RETURNING *"
        );
        let row: Option<AgentRow> =
            on!(write & self.db, |p| sqlx::query_as(AssertSqlSafe(sql)).bind(micros(now)).fetch_optional(p).await?);
        row.map(AgentRow::into_agent).transpose()
    }

    /// After a restart: agents on record as alive that have no process rest, or are ended when that was asked for.
    pub async fn park_orphaned_agents(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE agent SET status = CASE WHEN terminate_requested THEN 'terminated' ELSE 'parked' END, \
                           generation = generation + 1, updated_at = $1 \
                           WHERE status IN ('starting', 'idle', 'busy', 'interrupting') AND generation > 0 \
                           AND NOT EXISTS (SELECT 1 FROM process p WHERE p.agent_id = agent.id AND p.ended_at IS NULL)";
        Ok(on!(write & self.db, |p| sqlx::query(SQL).bind(micros(now)).execute(p).await?.rows_affected()))
    }
}
