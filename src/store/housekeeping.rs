//! What housekeeping asks before it removes anything, and the removal of old events.

use super::{
    Store, StoreError,
    db::{micros, on, word},
};
use crate::model::{
    agent::AgentStatus,
    id::{AgentId, ProcessId, TaskId},
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Events removed by one statement; writers wait for it.
const CHUNK: i64 = 1_000;

/// What the store says about the process of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// There is no such process.
    Unknown,
    /// Its output has not all been stored.
    Open,
    /// Everything of it was stored at this time.
    Ended(DateTime<Utc>),
}

/// How an agent rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentRest {
    /// Where it stands.
    pub status: AgentStatus,
    /// Processes whose end is not stored.
    pub open_processes: i64,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// An ended task with events that may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpentTask {
    /// The task.
    pub id: TaskId,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Size of the events' data, as text.
    pub bytes: i64,
}

impl Store {
    /// Whether the process has ended for the store.
    pub async fn process_end(&self, id: ProcessId) -> Result<ProcessEnd, StoreError> {
        const SQL: &str = "SELECT ended_at FROM process WHERE id = $1";
        let row: Option<(Option<DateTime<Utc>>,)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        Ok(match row {
            None => ProcessEnd::Unknown,
            Some((None,)) => ProcessEnd::Open,
            Some((Some(at),)) => ProcessEnd::Ended(at),
        })
    }

    /// How the agent rests. `None`: there is no such agent.
    pub async fn workspace_rest(&self, name: &str) -> Result<Option<AgentRest>, StoreError> {
        const SQL: &str = "SELECT status, updated_at, \
                           (SELECT count(*) FROM process WHERE agent_id = agent.id AND ended_at IS NULL) \
                           FROM agent WHERE id = $1 OR workspace_name = $2";
        let id = name.parse::<AgentId>().ok().map(AgentId::uuid);
        let rows: Vec<(String, DateTime<Utc>, i64)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id).bind(name).fetch_all(p).await?);
        let mut all: Option<AgentRest> = None;
        for (status, since, open_processes) in rows {
            let one = AgentRest { status: word(&status)?, open_processes, since };
            all = Some(match all {
                None => one,
                Some(all) => AgentRest {
                    status: if all.status.is_live() { all.status } else { one.status },
                    open_processes: all.open_processes + one.open_processes,
                    since: all.since.max(one.since),
                },
            });
        }
        Ok(all)
    }

    /// Tasks that ended before `before`, have no open process, and more events than the last one.
    pub async fn list_spent_tasks(&self, before: DateTime<Utc>) -> Result<Vec<SpentTask>, StoreError> {
        const SQL: &str = "SELECT t.id, t.ended_at, (SELECT sum(octet_length(CAST(e.data AS TEXT))) FROM event e \
                           WHERE e.task_id = t.id AND e.task_seq < (SELECT max(task_seq) FROM event WHERE task_id = t.id)) \
                           FROM task t WHERE t.ended_at < $1 AND (SELECT min(task_seq) FROM event WHERE task_id = t.id) < \
                           (SELECT max(task_seq) FROM event WHERE task_id = t.id) AND t.id NOT IN \
                           (SELECT r.task_id FROM process p JOIN run r ON r.id = p.run_id WHERE p.ended_at IS NULL) \
                           ORDER BY t.id";
        let rows: Vec<(Uuid, DateTime<Utc>, Option<i64>)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(micros(before)).fetch_all(p).await?);
        Ok(rows
            .into_iter()
            .map(|(id, ended_at, bytes)| SpentTask { id: id.into(), ended_at, bytes: bytes.unwrap_or(0) })
            .collect())
    }

    /// Removes a task's events, oldest first, except the last: its number tells readers how many there were.
    pub async fn delete_task_events(&self, task: TaskId) -> Result<(), StoreError> {
        const RANGE: &str = "SELECT min(task_seq), max(task_seq) FROM event WHERE task_id = $1";
        const DELETE: &str = "DELETE FROM event WHERE task_id = $1 AND task_seq < $2";
        let range: (Option<i64>, Option<i64>) =
            on!(read & self.db, |p| sqlx::query_as(RANGE).bind(task.uuid()).fetch_one(p).await?);
        let (Some(mut below), Some(last)) = range else { return Ok(()) };
        while below < last {
            below = below.saturating_add(CHUNK).min(last);
            on!(write & self.db, |p| sqlx::query(DELETE).bind(task.uuid()).bind(below).execute(p).await.map(drop)?);
        }
        Ok(())
    }
}
