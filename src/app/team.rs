//! Messages between the agents of a swarm, as their user sees and joins them.

mod view;

pub use view::{DeliveryView, InboxPage, TeamMessagePage, TeamMessageResource};

use super::{
    App,
    checks::{Refusals, request_hash, whole_number},
    detached,
    error::{AppError, Missing},
    now,
    size::take_within,
    tasks::{page_cursor, page_limit},
};
use crate::{
    bus::Topic,
    model::{
        id::{AgentId, MessageId, SwarmId},
        key::Principal,
        limits::{IDEMPOTENCY_KEY_CHARS, MESSAGE_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
        swarm::{Swarm, SwarmStatus},
        task::Priority,
        team::{Draft, MessageKind, Sender, TeamMessage, living, resolve},
    },
    store::{InboxFilter, MessageFilter, TeamChange},
};
use serde::Deserialize;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// A message of the user to members of a swarm.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "coder", "subject": "Use the new endpoint", "body": "The old one goes away on Friday. Tell me when you have changed over.", "kind": "task", "priority": "high", "requires_response": true, "deadline_seconds": 3600, "idempotency_key": "endpoint-1"}))]
pub struct SendTeamMessage {
    /// Id or name of a member, a role such as coder (everybody with it), or `all`.
    #[schema(min_length = 1, max_length = 200)]
    pub to: String,
    /// What it is about, in a line of at most 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub subject: String,
    /// The text, at most 16,000 characters.
    #[schema(min_length = 1, max_length = 16000)]
    pub body: String,
    /// What it is. Left out: task.
    #[schema(nullable = false)]
    pub kind: Option<MessageKind>,
    /// How urgent it is: more urgent ones are read first. Left out: normal.
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// Whether the recipients have to answer. Then each one is given a turn for it. Left out: false.
    #[schema(nullable = false)]
    pub requires_response: Option<bool>,
    /// Seconds until the answer should be there, 1 to 86400. Without an answer the message is then shown as overdue.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub deadline_seconds: Option<i64>,
    /// The message it answers.
    #[schema(nullable = false)]
    pub in_reply_to: Option<MessageId>,
    /// Your key for exact retries: the same key and request are one message.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// A message that was sent, or found to be sent before.
#[derive(Debug, Clone, PartialEq)]
pub struct SentTeamMessage {
    /// The message.
    pub message: TeamMessageResource,
    /// Whether this request sent it.
    pub is_new: bool,
}

/// Which messages of a swarm to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TeamMessageQuery {
    /// Only messages this agent wrote or got; with unread only those it has not read.
    #[param(nullable = false, pattern = "^agent_[0-9a-f]{32}$")]
    pub agent_id: Option<String>,
    /// Only messages of this conversation: the id of its first message.
    #[param(nullable = false, pattern = "^msg_[0-9a-f]{32}$")]
    pub thread_id: Option<String>,
    /// Only messages that a recipient has not read. Left out: false.
    #[param(nullable = false)]
    pub unread: Option<bool>,
    /// Most messages to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^msg_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// Which messages of an agent's inbox to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxQuery {
    /// Also messages the agent has read. Left out: false.
    #[param(nullable = false)]
    pub include_read: Option<bool>,
    /// Only messages of this conversation: the id of its first message.
    #[param(nullable = false, pattern = "^msg_[0-9a-f]{32}$")]
    pub thread_id: Option<String>,
    /// Most messages to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^msg_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// An id among the query's parameters.
pub(super) fn id_of<T: FromStr<Err: std::fmt::Display>>(field: &str, given: Option<&str>) -> Result<Option<T>, AppError> {
    given.map(|id| id.parse().map_err(|error| AppError::field(field, format!("{error}")))).transpose()
}

impl App {
    pub(super) async fn find_swarm(&self, who: &Principal, id: SwarmId) -> Result<Swarm, AppError> {
        let found = self.store.get_swarm(id, who.owner_filter()).await?;
        found.ok_or_else(|| {
            AppError::NotFound(Missing::Swarm, format!("you have no swarm {id}; get_swarm_status shows the ones you have"))
        })
    }

    /// The messages within a swarm, newest first, with what became of each at its recipients.
    pub async fn list_team_messages(
        &self,
        who: &Principal,
        id: SwarmId,
        query: &TeamMessageQuery,
    ) -> Result<TeamMessagePage, AppError> {
        let limit = page_limit(query.limit)?;
        let filter = MessageFilter {
            swarm: self.find_swarm(who, id).await?.id,
            agent: id_of("agent_id", query.agent_id.as_deref())?,
            thread: id_of("thread_id", query.thread_id.as_deref())?,
            unread: query.unread.unwrap_or(false),
            before: query.cursor.as_deref().map(page_cursor).transpose()?,
            limit: limit + 1,
        };
        let messages = self.store.list_team_messages(&filter).await?;
        let (messages, next_cursor) = self.message_page(messages, limit).await?;
        Ok(TeamMessagePage { messages, next_cursor })
    }

    /// The messages an agent got, in the order in which it reads them.
    pub async fn get_agent_inbox(&self, who: &Principal, id: AgentId, query: &InboxQuery) -> Result<InboxPage, AppError> {
        let limit = page_limit(query.limit)?;
        let agent = self.find_agent(who, id).await?;
        let thread = id_of("thread_id", query.thread_id.as_deref())?;
        let last: Option<MessageId> = query.cursor.as_deref().map(page_cursor).transpose()?;
        let after = match (last, agent.swarm_id) {
            (Some(last), Some(swarm)) => self.store.get_team_message(swarm, last).await?.map(|message| (message.priority, last)),
            _ => None,
        };
        if last.is_some() && after.is_none() {
            return Err(AppError::field("cursor", "is not a cursor; use `next_cursor` of the page before, or leave it out"));
        }
        let include_read = query.include_read.unwrap_or(false);
        let messages = self.store.list_inbox(&InboxFilter { agent: id, thread, include_read, after, limit: limit + 1 }).await?;
        let (messages, next_cursor) = self.message_page(messages, limit).await?;
        let unread = self.store.count_unread(id).await?;
        Ok(InboxPage { messages, unread, next_cursor })
    }

    /// Messages as callers see them, as many as fit on a page, and where the next one begins.
    async fn message_page(
        &self,
        mut messages: Vec<TeamMessage>,
        limit: u32,
    ) -> Result<(Vec<TeamMessageResource>, Option<MessageId>), AppError> {
        let more = messages.len() > limit as usize;
        messages.truncate(limit as usize);
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        let deliveries = self.store.list_deliveries(&ids).await?;
        let answers = self.store.list_answers_of_user(&ids).await?;
        let resources = messages.into_iter().map(|message| {
            let answer = answers.get(&message.id).copied();
            TeamMessageResource::new(message, &deliveries, answer, now())
        });
        let (page, cut) = take_within(resources.collect(), self.settings.page_chars());
        let next = page.last().filter(|_| more || cut).map(|message: &TeamMessageResource| message.id);
        Ok((page, next))
    }

    /// Sends a message of the user to members of a swarm.
    pub async fn send_team_message(
        &self,
        who: &Principal,
        id: SwarmId,
        request: SendTeamMessage,
    ) -> Result<SentTeamMessage, AppError> {
        let swarm = self.find_swarm(who, id).await?;
        let asked = serde_json::json!([
            "team message",
            id,
            request.to,
            request.subject,
            request.body,
            request.kind,
            request.priority,
            request.requires_response,
            request.deadline_seconds,
            request.in_reply_to
        ]);
        let (hash, key) = (request_hash(&asked), request.idempotency_key.clone());
        if let Some(sent) = self.sent_before(&swarm, key.as_deref(), &hash).await? {
            return Ok(sent);
        }
        let members = living(self.store.list_members(id).await?);
        let mut refusals = Refusals::default();
        refusals.text("to", &request.to, TITLE_CHARS);
        refusals.line("subject", &request.subject, TITLE_CHARS);
        refusals.text("body", &request.body, MESSAGE_CHARS);
        if let Some(key) = &key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        let deadline_seconds = refusals.within("deadline_seconds", request.deadline_seconds, 1..=TIMEOUT_SECONDS.into());
        refusals.finish()?;
        if swarm.status != SwarmStatus::Active {
            return Err(AppError::SwarmEnded { id, status: swarm.status });
        }
        let in_reply_to = match request.in_reply_to {
            None => None,
            Some(earlier) => {
                let found = self.store.get_team_message(id, earlier).await?;
                let words = "there is no such message in the swarm; its messages have their ids";
                Some(found.ok_or_else(|| AppError::field("in_reply_to", words))?)
            }
        };
        let draft = Draft {
            to: resolve(&request.to, &members).map_err(|words| AppError::field("to", words))?,
            kind: request.kind.unwrap_or(MessageKind::Task),
            priority: request.priority.unwrap_or(Priority::Normal),
            subject: request.subject,
            body: request.body,
            requires_response: request.requires_response.unwrap_or(false),
            deadline_seconds,
            in_reply_to,
        };
        let post = draft.post(&swarm, &members, Sender::User, self.settings.task_timeout_seconds, now());
        let post = post.map_err(|words| AppError::field("to", words))?;
        let mut post = post.in_trace(crate::trace::current().as_deref());
        post.message.idempotency_key.clone_from(&key);
        post.message.request_hash.clone_from(&hash);
        let (message, recipients) = (post.message.clone(), post.recipients.clone());
        let app = self.clone();
        let is_new = detached(async move {
            let is_new = app.store.change_team(TeamChange::Send(Box::new(post))).await?;
            app.bus.notify(Topic::Swarm(id));
            for agent in recipients {
                app.bus.notify(Topic::Control(agent));
                app.bus.notify(Topic::Agent(agent));
            }
            app.bus.notify(Topic::Dispatch);
            Ok(is_new)
        })
        .await?;
        if !is_new {
            let sent = self.sent_before(&swarm, key.as_deref(), &hash).await?;
            return sent.ok_or_else(|| AppError::Internal("a message was neither stored nor found".into()));
        }
        let deliveries = self.store.list_deliveries(&[message.id]).await?;
        Ok(SentTeamMessage { message: TeamMessageResource::new(message, &deliveries, None, now()), is_new: true })
    }

    /// The message that was sent with this key.
    async fn sent_before(&self, swarm: &Swarm, key: Option<&str>, hash: &str) -> Result<Option<SentTeamMessage>, AppError> {
        let Some(key) = key else { return Ok(None) };
        match self.store.find_team_message(&swarm.owner, key).await? {
            None => Ok(None),
            Some(earlier) if earlier.request_hash == hash => {
                let deliveries = self.store.list_deliveries(&[earlier.id]).await?;
                let message = TeamMessageResource::new(earlier, &deliveries, None, now());
                Ok(Some(SentTeamMessage { message, is_new: false }))
            }
            Some(earlier) => Err(AppError::IdempotencyConflict { first: earlier.id.to_string() }),
        }
    }
}
