//! The shim's loop: moves bytes between files and the CLI until one of the reasons to end arrives, then ends the tree.

use super::{
    lifeline::Tie,
    limits::Limits,
    record::{ExitReason, Spec},
    shim_io::{Capture, Journal, LineBuffer, Log, Meaning, Outbox},
    signals::{Signals, arrived},
    tree::{self, Tree},
};
use chrono::{DateTime, Utc};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitStatus, kill_process},
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

/// How often storing is tried again on a full disk, and for how long.
pub(super) const DISK_RETRY: Duration = Duration::from_millis(200);
pub(super) const DISK_PATIENCE: Duration = Duration::from_secs(30);
/// How long a dead CLI's pipes are read if somebody unkillable keeps them open.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait; the deadline is wall-clock time, which may jump.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Reads of the FIFO before the others get their turn.
const FIFO_SHARE: usize = 16;

/// Why the process ends, and when its tree is killed at the latest.
pub(super) struct Ending {
    pub(super) reason: ExitReason,
    pub(super) detail: Option<String>,
    at: Instant,
}

impl Ending {
    pub(super) fn new(reason: ExitReason, detail: Option<String>) -> Self {
        Self { reason, detail, at: Instant::now() }
    }
    fn add(&mut self, more: &str) {
        self.detail = Some(self.detail.take().map_or_else(|| more.to_owned(), |detail| format!("{detail}; {more}")));
    }
}

/// One CLI under supervision.
pub(super) struct Session<'a> {
    pub(super) spec: &'a Spec,
    /// That of the spec until it is moved.
    pub(super) deadline: Option<DateTime<Utc>>,
    pub(super) limits: Limits,
    pub(super) log: &'a mut Log,
    pub(super) cli: Pid,
    pub(super) status: Option<WaitStatus>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) outbox: Outbox,
    /// Nothing more goes to the CLI; its stdin is closed once the outbox is empty.
    pub(super) eof: bool,
    pub(super) fifo: File,
    pub(super) lines: LineBuffer,
    pub(super) journal: Journal,
    /// A line that could not be logged because the disk is full, and since when.
    pub(super) waiting_line: Option<(Vec<u8>, Instant)>,
    pub(super) stdout: Capture<ChildStdout>,
    pub(super) stderr: Capture<ChildStderr>,
    pub(super) signals: Signals,
    pub(super) tie: Tie,
    pub(super) ending: Option<Ending>,
    /// When the CLI closed its stdout. A CLI that is ending does so a moment before; one that goes on is of no use.
    pub(super) output_closed: Option<Instant>,
    pub(super) buffer: Box<[u8]>,
}

