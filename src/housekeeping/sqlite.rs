//! Copies of a `SQLite` database: taking one, and putting one in the place of the database.

use super::{
    HousekeepingError, at,
    backup::{Temporary, sync_directory, with_suffix},
};
use crate::store::{check_sqlite_copy, check_sqlite_migrations, copy_sqlite};
use chrono::Utc;
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// Copies a database that may be in use to `target`, an empty file, and checks the copy. Returns the number of tasks.
pub(super) async fn copy(database: &Path, target: &Path) -> Result<i64, HousekeepingError> {
    if !database.is_file() {
        let words = format!("there is no database at {}; are server.data_dir and store.url right?", database.display());
        return Err(HousekeepingError::Refused(words));
    }
    copy_sqlite(database, target).await?;
    check_sqlite_copy(target).await.map_err(|problem| HousekeepingError::Copy { file: database.to_owned(), problem })
}

/// Puts a copy of `file` in the place of `database`, which nobody may have open. What was there is kept under a name that
/// is returned. Until the copy is checked, nothing is changed.
pub(super) async fn replace(database: &Path, file: &Path, force: bool) -> Result<(i64, Option<PathBuf>), HousekeepingError> {
    let there = fs::symlink_metadata(database).is_ok();
    if there && !force {
        let words = format!("{} exists; --force puts the copy in its place and keeps it under another name", database.display());
        return Err(HousekeepingError::Refused(words));
    }
    if fs::canonicalize(database).is_ok_and(|database| database == file) {
        return Err(HousekeepingError::Refused(format!("{} is the database itself, not a copy", file.display())));
    }
    let unsaved = with_suffix(file, "-wal");
    if fs::metadata(&unsaved).is_ok_and(|facts| facts.len() > 0) {
        let words =
            format!("{} is there: the file is a database in use, not a copy; make one with `mas backup`", unsaved.display());
        return Err(HousekeepingError::Refused(words));
    }
    let temporary = Temporary::beside(database)?;
    let (from, to) = (file.to_owned(), temporary.path().to_owned());
    let copied = tokio::task::spawn_blocking(move || -> io::Result<()> {
        io::copy(&mut File::open(from)?, &mut OpenOptions::new().write(true).open(to)?).map(drop)
    });
    copied.await.map_err(io::Error::other).flatten().map_err(at(file))?;
    let unusable = |problem| HousekeepingError::Copy { file: file.to_owned(), problem };
    let tasks = check_sqlite_copy(temporary.path()).await.map_err(unusable)?;
    check_sqlite_migrations(temporary.path()).await.map_err(unusable)?;
    let kept = if there { Some(set_aside(database).map_err(at(database))?) } else { None };
    for suffix in ["-wal", "-shm", "-journal"] {
        // SQLite would apply what another database has left there.
        match fs::remove_file(with_suffix(database, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(database)(error)),
            _ => {}
        }
    }
    temporary.become_file(database, false).map_err(at(database))?;
    Ok((tasks, kept))
}

/// Renames a database together with what a killed server may have left beside it, so that it can be opened again.
fn set_aside(database: &Path) -> io::Result<PathBuf> {
    let kept = with_suffix(database, &format!(".before-restore-{}", Utc::now().format("%Y%m%dT%H%M%S%.3fZ")));
    for suffix in ["-wal", "-journal", ""] {
        match fs::rename(with_suffix(database, suffix), with_suffix(&kept, suffix)) {
            Err(error) if suffix.is_empty() || error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(database)?;
    Ok(kept)
}
