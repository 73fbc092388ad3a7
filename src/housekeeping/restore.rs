//! `restore`: puts a copy made by `backup` in the place of the store, while nobody uses it.

use super::{HousekeepingError, at, own, postgres, sqlite};
use crate::{
    config::DataDir,
    model::id::ProcessId,
    process::{Liveness, ProcessDir, lock},
};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A finished restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Tasks in the store now, when they could be counted.
    pub tasks: Option<i64>,
    /// Where what was there before is kept.
    pub kept: Option<PathBuf>,
    /// Agent processes at work; the restored store may not know them.
    pub running: Vec<ProcessId>,
}

/// Replaces the store at `url` by the copy in `file`. `env` is what helper programs inherit. A store that is there
/// already is replaced only with `force`, and kept under another name.
pub async fn restore(
    data: &DataDir,
    url: &str,
    env: &BTreeMap<String, String>,
    file: &Path,
    force: bool,
) -> Result<Restored, HousekeepingError> {
    let file = std::fs::canonicalize(file).map_err(at(file))?;
    let _server = match lock::take(&data.lock()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let words = format!("{} belongs to a running server; stop it first", data.path().display());
            return Err(HousekeepingError::Refused(words));
        }
        owner => owner.map_err(at(&data.lock()))?,
    };
    let _housekeeping = own(data).await?;
    let path = data.store_lock();
    let opening = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let _opening = opening.and_then(|file| file.lock().map(|()| file)).map_err(at(&path))?;
    let (tasks, kept) = match url.strip_prefix("sqlite://") {
        Some(database) => {
            let (tasks, kept) = sqlite::replace(Path::new(database), &file, force).await?;
            (Some(tasks), kept)
        }
        None => (None, postgres::replace(url, env, &file, force, data.path()).await?),
    };
    let dirs = ProcessDir::list(&data.processes()).map_err(at(&data.processes()))?;
    let is_running = |dir: &ProcessDir| matches!(dir.inspect(), Ok(Liveness::Running(_)));
    let running = dirs.into_iter().filter(|(_, dir)| is_running(dir)).map(|(id, _)| id).collect();
    Ok(Restored { tasks, kept, running })
}
