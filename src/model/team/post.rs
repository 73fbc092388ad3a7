//! From what somebody wants to send to what has to be stored, or to why it is not sent.

use super::{
    MessageKind, Recipient, TeamMessage,
    circle::{Circle, Request, circle, in_hand},
};
use crate::model::{
    agent::{Agent, AgentType},
    id::{AgentId, MessageId},
    limits::MESSAGE_HOPS,
    swarm::{Swarm, SwarmStatus},
    task::{MessageMode, Priority, Task},
    topology::links::{Member, contacts},
};
use chrono::{DateTime, TimeDelta, Utc};

/// What somebody wants to send. Texts and numbers are checked already.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whom it is for.
    pub to: Recipient,
    /// What it is.
    pub kind: MessageKind,
    /// How urgent it is.
    pub priority: Priority,
    /// What it is about, in a line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Whether an answer is wanted.
    pub requires_response: bool,
    /// Seconds until the answer should be there.
    pub deadline_seconds: Option<u32>,
    /// The message it answers.
    pub in_reply_to: Option<TeamMessage>,
}

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub enum Sender<'a> {
    /// A member.
    Agent {
        /// Which.
        id: AgentId,
        /// The hops of the messages that its running turn was asked for.
        hops: u32,
        /// The requests it is dealing with, and what these came of.
        behind: &'a [Request],
    },
    /// The user, who may write to everybody.
    User,
}

/// A message with everything that is stored along with it.
#[derive(Debug, Clone)]
pub struct Post {
    /// The message.
    pub message: TeamMessage,
    /// Who gets it.
    pub recipients: Vec<AgentId>,
    /// Turns that make recipients read it. Not stored for one who has such a turn before it already, and taken back when it
    /// reads its messages earlier, in a turn that runs now.
    pub wake: Vec<Task>,
    /// The requests it comes of, when it is one.
    pub causes: Vec<MessageId>,
    /// The circles it would have closed, each at the first agent on it. It asks nothing of these.
    pub circles: Vec<Circle>,
    /// What the gateway tells the coordinator about it.
    pub alert: Option<Box<Self>>,
}

impl Post {
    /// The circle because of which the message asks nothing of `recipient`.
    pub fn circle_at(&self, recipient: AgentId) -> Option<&Circle> {
        self.circles.iter().find(|circle| circle.agents.first() == Some(&recipient))
    }
}

impl Post {
    /// With its turns at this place in a trace.
    #[must_use]
    pub fn in_trace(mut self, traceparent: Option<&str>) -> Self {
        for task in &mut self.wake {
            task.traceparent = traceparent.map(str::to_owned);
        }
        self
    }
}

/// The members who can take part: those that have not ended.
pub fn living(members: Vec<Agent>) -> Vec<Agent> {
    members.into_iter().filter(|agent| !agent.status.is_ended() && !agent.terminate_requested).collect()
}

/// The members `from` may write to.
pub fn contacts_of<'a>(swarm: &Swarm, members: &'a [Agent], from: AgentId) -> Vec<&'a Agent> {
    let places = members.iter().map(|agent| Member {
        agent: agent.id,
        role: agent.agent_type,
        backend: agent.backend,
        place: agent.swarm_place.unwrap_or(i64::MAX),
        added: agent.scaled,
    });
    let linked = contacts(swarm.topology, &places.collect::<Vec<_>>(), from);
    linked.into_iter().filter_map(|id| members.iter().find(|agent| agent.id == id)).collect()
}

