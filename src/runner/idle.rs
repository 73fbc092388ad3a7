//! Agents whose process waits for a turn, the longest waiting first: they give up their place when another agent needs it.

use crate::model::id::{AgentId, KeyId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// The waiting agents of this host.
#[derive(Debug, Default)]
pub(super) struct Idlers {
    list: Mutex<List>,
    /// Told when it is worth asking again: somebody begins to wait, or does not give up its place after all.
    pub(super) arrived: Notify,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    agent: AgentId,
    key: Option<KeyId>,
    wanted: Arc<Notify>,
}

/// One agent's entry; dropping it takes the agent off the list.
#[derive(Debug)]
pub(super) struct Rest {
    idlers: Arc<Idlers>,
    number: u64,
    wanted: Arc<Notify>,
    /// Whether the agent gives up its place because it was asked.
    gives_way: AtomicBool,
}

impl Rest {
    /// Waits until the agent's place is needed. Whoever hears that gives it up.
    pub(super) async fn is_wanted(&self) {
        self.wanted.notified().await;
        self.gives_way.store(true, Ordering::Relaxed);
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let was_asked = self.idlers.list().waiting.remove(&self.number).is_none();
        if was_asked && !*self.gives_way.get_mut() {
            // It got a message first: somebody else has to be asked.
            self.idlers.ask_again();
        }
    }
}

impl Idlers {
    /// Nothing here panics while it holds the lock.
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an agent at the end of the list.
    pub(super) fn enter(self: &Arc<Self>, agent: AgentId, key: Option<KeyId>) -> Rest {
        let wanted = Arc::new(Notify::new());
        let mut list = self.list();
        list.next += 1;
        let number = list.next;
        list.waiting.insert(number, Waiting { agent, key, wanted: wanted.clone() });
        drop(list);
        self.ask_again();
        Rest { idlers: self.clone(), number, wanted, gives_way: AtomicBool::new(false) }
    }

    /// Whoever waits for a place should ask once more.
    pub(super) fn ask_again(&self) {
        self.arrived.notify_one();
    }

    /// Asks the agent that has waited longest, of those of `key` if one is given, for its place. It is asked once.
    pub(super) fn ask_one(&self, key: Option<KeyId>) -> bool {
        self.ask_first(|waiting| key.is_none() || waiting.key == key)
    }

    /// Asks this agent for its place, if it waits.
    pub(super) fn ask(&self, agent: AgentId) -> bool {
        self.ask_first(|waiting| waiting.agent == agent)
    }

    fn ask_first(&self, is_meant: impl Fn(&Waiting) -> bool) -> bool {
        let mut list = self.list();
        let found = list.waiting.iter().find(|(_, waiting)| is_meant(waiting)).map(|(number, _)| *number);
        let Some(waiting) = found.and_then(|number| list.waiting.remove(&number)) else { return false };
        // Stored when nobody waits for it at this moment.
        waiting.wanted.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_longest_waiting_is_asked_first_and_only_once() {
        let idlers = Arc::new(Idlers::default());
        let key = KeyId::generate();
        let enter = |key| idlers.enter(AgentId::generate(), key);
        let (first, second, third) = (enter(None), enter(Some(key)), enter(None));
        assert!(idlers.ask_one(Some(key)), "that of the key");
        assert!(second.is_wanted().now_or_never().is_some() && first.is_wanted().now_or_never().is_none());
        drop(first);
        assert!(idlers.ask_one(None));
        assert!(third.is_wanted().now_or_never().is_some());
        assert!(!idlers.ask_one(None), "nobody is left to ask");
    }

    #[test]
    fn who_was_asked_and_gets_a_message_first_passes_the_question_on() {
        let idlers = Arc::new(Idlers::default());
        let (first, second) = (idlers.enter(AgentId::generate(), None), idlers.enter(AgentId::generate(), None));
        assert!(idlers.arrived.notified().now_or_never().is_some());
        assert!(idlers.ask_one(None) && idlers.arrived.notified().now_or_never().is_none());
        drop(first);
        assert!(idlers.arrived.notified().now_or_never().is_some(), "asked in vain");
        assert!(idlers.ask_one(None));
        assert!(second.is_wanted().now_or_never().is_some());
        drop(second);
        assert!(idlers.arrived.notified().now_or_never().is_none(), "this one gives up its place");
    }
}
