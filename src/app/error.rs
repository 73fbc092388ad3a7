//! What can go wrong in an operation, with a stable code each. Every front door maps this one enum.

use crate::{
    model::{
        agent::AgentStatus,
        id::{AgentId, ProposalId, SwarmId},
        key::Scope,
        proposal::ProposalStatus,
        quota::{LimitReached, SetBy},
        swarm::SwarmStatus,
        task::{IllegalTransition, TaskStatus},
    },
    store::StoreError,
};
use serde::Serialize;
use utoipa::ToSchema;

/// One field of a request that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the field or parameter; empty when the whole request is meant.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    /// A refusal of `field`.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

/// What kind of thing is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A task.
    Task,
    /// An agent.
    Agent,
    /// A swarm.
    Swarm,
    /// A proposal.
    Proposal,
    /// A run of a workflow.
    Run,
    /// A workflow.
    Workflow,
    /// A role.
    Role,
    /// Anything else.
    Other,
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppError {
    /// The request is understood but not acceptable.
    #[error("{}", summary(.0))]
    Validation(Vec<FieldError>),
    /// The caller has no such thing, or it belongs to somebody else.
    #[error("{1}")]
    NotFound(Missing, String),
    /// There is no such file.
    #[error("{0}")]
    NoFile(String),
    /// The link to a file leads nowhere, or not any more.
    #[error("{0}")]
    NoLink(String),
    /// Files sent along could not be fetched by their links.
    #[error("{0}; send the call again with fresh links")]
    FilesNotFetched(String),
    /// The lifecycle does not allow the change.
    #[error("{}", illegal(*.from, *.to, .legal))]
    IllegalTransition {
        /// Where the task stands.
        from: TaskStatus,
        /// Where it was asked to go.
        to: TaskStatus,
        /// What a caller may ask for instead.
        legal: Vec<TaskStatus>,
    },
    /// The idempotency key was used for a different request.
    #[error(
        "the idempotency_key was already used for {first}, with a different request; use a new key for new work, or repeat the first request exactly"
    )]
    IdempotencyConflict {
        /// What the first request made.
        first: String,
    },
    /// The task has ended, so the change would have no effect.
    #[error("the task is `{0}`; its priority no longer matters. Create a new task for more work")]
    TaskEnded(TaskStatus),
    /// The run has ended, so the request would have no effect.
    #[error("{id} is `{status}`, so nothing can be done about it; begin a new one (run_workflow)")]
    RunEnded {
        /// What has ended.
        id: String,
        /// Where it stands.
        status: String,
    },
    /// The agent takes no messages.
    #[error("{id} is `{status}` and takes no messages; bring it back with resume_agent, or create a new agent")]
    AgentEnded {
        /// The agent.
        id: AgentId,
        /// Where it stands.
        status: AgentStatus,
    },
    /// The proposal has ended, so there is nothing to cancel.
    #[error("{id} is `{status}` and stays so; propose it again if it is to be decided anew")]
    ProposalEnded {
        /// The proposal.
        id: ProposalId,
        /// How it ended.
        status: ProposalStatus,
    },
    /// Agents that work would have to end for it.
    #[error("{0}")]
    SwarmBusy(String),
    /// The swarm takes nothing any more.
    #[error("{id} is `{status}` and takes nothing any more; spawn another swarm")]
    SwarmEnded {
        /// The swarm.
        id: SwarmId,
        /// Where it stands.
        status: SwarmStatus,
    },
    /// There is no turn to interrupt.
    #[error("{id} is `{status}`: no turn runs, so there is nothing to interrupt")]
    AgentIdle {
        /// The agent.
        id: AgentId,
        /// Where it stands.
        status: AgentStatus,
    },
    /// The agent works, so its conversation cannot be taken over.
    #[error(
        "{id} is `{status}`; wait until its turn is over (get_agent with wait_seconds), or interrupt it (interrupt_agents), then fork it"
    )]
    AgentBusy {
        /// The agent.
        id: AgentId,
        /// Where it stands.
        status: AgentStatus,
    },
    /// The agent has had no turn yet.
    #[error("{0} has no conversation yet; send it a message first, or create a new agent")]
    NoConversation(AgentId),
    /// A limit on what may be in use, or spent, is reached.
    #[error("{}", limit_words(.0))]
    LimitReached(LimitReached),
    /// No key, or one that opens nothing. Deliberately without details.
    #[error(
        "the header X-MAS-Key is missing or its key is not valid; send a valid key, or ask the operator for one (`mas key create`)"
    )]
    InvalidKey,
    /// The key is valid but may not do this.
    #[error("the key has no `{needed}` scope; use a key that has it (`mas key create --scopes {needed}`)")]
    InsufficientScope {
        /// What the operation needs.
        needed: Scope,
    },
    /// The database cannot be used right now. The text is for the log.
    #[error("the database cannot be used right now; nothing was changed, try again in a moment")]
    StoreUnavailable(String),
    /// A fault of the gateway. The text is for the log.
    #[error("the gateway has a fault, and its log the details under the request id")]
    Internal(String),
}

