//! Wake-ups between the parts of one server. A notification is only a hint: whoever gets one reads the store.
//!
//! Subscribe first, then query, then wait: what changes in between is then never missed.

mod local;

use crate::model::{
    id::{AgentId, TaskId},
    runner::RunnerStatus,
};
pub use local::{Local, Subscription};
use std::sync::Arc;

/// What a notification is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// There may be work for a runner: a new task.
    Dispatch,
    /// The task, its run or its events changed.
    Task(TaskId),
    /// Somebody wants something of the task's agent, such as its end.
    Control(TaskId),
    /// The agent or its events changed.
    Agent(AgentId),
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

    /// The runner's latest account of itself; the default (not running) before the first.
    pub fn runner_status(&self) -> RunnerStatus {
        match self {
            Self::Local(local) => local.runner_status(),
        }
    }
}
