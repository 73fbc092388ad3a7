//! Reading messages: an agent's inbox, and a swarm's history.

use super::{
    Store, StoreError,
    db::{on, text, word},
    json::JsonText,
};
use crate::model::{
    id::{AgentId, MessageId, SwarmId, TaskId},
    task::Priority,
    team::{Delivery, Recipient, Request, TeamMessage},
};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Which messages of a swarm to list.
#[derive(Debug, Clone, Copy)]
pub struct MessageFilter {
    /// The swarm.
    pub swarm: SwarmId,
    /// Only those this agent wrote or got.
    pub agent: Option<AgentId>,
    /// Only those of this conversation.
    pub thread: Option<MessageId>,
    /// Only those that a recipient has not read; with `agent`, this recipient.
    pub unread: bool,
    /// Only those sent before this one: the last of the previous page.
    pub before: Option<MessageId>,
    /// At most so many.
    pub limit: u32,
}

/// Which messages of an agent's inbox to list.
#[derive(Debug, Clone, Copy)]
pub struct InboxFilter {
    /// Whose inbox.
    pub agent: AgentId,
    /// Only those of this conversation.
    pub thread: Option<MessageId>,
    /// Also those that were read.
    pub include_read: bool,
    /// Only those after this one: the last of the previous page.
    pub after: Option<(Priority, MessageId)>,
    /// At most so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: Uuid,
    swarm_id: Uuid,
    owner: String,
    thread_id: Uuid,
    from_agent: Option<Uuid>,
    to_kind: String,
    to_agent: Option<Uuid>,
    to_role: Option<String>,
    kind: String,
    priority: i16,
    subject: String,
    body: String,
    requires_response: bool,
    deadline: Option<DateTime<Utc>>,
    in_reply_to: Option<Uuid>,
    hops: i64,
    created_at: DateTime<Utc>,
    idempotency_key: Option<String>,
    request_hash: String,
    from_gateway: bool,
}

impl MessageRow {
    fn into_message(self) -> Result<TeamMessage, StoreError> {
        let to = match (self.to_kind.as_str(), self.to_agent, self.to_role) {
            ("agent", Some(id), _) => Recipient::Agent(id.into()),
            ("role", _, Some(role)) => Recipient::Role(word(&role)?),
            ("all", ..) => Recipient::All,
            ("user", ..) => Recipient::User,
            (other, ..) => return Err(StoreError::internal(format!("a message to `{other}`"))),
        };
        Ok(TeamMessage {
            id: self.id.into(),
            swarm_id: self.swarm_id.into(),
            owner: self.owner,
            thread_id: self.thread_id.into(),
            from_agent: self.from_agent.map(Into::into),
            from_gateway: self.from_gateway,
            to,
            kind: word(&self.kind)?,
            priority: Priority::from_rank(self.priority).ok_or_else(|| StoreError::internal("a priority"))?,
            subject: self.subject,
            body: self.body,
            requires_response: self.requires_response,
            deadline: self.deadline,
            in_reply_to: self.in_reply_to.map(Into::into),
            hops: u32::try_from(self.hops).map_err(StoreError::internal)?,
            created_at: self.created_at,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
        })
    }
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    message_id: Uuid,
    agent_id: Uuid,
    read_at: Option<DateTime<Utc>>,
    answered_by: Option<Uuid>,
    wake_task_id: Option<Uuid>,
    circle: Option<JsonText>,
}

impl DeliveryRow {
    fn into_delivery(self) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            message_id: self.message_id.into(),
            agent_id: self.agent_id.into(),
            read_at: self.read_at,
            answered_by: self.answered_by.map(Into::into),
            wake_task_id: self.wake_task_id.map(TaskId::from),
            circle: self.circle.as_ref().map(JsonText::parse).transpose()?,
        })
    }
}

