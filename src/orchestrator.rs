//! Drives what takes more than one agent: runs of workflows and proposals.
//!
//! One rule makes it exactly-once: a thing is read with its generation, a pure function of the model says what comes
//! next, and all of that (status, record, and the tasks that are the agents' turns) is stored in one transaction that
//! changes nothing if the generation is another one by then. So it does not matter where a server dies.

mod proposals;

use crate::{bus::Bus, store::Store};
use tokio_util::sync::CancellationToken;

/// What the parts of the orchestrator share.
#[derive(Clone)]
pub struct Orchestrator {
    store: Store,
    bus: Bus,
    stop: CancellationToken,
}

impl Orchestrator {
    /// An orchestrator that works until `stop`.
    pub fn new(store: Store, bus: Bus, stop: CancellationToken) -> Self {
        Self { store, bus, stop }
    }

    /// Goes on with what an earlier server left, and with what comes, until stopped.
    pub async fn run(self) {
        proposals::drive_all(self).await;
    }
}
