//! Messages to and from other members.

use super::{Caller, Outcome, Refused, members, told};
use crate::{
    model::{
        agent::Agent,
        event::EventKind,
        id::AgentId,
        swarm::Swarm,
        task::Priority,
        team::{Circle, Draft, MessageKind, Post, Recipient, Sender, TeamMessage, contacts_of, resolve},
        tool::{ReadMessages, SendMessage},
    },
    store::{InboxFilter, TeamChange},
};
use chrono::Utc;
use serde_json::{Value, json};

/// Messages given at once when the caller names no limit.
const MESSAGES: u32 = 20;
/// Characters of texts given at once; the rest stays unread.
const ANSWER_CHARS: usize = 40_000;

pub(super) async fn send(caller: &Caller<'_>, swarm: &Swarm, given: SendMessage) -> Result<Outcome, Refused> {
    let members = members(caller, swarm).await?;
    let in_reply_to = match given.in_reply_to {
        None => None,
        Some(id) => {
            let found = caller.store.get_team_message(swarm.id, id).await?;
            let deliveries = caller.store.list_deliveries(&[id]).await?;
            let own = caller.agent.id;
            let concerns = |message: &TeamMessage| {
                message.from_agent == Some(own) || deliveries.iter().any(|delivery| delivery.agent_id == own)
            };
            let refusal = || format!("`in_reply_to`: you neither got nor wrote a message {id}; read_messages shows the ids");
            Some(found.filter(concerns).ok_or_else(refusal)?)
        }
    };
    let (hops, behind) = match caller.task {
        Some(task) => (
            caller.store.hops_of_turn(caller.agent.id, task.id).await?.map_or(0, |hops| hops + 1),
            caller.store.list_requests_behind(caller.agent.id, task.id).await?,
        ),
        None => (0, vec![]),
    };
    let draft = Draft {
        to: resolve(&given.to, &members)?,
        kind: given.kind.unwrap_or(MessageKind::Status),
        priority: given.priority.unwrap_or(Priority::Normal),
        subject: given.subject,
        body: given.body,
        requires_response: given.requires_response,
        deadline_seconds: given.deadline_seconds,
        in_reply_to,
    };
    let sender = Sender::Agent { id: caller.agent.id, hops, behind: &behind };
    let post = draft.post(swarm, &members, sender, caller.timeout_seconds, Utc::now())?;
    let post = post.in_trace(caller.task.and_then(|task| task.traceparent.as_deref()));
    let mut answer = json!({
        "message_id": post.message.id,
        "thread_id": post.message.thread_id,
        "delivered_to": post.recipients.iter().map(|id| name_of(*id, &members)).collect::<Vec<_>>(),
    });
    if !post.circles.is_empty() {
        answer["circles_broken"] = broken(&post, &members);
    }
    if post.message.requires_response && post.recipients.len() > post.circles.len() {
        let words = if post.wake.is_empty() {
            "nobody is woken for it any more, because too many messages led to one another; it is read in the recipient's next turn"
        } else {
            "the answer comes into your inbox; end your turn if there is nothing else to do, and you are woken by messages that require a response"
        };
        answer["note"] = words.into();
    }
    if post.message.requires_response && post.message.to == Recipient::User {
        answer["note"] =
            "the user sees your question in the status of the team; end your turn if there is nothing else to do, and the \
                          answer comes as a message or as your next turn"
                .into();
    }
    let mut outcome = told(&answer, None);
    let broken = post.circles.iter().map(|circle| EventKind::DelegationBroken {
        circle: circle.agents.clone(),
        message_id: post.message.id,
        thread_id: post.message.thread_id,
    });
    outcome.events = broken.collect();
    outcome.change = Some(TeamChange::Send(Box::new(post)));
    Ok(outcome)
}

