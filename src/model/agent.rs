//! Agents: durable workers that outlive their processes.

mod agent_type;

pub use agent_type::{AGENT_TYPE_BYTES, AgentType, InvalidAgentType};

use super::{
    id::{AgentId, KeyId, SwarmId},
    project::DEFAULT_PROJECT,
    quota::WorkLimits,
    run::{Failure, Provenance},
    word::word_enum,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

word_enum! {
    /// The CLI that does the work.
    Backend {
        /// Anthropic's Claude Code.
        ClaudeCode = "claude-code",
        /// Claude Code as the queen of a hive of claude-flow, which starts it.
        ClaudeFlow = "claude-flow",
    }
}

word_enum! {
    /// Where an agent stands.
    AgentStatus {
        /// Its process is being started.
        Starting = "starting",
        /// Its process runs and waits for work.
        Idle = "idle",
        /// It works on a run.
        Busy = "busy",
        /// It was told to stop its current turn.
        Interrupting = "interrupting",
        /// Its process has ended cleanly; the session is kept.
        Parked = "parked",
        /// It was ended for good.
        Terminated = "terminated",
        /// It could not go on.
        Failed = "failed",
        /// Its process vanished without a record.
        Lost = "lost",
    }
}

impl AgentStatus {
    /// Whether a process should exist for the agent.
    pub const fn is_live(self) -> bool {
        match self {
            Self::Starting | Self::Idle | Self::Busy | Self::Interrupting => true,
            Self::Parked | Self::Terminated | Self::Failed | Self::Lost => false,
        }
    }

    /// Whether the agent takes no messages until it is resumed.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed | Self::Lost)
    }
}

impl Agent {
    /// A new agent that stays, at rest until its first turn: with Claude Code, in the default project, without limits of
    /// its own.
    pub fn at_rest(owner: String, agent_type: AgentType, provenance: Provenance, now: DateTime<Utc>) -> Self {
        let id = AgentId::generate();
        Self {
            id,
            owner,
            key_id: None,
            name: Self::default_name(agent_type, id),
            agent_type,
            backend: Backend::ClaudeCode,
            project: DEFAULT_PROJECT.to_owned(),
            model: None,
            status: AgentStatus::Parked,
            generation: 1,
            durable: true,
            system_prompt: None,
            limits: WorkLimits::default(),
            session_id: Uuid::new_v4(),
            session_started: false,
            swarm_id: None,
            swarm_place: None,
            scaled: false,
            workspace_name: None,
            forked_from: None,
            terminate_requested: false,
            failure: None,
            idempotency_key: None,
            request_hash: String::new(),
            workspace: String::new(),
            branch: None,
            base_commit: None,
            provenance,
            created_at: now,
            updated_at: now,
        }
    }

    /// A readable name for an agent that was given none, such as `coder-1a2b3c`.
    pub fn default_name(agent_type: AgentType, id: AgentId) -> String {
        let digits = id.uuid().simple().to_string();
        format!("{agent_type}-{}", &digits[digits.len() - 6..])
    }
}

/// An agent as stored.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, as in the store")]
pub struct Agent {
    /// Its identifier.
    pub id: AgentId,
    /// The user it belongs to.
    pub owner: String,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// A readable name, such as `coder-1a2b3c`.
    pub name: String,
    /// Its role.
    pub agent_type: AgentType,
    /// The CLI behind it.
    pub backend: Backend,
    /// The project it works in.
    pub project: String,
    /// The model asked for; the CLI's default when absent.
    pub model: Option<String>,
    /// Where it stands.
    pub status: AgentStatus,
    /// Raised by every status change; a late writer with an older one changes nothing.
    pub generation: i64,
    /// Whether its process waits for more work after a turn; else it ends with its task.
    pub durable: bool,
    /// What is added to its system prompt after its role.
    pub system_prompt: Option<String>,
    /// What it may use.
    pub limits: WorkLimits,
    /// The CLI's session id.
    pub session_id: Uuid,
    /// Whether the CLI knows the session, so that it can be resumed.
    pub session_started: bool,
    /// The swarm it belongs to.
    pub swarm_id: Option<SwarmId>,
    /// Its place in the swarm, in the order of joining, from 0.
    pub swarm_place: Option<i64>,
    /// Whether it was added to its swarm for work that waited; it ends when it has had none for a while.
    pub scaled: bool,
    /// The workspace it shares with others, when it has none of its own.
    pub workspace_name: Option<String>,
    /// The agent whose conversation it took over.
    pub forked_from: Option<AgentId>,
    /// Whether somebody asked to end it.
    pub terminate_requested: bool,
    /// Why it could not go on.
    pub failure: Option<Failure>,
    /// The caller's key for exact retries.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that made it, in hexadecimal.
    pub request_hash: String,
    /// Absolute directory it works in; empty until its first process is prepared.
    pub workspace: String,
    /// Git branch of its worktree, when the project is a repository.
    pub branch: Option<String>,
    /// Commit its worktree started from.
    pub base_commit: Option<String>,
    /// Whether a real model or the rehearsal model answers it.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}
