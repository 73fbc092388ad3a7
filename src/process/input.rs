//! Server side of a CLI's stdin: whole lines and commands into the shim's FIFO.

use super::{
    dir::{Liveness, ProcessDir},
    shim_io::{MAX_PENDING, Meaning, is_json_object},
};
use chrono::{DateTime, SecondsFormat, Utc};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe::{OpenOptions, Sender},
    time::{sleep, timeout},
};

/// Longest line that can be sent.
pub const MAX_LINE_BYTES: usize = MAX_PENDING;
/// How long a command may wait for room in the FIFO before only a signal is used, if there is one.
const COMMAND_LIMIT: Duration = Duration::from_secs(1);
const SYNC_LIMIT: Duration = Duration::from_secs(10);

/// The writing end of a process's FIFO. One at a time: lines of two writers would mix.
#[derive(Debug)]
pub struct Input {
    dir: ProcessDir,
    pipe: Sender,
    /// The FIFO may contain the beginning of a line: a predecessor's, or one of ours that was cancelled.
    torn: bool,
}

impl Input {
    /// Opens the FIFO; [`ErrorKind::BrokenPipe`] if the shim is gone.
    pub fn open(dir: &ProcessDir) -> io::Result<Self> {
        let pipe = OpenOptions::new().open_sender(dir.stdin()).map_err(|error| {
            let gone = error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
            if gone { io::Error::new(ErrorKind::BrokenPipe, "the process is gone") } else { error }
        })?;
        Ok(Self { dir: dir.clone(), pipe, torn: true })
    }

    /// Sends one JSON object. Waits while the CLI does not read; if that is cut short, the line counts as not sent and
    /// the next one is whole again.
    pub async fn send_line(&mut self, json_line: &str) -> io::Result<()> {
        let line = json_line.as_bytes();
        let problem = if line.len() > MAX_LINE_BYTES {
            "the line is longer than 64 MiB"
        } else if line.contains(&b'\n') {
            "the line contains a line break"
        } else if !is_json_object(line) {
            "the line is not a JSON object"
        } else {
            return self.write(line).await;
        };
        Err(io::Error::new(ErrorKind::InvalidInput, problem))
    }

    /// Closes the CLI's stdin once it has read everything sent before.
    pub async fn close_stdin(&mut self) -> io::Result<()> {
        self.write(b"!eof").await
    }

    /// Asks the CLI to end; after the grace of its spec it is killed. Also works while the CLI does not read.
    pub async fn stop(&mut self) -> io::Result<()> {
        self.command(b"!stop", Signal::TERM).await
    }

    /// Kills the CLI and all it started. Also works while the CLI does not read.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.command(b"!kill", Signal::USR1).await
    }

    /// Moves the deadline of the spec, or removes it. It holds without the server too, but not once the CLI is being ended.
    /// [`ErrorKind::TimedOut`] if the shim takes nothing because the CLI does not read; the old deadline stays then.
    pub async fn set_deadline(&mut self, at: Option<DateTime<Utc>>) -> io::Result<()> {
        let at = at.map_or_else(|| "none".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let line = format!("!deadline {at}");
        if !matches!(Meaning::of(line.as_bytes()), Meaning::Deadline(_)) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the deadline has no year of four digits"));
        }
        // Short enough for the FIFO to take it whole or not at all.
        timeout(COMMAND_LIMIT, self.write(line.as_bytes())).await?
    }

    /// Returns when the shim has taken everything sent so far, by this server or an earlier one: from then on
    /// [`ProcessDir::sent_lines`] is complete.
    pub async fn sync(&mut self) -> io::Result<()> {
        let token = format!("!sync {}", uuid::Uuid::new_v4().simple());
        let wanted = format!("{token}\n").into_bytes();
        let log = File::open(self.dir.stdin_log())?;
        let mut at = log.metadata()?.len();
        let seen = async {
            self.write(token.as_bytes()).await?;
            let mut pause = Duration::from_millis(1);
            loop {
                // The end of the search so far is kept: the token may have arrived in part.
                let length = log.metadata()?.len();
                let mut bytes = vec![0; usize::try_from(length.saturating_sub(at)).unwrap_or(0).min(1 << 20)];
                log.read_exact_at(&mut bytes, at)?;
                if bytes.windows(wanted.len()).any(|window| window == wanted) {
                    return Ok(());
                }
                let step = bytes.len().saturating_sub(wanted.len() - 1) as u64;
                at += step;
                if at + (wanted.len() as u64) <= length {
                    continue;
                }
                match self.dir.inspect()? {
                    Liveness::Running(_) => {}
                    _ if log.metadata()?.len() > length => continue,
                    _ => return Err(io::Error::new(ErrorKind::BrokenPipe, "the process is gone")),
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        let late = |_| io::Error::new(ErrorKind::TimedOut, "the shim does not take its input");
        timeout(SYNC_LIMIT, seen).await.map_err(late)?
    }

    /// The FIFO keeps the order and leaves a trace in the log; the signal gets through when the FIFO is stuck.
    async fn command(&mut self, line: &[u8], signal: Signal) -> io::Result<()> {
        let written = match timeout(COMMAND_LIMIT, self.write(line)).await {
            Ok(written) => written,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        };
        if signal_shim(&self.dir, signal)? { Ok(()) } else { written }
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let start: &[u8] = if self.torn { b"\n" } else { b"" };
        let whole = [start, line, b"\n"].concat();
        self.torn = true;
        self.pipe.write_all(&whole).await?;
        self.torn = false;
        Ok(())
    }
}

/// Signals the shim if it lives; false if it does not.
fn signal_shim(dir: &ProcessDir, signal: Signal) -> io::Result<bool> {
    let Liveness::Running(Some(started)) = dir.inspect()? else { return Ok(false) };
    let Some(pid) = i32::try_from(started.shim_pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let Ok(shim) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    // The lock is still held, so the number was the shim's when it was looked up.
    Ok(dir.is_locked()? && pidfd_send_signal(shim, signal).is_ok())
}
