//! `mas __shim DIR`: starts one CLI, owns its stdio, enforces its limits, and records how it ended.
//!
//! One thread, no async runtime, nothing that depends on the server: it may die at any time and come back later.

use super::{
    MARKER_VARIABLE,
    dir::{ProcessDir, append, write_whole},
    lifeline::Tie,
    limits::{self, Limits},
    record::{ExitReason, ExitRecord, Started, StoredSpec},
    session::{DISK_PATIENCE, DISK_RETRY, Ending, Session},
    shim_io::{CHUNK, Capture, Journal, LineBuffer, Log, Outbox},
    signals::Signals,
    tree::{self, Tree},
};
use chrono::Utc;
use rustix::{
    io::ioctl_fionbio,
    process::{Pid, Signal, WaitStatus},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::{
        fs::{FileExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

const STDERR_CAP: u64 = 1 << 20;
/// Space kept for `exit.json`, so that a full disk cannot prevent it.
const RESERVE: usize = 4096;

/// Supervises the process described in `dir` until nothing of it is left.
pub fn run(dir: &Path) -> ExitCode {
    let Ok(dir) = ProcessDir::at(dir) else { return ExitCode::FAILURE };
    let mut log = Log::new(append(&dir.shim_log()).ok());
    let _lock = match lock(&dir) {
        Ok(lock) => lock,
        Err(error) => {
            log.note(&format!("cannot supervise: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match supervise(&dir, &mut log) {
        Err(error) => {
            log.note(&format!("failed: {error}"));
            record(&dir, &Ending::new(ExitReason::SpawnFailed, Some(error.to_string())), None, 0)
        }
        written => written,
    };
    // Tells a waiting launcher, if it has not been told; the server may be gone.
    let _ = announce();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes the lock, once in the life of the directory.
fn lock(dir: &ProcessDir) -> io::Result<File> {
    let file = super::lock::take(&dir.lock())?;
    if dir.started().try_exists()? || dir.exit().try_exists()? {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "the process was started before"));
    }
    Ok(file)
}

fn announce() -> io::Result<()> {
    let mut server = io::stdout();
    server.write_all(b".\n")?;
    server.flush()
}

fn supervise(dir: &ProcessDir, log: &mut Log) -> io::Result<()> {
    // Fails only if we lead a group already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = Signals::install()?;
    let stored = dir.stored_spec()?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "spec.json is missing"))?;
    let mut reserve = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(dir.exit_reserve())?;
    reserve.write_all(&[b' '; RESERVE])?;
    let fifo = OpenOptions::new()
        .read(true)
        .write(true) // our own writer: never an end of file
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(dir.stdin())?;
    let journal = Journal::new(append(&dir.stdin_log())?)?;
    let (stdout, stderr) = (append(&dir.stdout())?, append(&dir.stderr())?);
    let tie = Tie::of_stdin(stored.tied)?;

    let mut cgroup = stored.cgroup();
    if let Some(path) = &cgroup
        && let Err(error) = fs::create_dir(path)
    {
        log.note(&format!("goes on without a cgroup: {error}"));
        cgroup = None;
    }
    let imposed = cgroup.as_deref().is_some_and(|cgroup| limits::impose(cgroup, &stored.spec));
    let tree = Tree { marker: &stored.marker, cgroup: cgroup.as_deref(), adopts: true };
    let mut child = match start(&stored, cgroup.as_deref()) {
        Ok(child) => child,
        Err(error) => {
            tree.kill(|_, _| {});
            let detail = explain(&stored, &error);
            log.note(&detail);
            return record(dir, &Ending::new(ExitReason::SpawnFailed, Some(detail)), None, 0);
        }
    };
    let joined = cgroup.clone().filter(|cgroup| tree::is_in_cgroup(child.id(), cgroup));
    if cgroup.is_some() && joined.is_none() {
        log.note("the CLI could not join its cgroup");
    }
    let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        unreachable!("all three are piped");
    };
    ioctl_fionbio(&input, true)?;
    ioctl_fionbio(&output, true)?;
    ioctl_fionbio(&errors, true)?;
    let started = Started { shim_pid: std::process::id(), pid: child.id(), cgroup: joined, started_at: Utc::now() };
    let mut session = Session {
        spec: &stored.spec,
        deadline: stored.spec.deadline,
        limits: Limits::new(&stored.spec, started.cgroup.clone(), imposed),
        log,
        cli: Pid::from_child(&child),
        status: None,
        stdin: Some(input),
        outbox: Outbox::default(),
        eof: false,
        fifo,
        lines: LineBuffer::default(),
        journal,
        waiting_line: None,
        stdout: Capture::new(output, stdout, stored.spec.max_output_bytes),
        stderr: Capture::new(errors, stderr, STDERR_CAP),
        signals,
        tie,
        ending: None,
        output_closed: None,
        buffer: vec![0; CHUNK].into(),
    };
    if let Err(error) = write_whole(&dir.started(), &started) {
        session.kill(ExitReason::SpawnFailed, Some(format!("started.json cannot be written: {error}")));
    } else {
        let _ = announce();
    }
    session.run();
    let (ending, status, stdout_bytes) = session.finish(&tree);
    record(dir, &ending, status, stdout_bytes)
}

/// Starts the CLI in a session of its own, inside its cgroup.
fn start(stored: &StoredSpec, cgroup: Option<&Path>) -> io::Result<Child> {
    let Some((program, arguments)) = stored.spec.argv.split_first() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "argv is empty"));
    };
    #[expect(clippy::disallowed_methods, reason = "this is the place that starts agents")]
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&stored.spec.cwd).env(MARKER_VARIABLE, &stored.marker);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let procs = cgroup.and_then(|cgroup| OpenOptions::new().write(true).open(cgroup.join("cgroup.procs")).ok());
    let shim = rustix::process::getpid();
    let prepare = move || {
        rustix::process::setsid()?;
        // If the shim is killed, the kernel kills the CLI. Tied to the thread that forks: the shim has only this one.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(shim) {
            return Err(rustix::io::Errno::SRCH.into()); // the shim died before the call above
        }
        if let Some(procs) = &procs {
            let _ = rustix::io::write(procs, b"0"); // containment has two other legs
        }
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "child set-up between fork and exec has no safe interface")]
    // SAFETY: `prepare` runs in the forked child of a single-threaded process and makes only async-signal-safe calls:
    // bare system calls through rustix on values made before the fork; it neither allocates nor takes locks. (The
    // standard library itself empties the signal mask and restores SIGPIPE; exec resets our handlers.)
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}

