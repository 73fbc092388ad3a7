//! `mas backup` and `mas restore`: the store as one file.

use super::{
    Common,
    output::{complain, runtime},
    serve,
};
use crate::{
    config::{Config, DataDir},
    housekeeping::{backup, restore},
    shutdown,
};
use anyhow::{Context, bail};
use std::{path::PathBuf, process::ExitCode};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    common: Common,
    /// The file to write
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    common: Common,
    /// A file `mas backup` has written
    file: PathBuf,
    /// Replace the store that is there; it is kept under another name
    #[arg(long)]
    force: bool,
}

pub(super) fn back_up(arguments: BackupArgs) -> anyhow::Result<ExitCode> {
    let BackupArgs { common, file, force } = arguments;
    let config = Config::load(&common.flags())?;
    let url = config.store_url();
    let copied = runtime()?.block_on(async {
        // An interrupted copy leaves nothing behind.
        let stop = CancellationToken::new();
        shutdown::cancel_on_signal(stop.clone())?;
        tokio::select! {
            copied = backup::backup(&url, &config.agent_env, &file, force) => copied.context("mas backup"),
            () = stop.cancelled() => bail!("mas backup: interrupted; nothing was written"),
        }
    })?;
    let tasks = copied.tasks.map_or_else(String::new, |tasks| format!(", {tasks} tasks"));
    complain(&format!("wrote and checked {} ({} bytes{tasks})", file.display(), copied.bytes));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn restore(arguments: RestoreArgs) -> anyhow::Result<ExitCode> {
    let RestoreArgs { common, file, force } = arguments;
    let config = Config::load(&common.flags())?;
    serve::make_data_dir(&config)?;
    let data = DataDir(config.server.data_dir.clone());
    let url = config.store_url();
    let restoring = restore::restore(&data, &url, &config.agent_env, &file, force);
    let restored = runtime()?.block_on(restoring).context("mas restore")?;
    let tasks = restored.tasks.map_or_else(String::new, |tasks| format!(" ({tasks} tasks)"));
    complain(&format!("restored {}{tasks}", file.display()));
    if let Some(kept) = restored.kept {
        complain(&format!("what was there before is kept in {}", kept.display()));
    }
    for id in restored.running {
        complain(&format!("note: the agent process {id} is at work; if the restored store does not know it, nobody follows it"));
    }
    Ok(ExitCode::SUCCESS)
}
