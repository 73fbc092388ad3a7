//! Process directories: raw input and output of processes whose end is on record.

use super::{Action, House, HousekeepingError, Item, What, at, size::disk_bytes};
use crate::{
    model::id::ProcessId,
    process::{Liveness, ProcessDir, kill_leftovers},
    store::ProcessEnd,
};
use chrono::{DateTime, Utc};
use std::io;

/// What came of looking at the process directories.
pub(super) struct Looked {
    pub(super) items: Vec<Item>,
    /// A process runs that the store does not know.
    pub(super) stray_runs: bool,
}

/// A directory with what is known about it.
struct Found {
    id: ProcessId,
    dir: ProcessDir,
    liveness: io::Result<Liveness>,
    end: ProcessEnd,
    since: Option<DateTime<Utc>>,
    bytes: Option<u64>,
    action: Action,
}

impl House<'_> {
    pub(super) async fn processes(&self) -> Result<Looked, HousekeepingError> {
        let root = self.data.processes();
        let mut found = Vec::new();
        for (id, dir) in ProcessDir::list(&root).map_err(at(&root))? {
            let liveness = dir.inspect();
            let end = self.store.process_end(id).await?;
            let since = match end {
                ProcessEnd::Ended(at) => Some(at),
                ProcessEnd::Open => None,
                ProcessEnd::Unknown => last_change(&dir),
            };
            found.push(Found { id, dir, liveness, end, since, bytes: None, action: Action::Remove });
        }
        let store_fits = found.iter().any(|one| one.end != ProcessEnd::Unknown);
        for one in &mut found {
            one.action = self.judge(one, store_fits);
            if self.mode.measure_all || self.policy.keep_bytes > 0 || one.action == Action::Remove {
                one.bytes = disk_bytes(one.dir.path()).await;
            }
        }
        if self.policy.keep_bytes > 0 {
            shrink(&mut found, self.policy.keep_bytes);
        }
        let runs = |one: &Found| matches!(one.liveness, Ok(Liveness::Running(_)));
        let stray_runs = found.iter().any(|one| runs(one) && one.end == ProcessEnd::Unknown);
        let mut items = Vec::new();
        for mut one in found {
            if one.action == Action::Remove
                && !self.mode.dry_run
                && let Err(error) = remove(&one).await
            {
                one.action = Action::Failed(error.to_string());
            }
            items.push(Item {
                what: What::Process,
                id: one.id.to_string(),
                age: one.since.map(|since| self.now - since),
                bytes: one.bytes,
                action: one.action,
            });
        }
        Ok(Looked { items, stray_runs })
    }

    fn judge(&self, one: &Found, store_fits: bool) -> Action {
        let keep = |why: &str| Action::Keep(why.to_owned());
        match (&one.liveness, one.end) {
            (Err(error), _) => Action::Keep(format!("cannot be read: {error}")),
            (Ok(Liveness::Running(_)), ProcessEnd::Unknown) => keep("it runs, and the store does not know it"),
            (Ok(Liveness::Running(_)), _) => keep("it runs"),
            (_, ProcessEnd::Open) => keep("its end is not stored yet"),
            (_, ProcessEnd::Unknown) if !store_fits => {
                keep("the store knows no process of this directory; are server.data_dir and store.url right?")
            }
            _ if one.since.is_some_and(|since| since < self.limit(self.policy.process_dirs_days)) => Action::Remove,
            (_, ProcessEnd::Unknown) => keep("the store does not know it, and it is not old enough"),
            _ => keep("not old enough"),
        }
    }
}

/// Lets the longest ended ones go until the rest takes at most `keep_bytes`.
fn shrink(found: &mut [Found], keep_bytes: u64) {
    let stays = |one: &&Found| one.action != Action::Remove;
    let mut total: u64 = found.iter().filter(stays).filter_map(|one| one.bytes).sum();
    let mut ended: Vec<&mut Found> = found
        .iter_mut()
        .filter(|one| matches!(one.end, ProcessEnd::Ended(_)) && one.action != Action::Remove)
        .filter(|one| matches!(one.liveness, Ok(ref liveness) if !matches!(liveness, Liveness::Running(_))))
        .collect();
    ended.sort_by_key(|one| one.since);
    for one in ended {
        if total <= keep_bytes {
            return;
        }
        total -= one.bytes.unwrap_or(0);
        one.action = Action::Remove;
    }
}

async fn remove(one: &Found) -> io::Result<()> {
    // An actor does this for the processes the store knows.
    if one.end == ProcessEnd::Unknown && matches!(one.liveness, Ok(Liveness::Vanished(_))) {
        kill_leftovers(&one.dir).await?;
    }
    let dir = one.dir.clone();
    tokio::task::spawn_blocking(move || dir.remove()).await.map_err(io::Error::other)?
}

/// When a process the store does not know last wrote something.
fn last_change(dir: &ProcessDir) -> Option<DateTime<Utc>> {
    let changed = |path: &std::path::Path| std::fs::symlink_metadata(path).and_then(|facts| facts.modified()).ok();
    let times = [changed(dir.path()), changed(&dir.stdout()), changed(&dir.stderr()), changed(&dir.shim_log())];
    times.into_iter().flatten().max().map(DateTime::<Utc>::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn found(ended_days_ago: i64, bytes: u64, liveness: Liveness) -> Found {
        let id = ProcessId::generate();
        let at = Utc::now() - TimeDelta::days(ended_days_ago);
        Found {
            id,
            dir: ProcessDir::new(std::path::Path::new("/nonexistent"), id),
            liveness: Ok(liveness),
            end: ProcessEnd::Ended(at),
            since: Some(at),
            bytes: Some(bytes),
            action: Action::Keep("not old enough".into()),
        }
    }

    #[test]
    fn above_the_cap_the_oldest_ended_ones_go_and_what_runs_stays() {
        let gone = || Liveness::Vanished(None);
        let mut all = [found(1, 40, gone()), found(3, 40, gone()), found(9, 40, Liveness::Running(None)), found(2, 40, gone())];
        shrink(&mut all, 100);
        let removed: Vec<bool> = all.iter().map(|one| one.action == Action::Remove).collect();
        assert_eq!(removed, [false, true, false, true]);
    }
}
