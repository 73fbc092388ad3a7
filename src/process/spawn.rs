//! Server side of a start: prepares the directory, starts the shim, waits until it has started the CLI.

use super::{
    dir::{Liveness, ProcessDir, append},
    lifeline::Lifeline,
    record::{ExitRecord, Spec, Started, StoredSpec},
    tree,
};
use std::{collections::BTreeMap, io, path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts processes. One serves the whole server.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program with the `__shim` verb: this one.
    pub executable: PathBuf,
    /// The cgroup below which each process gets its own; `None` if that is not to be had.
    pub cgroup_parent: Option<PathBuf>,
}

/// What came of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// The CLI was started; it may have ended since.
    Running(Started),
    /// The CLI could not be started; the record says why.
    Failed(ExitRecord),
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The directory could not be made.
    #[error("the process directory cannot be prepared: {0}")]
    Prepare(#[source] io::Error),
    /// The shim could not be started.
    #[error("the supervising process cannot be started: {0}")]
    Shim(#[source] io::Error),
    /// The shim said nothing in time, or died first.
    #[error("the supervising process {0}; see shim.log in the process directory")]
    Silent(&'static str),
}

impl Launcher {
    /// Finds out what this host offers.
    pub fn detect() -> Self {
        // Names the running program even if its file has been replaced by an upgrade.
        Self { executable: "/proc/self/exe".into(), cgroup_parent: tree::cgroup_parent() }
    }

    /// Starts `spec` in a new directory, with exactly `env` as its environment and `files` (plain names and contents) in
    /// the directory, and returns once the CLI is started or known not to be. Run it to its end: a dropped future leaves a
    /// running process behind.
    pub async fn launch(
        &self,
        dir: &ProcessDir,
        spec: Spec,
        env: &BTreeMap<String, String>,
        files: &[(&str, &str)],
    ) -> Result<Launched, LaunchError> {
        self.launch_as(dir, spec, env, files, false).await.map(|(launched, _)| launched)
    }

    /// [`Launcher::launch`] of a process that ends with the server, or when the lifeline is dropped.
    pub async fn launch_tied(
        &self,
        dir: &ProcessDir,
        spec: Spec,
        env: &BTreeMap<String, String>,
    ) -> Result<(Launched, Option<Lifeline>), LaunchError> {
        self.launch_as(dir, spec, env, &[], true).await
    }

    async fn launch_as(
        &self,
        dir: &ProcessDir,
        spec: Spec,
        env: &BTreeMap<String, String>,
        files: &[(&str, &str)],
        tied: bool,
    ) -> Result<(Launched, Option<Lifeline>), LaunchError> {
        let (this, place, env) = (self.clone(), dir.clone(), env.clone());
        let files: Vec<_> = files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect();
        // Making files and forking both block; the thread has no meaning for the shim, which has no death signal.
        let mut shim = tokio::task::spawn_blocking(move || this.start_shim(&place, spec, &env, &files, tied))
            .await
            .map_err(|error| LaunchError::Shim(io::Error::other(error)))??;
        let lifeline = shim.stdin.take().map(Lifeline);
        let mut word = [0];
        let heard = match shim.stdout.take() {
            Some(mut pipe) => timeout(START_LIMIT, pipe.read(&mut word)).await,
            None => Ok(Ok(0)),
        };
        if heard.is_err() {
            // Before anybody is told that there is no process, there must be none.
            let _ = shim.kill().await;
            let _ = tree::kill_leftovers(dir).await;
            return Err(LaunchError::Silent("did not start the agent within 10 seconds"));
        }
        tokio::spawn(async move { shim.wait().await });
        let place = dir.clone();
        let started = tokio::task::spawn_blocking(move || {
            if let Some(started) = super::dir::read_json(&place.started())? {
                return Ok(Some(Launched::Running(started)));
            }
            match place.inspect()? {
                Liveness::Exited(exit) => Ok(Some(Launched::Failed(exit))),
                _ => Ok(None),
            }
        });
        match started.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Some(launched)) => Ok((launched, lifeline)),
            Ok(None) => Err(LaunchError::Silent("ended before it started the agent")),
            Err(error) => Err(LaunchError::Prepare(error)),
        }
    }

    fn start_shim(
        &self,
        dir: &ProcessDir,
        spec: Spec,
        env: &BTreeMap<String, String>,
        files: &[(String, String)],
        tied: bool,
    ) -> Result<Child, LaunchError> {
        let not_named = || LaunchError::Prepare(io::Error::other("the directory is not named after a process id"));
        let marker = dir.id().ok_or_else(not_named)?.to_string();
        let stored = StoredSpec { spec, marker, cgroup_parent: self.cgroup_parent.clone(), tied };
        let place = std::path::absolute(dir.path()).map_err(LaunchError::Prepare)?;
        dir.create(&stored, files).map_err(LaunchError::Prepare)?;
        let log = append(&dir.shim_log()).map_err(LaunchError::Prepare)?;
        #[expect(clippy::disallowed_methods, reason = "this is the place that starts shims")]
        let mut command = Command::new(&self.executable);
        // In `/`, so that it does not keep the server's working directory busy for as long as it lives.
        command.arg("__shim").arg(place).env_clear().envs(env).current_dir("/");
        // The shim says one word on stdout when it has written started.json or exit.json.
        // Its stdin says, by its end, that the server let go.
        command.stdin(if tied { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(log);
        command.spawn().map_err(LaunchError::Shim)
    }
}
