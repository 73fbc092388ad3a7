//! Messages as callers see them.

use crate::model::{
    id::{AgentId, MessageId, SwarmId, TaskId},
    task::Priority,
    team::{Delivery, MessageKind, Recipient, TeamMessage},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// A message within a swarm.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "swarm_id": "swarm_0193f2a87c3e7d10b5a1c2d3e4f50617", "thread_id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "from_agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "to": "reviewer", "kind": "question", "priority": "normal", "subject": "Is the lock needed?", "body": "src/store.rs line 40 takes it twice.", "requires_response": true, "deadline": "2026-11-20T11:00:00Z", "overdue": false, "recipients": [{"agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50618", "read_at": "2026-11-20T10:00:09Z"}], "created_at": "2026-11-20T10:00:00Z"}))]
pub struct TeamMessageResource {
    /// The message's id.
    pub id: MessageId,
    /// The swarm.
    pub swarm_id: SwarmId,
    /// The first message of the conversation.
    pub thread_id: MessageId,
    /// The agent that wrote it; absent when the user did, or the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub from_agent_id: Option<AgentId>,
    /// Present and true when the gateway itself wrote it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub from_gateway: bool,
    /// Whom it is for: an agent's id, a role, `all` or `user`.
    pub to: String,
    /// What it is.
    pub kind: MessageKind,
    /// How urgent it is.
    pub priority: Priority,
    /// What it is about.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Whether the recipients have to answer.
    pub requires_response: bool,
    /// When the answer should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deadline: Option<DateTime<Utc>>,
    /// Whether the deadline has passed and a recipient, or you when it is for you, has not answered.
    pub overdue: bool,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub in_reply_to: Option<MessageId>,
    /// Your first answer to it, when it is for you.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub answered_by: Option<MessageId>,
    /// The agents that got it.
    pub recipients: Vec<DeliveryView>,
    /// When it was sent.
    pub created_at: DateTime<Utc>,
}

/// What became of a message at one of its recipients.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The recipient.
    pub agent_id: AgentId,
    /// When it read the message; absent while it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub read_at: Option<DateTime<Utc>>,
    /// Its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub answered_by: Option<MessageId>,
    /// The task of the turn it was given to answer; absent when it had such a turn before it already, or needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_id: Option<TaskId>,
    /// Present when the message would have closed a circle of agents that wait for one another: these agents. Then it asks nothing of the recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub circle: Option<Vec<AgentId>>,
}

/// A page of messages, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"messages": [{"id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "swarm_id": "swarm_0193f2a87c3e7d10b5a1c2d3e4f50617", "thread_id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "to": "all", "kind": "task", "priority": "high", "subject": "Begin", "body": "Read the specification first.", "requires_response": false, "overdue": false, "recipients": [{"agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50618"}], "created_at": "2026-11-20T10:00:00Z"}]}))]
pub struct TeamMessagePage {
    /// The messages.
    pub messages: Vec<TeamMessageResource>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<MessageId>,
}

/// A page of an agent's inbox, the most urgent messages first, then the oldest.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"messages": [{"id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "swarm_id": "swarm_0193f2a87c3e7d10b5a1c2d3e4f50617", "thread_id": "msg_0193f2a87c3e7d10b5a1c2d3e4f50617", "to": "all", "kind": "task", "priority": "high", "subject": "Begin", "body": "Read the specification first.", "requires_response": false, "overdue": false, "recipients": [{"agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50618"}], "created_at": "2026-11-20T10:00:00Z"}], "unread": 1}))]
pub struct InboxPage {
    /// The messages.
    pub messages: Vec<TeamMessageResource>,
    /// How many messages the agent has not read, on this page or not.
    pub unread: i64,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<MessageId>,
}

impl TeamMessageResource {
    /// The message with what became of it; `deliveries` may be those of other messages as well. `answer`: the user's.
    pub(super) fn new(message: TeamMessage, deliveries: &[Delivery], answer: Option<MessageId>, now: DateTime<Utc>) -> Self {
        let answer = answer.filter(|_| message.to == Recipient::User);
        let own = deliveries.iter().filter(|delivery| delivery.message_id == message.id);
        let recipients = own.map(|delivery| DeliveryView {
            agent_id: delivery.agent_id,
            read_at: delivery.read_at,
            answered_by: delivery.answered_by,
            task_id: delivery.wake_task_id,
            circle: delivery.circle.clone(),
        });
        Self {
            recipients: recipients.collect(),
            overdue: message.is_overdue(deliveries, answer, now),
            answered_by: answer,
            id: message.id,
            swarm_id: message.swarm_id,
            thread_id: message.thread_id,
            from_agent_id: message.from_agent,
            from_gateway: message.from_gateway,
            to: message.to.to_string(),
            kind: message.kind,
            priority: message.priority,
            subject: message.subject,
            body: message.body,
            requires_response: message.requires_response,
            deadline: message.deadline,
            in_reply_to: message.in_reply_to,
            created_at: message.created_at,
        }
    }
}
