//! From claimed work to an agent with a workspace, a run and a process on record.

use super::{
    Runner,
    actor::{Actor, Flow},
    brief::no_agent,
    machine::{Beginning, Machine, Turn},
    preflight::{find_claude_flow, find_cli},
    workspace::Git,
};
use crate::{
    adapter::claude_code,
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, Backend},
        id::{AgentId, ProcessId, RunId},
        role::Role,
        run::{Failure, FailureCode, Run, RunOutcome},
        task::{Task, TaskStatus},
    },
    process::lock,
    store::{Process, Provision, TaskChange},
    trace::Work,
};
use chrono::{DateTime, Utc};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::OwnedSemaphorePermit;

/// Longest wait for an agent whose conversation is to be copied.
const REST_LIMIT: Duration = Duration::from_mins(1);

impl Runner {
    /// Works on a claimed task until its agent's process has ended or the gateway lets go of it.
    pub(super) async fn start_task(self: Arc<Self>, task: Task, place: OwnedSemaphorePermit) {
        let provisioned = self.clone().provision_task(&task, place).await;
        let agent = provisioned.as_ref().ok().and_then(|actor| Some(actor.as_ref()?.agent.id)).or(task.agent_id);
        // Claiming was the task's last change.
        claim_of(&task, agent, task.updated_at, provisioned.as_ref().map(Option::is_some)).record();
        let failure = match provisioned {
            Ok(Some(actor)) => return Box::pin(actor.run(Flow::Start)).await,
            Ok(None) => {
                tracing::info!(task = %task.id, "the task was changed while its agent was being prepared");
                None
            }
            Err(failure) => Some(failure),
        };
        self.gate.give_back();
        let Some(agent) = task.agent_id else {
            if let Some(failure) = failure {
                self.fail(&task, failure).await;
            }
            return;
        };
        match failure {
            Some(failure) if failure.code.ends_agent() => self.fail_start(agent, Some(&task), &failure).await,
            failure => {
                if let Some(failure) = failure {
                    self.fail(&task, failure).await;
                }
                self.lay_down(agent).await;
            }
        }
    }

    /// Starts a new agent's process when there is a place for it; else the agent rests until its first message.
    pub(super) async fn start_agent(self: Arc<Self>, mut agent: Agent, place: Option<OwnedSemaphorePermit>) {
        if place.is_none() && agent.forked_from.is_none() {
            return self.lay_down(agent.id).await;
        }
        let prepared = match self.prepare(&mut agent).await {
            Ok(()) => self.with_patience("settle an agent", || self.store.settle_agent(&agent)).await,
            Err(failure) => return self.fail_start(agent.id, None, &failure).await,
        };
        match place.filter(|_| prepared.is_some()) {
            None => self.lay_down(agent.id).await,
            Some(place) => match self.clone().provision(agent, true, None, place).await {
                Ok(Some(actor)) => Box::pin(actor.run(Flow::Start)).await,
                // Terminated meanwhile.
                Ok(None) => {}
                Err(failure) => tracing::error!(?failure, "an agent without a turn cannot be provisioned"),
            },
        }
    }

    async fn provision_task(self: Arc<Self>, task: &Task, place: OwnedSemaphorePermit) -> Result<Option<Actor>, Failure> {
        let (mut agent, is_known) = match task.agent_id {
            None => (new_agent(task), false),
            Some(id) => {
                let found = self.with_patience("get an agent", || self.store.get_agent(id, None)).await;
                let Some(found) = found else { return Ok(None) };
                (found.ok_or_else(no_agent)?, true)
            }
        };
        self.prepare(&mut agent).await?;
        self.provision(agent, is_known, Some(task), place).await
    }

