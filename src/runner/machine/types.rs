//! The vocabulary of the machine: what it is told, what it answers.

use super::{Beginning, WatchLimits};
use crate::{
    adapter::Outgoing,
    model::{
        agent::{AgentStatus, AgentType, Backend},
        event::EventKind,
        run::{Failure, FailureCode},
        task::{OnLost, TaskStatus},
    },
    process::ExitRecord,
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the machine must know about its task; does not change while it runs.
#[derive(Debug, Clone)]
pub(in crate::runner) struct Brief {
    pub(in crate::runner) backend: Backend,
    pub(in crate::runner) agent_type: AgentType,
    pub(in crate::runner) project: String,
    pub(in crate::runner) prompt: String,
    pub(in crate::runner) output_schema: Option<Value>,
    pub(in crate::runner) on_lost: OnLost,
    pub(in crate::runner) max_recoveries: u32,
    pub(in crate::runner) watch: WatchLimits,
    pub(in crate::runner) timeout: TimeDelta,
    pub(in crate::runner) ready_timeout: TimeDelta,
    pub(in crate::runner) interrupt_timeout: TimeDelta,
    pub(in crate::runner) exit_timeout: TimeDelta,
}

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runner) enum Phase {
    /// Started; the handshake is not answered yet.
    Starting,
    /// The turn runs.
    Working,
    /// The turn was told to stop.
    Interrupting,
    /// The input is closed; the CLI should exit by itself.
    Closing,
    /// The shim was told to end everything.
    Stopping,
    /// The process is gone.
    Ended,
}

/// How the task is going to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::runner) enum Verdict {
    Complete,
    Cancelled,
    Failed(Failure),
}

impl Verdict {
    pub(in crate::runner) fn task_status(&self) -> TaskStatus {
        match self {
            Self::Complete => TaskStatus::Complete,
            Self::Cancelled => TaskStatus::Cancelled,
            Self::Failed(_) => TaskStatus::Failed,
        }
    }

    pub(in crate::runner) fn agent_status(&self) -> AgentStatus {
        match self {
            Self::Complete => AgentStatus::Parked,
            Self::Cancelled => AgentStatus::Terminated,
            Self::Failed(failure) if failure.code == FailureCode::AgentLost => AgentStatus::Lost,
            Self::Failed(_) => AgentStatus::Failed,
        }
    }
}

/// What can happen to an agent.
#[derive(Debug, Clone, Copy)]
pub(in crate::runner) enum Input<'a> {
    /// The process was started.
    Started,
    /// The CLI wrote a line.
    Line(&'a str),
    /// Time has passed; see [`super::Machine::wakes_at`].
    Time,
    /// Somebody wants the task to stop.
    Cancel,
    /// The gateway ends and takes its agents along.
    Shutdown,
    /// The process ended. The tail is what it wrote after its last newline, the text the end of its stderr.
    Exited { exit: &'a ExitRecord, partial_tail: Option<&'a str>, stderr: &'a str },
    /// The process vanished without a record.
    Vanished,
}

/// What to do with the process once the state is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runner) enum Effect {
    /// Close the CLI's stdin.
    CloseInput,
    /// Ask the CLI to end, then end everything it left.
    Stop,
    /// End everything at once.
    Kill,
    /// The shim obeys no order: end it, and everything with it.
    KillShim,
}

/// What came of an input; empty fields mean nothing changed.
#[derive(Debug, Default)]
pub(in crate::runner) struct Reaction {
    pub(in crate::runner) events: Vec<EventKind>,
    pub(in crate::runner) send: Vec<Outgoing>,
    pub(in crate::runner) effects: Vec<Effect>,
    pub(in crate::runner) task: Option<TaskStatus>,
    pub(in crate::runner) agent: Option<AgentStatus>,
    /// Another process takes over.
    pub(in crate::runner) next: Option<Beginning>,
}

impl Reaction {
    /// Adds what came of a later input.
    pub(in crate::runner) fn absorb(&mut self, later: Self) {
        self.events.extend(later.events);
        self.send.extend(later.send);
        self.effects.extend(later.effects);
        self.task = later.task.or(self.task);
        self.agent = later.agent.or(self.agent);
        self.next = later.next.or(self.next);
    }
}