impl AppError {
    /// A refusal of one field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Validation(vec![FieldError::new(field, message)])
    }

    /// The stable code programs may match on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "validation_failed",
            Self::NotFound(..) | Self::NoFile(_) | Self::NoLink(_) => "not_found",
            Self::FilesNotFetched(_) => "files_not_fetched",
            Self::IllegalTransition { .. } => "illegal_transition",
            Self::IdempotencyConflict { .. } => "idempotency_conflict",
            Self::TaskEnded(_) => "task_ended",
            Self::RunEnded { .. } => "run_ended",
            Self::AgentEnded { .. } => "agent_ended",
            Self::ProposalEnded { .. } => "proposal_ended",
            Self::SwarmBusy(_) => "swarm_busy",
            Self::SwarmEnded { .. } => "swarm_ended",
            Self::AgentIdle { .. } => "agent_idle",
            Self::AgentBusy { .. } => "agent_busy",
            Self::NoConversation(_) => "no_conversation",
            Self::LimitReached(_) => "limit_reached",
            Self::InvalidKey => "invalid_key",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::StoreUnavailable(_) => "store_unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether the same request may well succeed later without a change. Fresh links to the same files are none.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::StoreUnavailable(_) | Self::FilesNotFetched(_) | Self::AgentBusy { .. })
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => Self::StoreUnavailable(reason),
            StoreError::Internal(reason) => Self::Internal(reason),
        }
    }
}

fn limit_words(limit: &LimitReached) -> String {
    let LimitReached { name, set_by, value } = limit;
    let whose = match set_by {
        SetBy::Key => "of your key (`mas key create` makes one with other limits)",
        SetBy::Gateway | SetBy::Task | SetBy::Agent => "of the gateway (its operator can raise it in `[limits]`)",
    };
    let what = match name.as_str() {
        "max_agents" => "terminate agents that are no longer needed (terminate_agent)",
        "max_queued_tasks" => "wait until some of the waiting tasks have begun, or cancel them",
        _ => "it starts anew at midnight UTC",
    };
    format!("the limit {name} = {value} {whose} is reached: {what}; nothing was changed")
}

fn summary(fields: &[FieldError]) -> String {
    let parts = fields.iter().map(|error| match error.field.as_str() {
        "" => error.message.clone(),
        field => format!("{field}: {}", error.message),
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn illegal(from: TaskStatus, to: TaskStatus, legal: &[TaskStatus]) -> String {
    let legal = match legal {
        [] if from.is_terminal() => "nothing: the task has ended; create a new task for more work".to_owned(),
        [] => "nothing".to_owned(),
        words => words.iter().map(|status| format!("`{status}`")).collect::<Vec<_>>().join(", "),
    };
    format!("{}; legal through the API from here: {legal}", IllegalTransition { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_transition_says_what_is_legal() {
        let error = AppError::IllegalTransition {
            from: TaskStatus::InProgress,
            to: TaskStatus::Complete,
            legal: vec![TaskStatus::Cancelled],
        };
        assert_eq!(
            error.to_string(),
            "a task that is `in_progress` cannot become `complete`; legal through the API from here: `cancelled`"
        );
        let ended = AppError::IllegalTransition { from: TaskStatus::Failed, to: TaskStatus::Cancelled, legal: vec![] };
        assert!(ended.to_string().contains("has ended"), "{ended}");
    }

    #[test]
    fn store_details_stay_out_of_the_words_for_callers() {
        let error = AppError::from(StoreError::Unavailable("postgres://mas:hunter2@db".into()));
        assert!(!error.to_string().contains("hunter2") && error.is_retryable());
    }
}