impl Store {
    /// The message, when there is one in the swarm.
    pub async fn get_team_message(&self, swarm: SwarmId, id: MessageId) -> Result<Option<TeamMessage>, StoreError> {
        const SQL: &str = "SELECT * FROM team_message WHERE id = $1 AND swarm_id = $2";
        let row: Option<MessageRow> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).bind(swarm.uuid()).fetch_optional(p).await?);
        row.map(MessageRow::into_message).transpose()
    }

    /// The message its owner sent with this idempotency key.
    pub async fn find_team_message(&self, owner: &str, key: &str) -> Result<Option<TeamMessage>, StoreError> {
        const SQL: &str = "SELECT * FROM team_message WHERE owner = $1 AND idempotency_key = $2";
        let row: Option<MessageRow> =
            on!(write & self.db, |p| sqlx::query_as(SQL).bind(text(owner)).bind(text(key)).fetch_optional(p).await?);
        row.map(MessageRow::into_message).transpose()
    }

    /// The messages that pass the filter, newest first.
    pub async fn list_team_messages(&self, filter: &MessageFilter) -> Result<Vec<TeamMessage>, StoreError> {
        let rows: Vec<MessageRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT m.* FROM team_message m WHERE m.swarm_id = ");
            query.push_bind(filter.swarm.uuid());
            if let Some(agent) = filter.agent {
                query.push(" AND (EXISTS (SELECT 1 FROM team_delivery d WHERE d.message_id = m.id AND d.agent_id = ");
                query.push_bind(agent.uuid()).push(")");
                if !filter.unread {
                    query.push(" OR m.from_agent = ").push_bind(agent.uuid());
                }
                query.push(")");
            }
            if let Some(thread) = filter.thread {
                query.push(" AND m.thread_id = ").push_bind(thread.uuid());
            }
            if filter.unread {
                query.push(" AND EXISTS (SELECT 1 FROM team_delivery d WHERE d.message_id = m.id AND d.read_at IS NULL");
                if let Some(agent) = filter.agent {
                    query.push(" AND d.agent_id = ").push_bind(agent.uuid());
                }
                query.push(")");
            }
            if let Some(before) = filter.before {
                query.push(" AND m.id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY m.id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(MessageRow::into_message).collect()
    }

    /// The messages an agent got, the most urgent first, then the oldest.
    pub async fn list_inbox(&self, filter: &InboxFilter) -> Result<Vec<TeamMessage>, StoreError> {
        let rows: Vec<MessageRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT m.* FROM team_delivery d JOIN team_message m ON m.id = d.message_id WHERE d.agent_id = ",
            );
            query.push_bind(filter.agent.uuid());
            if !filter.include_read {
                query.push(" AND d.read_at IS NULL");
            }
            if let Some(thread) = filter.thread {
                query.push(" AND m.thread_id = ").push_bind(thread.uuid());
            }
            if let Some((priority, id)) = filter.after {
                query.push(" AND (m.priority > ").push_bind(priority.rank());
                query.push(" OR (m.priority = ").push_bind(priority.rank()).push(" AND m.id > ").push_bind(id.uuid()).push("))");
            }
            query.push(" ORDER BY m.priority, m.id LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(MessageRow::into_message).collect()
    }

    /// What members of a swarm who have not ended want to know of their user and have not been told, the most urgent first.
    pub async fn list_questions_to_user(&self, swarm: SwarmId) -> Result<Vec<TeamMessage>, StoreError> {
        const SQL: &str = "SELECT m.* FROM team_message m JOIN agent a ON a.id = m.from_agent WHERE m.swarm_id = $1 \
                           AND m.to_kind = 'user' AND m.requires_response AND NOT a.terminate_requested \
                           AND a.status NOT IN ('terminated', 'failed', 'lost') AND NOT EXISTS \
                           (SELECT 1 FROM team_message r WHERE r.swarm_id = $1 AND r.in_reply_to = m.id AND r.from_agent IS NULL \
                           AND NOT r.from_gateway) ORDER BY m.priority, m.id";
        let rows: Vec<MessageRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(swarm.uuid()).fetch_all(p).await?);
        rows.into_iter().map(MessageRow::into_message).collect()
    }

    /// The user's first answer to each of these messages, where there is one.
    pub async fn list_answers_of_user(&self, messages: &[MessageId]) -> Result<BTreeMap<MessageId, MessageId>, StoreError> {
        if messages.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows: Vec<(Uuid, Uuid)> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT r.in_reply_to, r.id FROM team_message m JOIN team_message r ON r.swarm_id = m.swarm_id \
                 AND r.in_reply_to = m.id WHERE r.from_agent IS NULL AND NOT r.from_gateway AND m.id IN (",
            );
            let mut list = query.separated(", ");
            for message in messages {
                list.push_bind(message.uuid());
            }
            query.push(") ORDER BY r.id DESC");
            query.build_query_as().fetch_all(p).await?
        });
        Ok(rows.into_iter().map(|(question, answer)| (question.into(), answer.into())).collect())
    }

    /// What became of messages at their recipients.
    pub async fn list_deliveries(&self, messages: &[MessageId]) -> Result<Vec<Delivery>, StoreError> {
        if messages.is_empty() {
            return Ok(vec![]);
        }
        let rows: Vec<DeliveryRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM team_delivery WHERE message_id IN (");
            let mut list = query.separated(", ");
            for message in messages {
                list.push_bind(message.uuid());
            }
            query.push(") ORDER BY message_id, agent_id");
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(DeliveryRow::into_delivery).collect()
    }

    /// The requests the agent is dealing with in its turn, and from there on what these came of, as far as they are not answered:
    /// see `model/team/circle.rs`.
    pub async fn list_requests_behind(&self, agent: AgentId, turn: TaskId) -> Result<Vec<Request>, StoreError> {
        const SQL: &str = "WITH RECURSIVE behind (message_id, agent_id) AS (\
                           SELECT d.message_id, d.agent_id FROM team_delivery d JOIN team_message m ON m.id = d.message_id \
                           JOIN task t ON t.id = $2 WHERE d.agent_id = $1 AND m.requires_response AND d.answered_by IS NULL \
                           AND (d.wake_task_id = t.id OR d.read_at >= t.started_at) \
                           UNION SELECT d.message_id, d.agent_id FROM behind b JOIN team_message m ON m.id = b.message_id \
                           JOIN team_cause c ON c.message_id = m.id \
                           JOIN team_delivery d ON d.message_id = c.cause_id AND d.agent_id = m.from_agent \
                           WHERE d.answered_by IS NULL) \
                           SELECT b.message_id, m.from_agent, b.agent_id, m.kind FROM behind b \
                           JOIN team_message m ON m.id = b.message_id WHERE m.from_agent IS NOT NULL ORDER BY b.message_id";
        let rows: Vec<(Uuid, Uuid, Uuid, String)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(agent.uuid()).bind(turn.uuid()).fetch_all(p).await?);
        let request = |(id, from, to, kind): (Uuid, Uuid, Uuid, String)| {
            Ok(Request { id: id.into(), from: from.into(), to: to.into(), kind: word(&kind)? })
        };
        rows.into_iter().map(request).collect()
    }

    /// How many messages the agent has not read.
    pub async fn count_unread(&self, agent: AgentId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM team_delivery WHERE agent_id = $1 AND read_at IS NULL";
        Ok(on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(agent.uuid()).fetch_one(p).await?))
    }

    /// How many messages have led to one another by waking agents, if the task is a turn that such a message asked for.
    pub async fn hops_of_turn(&self, agent: AgentId, task: TaskId) -> Result<Option<u32>, StoreError> {
        const SQL: &str = "SELECT MAX(m.hops) FROM team_delivery d JOIN team_message m ON m.id = d.message_id \
                           WHERE d.agent_id = $1 AND m.requires_response AND m.id >= \
                           (SELECT message_id FROM team_delivery WHERE wake_task_id = $2 ORDER BY message_id LIMIT 1)";
        let most: Option<i64> =
            on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(agent.uuid()).bind(task.uuid()).fetch_one(p).await?);
        most.map(u32::try_from).transpose().map_err(StoreError::internal)
    }
}
