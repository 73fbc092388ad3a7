//! The way in from outside: a tunnel client under supervision, its public URL, and a look at ourselves through it.
//!
//! # Theory of operation
//!
//! * The client (localtunnel, cloudflared, ngrok or any command) runs below a shim, as agents do, in a directory below
//!   `tunnel/` in the data directory. It is tied to the server (`process::Lifeline`): when the server ends, even by SIGKILL, the shim
//!   stops it, since an open way to a port nobody guards is of use to strangers only. Should the shim be killed too, the kernel kills
//!   the client, and the next start clears what that left.
//! * The client is told an address that nobody else is, so that requests from outside never pass as local ones.
//! * Its output names the public URL, perhaps among links of the client's own. The gateway fetches its own `/health` by each of
//!   them until one works. Only an answer with the random `instance` of this run counts, because a name that was lost may belong
//!   to another gateway by now.
//! * The URL that works is announced: status on the bus, files, log. What reads it (`/openapi-actions.json`, `/health`) asks the
//!   bus each time.
//! * A client that exits, names no URL, or through which we do not reach ourselves three times in a row, is started again after
//!   a pause that doubles up to two minutes and is a random part longer. A tunnel service frees the name of a client a
//!   moment after its end, so a name that is not granted is asked for twice more before the other one is taken.

mod account;
mod check;
mod client;
mod incarnation;

use crate::{
    bus::Bus,
    config::{self, DataDir, write_private},
    process::{Launcher, Watcher, leftovers},
};
use account::Account;
use client::Client;
use incarnation::{End, Incarnation};
use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};
use tokio_util::sync::CancellationToken;

/// Failed looks in a row after which the client is started again.
const PATIENCE: u32 = 3;
/// The pauses between two clients. The first is longer than a service needs to notice that the client is gone.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// A client that served this long did not fail in a row.
const STEADY: Duration = Duration::from_mins(1);
/// How often a subdomain that is not granted is asked for again.
const ASK_AGAIN: u32 = 2;

/// What the supervisor needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[tunnel]`, with a client.
    pub tunnel: config::Tunnel,
    /// The client's environment.
    pub env: BTreeMap<String, String>,
    /// Where its files are.
    pub data: DataDir,
    /// Where the server listens for the client.
    pub address: SocketAddr,
    /// The random value in our own answers.
    pub instance: String,
}

/// Says what keeps the client from being started, and what to do.
pub fn problem(tunnel: &config::Tunnel, env: &BTreeMap<String, String>) -> Option<String> {
    let client = Client::new(tunnel, SocketAddr::from(([127, 0, 0, 1], 0)), "");
    client.missing(env).map(|(problem, how)| format!("{problem}; {how}"))
}

/// Keeps the tunnel up until `stop`; nothing of the client is left when it returns.
pub async fn supervise(settings: Settings, bus: Bus, stop: CancellationToken) {
    let mut account = Account::open(bus, settings.data.clone());
    let subdomain = match subdomain(&settings) {
        Ok(subdomain) => subdomain,
        Err(error) => {
            tracing::error!(%error, "the name of the tunnel cannot be kept; there is no tunnel");
            let next_step = "See to it that the data directory can be written, or set tunnel.subdomain; then restart the server.";
            account.down("the name of the tunnel cannot be kept in the data directory", Some(next_step.into()));
            return;
        }
    };
    let client = Client::new(&settings.tunnel, settings.address, &subdomain);
    let (launcher, watcher) = (Launcher::detect(), Watcher::new());
    let (mut failures, mut refusals) = (0, 0);
    while !stop.is_cancelled() {
        account.starting();
        leftovers::clear(&settings.data.tunnel()).await;
        let incarnation = Incarnation {
            settings: &settings,
            client: &client,
            launcher: &launcher,
            watcher: &watcher,
            takes_any_name: refusals >= ASK_AGAIN,
        };
        let began = tokio::time::Instant::now();
        // Dropping it lets go of the client.
        let end = tokio::select! {
            () = stop.cancelled() => break,
            end = incarnation.run(&mut account) => end,
        };
        let End { failure, next_step, name_refused, granted } = end;
        refusals = if granted { 0 } else { refusals + u32::from(name_refused) };
        if began.elapsed() >= STEADY {
            failures = 0;
        }
        let pause = pause(failures);
        failures += 1;
        let output = settings.data.tunnel();
        tracing::warn!(failure, pause_ms = pause.as_millis(), output = %output.display(), "the tunnel is down; its client is started again");
        account.down(&failure, next_step);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    leftovers::clear(&settings.data.tunnel()).await;
    account.close();
}

/// Doubles with each failure and is up to a half longer, at random.
fn pause(failures: u32) -> Duration {
    let pause = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16))).min(LONGEST_PAUSE);
    pause + pause / 2 * u32::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255
}

/// The subdomain to ask for: the one of the settings, else an unguessable one that stays the same from start to start.
fn subdomain(settings: &Settings) -> io::Result<String> {
    if !settings.tunnel.subdomain.is_empty() {
        return Ok(settings.tunnel.subdomain.clone());
    }
    let place = settings.data.tunnel_subdomain();
    match std::fs::read_to_string(&place) {
        Ok(kept) if !kept.trim().is_empty() => return Ok(kept.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let made = format!("mas-{:032x}", u128::from_be_bytes(random));
    write_private(&place, &format!("{made}\n"))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        for (failures, least) in [(0, 2), (1, 4), (3, 16), (6, 120), (4_000_000_000, 120)] {
            let least = Duration::from_secs(least);
            assert!((least..=least + least / 2).contains(&pause(failures)), "{failures}");
        }
    }
}