/// Understands `to`: the id or the name of a member, a role, `all` or `user`.
pub fn resolve(to: &str, members: &[Agent]) -> Result<Recipient, String> {
    let to = to.trim();
    match to {
        "all" => return Ok(Recipient::All),
        "user" => return Ok(Recipient::User),
        _ => {}
    }
    let mut named = members.iter().filter(|agent| agent.name == to || agent.id.to_string() == to);
    match (named.next(), named.next(), to.parse::<AgentType>()) {
        (Some(agent), None, _) => Ok(Recipient::Agent(agent.id)),
        (Some(_), Some(_), _) => Err(format!("more than one member is named `{to}`; use the id: {}", list(members.iter()))),
        (None, _, Ok(role)) if members.iter().any(|agent| agent.agent_type == role) => Ok(Recipient::Role(role)),
        (None, _, _) => Err(format!(
            "there is no member `{}` in the swarm; use the id or name of a member, a role, `all` or `user`. Members: {}",
            to.chars().take(100).collect::<String>(),
            list(members.iter())
        )),
    }
}

fn list<'a>(agents: impl Iterator<Item = &'a Agent>) -> String {
    let words = agents.map(|agent| format!("{} ({}, {})", agent.name, agent.agent_type, agent.id)).collect::<Vec<_>>();
    if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
}

impl Draft {
    /// What to store, or why the message is not sent. `members` are the living ones; `timeout_seconds` is what a turn may take.
    pub fn post(
        self,
        swarm: &Swarm,
        members: &[Agent],
        sender: Sender<'_>,
        timeout_seconds: u32,
        now: DateTime<Utc>,
    ) -> Result<Post, String> {
        if swarm.status != SwarmStatus::Active {
            return Err(format!("{} is `{}`; nothing can be sent in it any more", swarm.id, swarm.status));
        }
        let recipients = self.recipients(swarm, members, sender)?;
        let (from_agent, hops, behind) = match sender {
            Sender::Agent { id, hops, behind } => (Some(id), hops, behind),
            Sender::User => (None, 0, &[][..]),
        };
        let id = MessageId::generate();
        let message = TeamMessage {
            id,
            swarm_id: swarm.id,
            owner: swarm.owner.clone(),
            thread_id: self.in_reply_to.as_ref().map_or(id, |earlier| earlier.thread_id),
            from_agent,
            from_gateway: false,
            to: self.to,
            kind: self.kind,
            priority: self.priority,
            subject: self.subject,
            body: self.body,
            requires_response: self.requires_response,
            deadline: self.deadline_seconds.map(|seconds| now + TimeDelta::seconds(seconds.into())),
            in_reply_to: self.in_reply_to.map(|earlier| earlier.id),
            hops,
            created_at: now,
            idempotency_key: None,
            request_hash: String::new(),
        };
        // Agents that answer each other with questions would otherwise wake each other for ever.
        let wakes = message.requires_response && hops < MESSAGE_HOPS;
        let mut post = Post { wake: vec![], recipients: vec![], message, causes: vec![], circles: vec![], alert: None };
        if let Some(from) = from_agent.filter(|_| post.message.requires_response) {
            post.causes = in_hand(behind, from);
            let closed = recipients.iter().filter_map(|agent| circle(behind, from, agent.id, post.message.kind));
            post.circles = closed.collect();
        }
        let woken = recipients.iter().filter(|agent| wakes && agent.durable && post.circle_at(agent.id).is_none());
        post.wake = woken.map(|agent| wake_task(agent, &post.message, timeout_seconds)).collect();
        post.recipients = recipients.iter().map(|agent| agent.id).collect();
        post.alert = alert(&post, members, timeout_seconds).map(Box::new);
        Ok(post)
    }

