//! What the tunnel tells about itself: on the bus for `/health`, in the log, and in files of the data directory.

use super::check::Verdict;
use crate::{
    bus::Bus,
    config::{DataDir, write_private},
    model::tunnel::{TunnelState, TunnelStatus},
};
use chrono::{DateTime, SubsecRound, Utc};
use reqwest::Url;

const ROTATE: &str = "make a new key for the GPT (`mas key create`) and end the old one (`mas key revoke`), because requests \
                      that carry it may reach a stranger";
const FOREIGN: &str = "set another tunnel.subdomain and restart the server, or use a tunnel whose name is yours";

/// The account of one supervisor.
pub(super) struct Account {
    bus: Bus,
    data: DataDir,
    status: TunnelStatus,
    /// The URL of an earlier run, until this one has its own.
    before: Option<String>,
    /// Whether the URL took the place of another one.
    changed: bool,
    /// Whether the URL has another name than the one asked for.
    lost: bool,
}

impl Account {
    pub(super) fn open(bus: Bus, data: DataDir) -> Self {
        // Of a server that was killed.
        let _ = std::fs::remove_file(data.public_url());
        let before = std::fs::read_to_string(data.tunnel_last_url()).ok().map(|url| url.trim().to_owned());
        let status = TunnelStatus {
            state: TunnelState::Starting,
            since: now(),
            url: None,
            changed_at: None,
            checked_at: None,
            failure: None,
            next_step: None,
        };
        let account = Self { bus, data, status, before, changed: false, lost: false };
        account.bus.set_tunnel_status(account.status.clone());
        account
    }

    /// The server ends, and the tunnel has.
    pub(super) fn close(&mut self) {
        let _ = std::fs::remove_file(self.data.public_url());
        self.enter(TunnelState::Down, None, None);
    }

    /// The client is about to be started.
    pub(super) fn starting(&mut self) {
        let failure = self.status.failure.clone();
        self.enter(TunnelState::Starting, failure, None);
    }

    /// The client does not run. `next_step` when there is more to do than to wait.
    pub(super) fn down(&mut self, failure: &str, next_step: Option<String>) {
        let next_step = next_step.unwrap_or_else(|| "The client is started again by itself; the server's log says more.".into());
        self.enter(TunnelState::Down, Some(failure.into()), Some(next_step));
    }

    /// Whether this is the latest URL that was told.
    pub(super) fn has_told(&self, url: &Url) -> bool {
        self.status.url.as_ref().or(self.before.as_ref()).is_some_and(|told| told == url.as_str().trim_end_matches('/'))
    }

    /// The gateway was reached by this URL; `lost`: it has another name than was asked for.
    pub(super) fn found(&mut self, url: &Url, lost: bool) {
        let url = url.as_str().trim_end_matches('/').to_owned();
        let before = self.status.url.take().or(self.before.take());
        let same = before.as_ref() == Some(&url);
        if self.status.changed_at.is_none() || !same {
            self.status.changed_at = Some(now());
        }
        if lost && !(same && self.lost) {
            tracing::warn!(url, "the tunnel service did not grant the subdomain that was asked for; {ROTATE}");
        }
        self.changed |= before.is_some() && !same;
        self.lost = lost;
        if before.is_some() && !same {
            tracing::warn!(
                url,
                before,
                "the public URL changed: import the schema of the GPT again, from {url}/openapi-actions.json"
            );
        } else {
            tracing::info!(url, "the schema for a GPT is at {url}/openapi-actions.json");
        }
        for file in [self.data.public_url(), self.data.tunnel_last_url()] {
            if let Err(error) = write_private(&file, &format!("{url}\n")) {
                tracing::warn!(%error, file = %file.display(), "the public URL cannot be written");
            }
        }
        self.status.url = Some(url);
    }

    /// The gateway tried to reach itself.
    pub(super) fn checked(&mut self, verdict: &Verdict) {
        self.status.checked_at = Some(now());
        match verdict {
            Verdict::Ours => {
                let url = self.status.url.as_deref().unwrap_or_default();
                let import = format!("Import the schema of the GPT again, from {url}/openapi-actions.json");
                let next_step = match (self.lost, self.changed) {
                    (true, _) => Some(format!("{import}; {ROTATE}.")),
                    (false, true) => Some(format!("{import}, unless that was done since changed_at.")),
                    (false, false) => None,
                };
                self.enter(TunnelState::Up, None, next_step);
            }
            Verdict::Unreachable(failure) => {
                let next_step = if failure.contains("HTML") {
                    "If it stays so, open the public URL in a browser to see the page, and use another tunnel client: ChatGPT \
                     gets the same page."
                } else {
                    "The client is started again when it stays so; the server's log says more."
                };
                self.enter(TunnelState::Unreachable, Some(failure.clone()), Some(next_step.into()));
            }
            Verdict::Foreign(failure) => {
                let mut rotate = ROTATE.to_owned();
                rotate[..1].make_ascii_uppercase();
                self.enter(TunnelState::Foreign, Some(failure.clone()), Some(format!("{rotate}. Then {FOREIGN}.")));
            }
        }
    }

    fn enter(&mut self, state: TunnelState, failure: Option<String>, next_step: Option<String>) {
        let before = self.status.state;
        if state != before {
            self.status.since = now();
            let (url, failure) = (self.status.url.as_deref(), failure.as_deref());
            match state {
                TunnelState::Up => tracing::info!(url, "the gateway is reached through the tunnel"),
                TunnelState::Unreachable => tracing::warn!(url, failure, "the gateway is not reached through the tunnel"),
                TunnelState::Foreign => tracing::warn!(url, failure, "the public URL belongs to somebody else; {ROTATE}"),
                TunnelState::Down | TunnelState::Starting => {}
            }
        }
        self.status = TunnelStatus { state, failure, next_step, ..self.status.clone() };
        self.bus.set_tunnel_status(self.status.clone());
    }
}

/// The time, cut to what the API shows elsewhere.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
