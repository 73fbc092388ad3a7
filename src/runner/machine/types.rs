//! The vocabulary of the machine: what it is told, what it answers.

use super::{Beginning, WatchLimits};
use crate::{
    adapter::Outgoing,
    model::{
        agent::{AgentStatus, Backend},
        event::EventKind,
        id::{RunId, TaskId},
        quota::{Cap, SetBy},
        run::{Failure, FailureCode},
        task::{OnLost, TaskStatus},
        tool::ToolAnswer,
    },
    process::ExitRecord,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// What the machine must know about its agent.
#[derive(Debug, Clone)]
pub(in crate::runner) struct Brief {
    pub(in crate::runner) backend: Backend,
    /// Added to the system prompt.
    pub(in crate::runner) role: String,
    pub(in crate::runner) project: String,
    /// Files its owner sent along lie below; it may read them.
    pub(in crate::runner) inbox: PathBuf,
    /// Whether the process waits for another turn after one; else it ends with it.
    pub(in crate::runner) keep: bool,
    /// Whether the agent has the tools of a team.
    pub(in crate::runner) team: bool,
    pub(in crate::runner) max_recoveries: u32,
    pub(in crate::runner) max_retries: u32,
    pub(in crate::runner) retry_delay: TimeDelta,
    pub(in crate::runner) park_after: TimeDelta,
    /// Output of a process that does not wait for another turn.
    pub(in crate::runner) rotate_bytes: u64,
    pub(in crate::runner) ready_timeout: TimeDelta,
    pub(in crate::runner) interrupt_timeout: TimeDelta,
    pub(in crate::runner) exit_timeout: TimeDelta,
    /// What the process and all it starts may have, and who says so.
    pub(in crate::runner) max_memory_bytes: Option<(u64, SetBy)>,
    pub(in crate::runner) max_processes: Option<(u32, SetBy)>,
    /// The current turn's work.
    pub(in crate::runner) order: Option<Order>,
}

impl Brief {
    /// Whether the process is held to limits that its first task brought along, and not those of the agent.
    pub(super) fn is_held_to_a_task(&self) -> bool {
        let of_task = |set_by: Option<SetBy>| set_by == Some(SetBy::Task);
        of_task(self.max_memory_bytes.map(|(_, by)| by)) || of_task(self.max_processes.map(|(_, by)| by))
    }
}

/// What the machine must know about a turn; does not change while it runs.
#[derive(Debug, Clone)]
pub(in crate::runner) struct Order {
    pub(in crate::runner) task_id: TaskId,
    pub(in crate::runner) run_id: RunId,
    pub(in crate::runner) prompt: String,
    pub(in crate::runner) output_schema: Option<Value>,
    pub(in crate::runner) on_lost: OnLost,
    pub(in crate::runner) timeout: TimeDelta,
    pub(in crate::runner) timeout_set_by: SetBy,
    pub(in crate::runner) watch: WatchLimits,
    /// Bytes the CLI may write, and who says so.
    pub(in crate::runner) output_bytes: Option<(u64, SetBy)>,
    pub(in crate::runner) caps: Vec<Cap>,
}

impl Order {
    /// Names the limit that `failure` came of.
    pub(super) fn timed_out(&self, failure: Failure) -> Failure {
        let name = if self.timeout_set_by == SetBy::Gateway { "runner.task_timeout_seconds" } else { "timeout_seconds" };
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        failure.by_limit(name, self.timeout_set_by, self.timeout.num_seconds() as f64)
    }
}

/// When a process may be started, and whether it is the provider's limit that says so.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::runner) struct NotBefore {
    pub(in crate::runner) at: DateTime<Utc>,
    pub(in crate::runner) is_limit: bool,
}

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runner) enum Phase {
    /// Started; the handshake is not answered yet.
    Starting,
    /// It waits for a turn.
    Idle,
    /// A turn runs.
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

/// How a turn ended.
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

    /// Where an agent stands whose process ended with the turn.
    pub(in crate::runner) fn agent_status(&self, keep: bool) -> AgentStatus {
        match self {
            Self::Cancelled if !keep => AgentStatus::Terminated,
            Self::Complete | Self::Cancelled => AgentStatus::Parked,
            Self::Failed(failure) if failure.code == FailureCode::AgentLost => AgentStatus::Lost,
            Self::Failed(failure) if keep && !failure.code.ends_agent() => AgentStatus::Parked,
            Self::Failed(_) => AgentStatus::Failed,
        }
    }

    pub(in crate::runner) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Complete | Self::Cancelled => None,
        }
    }
}

