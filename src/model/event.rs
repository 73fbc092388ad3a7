//! Events: captured facts about an agent, append-only, keyed `(agent_id, seq)`.

use super::{
    id::{AgentId, MessageId, RunId, TaskId},
    run::Usage,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What was captured. Every line an agent's CLI writes becomes at least one of these; a line nobody
/// understands is kept whole as `raw`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum EventKind {
    /// A complete text the agent wrote.
    Message {
        /// The text.
        text: String,
        /// The model that wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The tool call a sub-agent works for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent_tool_use_id: Option<String>,
    },
    /// A piece of text as it is being written; the whole follows as `message`.
    Delta {
        /// The piece.
        text: String,
    },
    /// A complete thinking block.
    Thinking {
        /// The thought.
        text: String,
    },
    /// The agent calls a tool.
    ToolCall {
        /// The call's id; `tool_result` carries the same.
        tool_use_id: String,
        /// Tool name.
        tool: String,
        /// Tool input as the model gave it.
        #[schema(value_type = Object)]
        input: Value,
    },
    /// A tool has answered.
    ToolResult {
        /// The call it answers.
        tool_use_id: String,
        /// Whether the tool reported an error.
        is_error: bool,
        /// What the model gets to see, as text.
        text: String,
        /// The CLI's structured result, when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Object)]
        result: Option<Value>,
    },
    /// Tokens of one model request, from the stream's `message_delta`.
    Usage {
        /// The figures.
        usage: Usage,
    },
    /// A change of state of the agent, its session or its task.
    Status {
        /// A stable word: `assigned`, `session_started`, `requesting`, `permission_denied`, `cancelling`, …
        state: String,
        /// In words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The CLI tries a failed model request again.
    Retry {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// How many there will be at most.
        max_retries: u32,
        /// Pause before the next, in milliseconds.
        delay_ms: u64,
        /// HTTP status, when there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The CLI's word for the error.
        error: String,
    },
    /// The provider told about its limits.
    RateLimit {
        /// `allowed`, `allowed_warning` or `rejected`.
        status: String,
        /// When the limit resets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resets_at: Option<DateTime<Utc>>,
        /// Which limit, in the provider's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
    },
    /// A turn has ended. `is_error` decides, not `subtype`.
    Result {
        /// Whether the turn failed.
        is_error: bool,
        /// The CLI's sub-type.
        subtype: String,
        /// Final text, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Structured answer, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Object)]
        structured_output: Option<Value>,
        /// Tokens of the turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// US dollars of the turn: difference of the CLI's running total.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<f64>,
        /// Error texts.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        errors: Vec<String>,
    },
    /// The agent's process started, became ready or ended.
    Process {
        /// `started`, `ready`, `reattached`, `exited` or `lost`.
        state: String,
        /// Process id of the CLI.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Exit code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// Signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Why it ended, in a stable word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A message of the agent's asked somebody who, over others, waits for the agent itself. It was delivered, but nobody was woken for it.
    DelegationBroken {
        /// The agents that would have waited for one another, each for the next and the last for the first. The last one is the agent.
        circle: Vec<AgentId>,
        /// The message.
        message_id: MessageId,
        /// The conversation it belongs to.
        thread_id: MessageId,
    },
    /// A line that is kept but not understood.
    Raw {
        /// The line, without its newline.
        line: String,
    },
}

impl EventKind {
    /// Every word [`EventKind::name`] gives.
    pub const NAMES: [&'static str; 13] = [
        "message",
        "delta",
        "thinking",
        "tool_call",
        "tool_result",
        "usage",
        "status",
        "retry",
        "rate_limit",
        "result",
        "process",
        "delegation_broken",
        "raw",
    ];

    /// The word of the kind, as in `kind` of its JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Delta { .. } => "delta",
            Self::Thinking { .. } => "thinking",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
            Self::Usage { .. } => "usage",
            Self::Status { .. } => "status",
            Self::Retry { .. } => "retry",
            Self::RateLimit { .. } => "rate_limit",
            Self::Result { .. } => "result",
            Self::Process { .. } => "process",
            Self::DelegationBroken { .. } => "delegation_broken",
            Self::Raw { .. } => "raw",
        }
    }

    /// A status event without details.
    pub fn status(state: &str) -> Self {
        Self::Status { state: state.to_owned(), detail: None }
    }
}

/// One stored event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Whose it is.
    pub agent_id: AgentId,
    /// Place in the agent's log, from 1, without holes.
    pub seq: i64,
    /// The task worked on.
    pub task_id: Option<TaskId>,
    /// Place in the task's log, from 1, without holes.
    pub task_seq: Option<i64>,
    /// The run it belongs to.
    pub run_id: Option<RunId>,
    /// When the gateway captured it.
    pub at: DateTime<Utc>,
    /// What was captured.
    #[serde(flatten)]
    pub kind: EventKind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;

    #[test]
    fn the_names_are_those_of_the_schema() {
        let schema = serde_json::to_value(EventKind::schema()).expect("JSON");
        let variants = schema["oneOf"].as_array().expect("variants").iter();
        let names: Vec<_> = variants.map(|variant| &variant["properties"]["kind"]["enum"][0]).collect();
        assert_eq!(names, EventKind::NAMES);
    }
}
