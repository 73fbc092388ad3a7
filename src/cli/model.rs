//! The rehearsal model of a server, in a process of its own: like a real model, it does not die with the server.
//!
//! Agents that outlive a killed server are in the middle of a model's answer, and the CLI does not repeat every
//! request that breaks off. The model's process ends by itself when neither a server nor an agent of its data
//! directory lives, and a server that finds it gone starts it again on the same port.

use super::output::runtime;
use crate::{
    config::DataDir,
    process::{Liveness, ProcessDir, lock, start_background},
    rehearsal,
};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

/// How often the model asks whether it is still needed.
const NEEDED: Duration = Duration::from_millis(200);
/// How often the server asks whether the model is still there.
const WATCH: Duration = Duration::from_secs(1);
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a model may take to lock its directory before another is started; the later one then leaves.
const START_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// The data directory it belongs to
    #[arg(long)]
    data_dir: PathBuf,
    /// JSON file of rules
    #[arg(long)]
    rules: Option<PathBuf>,
}

/// `mas __model`: the model's process.
pub(super) fn run(arguments: &ModelArgs) -> anyhow::Result<ExitCode> {
    // It must not get the signals a terminal sends to the server's group. Fails only where it leads one already.
    let _ = rustix::process::setsid();
    let data = DataDir(arguments.data_dir.clone());
    let mut owner = match lock::take(&data.rehearsal_lock()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ExitCode::SUCCESS),
        owner => owner?,
    };
    owner.set_len(0)?;
    writeln!(owner, "{}\n{}", std::process::id(), fingerprint(arguments.rules.as_deref()))?;
    let rules = arguments.rules.as_deref().map_or_else(|| Ok(vec![]), rehearsal::load_rules)?;
    runtime()?.block_on(async {
        let listener = rehearsal::bind(&data.rehearsal_address()).await?;
        let stop = CancellationToken::new();
        crate::shutdown::cancel_on_signal(stop.clone())?;
        let serving = tokio::spawn(rehearsal::serve(listener, rules, stop.clone()));
        while is_needed(&data) && !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(NEEDED) => {}
            }
        }
        stop.cancel();
        serving.await??;
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether a server or an agent of the data directory lives. What cannot be read does not live.
fn is_needed(data: &DataDir) -> bool {
    lock::is_held(&data.lock()).unwrap_or(false) || has_live_agents(data)
}

fn has_live_agents(data: &DataDir) -> bool {
    let processes = ProcessDir::list(&data.processes()).unwrap_or_default();
    processes.iter().any(|(_, dir)| matches!(dir.inspect(), Ok(Liveness::Running(_))))
}

/// Sees to it that the model runs, and returns its base URL. `rules` is checked here, where somebody reads the error.
pub(super) async fn ensure(data: &DataDir, rules: &Path) -> anyhow::Result<String> {
    if !rules.as_os_str().is_empty() {
        rehearsal::load_rules(rules).context("rehearsal.rules")?;
    }
    retire(data, rules).await;
    let waiting = async {
        let mut started: Option<Instant> = None;
        loop {
            if !lock::is_held(&data.rehearsal_lock())? {
                // Also one that was still there a moment ago: that of an earlier server, on its way out.
                if started.is_none_or(|at| at.elapsed() > START_AGAIN) {
                    start(data, rules)?;
                    started = Some(Instant::now());
                }
            } else if let Ok(address) = std::fs::read_to_string(data.rehearsal_address())
                && TcpStream::connect(address.trim()).await.is_ok()
            {
                return Ok(format!("http://{}", address.trim()));
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(START_LIMIT, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("the rehearsal model did not start; {} says why", data.rehearsal_log().display()),
    }
}

/// Tells rules from others.
fn fingerprint(rules: Option<&Path>) -> String {
    let text = rules.and_then(|rules| std::fs::read(rules).ok()).unwrap_or_default();
    Sha256::digest(text).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

/// Ends the model of an earlier server that answers by other rules, unless agents still talk to it.
async fn retire(data: &DataDir, rules: &Path) {
    if !lock::is_held(&data.rehearsal_lock()).unwrap_or(false) {
        return;
    }
    let wanted = fingerprint(Some(rules));
    let known = std::fs::read_to_string(data.rehearsal_lock()).ok();
    if known.and_then(|text| text.lines().nth(1).map(|known| known == wanted)).unwrap_or(true) {
        return;
    }
    if has_live_agents(data) {
        tracing::warn!(
            "agents of an earlier server still talk to its rehearsal model, which answers everybody by the rules it was started with; the rules of \
             rehearsal.rules are in force after a restart without agents at work"
        );
    } else {
        tracing::info!("rehearsal.rules has changed; the rehearsal model of the earlier server is replaced");
        stop(data).await;
    }
}

fn start(data: &DataDir, rules: &Path) -> anyhow::Result<()> {
    let mut arguments = vec![OsStr::new("__model"), OsStr::new("--data-dir"), data.path().as_os_str()];
    let rules = std::path::absolute(rules).ok().filter(|_| !rules.as_os_str().is_empty());
    if let Some(rules) = &rules {
        arguments.extend([OsStr::new("--rules"), rules.as_os_str()]);
    }
    start_background(&arguments, &data.rehearsal_log()).context("the rehearsal model cannot be started")
}

/// Starts the model again whenever it is gone.
pub(super) async fn watch(data: DataDir, rules: PathBuf) {
    loop {
        sleep(WATCH).await;
        if lock::is_held(&data.rehearsal_lock()).is_ok_and(|held| !held) {
            tracing::warn!("the rehearsal model was gone; starting it again");
            if let Err(error) = start(&data, &rules) {
                tracing::error!(error = format!("{error:#}"), "the rehearsal model cannot be started");
            }
        }
    }
}

/// Ends the model at an orderly shutdown, unless agents still talk to it.
pub(super) async fn stop(data: &DataDir) {
    if has_live_agents(data) || !lock::is_held(&data.rehearsal_lock()).unwrap_or(false) {
        return;
    }
    let pid = std::fs::read_to_string(data.rehearsal_lock()).ok().and_then(|text| text.lines().next()?.parse().ok());
    // The lock is held, so the number in it is that of a living process.
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let gone = async {
        while lock::is_held(&data.rehearsal_lock()).unwrap_or(false) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(2), gone).await.is_err() {
        tracing::warn!("the rehearsal model did not end");
    }
}
