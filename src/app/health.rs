//! Whether the gateway lives, and whether it can do work.

use super::App;
use crate::model::tunnel::TunnelStatus;
use serde::Serialize;
use std::{path::Path, time::Duration};
use utoipa::ToSchema;
use uuid::Uuid;

/// The store must answer within this time to count as ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// With less room in the data directory no output of agents and no event can be relied upon to be stored.
const LEAST_FREE_BYTES: u64 = 64 << 20;

/// The process answers. Says nothing about the database.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"status": "ok", "version": "0.1.0", "uptime_seconds": 4211, "instance": "6f1c2d5e-0f0a-4b53-9d5b-0d9f0f6c1f11"}))]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// Version of the gateway.
    pub version: &'static str,
    /// Seconds since the gateway started.
    pub uptime_seconds: u64,
    /// A random value of this run of the gateway; it stands for nothing else.
    pub instance: Uuid,
    /// The tunnel, when there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelStatus>,
}

/// One thing the gateway needs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Check {
    /// Whether it is in order.
    pub ok: bool,
    /// What was found, and what to do when it is not in order.
    pub detail: String,
}

/// Everything the gateway needs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Checks {
    /// The database.
    pub store: Check,
    /// The supervisor of agents.
    pub runner: Check,
    /// The agent CLI.
    pub cli: Check,
    /// Room in the data directory.
    pub disk: Check,
}

/// Whether tasks can be accepted and done.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"status": "ready", "checks": {"store": {"ok": true, "detail": "answers"}, "runner": {"ok": true, "detail": "running, 2 live agents"}, "cli": {"ok": true, "detail": "2.1.0 (Claude Code)"}, "disk": {"ok": true, "detail": "52310 MB free"}}}))]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    /// The single findings.
    pub checks: Checks,
}

impl Readiness {
    /// Whether everything is in order.
    pub fn is_ready(&self) -> bool {
        let Checks { store, runner, cli, disk } = &self.checks;
        store.ok && runner.ok && cli.ok && disk.ok
    }
}

impl App {
    /// Says that the process answers, without touching anything else.
    pub fn get_health(&self) -> Health {
        Health {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            instance: self.instance,
            tunnel: self.bus.tunnel_status(),
        }
    }

    /// Checks what the gateway needs to do work.
    pub async fn get_readiness(&self) -> Readiness {
        let store = match tokio::time::timeout(PING_TIMEOUT, self.store.ping()).await {
            Ok(Ok(())) => Check { ok: true, detail: "answers".into() },
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database refused a ping");
                Check { ok: false, detail: "the database cannot be used; see the gateway's log".into() }
            }
            Err(_) => Check { ok: false, detail: format!("the database did not answer within {} s", PING_TIMEOUT.as_secs()) },
        };
        let status = self.bus.runner_status();
        let runner = match (status.running, status.pause) {
            (false, _) => Check { ok: false, detail: "not running (yet); tasks wait in the queue".into() },
            (true, None) => Check { ok: true, detail: "running".to_owned() },
            // Why is told to those who have a key, with each task that waits.
            (true, Some(pause)) => {
                Check { ok: true, detail: format!("running; no turn is begun until {} UTC", pause.until.format("%H:%M:%S")) }
            }
        };
        let cli = match (status.cli_problem, status.cli_version) {
            (Some(problem), _) => Check { ok: false, detail: problem },
            (None, Some(version)) => Check { ok: true, detail: version },
            (None, None) => Check { ok: false, detail: "not checked yet; run `mas doctor` if this stays".into() },
        };
        let mut readiness =
            Readiness { status: "not_ready", checks: Checks { store, runner, cli, disk: disk(&self.settings.data_dir) } };
        if readiness.is_ready() {
            readiness.status = "ready";
        }
        readiness
    }
}

/// Room in the directory for whoever is not root.
pub(super) fn free_bytes(dir: &Path) -> rustix::io::Result<u64> {
    rustix::fs::statvfs(dir).map(|found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Looks at the room in the directory.
fn disk(dir: &Path) -> Check {
    match free_bytes(dir) {
        Ok(free) => {
            let ok = free >= LEAST_FREE_BYTES;
            let advice =
                if ok { "" } else { ": nothing can be stored; make room in the data directory (`mas gc` reclaims some)" };
            Check { ok, detail: format!("{} MB free{advice}", free / 1_000_000) }
        }
        Err(error) => Check { ok: false, detail: format!("the data directory cannot be looked at: {error}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_ready() {
        assert!(disk(&std::env::temp_dir()).ok, "the test machine has room");
        // A filesystem that never has any.
        let full = disk(Path::new("/proc"));
        assert!(!full.ok && full.detail.contains("make room"), "{full:?}");
    }
}
