//! Messages between the agents of a swarm.

mod circle;
mod post;

pub use circle::{Circle, Request};
pub use post::{Draft, Post, Sender, contacts_of, living, resolve, wake_task};

use super::{
    agent::AgentType,
    id::{AgentId, MessageId, SwarmId, TaskId},
    task::Priority,
    word::word_enum,
};
use chrono::{DateTime, Utc};

word_enum! {
    /// What a message is.
    MessageKind {
        /// Work for the recipient.
        Task = "task",
        /// What came of work.
        Result = "result",
        /// Something the sender wants to know.
        Question = "question",
        /// What the sender thinks of something.
        Feedback = "feedback",
        /// Where the sender stands.
        Status = "status",
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// One member.
    Agent(AgentId),
    /// Every member with a role.
    Role(AgentType),
    /// Every member.
    All,
    /// The user the swarm belongs to.
    User,
}

impl Recipient {
    /// The word for its kind, as stored.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Role(_) => "role",
            Self::All => "all",
            Self::User => "user",
        }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent(id) => id.fmt(f),
            Self::Role(role) => role.fmt(f),
            Self::All | Self::User => f.write_str(self.kind()),
        }
    }
}

/// A message as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamMessage {
    /// Its identifier.
    pub id: MessageId,
    /// The swarm.
    pub swarm_id: SwarmId,
    /// The user the swarm belongs to.
    pub owner: String,
    /// The first message of the conversation; itself, when it begins one.
    pub thread_id: MessageId,
    /// Who wrote it; the user when absent, or the gateway.
    pub from_agent: Option<AgentId>,
    /// Whether the gateway itself wrote it.
    pub from_gateway: bool,
    /// Whom it is for.
    pub to: Recipient,
    /// What it is.
    pub kind: MessageKind,
    /// How urgent it is: more urgent ones are read first.
    pub priority: Priority,
    /// What it is about, in a line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Whether the sender waits for an answer.
    pub requires_response: bool,
    /// When the answer should be there.
    pub deadline: Option<DateTime<Utc>>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// How many messages led to one another by waking agents, up to this one.
    pub hops: u32,
    /// When it was sent.
    pub created_at: DateTime<Utc>,
    /// The caller's key for exact retries, when a user sent it.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that made it, in hexadecimal; empty when an agent did.
    pub request_hash: String,
}

/// What became of a message at one of its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message_id: MessageId,
    /// The recipient.
    pub agent_id: AgentId,
    /// When the recipient read it.
    pub read_at: Option<DateTime<Utc>>,
    /// The recipient's answer.
    pub answered_by: Option<MessageId>,
    /// The turn that was asked for so that the recipient reads it.
    pub wake_task_id: Option<TaskId>,
    /// The agents that would have waited for one another; the message asks nothing of this recipient then.
    pub circle: Option<Vec<AgentId>>,
}

impl TeamMessage {
    /// Whether an answer is due since before `now`: the deadline has passed and a recipient has not answered. `answer`: what the
    /// user answered, if the message is for the user.
    pub fn is_overdue(&self, deliveries: &[Delivery], answer: Option<MessageId>, now: DateTime<Utc>) -> bool {
        let awaits = match self.to {
            Recipient::User => answer.is_none(),
            _ => deliveries.iter().any(|delivery| delivery.message_id == self.id && delivery.awaits_answer()),
        };
        self.requires_response && self.deadline.is_some_and(|deadline| deadline <= now) && awaits
    }
}

impl Delivery {
    /// Whether an answer that the message requires is still to come.
    pub const fn awaits_answer(&self) -> bool {
        self.answered_by.is_none() && self.circle.is_none()
    }
}
