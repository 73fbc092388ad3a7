//! Runs: reading them, and setting up an agent with its first run and process.

use super::{
    Process, Store, StoreError,
    agents::{INSERT_AGENT, bind_agent},
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
    /// The task the process is for, with the generation it has since it was claimed.
    pub task: Option<(TaskId, i64)>,
    /// The agent.
    pub agent: Agent,
    /// Whether the agent is on record already, as `starting`.
    pub is_known: bool,
    /// The run of the task.
    pub run: Option<Run>,
    /// The process.
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
/// The agent was made `starting` by the claim.
const UPDATE_AGENT: &str = "UPDATE agent SET session_id = $2, workspace = $3, branch = $4, base_commit = $5, updated_at = $6 \
                            WHERE id = $1 AND status = 'starting'";
pub(super) const INSERT_RUN: &str = "INSERT INTO run (id, task_id, agent_id, progress, latest_output, outcome, started_at, ended_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
/// There already: the answer to an earlier commit was lost.
const FIND_PROCESS: &str = "SELECT id FROM process WHERE id = $1";
const INSERT_PROCESS: &str = "INSERT INTO process (id, agent_id, run_id, stdout_offset, state, started_at, ended_at) \
                              VALUES ($1, $2, $3, $4, $5, $6, $7)";

impl Store {
    /// Stores agent, run and process and ties the task to them, all or nothing. The task's generation stays.
    /// `false`: the task has another generation by now, or the agent is not as expected, and nothing was written.
    pub async fn provision(&self, provision: &Provision) -> Result<bool, StoreError> {
        let (db, provision) = (self.db.clone(), provision.clone());
        let outcome = JsonText::of_option(provision.run.as_ref().map(|run| &run.outcome))?;
        let state = JsonText::of(&provision.process.state)?;
        let limits = JsonText::of(&provision.agent.limits)?;
        uncancelled(async move {
            let Provision { task, agent, is_known, run, process } = &provision;
            let run_id = run.as_ref().map(|run| run.id.uuid());
            let done: Option<()> = on!(tx db, |t| {
                let known: Option<Uuid> = sqlx::query_scalar(FIND_PROCESS).bind(process.id.uuid()).fetch_optional(&mut *t).await?;
                let taken = match task {
                    _ if known.is_some() => 0,
                    Some((id, generation)) => {
                        let take = sqlx::query(TAKE_TASK).bind(id.uuid()).bind(generation).bind(agent.id.uuid()).bind(run_id);
                        take.bind(micros(process.started_at)).execute(&mut *t).await?.rows_affected()
                    }
                    None => 1,
                };
                let stands = if taken == 0 {
                    0
                } else if *is_known {
                    let update = sqlx::query(UPDATE_AGENT).bind(agent.id.uuid()).bind(agent.session_id);
                    let update = update.bind(text(&agent.workspace)).bind(agent.branch.as_deref().map(text));
                    let update = update.bind(agent.base_commit.as_deref().map(text)).bind(micros(process.started_at));
                    update.execute(&mut *t).await?.rows_affected()
                } else {
                    bind_agent!(sqlx::query(INSERT_AGENT), agent, limits).execute(&mut *t).await?.rows_affected()
                };
                if stands == 1 {
                    if let Some(run) = run {
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
                    }
                    sqlx::query(INSERT_PROCESS)
                        .bind(process.id.uuid())
                        .bind(process.agent_id.uuid())
                        .bind(process.run_id.map(RunId::uuid))
                        .bind(process.offset)
                        .bind(state)
                        .bind(micros(process.started_at))
                        .bind(process.ended_at.map(micros))
                        .execute(&mut *t)
                        .await?;
                    Some(())
                } else {
                    known.map(drop)
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
