//! `mas rehearsal`: the scripted model on its own, for trying an agent CLI by hand.

use super::output::{complain, print, runtime};
use crate::{rehearsal, shutdown};
use anyhow::{Context, bail};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct RehearsalArgs {
    /// Loopback address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:3457")]
    bind: SocketAddr,
    /// JSON file of rules
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

pub(super) fn run(arguments: &RehearsalArgs) -> anyhow::Result<ExitCode> {
    if !arguments.bind.ip().is_loopback() {
        bail!("--bind: the rehearsal model has no authentication and listens on loopback addresses only");
    }
    let rules = arguments.rules.as_deref().map_or_else(|| Ok(vec![]), rehearsal::load_rules)?;
    runtime()?.block_on(async {
        let listener =
            tokio::net::TcpListener::bind(arguments.bind).await.with_context(|| format!("--bind {}", arguments.bind))?;
        let address = listener.local_addr()?;
        print(&format!("{{\"ready\":true,\"base_url\":\"http://{address}\"}}"));
        complain(&format!("hint: ANTHROPIC_BASE_URL=http://{address} ANTHROPIC_API_KEY=rehearsal claude -p 'hello'"));
        let stop = CancellationToken::new();
        shutdown::cancel_on_signal(stop.clone())?;
        rehearsal::serve(listener, rules, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}