    /// Stores what is to be started. `None`: the task or the agent is no longer what it was.
    async fn provision(
        self: Arc<Self>,
        agent: Agent,
        is_known: bool,
        task: Option<&Task>,
        place: OwnedSemaphorePermit,
    ) -> Result<Option<Actor>, Failure> {
        let now = Utc::now();
        let mut brief = self.brief(&agent, task);
        let beginning = if agent.session_started { Beginning::Resume } else { Beginning::New };
        let mut machine = Machine::new(now, brief.ready_timeout, beginning);
        let last_seq = self.with_patience("find an agent's last event", || self.store.last_agent_seq(agent.id)).await;
        let Some(last_seq) = last_seq else { return Ok(None) };
        machine.next_seq = last_seq + 1;
        let mut run = None;
        if let Some(task) = task {
            let order = self.order(task, &agent, RunId::generate()).await?;
            machine.turn = Some(Turn::new(order.task_id, order.run_id, beginning == Beginning::New));
            run = Some(Run {
                id: order.run_id,
                task_id: task.id,
                agent_id: agent.id,
                progress: "waiting for a place to start".into(),
                latest_output: String::new(),
                outcome: RunOutcome::default(),
                started_at: now,
                ended_at: None,
            });
            brief.order = Some(order);
        }
        let process = Process {
            id: ProcessId::generate(),
            agent_id: agent.id,
            run_id: run.as_ref().map(|run| run.id),
            offset: 0,
            state: serde_json::to_value(&machine).unwrap_or_default(),
            started_at: now,
            ended_at: None,
        };
        let provision = Provision {
            task: task.map(|task| (task.id, task.generation)),
            agent: agent.clone(),
            is_known,
            run,
            process: process.clone(),
        };
        let stored = self.with_patience("provision a process", || self.store.provision(&provision)).await;
        if let Some(task) = task {
            self.bus.notify(Topic::Task(task.id));
        }
        Ok(stored.filter(|stored| *stored).map(|_| Actor::new(self, agent, task.cloned(), &process, machine, brief, Some(place))))
    }

    /// Makes sure that the CLI is there and that the agent has its directory, and a fork its conversation.
    async fn prepare(&self, agent: &mut Agent) -> Result<(), Failure> {
        let unavailable = |problem| Failure::new(FailureCode::AgentUnavailable, problem);
        find_cli(&self.settings).map_err(unavailable)?;
        if agent.backend == Backend::ClaudeFlow {
            find_claude_flow(&self.settings).map_err(unavailable)?;
        }
        self.role_of(agent).map_err(unavailable)?;
        let source = match agent.forked_from.filter(|_| !agent.session_started) {
            None => None,
            Some(id) => Some(self.rested(id).await?),
        };
        self.prepare_workspace(agent, source.as_ref()).await?;
        if let Some(source) = source {
            self.copy_conversation(&source, agent).await?;
        }
        Ok(())
    }

    /// The agent's role, or why it cannot be started: without its role it would not know its limits.
    pub(super) fn role_of(&self, agent: &Agent) -> Result<Role, String> {
        let roles = self.settings.roles.get();
        roles
            .get(agent.agent_type)
            .cloned()
            .ok_or_else(|| format!("{}. Put its file back, and resume the agent or ask again", roles.why_not(agent.agent_type)))
    }

    async fn prepare_workspace(&self, agent: &mut Agent, source: Option<&Agent>) -> Result<(), Failure> {
        if !agent.workspace.is_empty() && Path::new(&agent.workspace).is_dir() {
            return Ok(());
        }
        let failed = |problem: String| Failure::new(FailureCode::WorkspaceFailed, problem);
        let project = self.settings.projects.get(&agent.project).ok_or_else(|| {
            failed(format!("the project `{}` is no longer configured; add it and create the task again", agent.project))
        })?;
        let _one_at_a_time = self.worktrees.lock().await;
        // Git removes its directory of worktrees with the last of them, perhaps just when a new one is to go there.
        let path = self.settings.data.worktrees_lock();
        let _nor_housekeeping =
            lock::wait(&path).await.map_err(|error| failed(format!("{} cannot be locked: {error}", path.display())))?;
        let git = Git { env: self.settings.agent_env.clone(), data: self.settings.data.path() };
        let root = self.settings.data.workspaces();
        let workspace = match &agent.branch {
            Some(branch) => git.restore(project, agent, branch, &root).await,
            None => git.prepare(project, agent, &root, source.and_then(|source| source.branch.as_deref())).await,
        };
        let workspace = workspace.map_err(failed)?;
        agent.workspace = workspace.dir.to_string_lossy().into_owned();
        agent.branch = workspace.branch;
        agent.base_commit = agent.base_commit.take().or(workspace.base_commit);
        Ok(())
    }