impl Session<'_> {
    /// Returns when the CLI is dead or the tree is to be killed.
    pub(super) fn run(&mut self) {
        loop {
            let more = self.step();
            if self.status.is_some() || self.ending.as_ref().is_some_and(|ending| ending.at <= Instant::now()) {
                return;
            }
            if !more && let Err(error) = self.wait() {
                self.kill(ExitReason::Killed, Some(format!("the shim cannot wait: {error}")));
            }
        }
    }

    /// Does whatever can be done without waiting; true if there is more of it.
    fn step(&mut self) -> bool {
        arrived(&self.signals.child);
        let cli = self.cli;
        tree::reap(|pid, status| {
            if pid == cli {
                self.status = Some(status);
            }
        });
        if arrived(&self.signals.stop) || self.tie.was_cut() {
            self.stop(ExitReason::Stopped);
        }
        if arrived(&self.signals.kill) {
            self.kill(ExitReason::Killed, None);
        }
        let mut more = self.stdout.pump(&mut self.buffer);
        more |= self.stderr.pump(&mut self.buffer);
        if self.stdout.exceeded {
            self.kill(ExitReason::OutputLimit, Some(limit_words(self.spec)));
        }
        if let Some((since, kind)) = self.stdout.stalled
            && since.elapsed() >= DISK_PATIENCE
        {
            self.kill(ExitReason::DiskFull, Some(format!("output cannot be stored: {kind}")));
        }
        if self.stdout.pipe.is_none() {
            let closed = *self.output_closed.get_or_insert_with(Instant::now);
            if self.status.is_none() && closed.elapsed() >= self.grace() {
                self.kill(ExitReason::OutputClosed, Some("the CLI closed its stdout and lived on".to_owned()));
            }
        }
        if self.status.is_none()
            && let Some((reason, detail)) = self.limits.check()
        {
            self.kill(reason, Some(detail));
        }
        more |= self.take_lines();
        self.feed();
        // After the lines: one of them may have moved it.
        if self.deadline.is_some_and(|deadline| deadline <= Utc::now()) {
            self.stop(ExitReason::Deadline);
        }
        more
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.spec.stop_grace_ms)
    }

    fn stop(&mut self, reason: ExitReason) {
        if self.ending.is_some() || self.status.is_some() {
            return;
        }
        self.ending = Some(Ending { reason, detail: None, at: Instant::now() + self.grace() });
        self.close_stdin();
        // The number is the CLI's own as long as its status has not been collected.
        let _ = kill_process(self.cli, Signal::INT);
    }

    /// Ends the loop now. The first reason stays, except that a wish to kill is stronger than one to stop.
    pub(super) fn kill(&mut self, reason: ExitReason, detail: Option<String>) {
        match &mut self.ending {
            Some(ending) => {
                ending.at = Instant::now();
                if reason == ExitReason::Killed && ending.reason == ExitReason::Stopped {
                    ending.reason = reason;
                }
                if ending.detail.is_none() {
                    ending.detail = detail;
                }
            }
            None => self.ending = Some(Ending::new(reason, detail)),
        }
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
        self.outbox = Outbox::default();
        self.eof = true;
    }

    /// Writes to the CLI what it takes.
    fn feed(&mut self) {
        if let Some(pipe) = &mut self.stdin {
            if let Err(error) = self.outbox.write_to(pipe) {
                self.log.note(&format!("the CLI does not read its stdin any more: {error}"));
                self.close_stdin();
            } else if self.eof && self.outbox.is_empty() {
                self.stdin = None;
            }
        }
    }

    fn may_take_lines(&self) -> bool {
        self.waiting_line.is_none() && !self.outbox.is_full()
    }

    /// Takes lines from the FIFO; true if there may be more.
    fn take_lines(&mut self) -> bool {
        if let Some((line, since)) = self.waiting_line.take() {
            self.obey(line, since);
        }
        let mut reads = 0;
        while self.may_take_lines() {
            if let Some(line) = self.lines.next_line() {
                self.obey(line, Instant::now());
                continue;
            }
            if reads == FIFO_SHARE {
                return true;
            }
            reads += 1;
            match self.fifo.read(&mut self.buffer) {
                Ok(count) => self.lines.feed(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Logs the line, then does what it says.
    fn obey(&mut self, line: Vec<u8>, since: Instant) {
        let meaning = Meaning::of(&line);
        match meaning {
            Meaning::Nothing if line.is_empty() => return,
            Meaning::Nothing => {
                let length = line.len();
                return self.log.note(&format!("dropped a line of {length} bytes that is neither a JSON object nor a command"));
            }
            Meaning::NoDeadline => return self.log.note("ignored a deadline that is neither a time nor none"),
            _ => {}
        }
        if let Err(error) = self.journal.append(&line) {
            if meaning == Meaning::Forward {
                if since.elapsed() >= DISK_PATIENCE {
                    self.kill(ExitReason::DiskFull, Some(format!("input cannot be logged: {error}")));
                }
                self.waiting_line = Some((line, since));
                return;
            }
            self.log.note(&format!("obeys a command that cannot be logged: {error}"));
        }
        match meaning {
            Meaning::Forward if self.eof => self.log.note("dropped a line: the CLI's stdin is closed"),
            Meaning::Forward => {
                self.outbox.push_line(&line);
                self.feed();
            }
            Meaning::Eof => self.eof = true,
            Meaning::Stop => self.stop(ExitReason::Stopped),
            Meaning::Kill => self.kill(ExitReason::Killed, None),
            Meaning::Deadline(deadline) => self.deadline = deadline,
            Meaning::Sync | Meaning::NoDeadline | Meaning::Nothing => {}
        }
    }

    /// Waits for the next thing to do.
    fn wait(&self) -> io::Result<()> {
        let mut timeout = LONGEST_WAIT;
        if let Some(deadline) = self.deadline
            && self.ending.is_none()
        {
            timeout = timeout.min((deadline - Utc::now()).to_std().unwrap_or_default());
        }
        if let Some(next_look) = self.limits.next_look {
            timeout = timeout.min(next_look.saturating_duration_since(Instant::now()));
        }
        if let Some(ending) = &self.ending {
            timeout = timeout.min(ending.at.saturating_duration_since(Instant::now()));
        }
        if let Some(closed) = self.output_closed
            && self.ending.is_none()
        {
            timeout = timeout.min((closed + self.grace()).saturating_duration_since(Instant::now()));
        }
        if self.stdout.is_stalled() || self.stderr.is_stalled() || self.waiting_line.is_some() {
            timeout = timeout.min(DISK_RETRY);
        }
        let mut fds = vec![
            PollFd::new(&self.signals.child, PollFlags::IN),
            PollFd::new(&self.signals.stop, PollFlags::IN),
            PollFd::new(&self.signals.kill, PollFlags::IN),
        ];
        fds.extend(self.tie.poll_fd());
        if self.may_take_lines() {
            fds.push(PollFd::new(&self.fifo, PollFlags::IN));
        }
        if let Some(pipe) = &self.stdin
            && !self.outbox.is_empty()
        {
            fds.push(PollFd::new(pipe, PollFlags::OUT));
        }
        self.add_outputs(&mut fds);
        wait_for(&mut fds, timeout)
    }

    fn add_outputs<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        if let Some(pipe) = self.stdout.pipe.as_ref().filter(|_| !self.stdout.is_stalled()) {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        if let Some(pipe) = self.stderr.pipe.as_ref().filter(|_| !self.stderr.is_stalled()) {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
    }

    /// Kills what is left of the tree, saves the rest of the output, and says how it ended.
    pub(super) fn finish(mut self, tree: &Tree<'_>) -> (Ending, Option<WaitStatus>, u64) {
        self.close_stdin();
        if self.ending.is_none() {
            self.ending = self.limits.killed_by_kernel().map(|(reason, detail)| Ending::new(reason, Some(detail)));
        }
        let (cli, mut status) = (self.cli, self.status);
        let killed = tree.kill(|pid, reaped| {
            if pid == cli {
                status = Some(reaped);
            }
        });
        let mut ending = self.ending.take().unwrap_or_else(|| Ending::new(ExitReason::Exited, None));
        if killed.left > 0 {
            ending.add(&format!("{} processes could not be killed", killed.left));
        }
        if let Some(loss) = self.drain() {
            ending.reason = ExitReason::DiskFull;
            ending.add(&loss);
        }
        if self.stdout.exceeded && ending.reason == ExitReason::Exited {
            ending.reason = ExitReason::OutputLimit;
            ending.add(&limit_words(self.spec));
        }
        if let Err(error) = self.stdout.file().sync_all() {
            self.log.note(&format!("stdout cannot be synchronised: {error}"));
        }
        (ending, status, self.stdout.written)
    }

    /// Reads the pipes to their end: all writers are dead, or nearly so. Says what was lost.
    fn drain(&mut self) -> Option<String> {
        let limit = Instant::now() + DRAIN_LIMIT;
        loop {
            let more = self.stdout.pump(&mut self.buffer) | self.stderr.pump(&mut self.buffer);
            if self.stdout.is_stalled() {
                if let Some((since, kind)) = self.stdout.stalled
                    && since.elapsed() >= DISK_PATIENCE
                {
                    return Some(format!("the end of the output was lost: {kind}"));
                }
                std::thread::sleep(DISK_RETRY);
                continue;
            }
            if self.stdout.pipe.is_none() && (self.stderr.pipe.is_none() || self.stderr.is_stalled()) {
                return None;
            }
            if Instant::now() >= limit {
                self.log.note("somebody keeps the output open; it is not read any further");
                return None;
            }
            if !more {
                let mut fds = Vec::new();
                self.add_outputs(&mut fds);
                let _ = wait_for(&mut fds, limit.saturating_duration_since(Instant::now()));
            }
        }
    }
}

fn limit_words(spec: &Spec) -> String {
    format!("the output exceeded {} bytes", spec.max_output_bytes)
}

fn wait_for(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    let timeout = timeout.try_into().map_err(io::Error::other)?;
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
