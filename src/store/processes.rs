//! Processes: incarnations of an agent's CLI, and how far their output has been captured. Only the runner knows them.

use super::{Store, StoreError, db::on, json::JsonText};
use crate::model::id::{AgentId, ProcessId, RunId};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// One incarnation of an agent's CLI.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Its identifier.
    pub id: ProcessId,
    /// The agent it belongs to.
    pub agent_id: AgentId,
    /// The run it works on; none while it waits for one.
    pub run_id: Option<RunId>,
    /// Bytes of its standard output whose events are stored.
    pub offset: i64,
    /// What the runner needs to read on from there; its own format.
    pub state: Value,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When its last output was stored.
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct ProcessRow {
    id: Uuid,
    agent_id: Uuid,
    run_id: Option<Uuid>,
    stdout_offset: i64,
    state: JsonText,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl ProcessRow {
    fn into_process(self) -> Result<Process, StoreError> {
        Ok(Process {
            id: self.id.into(),
            agent_id: self.agent_id.into(),
            run_id: self.run_id.map(Into::into),
            offset: self.stdout_offset,
            state: self.state.parse()?,
            started_at: self.started_at,
            ended_at: self.ended_at,
        })
    }
}

impl Store {
    /// Every process the agent has had, oldest first.
    pub async fn list_processes_of(&self, agent: AgentId) -> Result<Vec<Process>, StoreError> {
        const SQL: &str = "SELECT * FROM process WHERE agent_id = $1 ORDER BY id";
        let rows: Vec<ProcessRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).fetch_all(p).await?);
        rows.into_iter().map(ProcessRow::into_process).collect()
    }

    /// Processes without a stored end, oldest first: what a starting runner has to look after.
    pub async fn list_open_processes(&self) -> Result<Vec<Process>, StoreError> {
        const SQL: &str = "SELECT * FROM process WHERE ended_at IS NULL ORDER BY id";
        let rows: Vec<ProcessRow> = on!(read & self.db, |p| sqlx::query_as(SQL).fetch_all(p).await?);
        rows.into_iter().map(ProcessRow::into_process).collect()
    }
}
