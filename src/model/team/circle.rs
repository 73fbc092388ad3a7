//! Circles of delegation: agents that wait for one another, so that nobody does the work.
//!
//! The rule. A *request* is a message that requires a response. An agent is *dealing with* a request in a turn that it was
//! woken for by it, or in which it read it, until it has answered it. A request *comes of* those its sender was dealing with when
//! it wrote it; that is stored with it. So each request has a lineage: what it came of, what that came of, and so on, as far as
//! these are not answered. A request to an agent that wrote a request of its own lineage closes a circle: every agent on it waits
//! for the next. Two agents are enough: to ask somebody who asks for the same back.
//!
//! One request is let through although it closes a circle: a `question` straight to the one who asks, which is how one finds out what
//! is meant. Once only: whoever is asked back in this way answers, and does not ask back again.
//!
//! What is broken is the wait, not the message. It is delivered and kept, but it asks nothing of the recipient on the circle:
//! nobody is woken for it, no answer is due, and it does not count as an answer to what the sender was asked. So of n agents at most
//! 2(n - 1) requests lead to one another, whatever the agents do.

use super::MessageKind;
use crate::model::id::{AgentId, MessageId};
use std::collections::BTreeSet;

/// A request of the sender's lineage, at one of its recipients, who has not answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The message.
    pub id: MessageId,
    /// Who waits for the answer.
    pub from: AgentId,
    /// Who is to answer.
    pub to: AgentId,
    /// What the message is.
    pub kind: MessageKind,
}

/// A circle that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The agents on it, each of which would have waited for the next, and the last for the first. Begins with the recipient and
    /// ends with the sender of the message that would have closed it.
    pub agents: Vec<AgentId>,
}

/// The circle that a request would close, if it would: see the module's comment. `behind` is the sender's lineage: every request it
/// is dealing with and, from there on, what these came of.
pub(super) fn circle(behind: &[Request], from: AgentId, to: AgentId, kind: MessageKind) -> Option<Circle> {
    let asks = |one: AgentId, other: AgentId| behind.iter().any(|request| (request.from, request.to) == (one, other));
    if kind == MessageKind::Question && asks(to, from) && !asks(from, to) {
        return None;
    }
    // The way back from the sender, to whom everybody on it owes an answer; the shortest one, to be told of.
    let (mut reached, mut ways) = (BTreeSet::from([from]), vec![vec![from]]);
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        let last = way.last().copied()?;
        if last == to && last != from {
            return Some(Circle { agents: way.into_iter().rev().collect() });
        }
        for request in behind.iter().filter(|request| request.to == last) {
            if reached.insert(request.from) {
                ways.push(way.iter().copied().chain([request.from]).collect());
            }
        }
    }
    None
}

/// The requests that `agent` itself is dealing with.
pub(super) fn in_hand(behind: &[Request], agent: AgentId) -> Vec<MessageId> {
    let own = behind.iter().filter(|request| request.to == agent).map(|request| request.id);
    own.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