    fn recipients<'a>(&self, swarm: &Swarm, members: &'a [Agent], sender: Sender<'_>) -> Result<Vec<&'a Agent>, String> {
        let reachable: Vec<&Agent> = match sender {
            Sender::Agent { id, .. } => contacts_of(swarm, members, id),
            Sender::User => members.iter().collect(),
        };
        let wanted = |agent: &&&Agent| match self.to {
            Recipient::Agent(id) => agent.id == id,
            Recipient::Role(role) => agent.agent_type == role,
            Recipient::All => true,
            Recipient::User => false,
        };
        let found: Vec<&Agent> = reachable.iter().filter(wanted).copied().collect();
        match (self.to, sender) {
            (Recipient::User, Sender::User) => Err("`user` is yourself; write to a member, a role or `all`".to_owned()),
            (Recipient::Agent(to), Sender::Agent { id, .. }) if to == id => {
                Err("this is yourself; write to somebody else".to_owned())
            }
            (Recipient::User, _) => Ok(vec![]),
            (_, Sender::User) if found.is_empty() && reachable.is_empty() => {
                Err("the swarm has no agent any more that could read it".to_owned())
            }
            (_, Sender::User) if found.is_empty() => {
                Err(format!("no agent of the swarm is `{}`. You may write to: {}", self.to, list(reachable.iter().copied())))
            }
            _ if found.is_empty() => Err(format!(
                "the {} topology of the swarm does not let you write to `{}`. You may write to: {}, and to `user`",
                swarm.topology,
                self.to,
                list(reachable.iter().copied())
            )),
            _ => Ok(found),
        }
    }
}

/// What the gateway tells the first coordinator that has no part in the circles of `post`, if there are any.
fn alert(post: &Post, members: &[Agent], timeout_seconds: u32) -> Option<Post> {
    let first = post.circles.first()?;
    let is_apart = |id| post.circles.iter().all(|circle| !circle.agents.contains(&id));
    let free = members.iter().filter(|agent| agent.agent_type == AgentType::COORDINATOR && is_apart(agent.id));
    let coordinator = free.min_by_key(|agent| (agent.swarm_place, agent.id))?;
    let name =
        |id: &AgentId| members.iter().find(|agent| agent.id == *id).map_or_else(|| id.to_string(), |agent| agent.name.clone());
    let names: Vec<String> = first.agents.iter().map(name).collect();
    let (begins, ends) = (names.first()?, names.last()?);
    let about = &post.message;
    let body = format!(
        "{begins} waits for an answer of {}, and {ends} has now asked {begins} ({:?}, {}). They would wait for each other for ever, so the \
         gateway has not woken {begins} for it. Decide who does the work, and tell them with send_message and the id of this message in \
         in_reply_to.",
        names[1..].join(", who waits for "),
        about.subject,
        about.id
    );
    let id = MessageId::generate();
    let message = TeamMessage {
        id,
        thread_id: id,
        from_agent: None,
        from_gateway: true,
        to: Recipient::Agent(coordinator.id),
        kind: MessageKind::Status,
        priority: Priority::High,
        subject: "Agents delegate in a circle".to_owned(),
        body,
        requires_response: true,
        deadline: None,
        in_reply_to: None,
        ..about.clone()
    };
    let woken = coordinator.durable && message.hops < MESSAGE_HOPS;
    Some(Post {
        wake: woken.then(|| wake_task(coordinator, &message, timeout_seconds)).into_iter().collect(),
        recipients: vec![coordinator.id],
        message,
        causes: vec![],
        circles: vec![],
        alert: None,
    })
}

/// The turn that makes an agent read and answer `message`.
pub fn wake_task(agent: &Agent, message: &TeamMessage, timeout_seconds: u32) -> Task {
    let subject: String = message.subject.chars().take(150).collect();
    let deadline = message.deadline.map(|at| format!(" An answer is wanted before {}.", at.format("%Y-%m-%d %H:%M:%S UTC")));
    let description = format!(
        "A team message waits for your answer: {subject:?} ({}). Read your messages with the tool read_messages, do what they ask, and \
         answer each one that requires a response with send_message and its id in in_reply_to.{}",
        message.id,
        deadline.unwrap_or_default()
    );
    Task {
        key_id: agent.key_id,
        title: format!("Answer: {subject}"),
        description,
        backend: agent.backend,
        project: agent.project.clone(),
        priority: message.priority,
        mode: Some(MessageMode::Queue),
        agent_id: Some(agent.id),
        ..Task::new(
            agent.owner.clone(),
            agent.agent_type,
            agent.limits.timeout_seconds.unwrap_or(timeout_seconds),
            agent.provenance,
            message.created_at,
        )
    }
}

#[cfg(test)]
mod tests;
