//! File locks that say "somebody lives here": held by a process for its whole life, gone with it however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

/// Who asks whether a lock is held takes it for a moment; this is much longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes the lock and keeps it as long as the file is open. [`io::ErrorKind::WouldBlock`] when somebody lives there.
pub fn take(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let limit = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < limit => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the lock when whoever has it is done with it.
pub async fn wait(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.map_err(io::Error::other)?
}

/// Whether somebody holds the lock. Asks with a shared lock, so that two who ask do not mistake each other for an owner.
pub fn is_held(path: &Path) -> io::Result<bool> {
    // Read-only: closing a file opened for writing would wake every watcher of its directory.
    match File::open(path) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_lives_as_long_as_its_file_is_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        assert!(!is_held(&path).expect("asked"), "nobody was ever there");
        let owner = take(&path).expect("free");
        assert!(is_held(&path).expect("asked"));
        assert_eq!(take(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
        drop(owner);
        assert!(!is_held(&path).expect("asked"));
    }
}
