//! Tasks: pieces of work somebody asked for, and the only legal ways their status may change.

use super::{
    agent::{AgentType, Backend},
    id::{AgentId, KeyId, RunId, SwarmId, TaskId, WorkflowRunId},
    project::DEFAULT_PROJECT,
    quota::WorkLimits,
    run::{Failure, Provenance},
    word::word_enum,
};
use chrono::{DateTime, Utc};

word_enum! {
    /// Where a task stands.
    TaskStatus {
        /// Waiting for a runner.
        Created = "created",
        /// A runner prepares an agent for it.
        Assigned = "assigned",
        /// An agent works on it.
        InProgress = "in_progress",
        /// Its result is being reviewed.
        Review = "review",
        /// An agent works in what the review asked for.
        Revision = "revision",
        /// Done; the result is there.
        Complete = "complete",
        /// Could not be done; the failure says why.
        Failed = "failed",
        /// Stopped by request.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// The statuses that may follow this one.
    pub const fn next(self) -> &'static [Self] {
        match self {
            // Back to `created`: the runner died before an agent existed.
            Self::Created => &[Self::Assigned, Self::Failed, Self::Cancelled],
            Self::Assigned => &[Self::InProgress, Self::Created, Self::Failed, Self::Cancelled],
            Self::InProgress | Self::Revision => &[Self::Review, Self::Complete, Self::Failed, Self::Cancelled],
            Self::Review => &[Self::Revision, Self::Complete, Self::Failed, Self::Cancelled],
            Self::Complete | Self::Failed | Self::Cancelled => &[],
        }
    }

    /// Whether the task has ended.
    pub const fn is_terminal(self) -> bool {
        self.next().is_empty()
    }

    /// The pure transition function: `to` when it may follow `self`.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition> {
        if self.next().contains(&to) { Ok(to) } else { Err(IllegalTransition { from: self, to }) }
    }
}

/// A status change the lifecycle does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task that is `{from}` cannot become `{to}`")]
pub struct IllegalTransition {
    /// Where the task stands.
    pub from: TaskStatus,
    /// Where it was asked to go.
    pub to: TaskStatus,
}

word_enum! {
    /// How urgent a task is; more urgent ones start first.
    Priority {
        /// Before everything else.
        Critical = "critical",
        /// Before normal work.
        High = "high",
        /// The default.
        Normal = "normal",
        /// After everything else.
        Low = "low",
    }
}

impl Priority {
    /// Order of claiming: smaller first.
    pub const fn rank(self) -> i16 {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    /// The priority of a stored rank.
    pub fn from_rank(rank: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|priority| priority.rank() == rank)
    }
}

word_enum! {
    /// What to do when an agent's process is lost in the middle of the task, as in a crash or a reboot.
    OnLost {
        /// Go on with the interrupted turn in the same session; start again where there is no session yet.
        Resume = "resume",
        /// Start the task again with a new session, in the same workspace.
        Retry = "retry",
        /// Fail the task.
        Fail = "fail",
    }
}

word_enum! {
    /// How a message reaches its agent.
    MessageMode {
        /// As a turn of its own, after those that wait already.
        Queue = "queue",
        /// Into the running turn; as a turn of its own when none runs or it ends first.
        Steer = "steer",
    }
}

impl Task {
    /// A new task for an agent that is still to be made, with Claude Code in the default project. Title, description and all
    /// that is special about it are for the caller to fill in.
    pub fn new(owner: String, agent_type: AgentType, timeout_seconds: u32, provenance: Provenance, now: DateTime<Utc>) -> Self {
        Self {
            id: TaskId::generate(),
            owner,
            key_id: None,
            title: String::new(),
            description: String::new(),
            agent_type,
            backend: Backend::ClaudeCode,
            project: DEFAULT_PROJECT.to_owned(),
            model: None,
            priority: Priority::Normal,
            timeout_seconds,
            budget_usd: None,
            limits: WorkLimits::default(),
            mode: None,
            workflow_run_id: None,
            swarm_id: None,
            workspace_name: None,
            reviewed: false,
            joined_task_id: None,
            on_lost: OnLost::Resume,
            output_schema: None,
            idempotency_key: None,
            request_hash: String::new(),
            status: TaskStatus::Created,
            generation: 0,
            cancel_requested: false,
            agent_id: None,
            run_id: None,
            failure: None,
            dead_letter: false,
            provenance,
            traceparent: None,
            created_at: now,
            updated_at: now,
            started_at: None,
            ended_at: None,
        }
    }
}

/// A task as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its identifier.
    pub id: TaskId,
    /// The user it belongs to.
    pub owner: String,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// A short name.
    pub title: String,
    /// The prompt.
    pub description: String,
    /// The role to give the agent.
    pub agent_type: AgentType,
    /// The CLI to do it.
    pub backend: Backend,
    /// The project to work in.
    pub project: String,
    /// The model asked for; the CLI's default when absent.
    pub model: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// Wall time allowed once an agent works on it.
    pub timeout_seconds: u32,
    /// US dollars allowed, by the CLI's own price table.
    pub budget_usd: Option<f64>,
    /// What else it may use.
    pub limits: WorkLimits,
    /// How it reaches its agent, when it is a message to one.
    pub mode: Option<MessageMode>,
    /// The run of a workflow it is a turn of.
    pub workflow_run_id: Option<WorkflowRunId>,
    /// The swarm whose members are to do it: whoever is free, until it has an agent.
    pub swarm_id: Option<SwarmId>,
    /// The workspace its agent shares with others, when it is to have none of its own.
    pub workspace_name: Option<String>,
    /// Whether its result waits for somebody's verdict: then the end of its turn makes it `review`, not `complete`.
    pub reviewed: bool,
    /// The task whose running turn it joined.
    pub joined_task_id: Option<TaskId>,
    /// What to do when the agent's process is lost.
    pub on_lost: OnLost,
    /// JSON Schema the structured answer must satisfy.
    pub output_schema: Option<serde_json::Value>,
    /// The caller's key for exact retries.
    pub idempotency_key: Option<String>,
    /// Tells an exact retry from a different request under the same key: SHA-256 of the request, in hexadecimal.
    pub request_hash: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Raised by every status change; a late writer with an older one changes nothing.
    pub generation: i64,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// The agent that works or worked on it.
    pub agent_id: Option<AgentId>,
    /// The current or last run.
    pub run_id: Option<RunId>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Whether it failed although the gateway had repeated it as often as it may.
    pub dead_letter: bool,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// Its place in the trace of the request that made it (W3C), when traces were on.
    pub traceparent: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When an agent began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_tasks_stay_ended_and_every_status_is_reachable() {
        for status in [TaskStatus::Complete, TaskStatus::Failed, TaskStatus::Cancelled] {
            assert!(status.is_terminal());
            assert!(TaskStatus::ALL.iter().all(|to| status.transition(*to).is_err()));
        }
        for to in TaskStatus::ALL {
            assert!(TaskStatus::ALL.iter().any(|from| from.transition(*to).is_ok()), "{to} cannot be reached");
        }
    }

    #[test]
    fn every_unfinished_task_can_be_cancelled() {
        for status in TaskStatus::ALL.iter().filter(|status| !status.is_terminal()) {
            assert_eq!(status.transition(TaskStatus::Cancelled), Ok(TaskStatus::Cancelled));
        }
    }

    #[test]
    fn priority_ranks_round_trip() {
        for priority in Priority::ALL {
            assert_eq!(Priority::from_rank(priority.rank()), Some(*priority));
        }
    }
}
