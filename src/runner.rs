//! The runner: claims tasks, and has one actor supervise each agent that works on one.
//!
//! Theory of operation. `run` takes a place among the live agents, claims the most urgent task and hands both to
//! an actor. The actor prepares a workspace, stores agent, run and process in one transaction (`provision`), waits
//! for one of few starting places, and starts the process. From then on it selects between stop orders, time and
//! output; each becomes an input of the pure `machine`, whose reaction is stored together with the offset read up
//! to, and only then acted upon. After a restart `recover` finds the processes that were never finished and gives
//! each an actor again, which goes on at the stored offset.

mod actor;
mod commit;
mod machine;
pub mod preflight;
mod provision;
mod recover;
mod workspace;

use crate::{
    bus::{Bus, Topic},
    config,
    model::{id::TaskId, project::Project},
    process::{Launcher, Watcher},
    store::Store,
};
use chrono::{TimeDelta, Utc};
use futures::FutureExt;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the runner is configured with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[runner]`
    pub runner: config::Runner,
    /// `[claude_code]`
    pub claude_code: config::ClaudeCode,
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
        Self {
            live: Arc::new(Semaphore::new(settings.runner.max_live_agents)),
            starting: Arc::new(Semaphore::new(starting)),
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

    /// Picks up what an earlier server left, then claims tasks until stopped. Returns when every actor has let go.
    pub async fn run(self: Arc<Self>) {
        self.recover().await;
        let health = tokio::spawn(self.clone().watch_cli());
        // Before the first claim, so that a task created meanwhile is not missed.
        let mut dispatch = self.bus.subscribe(Topic::Dispatch);
        while !self.stop.is_cancelled() {
            if self.claim().await {
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = dispatch.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        health.abort();
        self.actors.close();
        self.actors.wait().await;
    }

    /// Runs an actor. One that panics takes its own task along, nothing else.
    fn supervise(self: &Arc<Self>, task: TaskId, actor: impl Future<Output = ()> + Send + 'static) {
        let runner = self.clone();
        self.actors.spawn(async move {
            if std::panic::AssertUnwindSafe(actor).catch_unwind().await.is_err() {
                runner.give_up(task).await;
            }
        });
    }

    /// Claims one task and gives it to an actor. `false`: there was none.
    async fn claim(self: &Arc<Self>) -> bool {
        let place = tokio::select! {
            () = self.stop.cancelled() => return false,
            place = self.live.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { return false };
        // Never dropped half-way: a claim that is made must reach an actor.
        match self.store.claim_task(Utc::now()).await {
            Ok(Some(task)) => {
                self.bus.notify(Topic::Task(task.id));
                let id = task.id;
                self.supervise(id, Box::pin(self.clone().start_task(task, place)));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "cannot claim tasks");
                false
            }
        }
    }
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1000))
}
