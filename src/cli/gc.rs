//! `mas gc`: reclaims once, beside a running server or without one, and says what became of each thing.

use super::{
    output::{complain, print, runtime},
    serve,
};
use crate::{
    config::{Config, DataDir},
    housekeeping::{Action, Item, Mode, collect},
};
use anyhow::bail;
use std::process::ExitCode;

pub(super) fn run(config: &Config, dry_run: bool) -> anyhow::Result<ExitCode> {
    Ok(report(&reclaim(config, dry_run)?, dry_run))
}

/// Reclaims, and tells what became of each thing.
pub(super) fn reclaim(config: &Config, dry_run: bool) -> anyhow::Result<Vec<Item>> {
    let data = DataDir(config.server.data_dir.clone());
    // A new, empty store would know nothing of what is there.
    if config.store.url.is_empty() && !data.database().is_file() {
        bail!("there is no database in {}; are server.data_dir and store.url right?", data.path().display());
    }
    runtime()?.block_on(async {
        let store = serve::open_store(config).await?;
        let mode = Mode { dry_run, measure_all: true };
        let items = collect(&store, &data, &config.agent_env, &config.gc, mode).await;
        store.close().await;
        Ok(items?)
    })
}

/// Prints what became of each thing.
pub(super) fn report(items: &[Item], dry_run: bool) -> ExitCode {
    let (mut removed, mut bytes, mut failed) = (0_usize, 0, 0_usize);
    for item in items {
        let action = match &item.action {
            Action::Remove => {
                removed += 1;
                bytes += item.bytes.unwrap_or(0);
                "remove".to_owned()
            }
            Action::Keep(why) => format!("keep: {why}"),
            Action::Failed(why) => {
                failed += 1;
                format!("failed: {why}")
            }
        };
        let age = item.age.map_or_else(|| "-".to_owned(), |age| format!("{}d", age.num_days()));
        let size = item.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        print(&format!("{:<8}  {:<38}  {age:>6}  {size:>12}  {action}", item.what.as_str(), item.id));
    }
    let kept = items.len() - removed - failed;
    let verb = if dry_run { "would remove" } else { "removed" };
    complain(&format!("{verb} {removed} ({bytes} bytes), kept {kept}, failed {failed}"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
