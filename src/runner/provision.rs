//! From a claimed task to an agent with a workspace, a run and a process on record.

use super::{
    Runner,
    actor::Actor,
    machine::{Brief, WatchLimits},
    preflight::find_cli,
    seconds,
    workspace::Git,
};
use crate::{
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, Backend},
        id::{AgentId, ProcessId, RunId, TaskId},
        run::{Failure, FailureCode, Run, RunOutcome},
        task::{Task, TaskStatus},
    },
    process::lock,
    store::{Process, Provision, TaskChange},
};
use chrono::{TimeDelta, Utc};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

impl Runner {
    /// Works on a claimed task until it has ended or the gateway lets go of it.
    pub(super) async fn start_task(self: Arc<Self>, task: Task, place: OwnedSemaphorePermit) {
        let id = task.id;
        match self.provision(&task).await {
            Ok(Some((agent, process))) => Box::pin(Actor::new(self, task, agent, &process, place).run_new()).await,
            Ok(None) => tracing::info!(task = %id, "the task was changed while its agent was being prepared"),
            Err(failure) => self.fail(&task, failure).await,
        }
    }

    async fn provision(&self, task: &Task) -> Result<Option<(Agent, Process)>, Failure> {
        find_cli(&self.settings).map_err(|problem| Failure::new(FailureCode::AgentUnavailable, problem))?;
        let project = self.settings.projects.get(&task.project).ok_or_else(|| {
            let detail = format!("the project `{}` is no longer configured; add it and create the task again", task.project);
            Failure::new(FailureCode::WorkspaceFailed, detail)
        })?;
        let agent_id = AgentId::generate();
        let workspace = {
            let _one_at_a_time = self.worktrees.lock().await;
            // Git removes its directory of worktrees with the last of them, perhaps just when a new one is to go there.
            let path = self.settings.data.worktrees_lock();
            let _nor_housekeeping = lock::wait(&path).await.map_err(|error| {
                Failure::new(FailureCode::WorkspaceFailed, format!("{} cannot be locked: {error}", path.display()))
            })?;
            Git { env: self.settings.agent_env.clone(), data: self.settings.data.path() }
                .prepare(project, agent_id, &self.settings.data.workspaces())
                .await
                .map_err(|problem| Failure::new(FailureCode::WorkspaceFailed, problem))?
        };
        let now = Utc::now();
        let short = agent_id.uuid().simple().to_string();
        let agent = Agent {
            id: agent_id,
            owner: task.owner.clone(),
            name: format!("{}-{}", task.agent_type, &short[short.len() - 6..]),
            agent_type: task.agent_type,
            backend: Backend::ClaudeCode,
            project: task.project.clone(),
            model: task.model.clone(),
            status: AgentStatus::Starting,
            generation: 1,
            session_id: Uuid::new_v4(),
            workspace: workspace.dir.to_string_lossy().into_owned(),
            branch: workspace.branch,
            base_commit: workspace.base_commit,
            provenance: task.provenance,
            created_at: now,
            updated_at: now,
        };
        let run = Run {
            id: RunId::generate(),
            task_id: task.id,
            agent_id,
            progress: "waiting for a place to start".into(),
            latest_output: String::new(),
            outcome: RunOutcome::default(),
            started_at: now,
            ended_at: None,
        };
        let process = Process {
            id: ProcessId::generate(),
            agent_id,
            run_id: run.id,
            offset: 0,
            // Filled when the process is started.
            state: serde_json::Value::Null,
            started_at: now,
            ended_at: None,
        };
        let provision =
            Provision { task_id: task.id, task_generation: task.generation, agent: agent.clone(), run, process: process.clone() };
        let stored = self.with_patience("provision a task", || self.store.provision(&provision)).await;
        self.bus.notify(Topic::Task(task.id));
        Ok(stored.filter(|stored| *stored).map(|_| (agent, process)))
    }

    /// Fails the task of an actor that panicked.
    pub(super) async fn give_up(&self, id: TaskId) {
        let task = self.with_patience("get a task", || self.store.get_task(id, None)).await.flatten();
        if let Some(task) = task.filter(|task| !task.status.is_terminal()) {
            let detail = "the gateway had a fault while it supervised the agent; its log tells more";
            self.fail(&task, Failure::new(FailureCode::AgentLost, detail)).await;
        }
    }

    async fn fail(&self, task: &Task, failure: Failure) {
        tracing::warn!(task = %task.id, code = %failure.code, detail = failure.detail, "the task cannot be started");
        let change = TaskChange { status: TaskStatus::Failed, failure: Some(failure), at: Utc::now() };
        self.with_patience("fail a task", || self.store.change_task(task.id, task.generation, &change)).await;
        self.bus.notify(Topic::Task(task.id));
    }

    pub(super) fn brief(&self, task: &Task, agent: &Agent) -> Brief {
        Brief {
            backend: agent.backend,
            agent_type: task.agent_type,
            project: task.project.clone(),
            prompt: task.description.clone(),
            output_schema: task.output_schema.clone(),
            on_lost: task.on_lost,
            max_recoveries: self.settings.runner.max_recoveries,
            watch: WatchLimits {
                first_event: seconds(self.settings.runner.first_event_timeout_seconds),
                stall: seconds(self.settings.runner.stall_timeout_seconds),
                retries: self.settings.runner.max_retries_per_turn,
                garbage_lines: self.settings.runner.max_garbage_lines,
            },
            timeout: TimeDelta::seconds(task.timeout_seconds.into()),
            ready_timeout: seconds(self.settings.runner.ready_timeout_seconds),
            interrupt_timeout: seconds(self.settings.runner.interrupt_timeout_seconds),
            exit_timeout: seconds(self.settings.runner.exit_timeout_seconds),
        }
    }
}
