//! The bus within one process: a table of the topics somebody listens to, and what runner, tunnel and mirror say of themselves.

use super::Topic;
use crate::model::{
    id::AgentId,
    mirror::MirrorStatus,
    runner::{Pause, ProcessFacts, RunnerStatus},
    tunnel::TunnelStatus,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, watch};

/// Measures what an agent's processes use.
#[derive(Clone)]
pub(super) struct Measure(pub(super) Arc<dyn Fn() -> Option<ProcessFacts> + Send + Sync>);

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Measure")
    }
}

/// What the mirror says of itself.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    /// What claude-flow says of its version.
    pub version: Option<String>,
    /// By project.
    pub projects: BTreeMap<String, MirrorStatus>,
}

/// State of an in-process bus. Its memory is bounded by the number of live subscriptions.
#[derive(Debug, Default)]
pub struct Local {
    topics: Mutex<HashMap<Topic, Listeners>>,
    runner: Mutex<RunnerStatus>,
    tunnel: Mutex<Option<TunnelStatus>>,
    mirror: Mutex<Option<Mirror>>,
    places: Mutex<Option<(usize, Arc<Semaphore>)>>,
    facts: Mutex<HashMap<AgentId, (u64, Measure)>>,
}

/// The listeners of one topic. The count is kept here, not taken from the channel: a receiver that is being
/// dropped still counts there, so two that leave at once would each leave the entry to the other.
#[derive(Debug)]
struct Listeners {
    sender: watch::Sender<()>,
    count: usize,
}

/// Nothing here panics while it holds a lock, and the data stays valid if something ever does.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    pub(super) fn notify(&self, topic: Topic) {
        if let Some(listeners) = lock(&self.topics).get(&topic) {
            listeners.sender.send_replace(());
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, topic: Topic) -> Subscription {
        let mut topics = lock(&self.topics);
        let listeners = topics.entry(topic).or_insert_with(|| Listeners { sender: watch::Sender::new(()), count: 0 });
        listeners.count += 1;
        Subscription { local: Arc::clone(self), topic, receiver: listeners.sender.subscribe() }
    }

    pub(super) fn set_runner_status(&self, status: RunnerStatus) {
        let mut runner = lock(&self.runner);
        let pause = runner.pause.take();
        *runner = RunnerStatus { pause, ..status };
    }

    pub(super) fn set_pause(&self, pause: Option<Pause>) {
        lock(&self.runner).pause = pause;
    }

    pub(super) fn serve_facts(self: &Arc<Self>, agent: AgentId, measure: Measure) -> FactsGuard {
        let mut facts = lock(&self.facts);
        // A successor may begin to serve before its predecessor is dropped.
        let number = facts.get(&agent).map_or(0, |(number, _)| number + 1);
        facts.insert(agent, (number, measure));
        FactsGuard { local: Arc::clone(self), agent, number }
    }

    pub(super) fn facts_of(&self, agent: AgentId) -> Option<Measure> {
        lock(&self.facts).get(&agent).map(|(_, measure)| measure.clone())
    }

    pub(super) fn runner_status(&self) -> RunnerStatus {
        lock(&self.runner).clone()
    }

    pub(super) fn set_places(&self, all: usize, free: Arc<Semaphore>) {
        *lock(&self.places) = Some((all, free));
    }

    pub(super) fn places(&self) -> Option<(usize, usize)> {
        lock(&self.places).as_ref().map(|(all, free)| (*all, free.available_permits()))
    }

    pub(super) fn set_tunnel_status(&self, status: TunnelStatus) {
        *lock(&self.tunnel) = Some(status);
    }

    pub(super) fn tunnel_status(&self) -> Option<TunnelStatus> {
        lock(&self.tunnel).clone()
    }

    pub(super) fn set_mirror_version(&self, version: Option<String>) {
        lock(&self.mirror).get_or_insert_default().version = version;
    }

    pub(super) fn set_mirror_status(&self, status: MirrorStatus) {
        lock(&self.mirror).get_or_insert_default().projects.insert(status.project.clone(), status);
    }

    pub(super) fn mirror(&self) -> Option<Mirror> {
        lock(&self.mirror).clone()
    }

    fn unsubscribe(&self, topic: Topic) {
        let mut topics = lock(&self.topics);
        if let Some(listeners) = topics.get_mut(&topic) {
            listeners.count -= 1;
            if listeners.count == 0 {
                topics.remove(&topic);
            }
        }
    }
}

/// Serves an agent's process facts until dropped.
#[derive(Debug)]
pub struct FactsGuard {
    local: Arc<Local>,
    agent: AgentId,
    number: u64,
}

impl Drop for FactsGuard {
    fn drop(&mut self) {
        let mut facts = lock(&self.local.facts);
        if facts.get(&self.agent).is_some_and(|(number, _)| *number == self.number) {
            facts.remove(&self.agent);
        }
    }
}

/// One listener of one topic. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    local: Arc<Local>,
    topic: Topic,
    receiver: watch::Receiver<()>,
}

impl Subscription {
    /// Waits for a notification; returns at once when there was one since the last call, or since the subscription
    /// began. Several notifications count as one. Safe in `select!`: a cancelled call loses nothing.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // Cannot happen: the sender stays in the table as long as this listener is counted.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.local.unsubscribe(self.topic);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Bus, *};
    use crate::model::id::{AgentId, TaskId};
    use futures::FutureExt;

    fn topics(bus: &Bus) -> usize {
        let Bus::Local(local) = bus;
        lock(&local.topics).len()
    }

    #[tokio::test]
    async fn a_notification_before_the_wait_is_not_lost_and_counts_once() {
        let bus = Bus::local();
        let topic = Topic::Task(TaskId::generate());
        bus.notify(topic);
        let mut subscription = bus.subscribe(topic);
        assert!(subscription.changed().now_or_never().is_none(), "older than the subscription");
        bus.notify(topic);
        bus.notify(topic);
        bus.notify(Topic::Dispatch);
        assert!(subscription.changed().now_or_never().is_some());
        assert!(subscription.changed().now_or_never().is_none(), "two notifications, one wake-up");
        bus.notify(topic);
        assert!(subscription.changed().now_or_never().is_some(), "a cancelled wait loses nothing");
    }

    #[tokio::test]
    async fn the_table_holds_only_topics_with_listeners() {
        let bus = Bus::local();
        let agent = Topic::Agent(AgentId::generate());
        let (first, mut second) = (bus.subscribe(agent), bus.subscribe(agent));
        let other = bus.subscribe(Topic::Dispatch);
        assert_eq!(topics(&bus), 2);
        drop(first);
        bus.notify(agent);
        assert!(second.changed().now_or_never().is_some(), "one listener leaving does not cut off the other");
        drop((second, other));
        assert_eq!(topics(&bus), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_subscribers_come_and_go_and_each_is_woken() {
        let bus = Bus::local();
        let topic = Topic::Task(TaskId::generate());
        let listeners: Vec<_> = (0..500)
            .map(|_| {
                let mut subscription = bus.subscribe(topic);
                tokio::spawn(async move { subscription.changed().await })
            })
            .collect();
        bus.notify(topic);
        for listener in listeners {
            listener.await.expect("woken");
        }
        assert_eq!(topics(&bus), 0, "concurrent drops leave nothing behind");
    }

    #[test]
    fn the_latest_runner_status_is_kept() {
        let bus = Bus::local();
        assert!(!bus.runner_status().running);
        bus.clone().set_runner_status(RunnerStatus { running: true, ..RunnerStatus::default() });
        assert!(bus.runner_status().running);
    }
}
