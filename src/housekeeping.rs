//! Housekeeping: reclaims what finished work left behind, by policy, and copies the store (`backup`, `restore`).
//!
//! Theory of operation. Nothing here trusts one witness. A process directory goes when the store has the process's end
//! on record, so everything of it was captured, *and* its lock says that nobody lives there. A worktree goes when its
//! agent rests, its last process has ended, git finds nothing uncommitted in it, and a branch holds its commits; git
//! itself removes it, without force, so it looks once more. What the store does not know is only reported until it is
//! older than the limit, and for good when the store knows nothing here at all: then it is likely the wrong store.
//! Any doubt or failure keeps the item and is reported with it.
//!
//! It works beside a running server or in it: directories are made after their records, and an end on record is final.
//! A lock of its own keeps two from colliding.

pub mod backup;
mod events;
mod inbox;
mod postgres;
mod processes;
pub mod restore;
mod size;
mod sqlite;
mod worktrees;

use crate::{
    config::{DataDir, Gc},
    process::lock,
    store::{CopyError, Store, StoreError},
};
use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::BTreeMap, fs::File, io, path::PathBuf, time::Duration};
use tokio_util::sync::CancellationToken;

/// The server's first look comes this long after its start at the latest: recovery and first requests go before.
const FIRST_LOOK: Duration = Duration::from_mins(1);

/// Exact retries come within seconds; a day is enough for any.
const ANSWERS_KEPT: TimeDelta = TimeDelta::days(1);

/// Why housekeeping could not be done.
#[derive(Debug, thiserror::Error)]
pub enum HousekeepingError {
    /// Somebody else is at it.
    #[error("another housekeeping is at work in this data directory; try again when it is done")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that is no copy of a database this version can use.
    #[error("{file}: {problem}", file = file.display())]
    Copy {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: CopyError,
    },
    /// The file system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else, with what to do.
    #[error("{0}")]
    Refused(String),
}

/// An error that names the file.
fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> HousekeepingError {
    let path = path.to_owned();
    move |source| HousekeepingError::Io { path, source }
}

/// What can be reclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A process directory: raw input and output.
    Process,
    /// A git worktree.
    Worktree,
    /// The events of a task.
    Events,
    /// Files sent along with a task.
    Files,
}

impl What {
    /// The word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Worktree => "worktree",
            Self::Events => "events",
            Self::Files => "files",
        }
    }
}

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It goes; in a dry run: it would.
    Remove,
    /// It stays, and why.
    Keep(String),
    /// It should have gone, and why it did not.
    Failed(String),
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// The process, agent or task it belongs to.
    pub id: String,
    /// Since it ended, when that is known.
    pub age: Option<TimeDelta>,
    /// Its size on disk, when it was measured.
    pub bytes: Option<u64>,
    /// What becomes of it.
    pub action: Action,
}

/// How to go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Measure also what stays; takes a look at every file.
    pub measure_all: bool,
}

/// One look through the data directory.
struct House<'a> {
    store: &'a Store,
    data: &'a DataDir,
    git_env: &'a BTreeMap<String, String>,
    policy: &'a Gc,
    mode: Mode,
    now: DateTime<Utc>,
}

impl House<'_> {
    /// What ended before this is old enough.
    fn limit(&self, days: u32) -> DateTime<Utc> {
        self.now.checked_sub_signed(TimeDelta::days(days.into())).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }
}

/// Takes the lock that keeps two housekeepings apart.
async fn own(data: &DataDir) -> Result<File, HousekeepingError> {
    let path = data.gc_lock();
    let taken = tokio::task::spawn_blocking(move || lock::take(&path)).await.map_err(io::Error::other);
    match taken.flatten() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(HousekeepingError::Busy),
        owner => owner.map_err(at(&data.gc_lock())),
    }
}

/// Looks at everything once and reclaims what the policy allows. `git_env` is the environment git runs with.
pub async fn collect(
    store: &Store,
    data: &DataDir,
    git_env: &BTreeMap<String, String>,
    policy: &Gc,
    mode: Mode,
) -> Result<Vec<Item>, HousekeepingError> {
    let _owner = own(data).await?;
    let house = House { store, data, git_env, policy, mode, now: Utc::now() };
    let processes::Looked { mut items, stray_runs } = house.processes().await?;
    items.extend(house.worktrees(stray_runs).await?);
    items.extend(house.events().await?);
    items.extend(house.inbox().await?);
    if !mode.dry_run {
        store.delete_answers_before(house.now - ANSWERS_KEPT).await?;
    }
    Ok(items)
}

/// [`collect`] at the policy's interval, until `stop`. Returns at once when the interval is 0.
pub async fn keep_collecting(
    store: Store,
    data: DataDir,
    git_env: BTreeMap<String, String>,
    policy: Gc,
    stop: CancellationToken,
) {
    let interval = Duration::from_secs(policy.interval_seconds);
    if interval.is_zero() {
        return;
    }
    let mut pause = interval.min(FIRST_LOOK);
    let mode = Mode { dry_run: false, measure_all: false };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = interval;
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = collect(&store, &data, &git_env, &policy, mode) => looked,
        };
        match looked {
            Ok(items) => log(&items),
            Err(HousekeepingError::Busy) => tracing::debug!("another housekeeping is at work"),
            Err(error) => tracing::error!(%error, "housekeeping failed"),
        }
    }
}

fn log(items: &[Item]) {
    for item in items {
        if let Action::Failed(problem) = &item.action {
            tracing::warn!(what = item.what.as_str(), id = item.id, problem, "could not be reclaimed");
        }
    }
    let removed = items.iter().filter(|item| item.action == Action::Remove);
    let (count, bytes) = removed.fold((0, 0), |(count, bytes), item| (count + 1, bytes + item.bytes.unwrap_or(0)));
    if count > 0 {
        tracing::info!(items = count, bytes, "reclaimed what finished work had left");
    }
}
