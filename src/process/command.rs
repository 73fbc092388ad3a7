//! Short helper commands such as `git`: run to the end, bounded in time and output.

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid},
};
use std::{collections::BTreeMap, io, os::fd::AsFd, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

/// How long pipes are read after the command's end, if something outside its group keeps them open.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code; absent if a signal ended it.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// At most as much as was asked for.
    pub stdout: Vec<u8>,
    /// At most as much as was asked for.
    pub stderr: Vec<u8>,
    /// Whether either was cut.
    pub truncated: bool,
}

impl CommandOutput {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
    /// Stdout as text, without white space around it.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
    /// Stderr as text, without white space around it.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// Why a command has no output.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There was nothing to run.
    #[error("no program is given")]
    Empty,
    /// It could not be started.
    #[error("{program} cannot be started in {cwd}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// The working directory.
        cwd: String,
        /// What the system said.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} did not finish within {limit:?} and was killed")]
    Timeout {
        /// The program.
        program: String,
        /// The time it had.
        limit: Duration,
    },
    /// Talking to it failed.
    #[error("{program}: {source}")]
    Io {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Kills the process group when dropped. The leader is not collected before that, so the number is still its own.
struct Group {
    leader: Child,
    id: Option<Pid>,
}

impl Group {
    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `argv` with exactly `env`, and `input` (meant for less than a pipe holds, 64 KiB) or none. Its process group is killed at the end, on timeout and on drop; of
/// each output the first `max_output` bytes are kept.
pub async fn run_command(
    argv: &[&str],
    cwd: &Path,
    env: &BTreeMap<String, String>,
    input: Option<&str>,
    limit: Duration,
    max_output: usize,
) -> Result<CommandOutput, CommandError> {
    let (program, arguments) = argv.split_first().ok_or(CommandError::Empty)?;
    let failed = |source| CommandError::Io { program: (*program).to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the place that starts helper commands")]
    let mut command = Command::new(program);
    command.args(arguments).current_dir(cwd).env_clear().envs(env).process_group(0);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut leader = command.spawn().map_err(|source| CommandError::Spawn {
        program: (*program).to_owned(),
        cwd: cwd.display().to_string(),
        source,
    })?;
    let (stdout, stderr) = (leader.stdout.take(), leader.stderr.take());
    let id = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group { leader, id };
    let (mut out, mut err) = (Kept::default(), Kept::default());
    let work = async {
        if let (Some(input), Some(mut stdin)) = (input, group.leader.stdin.take()) {
            // A command that ends without reading says so by its exit.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let mut reading = std::pin::pin!(async { tokio::try_join!(out.read(stdout, max_output), err.read(stderr, max_output)) });
        let ended = {
            let mut dead = std::pin::pin!(exited(id));
            tokio::select! {
                ended = &mut dead => { ended?; None }
                read = &mut reading => { read?; dead.await?; Some(()) }
            }
        };
        // Seen dead but not collected: what it left in the background goes with it.
        group.kill();
        if ended.is_none()
            && let Ok(read) = timeout(DRAIN_LIMIT, reading).await
        {
            read?;
        }
        group.leader.wait().await
    };
    let status = match timeout(limit, work).await {
        Ok(status) => status.map_err(failed)?,
        Err(_) => return Err(CommandError::Timeout { program: (*program).to_owned(), limit }),
    };
    Ok(CommandOutput {
        code: status.code(),
        signal: std::os::unix::process::ExitStatusExt::signal(&status),
        truncated: out.cut || err.cut,
        stdout: out.bytes,
        stderr: err.bytes,
    })
}

/// Waits until the process is dead, without collecting it. Takes a blocking thread for as long as the command runs.
async fn exited(pid: Option<Pid>) -> io::Result<()> {
    let process = pidfd_open(pid.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    let wait = move || loop {
        match waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map(|_| ()).map_err(io::Error::from),
        }
    };
    tokio::task::spawn_blocking(wait).await.map_err(io::Error::other)?
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    cut: bool,
}

impl Kept {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>, max: usize) -> io::Result<()> {
        let Some(mut pipe) = pipe else { return Ok(()) };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = pipe.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let room = max - self.bytes.len();
            self.cut |= count > room;
            self.bytes.extend_from_slice(&buffer[..count.min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn sh(script: &str, limit: Duration, max: usize) -> Result<CommandOutput, CommandError> {
        let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("ONLY".to_owned(), "this".to_owned())]);
        run_command(&["sh", "-c", script], Path::new("/"), &env, None, limit, max).await
    }
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn gives_code_outputs_and_nothing_of_our_environment() {
        let output = sh("echo $ONLY-$HOME; pwd; echo oops >&2; cat; exit 3", LONG, 100).await.expect("runs");
        assert_eq!((output.code, output.success(), output.truncated), (Some(3), false, false));
        assert_eq!((output.stdout_text(), output.stderr_text()), ("this-\n/".to_owned(), "oops".to_owned()));
        assert_eq!(sh("kill -9 $$", LONG, 100).await.expect("runs").signal, Some(9));
    }

    #[tokio::test]
    async fn keeps_the_beginning_of_long_output() {
        let output = sh("i=0; while [ $i -lt 40000 ]; do echo 1234567890; i=$((i+1)); done", LONG, 15).await.expect("runs");
        assert!(output.truncated && output.success());
        assert_eq!(output.stdout, b"1234567890\n1234");
    }

    #[tokio::test]
    async fn is_killed_with_its_group_when_the_time_is_up_and_not_held_up_by_its_background() {
        let before = Instant::now();
        let error = sh("sleep 1000 & sleep 1000", Duration::from_millis(200), 10).await.expect_err("times out");
        assert!(error.to_string().contains("did not finish within 200ms"), "{error}");
        assert!(sh("sleep 1000 &", LONG, 10).await.expect("runs").success());
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn says_what_cannot_be_started() {
        let error = run_command(&["no-such-program"], Path::new("/"), &BTreeMap::new(), None, LONG, 1).await.expect_err("fails");
        assert!(error.to_string().starts_with("no-such-program cannot be started in /:"), "{error}");
    }
}
