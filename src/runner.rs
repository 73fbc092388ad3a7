//! The runner: gives work to agents and has one actor supervise each agent that has a process.
//!
//! Theory of operation. `run` looks for work that needs a process: tasks, and messages to agents at rest. It takes a
//! place among the live agents (asking the agent that has been idle longest for its own, if there is none), claims the
//! most urgent work and hands both to an actor. The actor prepares a workspace, stores agent, run and process in one
//! transaction (`provision`), waits for one of few starting places, and starts the process. From then on it selects
//! between orders, time and output; each becomes an input of the pure `machine`, whose reaction is stored together
//! with the offset read up to, and only then acted upon. A durable agent's process waits for the next message after a
//! turn, and takes it by itself; it is parked after a while, or when its place is needed. After a restart `recover`
//! finds the processes that were never finished and gives each an actor again, which goes on at the stored offset.

mod actor;
mod brief;
mod commit;
mod gate;
mod idle;
mod machine;
mod mcp;
pub mod preflight;
mod provision;
mod recover;
mod tools;
mod workspace;

use crate::{
    bus::{Bus, Topic},
    config,
    model::{
        current::Current,
        id::{AgentId, KeyId, TaskId},
        mcp::McpServers,
        project::Project,
        quota::KeyLimits,
        role,
        run::{Failure, FailureCode},
    },
    process::{Launcher, Watcher},
    store::Store,
};
use chrono::{TimeDelta, Utc};
use futures::FutureExt;
use gate::Gate;
use idle::Idlers;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the runner is configured with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[runner]`
    pub runner: config::Runner,
    /// `[claude_code]`
    pub claude_code: config::ClaudeCode,
    /// `[claude_flow]`
    pub claude_flow: config::ClaudeFlow,
    /// MCP servers by name.
    pub mcp_servers: McpServers,
    /// The gateway's own limits.
    pub limits: KeyLimits,
    /// Limits of keys that have none of their own.
    pub key_limits: KeyLimits,
    /// The roles agents can have.
    pub roles: Current<role::Catalogue>,
    /// Projects by name.
    pub projects: BTreeMap<String, Project>,
    /// What agents inherit.
    pub agent_env: BTreeMap<String, String>,
    /// Where processes and workspaces live.
    pub data: config::DataDir,
    /// Base URL of the rehearsal model, when it answers.
    pub rehearsal_url: Option<String>,
}

/// Supervises agents on this host.
pub struct Runner {
    store: Store,
    bus: Bus,
    settings: Settings,
    launcher: Launcher,
    watcher: Watcher,
    stop: CancellationToken,
    actors: TaskTracker,
    live: Arc<Semaphore>,
    starting: Arc<Semaphore>,
    idlers: Arc<Idlers>,
    gate: Gate,
    /// Git does not lock everything `worktree add` touches.
    worktrees: Mutex<()>,
}

/// How often the store is asked for work when nobody says there is some.
const POLL: Duration = Duration::from_secs(2);

impl Runner {
    /// A runner that works until `stop`.
    pub fn new(store: Store, bus: Bus, settings: Settings, stop: CancellationToken) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let starting = if settings.runner.max_starting == 0 { cores } else { settings.runner.max_starting };
        let first_pause = seconds(settings.runner.circuit_pause_seconds);
        let live = Arc::new(Semaphore::new(settings.runner.max_live_agents));
        bus.set_places(settings.runner.max_live_agents, live.clone());
        Self {
            live,
            starting: Arc::new(Semaphore::new(starting)),
            idlers: Arc::default(),
            gate: Gate::new(bus.clone(), settings.runner.circuit_failures, first_pause),
            store,
            bus,
            settings,
            launcher: Launcher::detect(),
            watcher: Watcher::new(),
            stop,
            actors: TaskTracker::new(),
            worktrees: Mutex::new(()),
        }
    }

    /// Picks up what an earlier server left, then claims work until stopped. Returns when every actor has let go.
    pub async fn run(self: Arc<Self>) {
        self.recover().await;
        let health = tokio::spawn(self.clone().watch_cli());
        // Before the first claim, so that a task created meanwhile is not missed.
        let mut dispatch = self.bus.subscribe(Topic::Dispatch);
        let mut gate = self.gate.subscribe();
        while !self.stop.is_cancelled() {
            if self.claim().await {
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = dispatch.changed() => {}
                _ = gate.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        health.abort();
        self.actors.close();
        self.actors.wait().await;
    }

    /// Runs an actor. One that panics takes its own work along, nothing else.
    fn supervise(
        self: &Arc<Self>,
        agent: Option<AgentId>,
        task: Option<TaskId>,
        actor: impl Future<Output = ()> + Send + 'static,
    ) {
        let runner = self.clone();
        self.actors.spawn(async move {
            if std::panic::AssertUnwindSafe(actor).catch_unwind().await.is_err() {
                runner.give_up(agent, task).await;
            }
        });
    }

    /// Begins one piece of work. `false`: there was none.
    async fn claim(self: &Arc<Self>) -> bool {
        self.try_claim().await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot claim work");
            false
        })
    }

    async fn try_claim(self: &Arc<Self>) -> Result<bool, crate::store::StoreError> {
        let full = self.keys_at_their_limit().await?;
        if self.claim_new_agent(&full).await? {
            return Ok(true);
        }
        for key in &full {
            if self.store.has_waiting_task_of(*key).await? {
                self.idlers.ask_one(Some(*key));
            }
        }
        if !self.store.has_waiting_task(&full).await? || !self.gate.pass(Utc::now()) {
            return Ok(false);
        }
        let Some(place) = self.place_for_claim().await else {
            self.gate.give_back();
            return Ok(false);
        };
        // Never dropped half-way: a claim that is made must reach an actor.
        let claimed = self.store.claim_task(Utc::now(), &full).await;
        let Ok(Some(task)) = claimed else {
            self.gate.give_back();
            return claimed.map(|_| false);
        };
        self.bus.notify(Topic::Task(task.id));
        self.supervise(task.agent_id, Some(task.id), Box::pin(self.clone().start_task(task, place)));
        Ok(true)
    }

    /// Begins with an agent nobody has looked at yet. `false`: there was none.
    async fn claim_new_agent(self: &Arc<Self>, full: &[KeyId]) -> Result<bool, crate::store::StoreError> {
        let Some(agent) = self.store.claim_new_agent(Utc::now()).await? else { return Ok(false) };
        let is_full = agent.key_id.is_some_and(|key| full.contains(&key));
        let place = self.live.clone().try_acquire_owned().ok().filter(|_| !is_full);
        self.supervise(Some(agent.id), None, Box::pin(self.clone().start_agent(agent, place)));
        Ok(true)
    }

    /// A place for the next task. New agents do not wait for it: without one they rest until their first message.
    async fn place_for_claim(self: &Arc<Self>) -> Option<OwnedSemaphorePermit> {
        let mut dispatch = self.bus.subscribe(Topic::Dispatch);
        let mut place = std::pin::pin!(self.place());
        loop {
            tokio::select! {
                biased;
                place = &mut place => return place,
                () = dispatch.changed() => loop {
                    let claimed = match self.keys_at_their_limit().await {
                        Ok(full) => self.claim_new_agent(&full).await,
                        Err(error) => Err(error),
                    };
                    match claimed {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            tracing::error!(%error, "cannot look for new agents");
                            break;
                        }
                    }
                },
            }
        }
    }

    /// A place among the live agents; the longest idle agent gives up its own when there is none. `None`: the gateway
    /// stops.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = self.live.clone().try_acquire_owned() {
                return Some(place);
            }
            let arrived = self.idlers.arrived.notified();
            self.idlers.ask_one(None);
            tokio::select! {
                () = self.stop.cancelled() => return None,
                place = self.live.clone().acquire_owned() => return place.ok(),
                () = arrived => {}
            }
        }
    }

    /// Keys that have as many live agents as they may.
    async fn keys_at_their_limit(&self) -> Result<Vec<KeyId>, crate::store::StoreError> {
        let mut full = Vec::new();
        for count in self.store.count_live_agents().await? {
            let limits = self.store.get_key(count.key).await?.map(|key| key.limits).unwrap_or_default();
            let most = limits.max_live_agents.or(self.settings.key_limits.max_live_agents);
            if most.is_some_and(|most| count.live >= i64::from(most)) {
                full.push(count.key);
            }
        }
        Ok(full)
    }

    /// Fails the work of an actor that panicked.
    async fn give_up(&self, agent: Option<AgentId>, task: Option<TaskId>) {
        // It may have been the trial.
        self.gate.give_back();
        let detail = "the gateway had a fault while it supervised the agent; its log tells more";
        let failure = Failure::new(FailureCode::AgentLost, detail);
        let running = match agent {
            Some(agent) => self.with_patience("get a task", || self.store.running_task_of(agent)).await.flatten(),
            None => None,
        };
        let first = match task {
            Some(task) => self.with_patience("get a task", || self.store.get_task(task, None)).await.flatten(),
            None => None,
        };
        for task in [running, first].into_iter().flatten().filter(|task| !task.status.is_terminal()) {
            self.fail(&task, failure.clone()).await;
        }
    }

    /// The agent rests again: it was woken for work that does not take place.
    async fn lay_down(&self, agent: AgentId) {
        self.with_patience("park an agent", || self.store.lay_down_agent(agent, Utc::now())).await;
        self.bus.notify(Topic::Agent(agent));
        self.bus.notify(Topic::Dispatch);
    }
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1000))
}