    /// Where the agent's CLI keeps its conversation.
    pub(super) fn session_file(&self, agent: &Agent) -> PathBuf {
        let config_dir = &self.settings.claude_code.config_dir;
        match agent.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => {
                claude_code::session_file(config_dir, Path::new(&agent.workspace), agent.session_id)
            }
        }
    }

    /// Waits until the agent rests: a CLI writes the end of its conversation when it exits.
    async fn rested(&self, id: AgentId) -> Result<Agent, Failure> {
        let mut changes = self.bus.subscribe(Topic::Agent(id));
        let limit = tokio::time::Instant::now() + REST_LIMIT;
        loop {
            let agent = self.with_patience("get an agent", || self.store.get_agent(id, None)).await.flatten();
            let agent = agent.ok_or_else(no_agent)?;
            if !agent.status.is_live() {
                return Ok(agent);
            }
            self.idlers.ask(id);
            if tokio::time::timeout_at(limit, changes.changed()).await.is_err() {
                let detail =
                    format!("{id} went on working, so its conversation could not be copied; fork it again when it rests");
                return Err(Failure::new(FailureCode::NotReady, detail));
            }
        }
    }

    /// Gives a fork the conversation as it is now, under the fork's own session.
    async fn copy_conversation(&self, source: &Agent, fork: &mut Agent) -> Result<(), Failure> {
        let (from, to) = (self.session_file(source), self.session_file(fork));
        let lost = |error: std::io::Error| {
            let detail = format!("the conversation of {} cannot be copied from {}: {error}", source.id, from.display());
            Failure::new(FailureCode::SessionLost, detail)
        };
        let conversation = tokio::fs::read(&from).await.map_err(lost)?;
        // The first agent may have been woken meanwhile, and a line of its own be half written.
        let end = conversation.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let conversation =
            String::from_utf8_lossy(&conversation[..end]).replace(&source.session_id.to_string(), &fork.session_id.to_string());
        if let Some(dir) = to.parent() {
            tokio::fs::create_dir_all(dir).await.map_err(lost)?;
        }
        tokio::fs::write(&to, conversation).await.map_err(lost)?;
        fork.session_started = true;
        Ok(())
    }

    pub(super) async fn fail(&self, task: &Task, failure: Failure) {
        tracing::warn!(task = %task.id, code = %failure.code, detail = failure.detail, "the task cannot be started");
        let change = TaskChange { status: TaskStatus::Failed, failure: Some(failure), dead_letter: false, at: Utc::now() };
        self.with_patience("fail a task", || self.store.change_task(task.id, task.generation, &change)).await;
        self.bus.notify(Topic::Task(task.id));
        self.bus.notify(Topic::Settled);
    }

    async fn fail_start(&self, agent: AgentId, task: Option<&Task>, failure: &Failure) {
        tracing::warn!(%agent, code = %failure.code, detail = failure.detail, "the agent cannot be started");
        let id = task.map(|task| task.id);
        self.with_patience("fail an agent", || self.store.fail_start(agent, id, failure, Utc::now())).await;
        self.bus.notify(Topic::Agent(agent));
        if let Some(task) = id {
            self.bus.notify(Topic::Task(task));
        }
        self.bus.notify(Topic::Settled);
    }
}

/// What there is to tell of a claim: `true`, its run is on record; `false`, the task was no longer what it was.
pub(super) fn claim_of<'a>(
    task: &'a Task,
    agent: Option<AgentId>,
    begun: DateTime<Utc>,
    came: Result<bool, &Failure>,
) -> Work<'a> {
    let outcome = match came {
        Ok(true) => "begun",
        Ok(false) => "changed",
        Err(failure) => failure.code.as_str(),
    };
    Work { name: "claim_task", task, agent, model: None, begun, outcome, failed: came.is_err() }
}

/// The agent of a task that names none.
fn new_agent(task: &Task) -> Agent {
    Agent {
        key_id: task.key_id,
        backend: task.backend,
        project: task.project.clone(),
        model: task.model.clone(),
        status: AgentStatus::Starting,
        durable: false,
        workspace_name: task.workspace_name.clone(),
        ..Agent::at_rest(task.owner.clone(), task.agent_type, task.provenance, Utc::now())
    }
}