/// Why the CLI could not be started, in words.
fn explain(stored: &StoredSpec, error: &io::Error) -> String {
    use std::os::unix::fs::PermissionsExt;
    let cwd = &stored.spec.cwd;
    let Some(program) = stored.spec.argv.first().filter(|program| !program.is_empty()) else {
        return "no program is given (argv is empty)".to_owned();
    };
    match fs::metadata(cwd) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return format!("the working directory {} does not exist", cwd.display());
        }
        Err(error) => return format!("the working directory {} cannot be entered: {error}", cwd.display()),
        Ok(found) if !found.is_dir() => return format!("the working directory {} is not a directory", cwd.display()),
        Ok(_) => {}
    }
    if !program.contains('/') && error.kind() == ErrorKind::NotFound {
        return format!("the program {program} is not in the PATH of the agent's environment");
    }
    match fs::metadata(cwd.join(program)) {
        Err(_) if error.kind() == ErrorKind::NotFound => format!("the program {program} does not exist"),
        Ok(found) if found.is_dir() => format!("the program {program} is a directory"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => format!("the program {program} is not executable"),
        Ok(_) if error.kind() == ErrorKind::NotFound => format!("the interpreter that {program} names does not exist"),
        _ => format!("the program {program} cannot be started: {error}"),
    }
}

/// Writes `exit.json` into the space reserved for it.
fn record(dir: &ProcessDir, ending: &Ending, status: Option<WaitStatus>, stdout_bytes: u64) -> io::Result<()> {
    let exit = ExitRecord {
        code: status.and_then(WaitStatus::exit_status),
        signal: status.and_then(WaitStatus::terminating_signal),
        reason: ending.reason,
        detail: ending.detail.as_ref().map(|detail| detail.chars().take(RESERVE / 8).collect()),
        ended_at: Utc::now(),
        stdout_bytes,
    };
    let json = serde_json::to_vec(&exit)?;
    let write = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.exit_reserve())?;
        file.write_all_at(&json, 0)?;
        file.set_len(json.len() as u64)?;
        file.sync_all()?;
        fs::rename(dir.exit_reserve(), dir.exit())?;
        File::open(dir.path())?.sync_all()
    };
    let limit = Instant::now() + DISK_PATIENCE;
    loop {
        match write() {
            Err(error) if error.kind() != ErrorKind::NotFound && Instant::now() < limit => std::thread::sleep(DISK_RETRY),
            outcome => return outcome,
        }
    }
}
