//! Runs: one prompt given to one agent, and what came of it.

use super::{
    id::{AgentId, RunId, TaskId},
    quota::{LimitReached, SetBy},
    word::word_enum,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

word_enum! {
    /// Where answers come from.
    Provenance {
        /// A real model.
        Live = "live",
        /// The built-in scripted model; nothing was paid for and nothing was thought.
        Rehearsal = "rehearsal",
    }
}

/// Tokens of one run, as reported by the CLI's `result` message (main model of the turn).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"input_tokens": 1200, "output_tokens": 340, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}))]
pub struct Usage {
    /// Tokens sent, without cached ones.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens received.
    #[serde(default)]
    pub output_tokens: u64,
    /// Tokens read from the provider's prompt cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// Tokens written to the provider's prompt cache.
    #[serde(default)]
    pub cache_creation_input_tokens: u64,
}

/// What the agent changed in its git worktree, measured with `git diff` against the starting commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Branch that holds the work, committed.
    pub branch: String,
    /// Commit the branch started from.
    pub base_commit: String,
    /// Files changed.
    pub files_changed: u32,
    /// Lines added.
    pub insertions: u32,
    /// Lines removed.
    pub deletions: u32,
    /// Unified diff.
    pub diff: String,
    /// Whether the diff was cut at its size limit.
    #[serde(default)]
    pub diff_truncated: bool,
}

word_enum! {
    /// Why a task failed. Stable: programs may match on it.
    FailureCode {
        /// The CLI is missing, too old or not logged in.
        AgentUnavailable = "agent_unavailable",
        /// The CLI ended before it was ready.
        StartFailed = "start_failed",
        /// The CLI did not become ready in time.
        NotReady = "not_ready",
        /// The task's time was up.
        Timeout = "timeout",
        /// A budget was used up.
        BudgetExceeded = "budget_exceeded",
        /// There is a budget, and the agent did not say what it used.
        UsageUnknown = "usage_unknown",
        /// The agent wrote more output than allowed.
        OutputLimit = "output_limit",
        /// The agent and what it started took more memory than allowed.
        MemoryLimit = "memory_limit",
        /// The agent and what it started were more processes than allowed.
        ProcessLimit = "process_limit",
        /// The agent wrote nothing after its prompt.
        NoFirstEvent = "no_first_event",
        /// The agent fell silent in the middle of its turn.
        Stalled = "stalled",
        /// The agent repeated failed model requests without end.
        TooManyRetries = "too_many_retries",
        /// The agent wrote what is not its protocol.
        GarbageOutput = "garbage_output",
        /// The agent closed its output and lived on.
        OutputClosed = "output_closed",
        /// The agent's output could not be stored because the disk was full.
        DiskFull = "disk_full",
        /// The provider refused for now.
        RateLimited = "rate_limited",
        /// The provider cannot be reached, or has a fault.
        ProviderUnavailable = "provider_unavailable",
        /// The agent reported an error as its result.
        AgentError = "agent_error",
        /// The agent's process ended without a result.
        AgentExited = "agent_exited",
        /// The agent's process vanished without a record, for example in a reboot.
        AgentLost = "agent_lost",
        /// The CLI no longer has the agent's conversation.
        SessionLost = "session_lost",
        /// The agent failed before the message had its turn.
        AgentFailed = "agent_failed",
        /// The answer does not satisfy `output_schema`.
        InvalidStructuredOutput = "invalid_structured_output",
        /// The agent's directory or git worktree could not be prepared.
        WorkspaceFailed = "workspace_failed",
        /// A workflow could not go on: one of its expressions or templates, or a bound of its own.
        WorkflowFailed = "workflow_failed",
        /// A review did not approve the result.
        NotApproved = "not_approved",
        /// A turn of the run was stopped by request.
        TurnCancelled = "turn_cancelled",
    }
}

impl FailureCode {
    /// Whether the same request may well succeed later without a change.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::NotReady
            | Self::Timeout
            | Self::NoFirstEvent
            | Self::Stalled
            | Self::TooManyRetries
            | Self::DiskFull
            | Self::RateLimited
            | Self::ProviderUnavailable
            | Self::AgentExited
            | Self::AgentLost => true,
            Self::AgentUnavailable
            | Self::StartFailed
            | Self::BudgetExceeded
            | Self::UsageUnknown
            | Self::SessionLost
            | Self::AgentFailed
            | Self::OutputLimit
            | Self::MemoryLimit
            | Self::ProcessLimit
            | Self::GarbageOutput
            | Self::OutputClosed
            | Self::AgentError
            | Self::InvalidStructuredOutput
            | Self::WorkspaceFailed
            | Self::WorkflowFailed
            | Self::NotApproved
            | Self::TurnCancelled => false,
        }
    }

    /// Whether the provider is to blame and the gateway itself tries again.
    pub const fn is_of_provider(self) -> bool {
        matches!(self, Self::RateLimited | Self::ProviderUnavailable)
    }

    /// Whether the agent, not only its turn, is unusable until somebody has done something about it.
    pub const fn ends_agent(self) -> bool {
        match self {
            Self::AgentUnavailable
            | Self::StartFailed
            | Self::NotReady
            | Self::DiskFull
            | Self::AgentExited
            | Self::AgentLost
            | Self::SessionLost
            | Self::WorkspaceFailed => true,
            Self::Timeout
            | Self::BudgetExceeded
            | Self::UsageUnknown
            | Self::OutputLimit
            | Self::MemoryLimit
            | Self::ProcessLimit
            | Self::NoFirstEvent
            | Self::Stalled
            | Self::TooManyRetries
            | Self::GarbageOutput
            | Self::OutputClosed
            | Self::RateLimited
            | Self::ProviderUnavailable
            | Self::AgentError
            | Self::AgentFailed
            | Self::InvalidStructuredOutput
            | Self::WorkflowFailed
            | Self::NotApproved
            | Self::TurnCancelled => false,
        }
    }
}

/// Why a task failed, in words a caller can act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"code": "agent_unavailable", "detail": "Claude Code is not logged in. Run `claude` once and use /login, or set ANTHROPIC_API_KEY.", "retryable": false}))]
pub struct Failure {
    /// Stable code.
    pub code: FailureCode,
    /// What happened and what to do.
    pub detail: String,
    /// Whether trying again unchanged makes sense.
    pub retryable: bool,
    /// The limit that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<LimitReached>,
}

impl Failure {
    /// A failure whose `retryable` follows from its code.
    pub fn new(code: FailureCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retryable: code.is_retryable(), limit: None }
    }

    /// The same with the limit that was reached.
    #[must_use]
    pub fn by_limit(mut self, name: &str, set_by: SetBy, value: f64) -> Self {
        self.limit = Some(LimitReached { name: name.to_owned(), set_by, value });
        self
    }
}

/// What came of a run. Figures are the CLI's own (`result.usage`, difference of `result.total_cost_usd`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// The final text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The validated structured answer, when a schema was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<serde_json::Value>,
    /// Tokens, absent when the CLI reported none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// US dollars by the CLI's price table, absent when it reported none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Tokens of every model request, sub-agents included and whatever the cache did, as the CLI reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Times the gateway had the turn repeated after a fault of the provider.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Wall time of the turn in milliseconds as the CLI reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The model that answered, as the CLI named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Changes in the git worktree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its identifier.
    pub id: RunId,
    /// The task it serves.
    pub task_id: TaskId,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// What is going on, in words.
    pub progress: String,
    /// The end of the latest text the agent wrote.
    pub latest_output: String,
    /// What came of it so far.
    pub outcome: RunOutcome,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}