/// What the sender of a message is told of the circles it would have closed.
fn broken(post: &Post, members: &[Agent]) -> Value {
    let circle = |circle: &Circle| circle.agents.iter().map(|id| name_of(*id, members)).collect::<Vec<_>>();
    let told = match &post.alert {
        Some(_) => " The coordinator of the team was told.",
        None => "",
    };
    json!({
        "circles": post.circles.iter().map(circle).collect::<Vec<_>>(),
        "what_to_do": format!(
            "Each agent of a circle waits for the next one, the last one is you, and you have asked the first one: nobody would ever do the \
             work. So your message is in its inbox, but it was not woken and owes you no answer.{told} Do what you were asked with what you \
             have, and answer it with send_message and in_reply_to; say what is missing. To find out what somebody who asks you means, ask \
             with the kind `question`."
        ),
    })
}

pub(super) async fn read(caller: &Caller<'_>, swarm: &Swarm, given: &ReadMessages) -> Result<Outcome, Refused> {
    let filter = InboxFilter {
        agent: caller.agent.id,
        thread: given.thread_id,
        include_read: given.include_read,
        after: None,
        limit: given.limit.unwrap_or(MESSAGES),
    };
    let mut messages = caller.store.list_inbox(&filter).await?;
    let mut chars = 0;
    let fitting = messages.iter().take_while(|message| {
        chars += message.body.chars().count() + message.subject.chars().count();
        chars <= ANSWER_CHARS
    });
    // No message alone is longer.
    let count = fitting.count();
    messages.truncate(count);
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    let deliveries = caller.store.list_deliveries(&ids).await?;
    let own: Vec<_> = deliveries.into_iter().filter(|delivery| delivery.agent_id == caller.agent.id).collect();
    let unread: Vec<_> = own.iter().filter(|delivery| delivery.read_at.is_none()).map(|delivery| delivery.message_id).collect();
    let left = caller.store.count_unread(caller.agent.id).await? - i64::try_from(unread.len()).unwrap_or(0);
    let everybody = caller.store.list_members(swarm.id).await?;
    let shown: Vec<Value> = messages
        .iter()
        .map(|message| {
            let mut shown = json!({
                "id": message.id,
                "thread_id": message.thread_id,
                "from": match message.from_agent {
                    Some(id) => name_of(id, &everybody),
                    None if message.from_gateway => json!("gateway"),
                    None => json!("user"),
                },
                "to": message.to.to_string(),
                "kind": message.kind,
                "priority": message.priority,
                "subject": message.subject,
                "body": message.body,
                "sent_at": message.created_at,
            });
            if let Some(earlier) = message.in_reply_to {
                shown["in_reply_to"] = json!(earlier);
            }
            if message.requires_response {
                let answered = own.iter().any(|delivery| delivery.message_id == message.id && delivery.answered_by.is_some());
                shown["requires_response"] =
                    own.iter().all(|delivery| delivery.message_id != message.id || delivery.circle.is_none()).into();
                shown["answered"] = answered.into();
            }
            if let Some(deadline) = message.deadline {
                shown["deadline"] = json!(deadline);
            }
            shown
        })
        .collect();
    let answer = json!({"messages": shown, "still_unread": left.max(0)});
    let change = TeamChange::Read { agent: caller.agent.id, messages: unread.clone(), at: Utc::now() };
    Ok(told(&answer, Some(change).filter(|_| !unread.is_empty())))
}

pub(super) async fn list_team(caller: &Caller<'_>, swarm: &Swarm) -> Result<Outcome, Refused> {
    let members = members(caller, swarm).await?;
    let contacts: Vec<AgentId> = contacts_of(swarm, &members, caller.agent.id).iter().map(|agent| agent.id).collect();
    let shown = members.iter().map(|agent| {
        json!({
            "id": agent.id,
            "name": agent.name,
            "role": agent.agent_type,
            "status": agent.status,
            "is_you": agent.id == caller.agent.id,
            "you_may_write": contacts.contains(&agent.id),
        })
    });
    let answer = json!({
        "team": swarm.name,
        "topology": swarm.topology,
        "objective": swarm.objective,
        "members": shown.collect::<Vec<_>>(),
        "you_may_also_write_to": ["user"],
    });
    Ok(told(&answer, None))
}

/// A member as a model tells it apart.
fn name_of(id: AgentId, members: &[Agent]) -> Value {
    match members.iter().find(|agent| agent.id == id) {
        Some(agent) => json!({"id": id, "name": agent.name, "role": agent.agent_type}),
        None => json!({"id": id}),
    }
}
