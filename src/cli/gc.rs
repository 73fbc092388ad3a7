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
use std::{collections::BTreeMap, process::ExitCode};

/// Things kept for one reason that are told one by one.
const FEW: usize = 3;

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

/// Prints what became of each thing, and of many that are kept for one reason only how many they are.
pub(super) fn summary(items: &[Item]) -> ExitCode {
    let reason = |item: &Item| match &item.action {
        Action::Keep(why) => Some((item.what.as_str(), why.clone())),
        Action::Remove | Action::Failed(_) => None,
    };
    let mut reasons: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for reason in items.iter().filter_map(reason) {
        *reasons.entry(reason).or_default() += 1;
    }
    reasons.retain(|_, count| *count > FEW);
    let (summed, told): (Vec<&Item>, Vec<&Item>) =
        items.iter().partition(|item| reason(item).is_some_and(|reason| reasons.contains_key(&reason)));
    for item in &told {
        line(item);
    }
    for ((what, why), count) in &reasons {
        print(&format!("{what:<8}  {count} of them  keep: {why}"));
    }
    totals(&told, summed.len(), false)
}

/// Prints what became of each thing.
pub(super) fn report(items: &[Item], dry_run: bool) -> ExitCode {
    for item in items {
        line(item);
    }
    totals(&items.iter().collect::<Vec<_>>(), 0, dry_run)
}

fn line(item: &Item) {
    let action = match &item.action {
        Action::Remove => "remove".to_owned(),
        Action::Keep(why) => format!("keep: {why}"),
        Action::Failed(why) => format!("failed: {why}"),
    };
    let age = item.age.map_or_else(|| "-".to_owned(), |age| format!("{}d", age.num_days()));
    let size = item.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    print(&format!("{:<8}  {:<38}  {age:>6}  {size:>12}  {action}", item.what.as_str(), item.id));
}

/// Says how many things there were of each kind; `more` of them are kept besides.
fn totals(items: &[&Item], more: usize, dry_run: bool) -> ExitCode {
    let removed: Vec<_> = items.iter().filter(|item| item.action == Action::Remove).collect();
    let failed = items.iter().filter(|item| matches!(item.action, Action::Failed(_))).count();
    let bytes: u64 = removed.iter().filter_map(|item| item.bytes).sum();
    let kept = items.len() - removed.len() - failed + more;
    let verb = if dry_run { "would remove" } else { "removed" };
    complain(&format!("{verb} {} ({bytes} bytes), kept {kept}, failed {failed}", removed.len()));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
