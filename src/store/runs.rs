//! Runs: reading them, and setting up an agent with its first run and process.

use super::{
    Process, Store, StoreError,
    db::{micros, on, text, uncancelled},
    json::JsonText,
};
use crate::model::{
    agent::Agent,
    id::{AgentId, RunId, TaskId},
    run::Run,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What is stored before an agent's process is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Provision {
    /// The task the agent is for.
    pub task_id: TaskId,
    /// The generation the task has since it was claimed.
    pub task_generation: i64,
    /// The new agent.
    pub agent: Agent,
    /// Its first run, of that task.
    pub run: Run,
    /// Its first process.
    pub process: Process,
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: Uuid,
    task_id: Uuid,
    agent_id: Uuid,
    progress: String,
    latest_output: String,
    outcome: JsonText,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl RunRow {
    fn into_run(self) -> Result<Run, StoreError> {
        Ok(Run {
            id: self.id.into(),
            task_id: self.task_id.into(),
            agent_id: self.agent_id.into(),
            progress: self.progress,
            latest_output: self.latest_output,
            outcome: self.outcome.parse()?,
            started_at: self.started_at,
            ended_at: self.ended_at,
        })
    }
}

const TAKE_TASK: &str = "UPDATE task SET agent_id = $3, run_id = $4, updated_at = $5 WHERE id = $1 AND generation = $2";
const INSERT_AGENT: &str = "INSERT INTO agent (id, owner, name, agent_type, backend, project, model, status, generation, \
                            session_id, workspace, branch, base_commit, provenance, created_at, updated_at) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const INSERT_RUN: &str = "INSERT INTO run (id, task_id, agent_id, progress, latest_output, outcome, started_at, ended_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const INSERT_PROCESS: &str = "INSERT INTO process (id, agent_id, run_id, stdout_offset, state, started_at, ended_at) \
                              VALUES ($1, $2, $3, $4, $5, $6, $7)";

impl Store {
    /// Stores agent, run and process and ties the task to them, all or nothing. The task's generation stays.
    /// `false`: the task has another generation by now (or is gone), and nothing was written.
    pub async fn provision(&self, provision: &Provision) -> Result<bool, StoreError> {
        let (db, provision) = (self.db.clone(), provision.clone());
        let outcome = JsonText::of(&provision.run.outcome)?;
        let state = JsonText::of(&provision.process.state)?;
        uncancelled(async move {
            let Provision { task_id, task_generation, agent, run, process } = &provision;
            let done: Option<()> = on!(tx db, |t| {
                let taken = sqlx::query(TAKE_TASK)
                    .bind(task_id.uuid())
                    .bind(task_generation)
                    .bind(agent.id.uuid())
                    .bind(run.id.uuid())
                    .bind(micros(run.started_at))
                    .execute(&mut *t)
                    .await?
                    .rows_affected();
                if taken == 1 {
                    sqlx::query(INSERT_AGENT)
                        .bind(agent.id.uuid())
                        .bind(text(&agent.owner))
                        .bind(text(&agent.name))
                        .bind(agent.agent_type.as_str())
                        .bind(agent.backend.as_str())
                        .bind(text(&agent.project))
                        .bind(agent.model.as_deref().map(text))
                        .bind(agent.status.as_str())
                        .bind(agent.generation)
                        .bind(agent.session_id)
                        .bind(text(&agent.workspace))
                        .bind(agent.branch.as_deref().map(text))
                        .bind(agent.base_commit.as_deref().map(text))
                        .bind(agent.provenance.as_str())
                        .bind(micros(agent.created_at))
                        .bind(micros(agent.updated_at))
                        .execute(&mut *t)
                        .await?;
                    sqlx::query(INSERT_RUN)
                        .bind(run.id.uuid())
                        .bind(run.task_id.uuid())
                        .bind(run.agent_id.uuid())
                        .bind(text(&run.progress))
                        .bind(text(&run.latest_output))
                        .bind(outcome)
                        .bind(micros(run.started_at))
                        .bind(run.ended_at.map(micros))
                        .execute(&mut *t)
                        .await?;
                    sqlx::query(INSERT_PROCESS)
                        .bind(process.id.uuid())
                        .bind(process.agent_id.uuid())
                        .bind(process.run_id.uuid())
                        .bind(process.offset)
                        .bind(state)
                        .bind(micros(process.started_at))
                        .bind(process.ended_at.map(micros))
                        .execute(&mut *t)
                        .await?;
                    Some(())
                } else {
                    None
                }
            });
            Ok(done.is_some())
        })
        .await
    }

    /// The run, when there is one.
    pub async fn get_run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        const SQL: &str = "SELECT * FROM run WHERE id = $1";
        let row: Option<RunRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.map(RunRow::into_run).transpose()
    }

    /// The agent's newest run.
    pub async fn latest_run_of_agent(&self, agent: AgentId) -> Result<Option<Run>, StoreError> {
        const SQL: &str = "SELECT * FROM run WHERE agent_id = $1 ORDER BY id DESC LIMIT 1";
        let row: Option<RunRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).fetch_optional(p).await?);
        row.map(RunRow::into_run).transpose()
    }
}