/// What the end of the process will mean, when that was decided before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::runner) enum Fate {
    /// The agent rests until it is needed again.
    Park,
    /// The agent is ended.
    Terminate,
    /// Another process goes on with the turn, not before this time.
    Retry(DateTime<Utc>),
}

/// A message on its way into the running turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runner) struct Joining {
    pub(in crate::runner) task_id: TaskId,
    /// Whether the CLI, now gone, has kept it in the conversation.
    pub(in crate::runner) is_kept: bool,
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
    /// The idle agent gets the turn in the brief.
    Begin,
    /// The CLI has begun the turn in the brief by itself, with a message that came too late for the turn before.
    FollowUp,
    /// A message for the running turn.
    Steer { task_id: TaskId, text: &'a str },
    /// The first of the calls that wait was carried out.
    Called(&'a ToolAnswer),
    /// The budgets in the brief were counted anew.
    Recounted,
    /// Somebody wants the turn to stop.
    Cancel,
    /// The idle agent's place is needed.
    Park,
    /// Somebody wants the agent to end.
    Terminate,
    /// The gateway ends and takes its agents along.
    Shutdown,
    /// The process ended. The tail is what it wrote after its last newline, the text the end of its stderr.
    Exited { exit: &'a ExitRecord, partial_tail: Option<&'a str>, stderr: &'a str, conversation: Conversation },
    /// The process vanished without a record.
    Vanished { conversation: Conversation },
}

/// What the CLI has kept of the turn that runs; it writes a moment after it has said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runner) enum Conversation {
    /// The session holds the turn's prompt, so the CLI can go on with the turn.
    HoldsPrompt,
    /// The session stands where it stood before the turn, or is not there at all.
    LacksPrompt,
}

/// What to do with the process once the state is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runner) enum Effect {
    /// The shim ends the process by itself at this time, in case the server is away.
    Deadline(DateTime<Utc>),
    /// Close the CLI's stdin.
    CloseInput,
    /// Ask the CLI to end, then end everything it left.
    Stop,
    /// End everything at once.
    Kill,
    /// The shim obeys no order: end it, and everything with it.
    KillShim,
}

/// Why a turn will be tried again.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runner) struct Retry {
    pub(in crate::runner) failure: Failure,
    /// When the provider's limit resets, if it said so.
    pub(in crate::runner) resets_at: Option<DateTime<Utc>>,
}

/// What came of an input; empty fields mean nothing changed.
#[derive(Debug, Default)]
pub(in crate::runner) struct Reaction {
    pub(in crate::runner) events: Vec<EventKind>,
    pub(in crate::runner) send: Vec<Outgoing>,
    pub(in crate::runner) effects: Vec<Effect>,
    pub(in crate::runner) task: Option<TaskStatus>,
    pub(in crate::runner) agent: Option<AgentStatus>,
    /// The turn is over: its state is stored for the last time. Nothing else may be handled before.
    pub(in crate::runner) turn_over: bool,
    /// The message that was taken up by the running turn.
    pub(in crate::runner) joined: Option<TaskId>,
    /// The message that was not taken up any more: it waits again.
    pub(in crate::runner) released: Option<TaskId>,
    /// The provider refused, and the turn will be tried again.
    pub(in crate::runner) retry: Option<Retry>,
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
        self.turn_over |= later.turn_over;
        self.joined = later.joined.or(self.joined);
        self.released = later.released.or(self.released);
        self.retry = later.retry.or(self.retry.take());
        self.next = later.next.or(self.next);
    }
}
