//! `backup`: a consistent copy of the store in one file, made and checked while the server works.

use super::{HousekeepingError, at, postgres, sqlite};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A finished copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Tasks in it, when they could be counted.
    pub tasks: Option<i64>,
    /// Its size.
    pub bytes: u64,
}

/// Copies the store at `url` to `file`, which appears whole and checked or not at all. `env` is what helper programs
/// inherit. An existing file is replaced only with `force`.
pub async fn backup(url: &str, env: &BTreeMap<String, String>, file: &Path, force: bool) -> Result<Copied, HousekeepingError> {
    let file = std::path::absolute(file).map_err(at(file))?;
    if file.is_dir() {
        return Err(HousekeepingError::Refused(format!("{} is a directory; name a file in it", file.display())));
    }
    let exists = || HousekeepingError::Refused(format!("{} exists; --force replaces it", file.display()));
    if !force && fs::symlink_metadata(&file).is_ok() {
        return Err(exists());
    }
    let temporary = Temporary::beside(&file)?;
    let tasks = if let Some(database) = url.strip_prefix("sqlite://") {
        Some(sqlite::copy(Path::new(database), temporary.path()).await?)
    } else {
        postgres::dump(url, env, temporary.path()).await?;
        None
    };
    let bytes = fs::metadata(temporary.path()).map_err(at(&file))?.len();
    match temporary.become_file(&file, force) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        done => done.map_err(at(&file)),
    }?;
    Ok(Copied { tasks, bytes })
}

/// A file in the making, readable by its owner only; gone when dropped.
pub(super) struct Temporary(Option<PathBuf>);

impl Temporary {
    pub(super) fn beside(file: &Path) -> Result<Self, HousekeepingError> {
        let name = file.file_name().ok_or_else(|| HousekeepingError::Refused(format!("{} is no file name", file.display())))?;
        let path = file.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(at(&path))?;
        Ok(Self(Some(path)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Puts it on disk and in place; without `replace` never over another file.
    pub(super) fn become_file(mut self, file: &Path, replace: bool) -> io::Result<()> {
        File::open(self.path())?.sync_all()?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, self.path(), CWD, file, flags) {
            // Not every file system can; who calls has looked before.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(self.path(), file)?,
            done => done?,
        }
        self.0 = None;
        sync_directory(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let _ = fs::remove_file(with_suffix(path, suffix));
            }
        }
    }
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// `SQLite` keeps its other files beside the database under its name with an ending.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
