//! Drives what takes more than one agent: runs of workflows, proposals, and the tasks of swarms.
//!
//! One rule makes it exactly-once: a thing is read with its generation, a pure function of the model says what comes
//! next, and all of that (status, record, and the tasks that are the agents' turns) is stored in one transaction that
//! changes nothing if the generation is another one by then. So it does not matter where a server dies.

mod outputs;
mod proposals;
mod scaling;
mod turns;
mod workflows;

use crate::{
    bus::{Bus, Topic},
    model::{current::Current, id::WorkflowRunId, quota::KeyLimits, role},
    store::Store,
};
use chrono::TimeDelta;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the store is asked when nobody says there is something new.
const POLL: Duration = Duration::from_secs(2);

/// What the orchestrator is configured with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The roles agents can have.
    pub roles: Current<role::Catalogue>,
    /// Where runs leave their results, a directory each.
    pub outputs: PathBuf,
    /// What everybody together may use.
    pub limits: KeyLimits,
    /// What a key may use that has no limits of its own.
    pub key_limits: KeyLimits,
    /// A member that was added to a swarm for its work ends when it has had none for so long.
    pub spare_idle: TimeDelta,
}

/// What the parts of the orchestrator share.
#[derive(Clone)]
pub struct Orchestrator {
    store: Store,
    bus: Bus,
    settings: Arc<Settings>,
    stop: CancellationToken,
}

impl Orchestrator {
    /// An orchestrator that works until `stop`.
    pub fn new(store: Store, bus: Bus, settings: Settings, stop: CancellationToken) -> Self {
        Self { store, bus, settings: Arc::new(settings), stop }
    }

    /// Goes on with what an earlier server left, and with what comes, until stopped.
    pub async fn run(self) {
        tokio::join!(self.clone().drive_runs(), scaling::keep_up(self.clone()), proposals::drive_all(self));
    }

    async fn drive_runs(self) {
        let mut news = self.bus.subscribe(Topic::Orchestrate);
        let (mut driven, mut drivers) = (BTreeSet::new(), JoinSet::<WorkflowRunId>::new());
        while !self.stop.is_cancelled() {
            match self.store.list_open_workflow_runs().await {
                Ok(open) => {
                    for id in open.into_iter().filter(|id| driven.insert(*id)) {
                        let orchestrator = self.clone();
                        drivers.spawn(async move {
                            orchestrator.drive(id).await;
                            id
                        });
                    }
                }
                Err(error) => tracing::error!(%error, "cannot look for runs of workflows"),
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = news.changed() => {}
                () = tokio::time::sleep(POLL) => {}
                Some(ended) = drivers.join_next() => match ended {
                    Ok(id) => {
                        driven.remove(&id);
                    }
                    // Nobody knows whose it was: all are looked at again.
                    Err(error) => {
                        tracing::error!(%error, "the driver of a run had a fault");
                        drivers.shutdown().await;
                        driven.clear();
                        tokio::time::sleep(POLL).await;
                    }
                },
            }
        }
        while drivers.join_next().await.is_some() {}
    }
}
