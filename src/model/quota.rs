//! Limits somebody set on work: on a task, an agent, a key, or the whole gateway.

use super::word::word_enum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a task, or an agent with each of its turns, may use. What is absent is not limited here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkLimits {
    /// Seconds each turn may take. Of agents only; a task has its own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// US dollars. Of agents only, for their whole life; a task has its own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    /// Tokens of all model requests; of an agent for its whole life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u64>,
    /// Seconds of silence within a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// Bytes the CLI may write in one turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_bytes: Option<u64>,
    /// Resident memory of the CLI and all it starts, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Processes of the CLI and all it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_processes: Option<u32>,
}

/// How much may be in use at once, and be spent in a day (UTC). What is absent is not limited here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Agents that have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_agents: Option<u32>,
    /// Agents with a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_live_agents: Option<u32>,
    /// Tasks and messages that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued_tasks: Option<u32>,
    /// US dollars in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
}

impl KeyLimits {
    /// These limits, and `other` where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            max_agents: self.max_agents.or(other.max_agents),
            max_live_agents: self.max_live_agents.or(other.max_live_agents),
            max_queued_tasks: self.max_queued_tasks.or(other.max_queued_tasks),
            usd_per_day: self.usd_per_day.or(other.usd_per_day),
        }
    }
}

word_enum! {
    /// Whose limit it is.
    SetBy {
        /// The task's own.
        Task = "task",
        /// The agent's.
        Agent = "agent",
        /// That of the API key the work was made with.
        Key = "key",
        /// A setting of the gateway.
        Gateway = "gateway",
    }
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "budget_usd", "set_by": "task", "value": 0.5}))]
pub struct LimitReached {
    /// Name of the field or setting.
    pub name: String,
    /// Whose limit it is.
    pub set_by: SetBy,
    /// Its value.
    pub value: f64,
}

/// A budget that binds a turn: what may still be spent of it when the turn begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cap {
    /// What is counted.
    pub unit: CapUnit,
    /// What the turn may spend.
    pub left: f64,
    /// The limit behind it.
    pub limit: LimitReached,
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapUnit {
    /// US dollars, by the CLI's own price table.
    Usd,
    /// Tokens.
    Tokens,
}
