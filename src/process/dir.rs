//! A process directory: its files and what they say about the process.

use super::record::{ExitRecord, Started, StoredSpec};
use crate::model::id::ProcessId;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The directory of one process, `<root>/<process id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDir(PathBuf);

/// What is known about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// Prepared; no shim has got as far as starting the CLI.
    NotStarted,
    /// The shim lives; without [`Started`] it is about to start the CLI.
    Running(Option<Started>),
    /// It ended and left a record.
    Exited(ExitRecord),
    /// The shim is gone without a record. Parts of the tree may live: see [`super::kill_leftovers`].
    Vanished(Option<Started>),
}

impl ProcessDir {
    /// The directory of `id` below `root`; nothing is created.
    pub fn new(root: &Path, id: ProcessId) -> Self {
        Self(root.join(id.to_string()))
    }

    /// A directory by its path, as given to the shim.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let dir = Self(std::path::absolute(path)?);
        if dir.id().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the directory is not named after a process id"));
        }
        Ok(dir)
    }

    /// All process directories below `root`, oldest first.
    pub fn list(root: &Path) -> io::Result<Vec<(ProcessId, Self)>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let dir = Self(entry?.path());
            found.extend(dir.id().map(|id| (id, dir)));
        }
        found.sort_by_key(|(id, _)| *id);
        Ok(found)
    }

    /// The process it belongs to.
    pub fn id(&self) -> Option<ProcessId> {
        self.0.file_name()?.to_str()?.parse().ok()
    }
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub(super) fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }
    pub(super) fn stdin(&self) -> PathBuf {
        self.0.join("stdin")
    }
    pub(super) fn stdin_log(&self) -> PathBuf {
        self.0.join("stdin.log")
    }
    /// The CLI's output as it came.
    pub fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }
    /// The CLI's diagnostics as they came, up to 1 MiB.
    pub fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }
    pub(super) fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }
    pub(super) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }
    /// Space reserved for `exit.json`.
    pub(super) fn exit_reserve(&self) -> PathBuf {
        self.0.join("exit.json.tmp")
    }
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    /// The shim's own log.
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// A file that was given at the launch.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether `name` can be that of a file given at the launch: a plain one that is not ours.
    fn is_free(&self, name: &str) -> bool {
        let records = [self.spec(), self.started(), self.exit()];
        let halves = records.each_ref().map(|record| half_written(record));
        let streams = [self.stdin(), self.stdin_log(), self.stdout(), self.stderr()];
        let others = [self.exit_reserve(), self.lock(), self.shim_log()];
        let path = self.file(name);
        // A name with a `/`, an empty one and `..` all name something other than a file of the directory.
        let is_plain = path.file_name().is_some_and(|last| last == name) && !name.contains('\0');
        is_plain && ![&records[..], &halves, &streams, &others].concat().contains(&path)
    }

    /// Whether a shim holds the lock.
    pub(super) fn is_locked(&self) -> io::Result<bool> {
        super::lock::is_held(&self.lock())
    }

    /// What is known about the process, derived from the files and the lock.
    pub fn inspect(&self) -> io::Result<Liveness> {
        if let Some(exit) = read_json(&self.exit())? {
            return Ok(Liveness::Exited(exit));
        }
        if self.is_locked()? {
            return Ok(Liveness::Running(read_json(&self.started())?));
        }
        // Between the two looks the shim may have written its record and gone.
        if let Some(exit) = read_json(&self.exit())? {
            return Ok(Liveness::Exited(exit));
        }
        match read_json(&self.started())? {
            Some(started) => Ok(Liveness::Vanished(Some(started))),
            None if self.spec().try_exists()? => Ok(Liveness::NotStarted),
            None => Ok(Liveness::Vanished(None)),
        }
    }

    /// The last `max` bytes of `stderr`, starting at a line where that is possible.
    pub fn stderr_tail(&self, max: usize) -> String {
        let read = || -> io::Result<(bool, Vec<u8>)> {
            let mut file = File::open(self.stderr())?;
            let start = file.metadata()?.len().saturating_sub(max as u64);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(max as u64).read_to_end(&mut bytes)?;
            Ok((start > 0, bytes))
        };
        let Ok((cut, bytes)) = read() else { return String::new() };
        let text = String::from_utf8_lossy(&bytes);
        match text.split_once('\n') {
            Some((_, rest)) if cut && !rest.is_empty() => rest.to_owned(),
            _ => text.into_owned(),
        }
    }

    /// Every complete line the shim took from the FIFO, commands included.
    pub fn sent_lines(&self) -> io::Result<Vec<String>> {
        let bytes = match fs::read(self.stdin_log()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(String::from_utf8_lossy(&bytes[..complete]).split_terminator('\n').map(str::to_owned).collect())
    }

    /// Kills the shim itself, for when it obeys no order. The kernel then kills the CLI; [`super::kill_leftovers`] does
    /// the rest once [`ProcessDir::inspect`] says that the process vanished.
    pub fn kill_shim(&self) -> io::Result<()> {
        // While the lock is held the number is that of the living shim.
        let Liveness::Running(Some(started)) = self.inspect()? else { return Ok(()) };
        let pid = rustix::process::Pid::from_raw(started.shim_pid.cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
    }

    /// Deletes the directory. Refused while the process runs.
    pub fn remove(&self) -> io::Result<()> {
        // Once the record is there, a shim has nothing left to do but to leave.
        if matches!(self.inspect()?, Liveness::Running(_)) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the process is still running"));
        }
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates the directory with all a shim needs, and `files` for the CLI: names and contents.
    pub(super) fn create(&self, stored: &StoredSpec, files: &[(String, String)]) -> io::Result<()> {
        if let Some((name, _)) = files.iter().find(|(name, _)| !self.is_free(name)) {
            let problem = format!("{name:?} cannot be the name of a file in a process directory");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        if let Some(root) = self.0.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        }
        DirBuilder::new().mode(0o700).create(&self.0)?;
        let owner = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, self.stdin(), owner)?;
        for file in [self.stdin_log(), self.stdout(), self.stderr(), self.lock()] {
            append(&file)?;
        }
        for (name, content) in files {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file(name))?;
            file.write_all(content.as_bytes())?;
        }
        write_whole(&self.spec(), stored)
    }

    pub(super) fn stored_spec(&self) -> io::Result<Option<StoredSpec>> {
        read_json(&self.spec())
    }
}

/// Opens a file of ours for appending.
pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.file_name().unwrap_or_default().display()))
        })?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a record is until it is whole.
fn half_written(record: &Path) -> PathBuf {
    record.with_extension("json.new")
}

/// Readers see the whole record or none.
pub(super) fn write_whole(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let temporary = half_written(path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{ExitReason, Spec},
        *,
    };
    use chrono::Utc;

    fn dir() -> (tempfile::TempDir, ProcessDir) {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = ProcessDir::new(root.path(), ProcessId::generate());
        let spec = Spec {
            argv: vec!["x".into()],
            cwd: "/".into(),
            deadline: None,
            max_output_bytes: 1,
            max_memory_bytes: None,
            max_processes: None,
            stop_grace_ms: 1,
        };
        dir.create(&StoredSpec { spec, marker: "m".into(), cgroup_parent: None, tied: false }, &[]).expect("creates");
        (root, dir)
    }

    #[test]
    fn only_plain_names_that_are_not_ours_are_free() {
        let (_root, dir) = dir();
        for name in ["mcp.json", ".hidden", "a b", "spec.json.bak", "..."] {
            assert!(dir.is_free(name), "{name}");
        }
        for name in ["", ".", "..", "/", "a/b", "a/", "../x", "./x", "/etc/x", "a\0b", "exit.json.tmp", "started.json.new"] {
            assert!(!dir.is_free(name), "{name}");
        }
        for file in fs::read_dir(dir.path()).expect("reads").flatten() {
            assert!(!dir.is_free(file.file_name().to_str().expect("UTF-8")), "{file:?}");
        }
    }

    #[test]
    fn liveness_follows_the_files_and_the_lock() {
        let (_root, dir) = dir();
        assert_eq!(dir.inspect().expect("inspects"), Liveness::NotStarted);
        let lock = append(&dir.lock()).expect("opens");
        lock.try_lock().expect("locks");
        assert_eq!(dir.inspect().expect("inspects"), Liveness::Running(None));
        assert!(dir.remove().is_err());
        let started = Started { shim_pid: 1, pid: 2, cgroup: None, started_at: Utc::now() };
        write_whole(&dir.started(), &started).expect("writes");
        assert_eq!(dir.inspect().expect("inspects"), Liveness::Running(Some(started.clone())));
        drop(lock);
        assert_eq!(dir.inspect().expect("inspects"), Liveness::Vanished(Some(started)));
        let exit = ExitRecord {
            code: Some(0),
            signal: None,
            reason: ExitReason::Exited,
            detail: None,
            ended_at: Utc::now(),
            stdout_bytes: 0,
        };
        write_whole(&dir.exit(), &exit).expect("writes");
        assert_eq!(dir.inspect().expect("inspects"), Liveness::Exited(exit));
        dir.remove().expect("removes");
        dir.remove().expect("removing twice is no error");
    }

    #[test]
    fn only_complete_lines_count_as_sent() {
        let (_root, dir) = dir();
        fs::write(dir.stdin_log(), "{}\n!eof\n{\"half").expect("writes");
        assert_eq!(dir.sent_lines().expect("reads"), ["{}", "!eof"]);
    }

    #[test]
    fn stderr_tail_starts_at_a_line() {
        let (_root, dir) = dir();
        fs::write(dir.stderr(), "first\nsecond\nthird\n").expect("writes");
        assert_eq!(dir.stderr_tail(9), "third\n");
        assert_eq!(dir.stderr_tail(4), "ird\n");
        assert_eq!(dir.stderr_tail(100), "first\nsecond\nthird\n");
    }
}
