//! Wake-ups between the parts of one server. A notification is only a hint: whoever gets one reads the store.
//!
//! Subscribe first, then query, then wait: what changes in between is then never missed.

mod local;

use crate::model::{
    id::{AgentId, ProposalId, SwarmId, TaskId, WorkflowRunId},
    mirror::MirrorStatus,
    runner::{Pause, ProcessFacts, RunnerStatus},
    tunnel::TunnelStatus,
};
pub use local::{FactsGuard, Local, Mirror, Subscription};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What a notification is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// There may be work for a runner: a new task.
    Dispatch,
    /// The task, its run or its events changed.
    Task(TaskId),
    /// Somebody wants something of the agent: a turn, an interruption, its end.
    Control(AgentId),
    /// The agent or its events changed.
    Agent(AgentId),
    /// The swarm, its members or what they share changed.
    Swarm(SwarmId),
    /// The run of a workflow, or one of its turns, changed.
    WorkflowRun(WorkflowRunId),
    /// The proposal or its ballots changed.
    Proposal(ProposalId),
    /// A turn of some task has come to an end.
    Settled,
    /// There may be work for the orchestrator: something new, or wanted of it.
    Orchestrate,
    /// There are new events, of whichever agent.
    Events,
}

/// The way notifications travel. Clones share one bus.
#[derive(Clone, Debug)]
pub enum Bus {
    /// Within this process.
    Local(Arc<Local>),
}

impl Bus {
    /// A bus for one process.
    pub fn local() -> Self {
        Self::Local(Arc::default())
    }

    /// Wakes everybody subscribed to `topic`. Never waits, and costs a look-up when nobody listens.
    pub fn notify(&self, topic: Topic) {
        match self {
            Self::Local(local) => local.notify(topic),
        }
    }

    /// Listens to `topic` from now on, until the subscription is dropped.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        match self {
            Self::Local(local) => local.subscribe(topic),
        }
    }

    /// Replaces the runner's account of itself.
    pub fn set_runner_status(&self, status: RunnerStatus) {
        match self {
            Self::Local(local) => local.set_runner_status(status),
        }
    }

    /// Tells whether and why no turn is begun.
    pub fn set_pause(&self, pause: Option<Pause>) {
        match self {
            Self::Local(local) => local.set_pause(pause),
        }
    }

    /// Answers [`Bus::process_facts`] for an agent until the guard is dropped.
    pub fn serve_facts(&self, agent: AgentId, measure: impl Fn() -> Option<ProcessFacts> + Send + Sync + 'static) -> FactsGuard {
        match self {
            Self::Local(local) => local.serve_facts(agent, local::Measure(Arc::new(measure))),
        }
    }

    /// What the agent's processes use right now. `None`: it has none.
    pub async fn process_facts(&self, agent: AgentId) -> Option<ProcessFacts> {
        let measure = match self {
            Self::Local(local) => local.facts_of(agent)?,
        };
        // Reads procfs.
        tokio::task::spawn_blocking(move || (measure.0)()).await.ok().flatten()
    }

    /// Tells of the places for agents with a process: how many there are, and the free ones.
    pub fn set_places(&self, all: usize, free: Arc<Semaphore>) {
        match self {
            Self::Local(local) => local.set_places(all, free),
        }
    }

    /// How many places for agents with a process there are, and how many are free. `None`: no runner has told.
    pub fn places(&self) -> Option<(usize, usize)> {
        match self {
            Self::Local(local) => local.places(),
        }
    }

    /// Replaces the tunnel's account of itself.
    pub fn set_tunnel_status(&self, status: TunnelStatus) {
        match self {
            Self::Local(local) => local.set_tunnel_status(status),
        }
    }

    /// The tunnel's latest account of itself. `None`: there is to be no tunnel.
    pub fn tunnel_status(&self) -> Option<TunnelStatus> {
        match self {
            Self::Local(local) => local.tunnel_status(),
        }
    }

    /// Tells what claude-flow says of its version, and with that that there is a mirror.
    pub fn set_mirror_version(&self, version: Option<String>) {
        match self {
            Self::Local(local) => local.set_mirror_version(version),
        }
    }

    /// Replaces the account of the mirror of a project.
    pub fn set_mirror_status(&self, status: MirrorStatus) {
        match self {
            Self::Local(local) => local.set_mirror_status(status),
        }
    }

    /// What the mirror has said. `None`: there is to be none.
    pub fn mirror(&self) -> Option<Mirror> {
        match self {
            Self::Local(local) => local.mirror(),
        }
    }

    /// The runner's latest account of itself; the default (not running) before the first.
    pub fn runner_status(&self) -> RunnerStatus {
        match self {
            Self::Local(local) => local.runner_status(),
        }
    }
}
