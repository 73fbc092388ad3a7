//! The process module with its real shim; shell scripts stand in for the CLI.

mod limits;
mod tied;
mod usage;

use mas_gateway::{
    model::id::ProcessId,
    process::{
        ExitReason, ExitRecord, Input, LaunchError, Launched, Launcher, Liveness, MARKER_VARIABLE, ProcessDir, Spec, Started,
        Tail, TailBatch, Watcher, kill_leftovers, process_facts, tree,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_mins(1);

/// Waits for a state, not for a time.
async fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !reached() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("in time")
}

struct Case {
    _root: tempfile::TempDir,
    dir: ProcessDir,
    launcher: Launcher,
    spec: Spec,
    env: BTreeMap<String, String>,
    files: Vec<(&'static str, &'static str)>,
    watcher: Watcher,
}

impl Case {
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let spec = Spec {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            cwd: root.path().to_owned(),
            deadline: None,
            max_output_bytes: 1 << 30,
            max_memory_bytes: None,
            max_processes: None,
            stop_grace_ms: 5_000,
        };
        Self {
            dir: ProcessDir::new(&root.path().join("processes"), ProcessId::generate()),
            _root: root,
            launcher: Launcher { executable: env!("CARGO_BIN_EXE_mas").into(), cgroup_parent: None },
            spec,
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            files: vec![],
            watcher: Watcher::new(),
        }
    }
    async fn launch(&self) -> Launched {
        soon(self.launcher.launch(&self.dir, self.spec.clone(), &self.env, &self.files)).await.expect("launches")
    }
    async fn start(&self) -> Started {
        match self.launch().await {
            Launched::Running(started) => started,
            Launched::Failed(exit) => panic!("not started: {exit:?}"),
        }
    }
    fn input(&self) -> Input {
        Input::open(&self.dir).expect("opens the FIFO")
    }
    async fn tail(&self, offset: u64) -> Tail {
        Tail::open(&self.dir, offset, self.watcher.watch(&self.dir)).await.expect("opens stdout")
    }
    fn raw(&self, bytes: &[u8]) {
        let mut fifo = fs::OpenOptions::new().write(true).open(self.dir.path().join("stdin")).expect("opens");
        fifo.write_all(bytes).expect("writes");
    }
    fn stdout(&self) -> String {
        fs::read_to_string(self.dir.stdout()).expect("reads")
    }
    /// Living processes with our marker.
    fn marked(&self) -> Vec<u32> {
        let marker = format!("{MARKER_VARIABLE}={}", self.dir.id().expect("named"));
        let processes = fs::read_dir("/proc").expect("reads").flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes()))
            })
            .collect()
    }
    /// Waits for the record; nothing may be alive then.
    async fn exit(&self) -> ExitRecord {
        let mut record = None;
        wait_until("exit record", || match self.dir.inspect().expect("inspects") {
            Liveness::Exited(exit) => {
                record = Some(exit);
                true
            }
            _ => false,
        })
        .await;
        assert_eq!(self.marked(), Vec::<u32>::new(), "alive after the end");
        let record = record.expect("set");
        assert_eq!(record.stdout_bytes, fs::metadata(self.dir.stdout()).expect("metadata").len());
        record
    }
}

impl Drop for Case {
    /// A failed test leaves nothing behind either: without its CLI the shim clears the rest.
    fn drop(&mut self) {
        for marked in self.marked() {
            let _ = kill_process(pid(marked), Signal::KILL);
        }
    }
}

async fn lines(tail: &mut Tail, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        match soon(tail.next()).await.expect("reads") {
            TailBatch::Lines { lines, .. } => all.extend(lines),
            end => panic!("{end:?} after {} lines", all.len()),
        }
    }
    all
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("small")).expect("positive")
}

#[tokio::test]
async fn echoes_lines_while_running_and_ends_at_eof() {
    let case = Case::new("exec cat");
    let started = case.start().await;
    assert!(process_facts(started.pid).is_some_and(|facts| facts.rss_bytes > 0));
    assert!(matches!(case.dir.inspect().expect("inspects"), Liveness::Running(Some(running)) if running == started));
    let (mut input, mut tail) = (case.input(), case.tail(0).await);
    for line in [r#"{"n":1}"#, r#"{"n":2}"#] {
        input.send_line(line).await.expect("sends");
        assert_eq!(lines(&mut tail, 1).await, [line]);
    }
    for wrong in ["{\"half", "[1]", "{\"a\":\n1}", "!kill"] {
        assert!(input.send_line(wrong).await.is_err(), "{wrong}");
    }
    input.sync().await.expect("syncs");
    input.close_stdin().await.expect("closes");
    let end = soon(tail.next()).await.expect("reads");
    let exit = case.exit().await;
    assert_eq!(end, TailBatch::End { partial_tail: None, exit: exit.clone() });
    assert_eq!((exit.code, exit.signal, exit.reason, exit.detail), (Some(0), None, ExitReason::Exited, None));
    let sent = case.dir.sent_lines().expect("reads");
    assert_eq!((sent[0].as_str(), sent[1].as_str(), sent[3].as_str()), (r#"{"n":1}"#, r#"{"n":2}"#, "!eof"));
    assert!(sent[2].starts_with("!sync "));
    case.dir.remove().expect("removes");
    assert!(!case.dir.path().exists());
}

#[tokio::test]
async fn the_cli_sees_its_environment_a_session_of_its_own_and_default_signals() {
    // The shell reads its own mask without a child: while it starts one, it blocks all signals.
    let mut case = Case::new(
        "env; cat /proc/$$/stat; while read -r line; do echo \"$line\"; done </proc/$$/status; ulimit -c; echo oops >&2; exit 7",
    );
    case.env.insert("TOKEN".into(), "s3cret".into());
    let started = case.start().await;
    let exit = case.exit().await;
    assert_eq!(exit.code, Some(7));
    let stdout = case.stdout();
    assert!(stdout.contains("TOKEN=s3cret\n"));
    assert!(stdout.contains(&format!("{MARKER_VARIABLE}={}\n", case.dir.id().expect("named"))));
    assert!(!stdout.contains("CARGO"), "{stdout}");
    let stat = stdout.lines().find_map(|line| line.split_once(") ")).expect("stat").1;
    let session: Vec<&str> = stat.split(' ').skip(1).take(3).collect();
    assert_eq!(session, [started.shim_pid.to_string(), started.pid.to_string(), started.pid.to_string()]);
    assert!(stdout.contains("SigBlk:\t0000000000000000\n") && stdout.ends_with("\n0\n"), "{stdout}");
    let ignored = stdout.split_once("SigIgn:\t").and_then(|(_, rest)| u64::from_str_radix(rest.get(..16)?, 16).ok());
    assert_eq!(ignored.map(|set| set & 0x7fff_ffff), Some(0), "ignores none of the standard signals");
    assert_eq!(case.dir.stderr_tail(100), "oops\n");
    for file in fs::read_dir(case.dir.path()).expect("reads").flatten() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        if file.file_name() != "stdin" && file.file_name() != "stdout" {
            assert!(!String::from_utf8_lossy(&fs::read(file.path()).expect("reads")).contains("s3cret"));
        }
    }
}

#[tokio::test]
async fn half_lines_and_garbage_never_reach_the_cli() {
    let case = Case::new("exec cat");
    case.start().await;
    case.raw(b"{\"torn\":"); // a server killed in the middle of a line
    let mut input = case.input();
    input.send_line(r#"{"whole":true}"#).await.expect("sends");
    case.raw(b"garbage\n[1,2]\n{\"a\":1}{\"b\":2}\n!unknown\n\n{bad}\n");
    input.send_line(r#"{"last":true}"#).await.expect("sends");
    input.close_stdin().await.expect("closes");
    assert_eq!(case.exit().await.code, Some(0));
    assert_eq!(case.stdout(), "{\"whole\":true}\n{\"last\":true}\n");
    assert_eq!(case.dir.sent_lines().expect("reads"), [r#"{"whole":true}"#, r#"{"last":true}"#, "!eof"]);
    let log = fs::read_to_string(case.dir.shim_log()).expect("reads");
    assert!(log.contains("dropped a line of 7 bytes") && !log.contains("garbage"), "{log}");
}

#[tokio::test]
async fn a_cancelled_send_does_not_spoil_the_next_line() {
    let case = Case::new("read x; exec cat");
    case.start().await;
    let mut input = case.input();
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let started = case.dir.inspect().expect("inspects");
    let Liveness::Running(Some(started)) = started else { panic!("{started:?}") };
    kill_process(pid(started.shim_pid), Signal::STOP).expect("stops the shim, so that the FIFO fills");
    let cut = tokio::time::timeout(Duration::from_millis(50), input.send_line(&long)).await;
    assert!(cut.is_err());
    kill_process(pid(started.shim_pid), Signal::CONT).expect("continues");
    input.send_line(r#"{"first":1}"#).await.expect("sends");
    input.send_line(r#"{"second":2}"#).await.expect("sends");
    input.close_stdin().await.expect("closes");
    case.exit().await;
    assert_eq!(case.stdout(), "{\"second\":2}\n");
}

/// A CLI that ignores polite signals and hides children in sessions of their own.
const HIDER: &str = "trap '' TERM INT HUP; \
    setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & sleep 1000' & \
    (setsid sh -c 'sleep 1000 & sleep 1000 & echo hidden' &) ; \
    env -i /usr/bin/setsid /bin/sh -c '/bin/sleep 1000 & echo $! >bare' & \
    while :; do sleep 1; done";

async fn hide(case: &Case) -> (Started, u32) {
    let started = case.start().await;
    let bare = case.spec.cwd.join("bare");
    let mut unmarked = 0;
    wait_until("children", || {
        unmarked = fs::read_to_string(&bare).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        unmarked > 0 && case.stdout().contains("hidden") && case.marked().len() >= 5
    })
    .await;
    assert!(alive(unmarked));
    (started, unmarked)
}

#[tokio::test]
async fn stop_leaves_nothing_without_a_cgroup() {
    let mut case = Case::new(HIDER);
    case.spec.stop_grace_ms = 100;
    let (started, unmarked) = hide(&case).await;
    assert_eq!(started.cgroup, None);
    case.raw(b"\n!stop\n");
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.signal, exit.code), (ExitReason::Stopped, Some(9), None));
    assert!(!alive(unmarked));
}

#[tokio::test]
async fn stop_leaves_nothing_with_a_cgroup() {
    let Some(parent) = tree::cgroup_parent() else { return };
    let mut case = Case::new(HIDER);
    case.spec.stop_grace_ms = 100;
    case.launcher.cgroup_parent = Some(parent);
    let (started, unmarked) = hide(&case).await;
    let cgroup = started.cgroup.expect("has a cgroup");
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).expect("reads");
    assert!(members.lines().any(|line| line == unmarked.to_string()), "{members}");
    assert!(!members.lines().any(|line| line == started.shim_pid.to_string()), "{members}");
    case.input().stop().await.expect("stops");
    assert_eq!(case.exit().await.reason, ExitReason::Stopped);
    assert!(!alive(unmarked) && !cgroup.exists());
}

#[tokio::test]
async fn kill_is_immediate_and_wins_over_a_stop_under_way() {
    let mut case = Case::new(HIDER);
    case.spec.stop_grace_ms = 600_000;
    let (_, unmarked) = hide(&case).await;
    let mut input = case.input();
    input.stop().await.expect("stops");
    input.kill().await.expect("kills");
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.signal), (ExitReason::Killed, Some(9)));
    assert!(!alive(unmarked));
}

#[tokio::test]
async fn a_polite_cli_ends_within_its_grace_with_its_own_code() {
    let mut case = Case::new("trap 'echo bye; exit 5' INT; echo ready; while :; do sleep 0.05; done");
    case.spec.stop_grace_ms = 60_000;
    let started = case.start().await;
    lines(&mut case.tail(0).await, 1).await;
    kill_process(pid(started.shim_pid), Signal::TERM).expect("the second way to stop");
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.code, case.stdout()), (ExitReason::Stopped, Some(5), "ready\nbye\n".to_owned()));
}

#[tokio::test]
async fn stop_gets_through_to_a_cli_that_does_not_read() {
    let mut case = Case::new("trap '' INT; sleep 1000");
    case.spec.stop_grace_ms = 50;
    case.start().await;
    let mut input = case.input();
    let line = format!("{{\"x\":\"{}\"}}", "y".repeat(24 << 20));
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(5), input.send_line(&line)).await.is_ok_and(|result| result.is_ok()) {
        sent += 1;
        assert!(sent < 6, "the backlog is bounded");
    }
    soon(input.stop()).await.expect("stops");
    assert_eq!(case.exit().await.reason, ExitReason::Stopped);
}

#[tokio::test]
async fn grandchildren_get_no_grace_after_a_natural_exit() {
    let case = Case::new("setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo done; exit 0");
    case.start().await;
    let before = Instant::now();
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.code, case.stdout().as_str()), (ExitReason::Exited, Some(0), "done\n"));
    assert!(before.elapsed() < Duration::from_secs(10));
}

async fn vanish(mut case: Case, cgroup: Option<std::path::PathBuf>) {
    let with_cgroup = cgroup.is_some();
    case.launcher.cgroup_parent = cgroup;
    let (started, unmarked) = hide(&case).await;
    let mut tail = case.tail(0).await;
    assert_eq!(lines(&mut tail, 1).await, ["hidden"]);
    assert!(kill_leftovers(&case.dir).await.is_err(), "refused while the shim lives");
    kill_process(pid(started.shim_pid), Signal::KILL).expect("kills the shim");
    wait_until("the kernel kills the CLI", || !alive(started.pid)).await;
    assert_eq!(soon(tail.next()).await.expect("reads"), TailBatch::Vanished { partial_tail: None });
    assert_eq!(case.dir.inspect().expect("inspects"), Liveness::Vanished(Some(started.clone())));
    assert!(!case.marked().is_empty(), "the hidden ones live on");
    assert!(Input::open(&case.dir).is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe));
    assert!(soon(kill_leftovers(&case.dir)).await.expect("kills") >= 3);
    assert_eq!(case.marked(), Vec::<u32>::new());
    assert_eq!(soon(kill_leftovers(&case.dir)).await.expect("nothing left"), 0);
    if with_cgroup {
        assert!(!alive(unmarked) && !started.cgroup.expect("has a cgroup").exists());
    } else {
        // Neither marked nor adopted: out of reach without a cgroup once the shim is gone.
        let _ = kill_process(pid(unmarked), Signal::KILL);
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_shim_are_cleared_without_a_cgroup() {
    vanish(Case::new(HIDER), None).await;
}

#[tokio::test]
async fn leftovers_of_a_killed_shim_are_cleared_with_a_cgroup() {
    if let Some(parent) = tree::cgroup_parent() {
        vanish(Case::new(HIDER), Some(parent)).await;
    }
}

#[tokio::test]
async fn an_unusable_cgroup_is_no_obstacle() {
    let mut case = Case::new("echo fine");
    case.launcher.cgroup_parent = Some("/proc/self".into());
    assert_eq!(case.start().await.cgroup, None);
    assert_eq!((case.exit().await.code, case.stdout().as_str()), (Some(0), "fine\n"));
}

#[tokio::test]
async fn a_line_of_fifty_megabytes_is_one_line() {
    let case = Case::new("echo before; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo after; printf tail");
    case.start().await;
    let mut tail = case.tail(0).await;
    let all = lines(&mut tail, 3).await;
    assert_eq!((all[0].as_str(), all[1].len(), all[2].as_str()), ("before", 50_000_000, "after"));
    assert!(all[1].bytes().all(|byte| byte == b'x'));
    let exit = case.exit().await;
    assert_eq!(soon(tail.next()).await.expect("reads"), TailBatch::End { partial_tail: Some("tail".into()), exit });
}

#[tokio::test]
async fn a_tail_resumes_at_any_batch_with_nothing_doubled_or_lost() {
    let case = Case::new("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; printf 'b\\377d\\n'");
    case.start().await;
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let mut tail = case.tail(offset).await;
        // A cancelled read costs nothing.
        tokio::select! { biased; _ = tail.next() => {}, () = std::future::ready(()) => {} }
        let mut tail = case.tail(offset).await;
        match soon(tail.next()).await.expect("reads") {
            TailBatch::Lines { lines, offset: after, ends } => {
                assert!(lines.len() <= 500 && after > offset);
                assert_eq!((ends.len(), ends.last()), (lines.len(), Some(&after)));
                all.extend(lines);
                offset = after;
            }
            TailBatch::End { partial_tail, exit } => {
                assert_eq!((partial_tail, exit.stdout_bytes), (None, offset));
                break;
            }
            TailBatch::Vanished { .. } => panic!("vanished"),
        }
    }
    let mut expected: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
    expected.push("b\u{fffd}d".into());
    assert_eq!(all, expected);
    case.exit().await;
    assert!(Tail::open(&case.dir, offset + 1, case.watcher.watch(&case.dir)).await.is_err(), "shorter than was read");
}

#[tokio::test]
async fn lines_of_many_megabytes_go_through_the_fifo() {
    let case = Case::new("exec cat");
    case.start().await;
    let (mut input, mut tail) = (case.input(), case.tail(0).await);
    let sent: Vec<String> = ["a", "b"].iter().map(|letter| format!("{{\"x\":\"{}\"}}", letter.repeat(6 << 20))).collect();
    let sending = async {
        for line in &sent {
            input.send_line(line).await.expect("sends");
        }
        input.sync().await.expect("syncs");
        input.close_stdin().await.expect("closes");
    };
    let (received, ()) = tokio::join!(lines(&mut tail, 2), soon(sending));
    assert!(received == sent, "{:?}", received.iter().map(String::len).collect::<Vec<_>>());
    assert_eq!(case.exit().await.code, Some(0));
}

#[tokio::test]
async fn what_cannot_be_started_is_explained() {
    let file = |case: &Case, name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = case.spec.cwd.join(name);
        fs::write(&path, text).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("sets");
    };
    for (argv, cwd, words) in [
        (vec!["no-such-program"], None, "the program no-such-program is not in the PATH"),
        (vec!["/no/such/program"], None, "the program /no/such/program does not exist"),
        (vec!["./plain"], None, "the program ./plain is not executable"),
        (vec!["./script"], None, "the interpreter that ./script names does not exist"),
        (vec!["/proc"], None, "the program /proc is a directory"),
        (vec![], None, "no program is given"),
        (vec!["sh"], Some("/no/such/place"), "the working directory /no/such/place does not exist"),
        (vec!["sh"], Some("/proc/version"), "the working directory /proc/version is not a directory"),
    ] {
        let mut case = Case::new("");
        file(&case, "plain", "", 0o644);
        file(&case, "script", "#!/no/such/interpreter\n", 0o755);
        case.spec.argv = argv.into_iter().map(str::to_owned).collect();
        if let Some(cwd) = cwd {
            case.spec.cwd = cwd.into();
        }
        let Launched::Failed(exit) = case.launch().await else { panic!("started: {words}") };
        assert_eq!((exit.reason, exit.code), (ExitReason::SpawnFailed, None));
        assert!(exit.detail.as_deref().is_some_and(|detail| detail.starts_with(words)), "{:?}", exit.detail);
        assert!(matches!(case.tail(0).await.next().await.expect("reads"), TailBatch::End { partial_tail: None, .. }));
    }
}

#[tokio::test]
async fn a_second_shim_keeps_its_hands_off() {
    let case = Case::new("exec cat");
    let started = case.start().await;
    let env = BTreeMap::new();
    let argv = [env!("CARGO_BIN_EXE_mas"), "__shim", case.dir.path().to_str().expect("UTF-8")];
    let output = mas_gateway::process::run_command(&argv, "/".as_ref(), &env, None, LIMIT, 100).await.expect("runs");
    assert_eq!(output.code, Some(1));
    assert!(matches!(case.dir.inspect().expect("inspects"), Liveness::Running(Some(running)) if running == started));
    case.input().kill().await.expect("kills");
    assert_eq!(case.exit().await.reason, ExitReason::Killed);
    let again = case.launcher.launch(&case.dir, case.spec.clone(), &case.env, &[]).await;
    assert!(again.is_err(), "a directory serves once");
}

#[tokio::test]
async fn files_given_at_the_launch_are_there_for_the_cli_alone() {
    let mut case = Case::new("cat \"$FILE\"; stat -c ' %a' \"$FILE\"");
    case.files = vec![("mcp.json", "{\"secret\":1}"), ("empty", "")];
    case.env.insert("FILE".into(), case.dir.file("mcp.json").to_str().expect("UTF-8").into());
    case.start().await;
    assert_eq!(case.exit().await.code, Some(0));
    assert_eq!(case.stdout(), "{\"secret\":1} 600\n");
    assert_eq!(fs::read(case.dir.file("empty")).expect("reads"), b"");

    // What a whole run leaves in its directory are names that are taken.
    let left: Vec<String> = fs::read_dir(case.dir.path())
        .expect("reads")
        .flatten()
        .filter_map(|file| file.file_name().into_string().ok())
        .filter(|name| case.files.iter().all(|(given, _)| given != name))
        .collect();
    assert!(left.len() >= 8, "{left:?}");
    for name in left.iter().map(String::as_str).chain(["a/b", "../a", "..", ""]) {
        let other = Case::new("");
        let refused = other.launcher.launch(&other.dir, other.spec.clone(), &other.env, &[(name, "")]).await;
        assert!(matches!(refused, Err(LaunchError::Prepare(_))), "{name:?}: {refused:?}");
        assert!(!other.dir.path().exists(), "{name:?} is refused before anything is made");
    }
}

#[tokio::test]
async fn a_restarted_server_finds_its_processes() {
    let case = Case::new("exec cat");
    let started = case.start().await;
    case.input().send_line(r#"{"n":1}"#).await.expect("sends");
    let found = ProcessDir::list(case.dir.path().parent().expect("has one")).expect("lists");
    assert_eq!(found, [(case.dir.id().expect("named"), case.dir.clone())]);
    let mut input = Input::open(&found[0].1).expect("opens");
    input.sync().await.expect("syncs");
    let sent = found[0].1.sent_lines().expect("reads");
    assert_eq!(sent.first().map(String::as_str), Some(r#"{"n":1}"#));
    assert!(matches!(found[0].1.inspect().expect("inspects"), Liveness::Running(Some(running)) if running == started));
    input.close_stdin().await.expect("closes");
    assert_eq!(case.exit().await.code, Some(0));
    assert_eq!(case.stdout(), "{\"n\":1}\n");
}

#[tokio::test]
async fn one_that_replaces_itself_all_the_time_is_caught() {
    for parent in [None, tree::cgroup_parent()] {
        // Each generation starts the next in a session of its own and ends.
        let mut case = Case::new("echo 'setsid sh ./hop & exit' >hop; sh ./hop; echo up; exec sleep 1000");
        case.launcher.cgroup_parent = parent;
        case.start().await;
        lines(&mut case.tail(0).await, 1).await;
        case.input().kill().await.expect("kills");
        let exit = case.exit().await;
        assert_eq!((exit.reason, exit.detail), (ExitReason::Killed, None));
    }
}

#[tokio::test]
async fn one_that_replaces_itself_is_caught_after_its_shim_died_too() {
    let case = Case::new("echo 'setsid sh ./hop & exit' >hop; sh ./hop; echo up; exec sleep 1000");
    let started = case.start().await;
    lines(&mut case.tail(0).await, 1).await;
    kill_process(pid(started.shim_pid), Signal::KILL).expect("kills the shim");
    wait_until("the shim is gone", || matches!(case.dir.inspect(), Ok(Liveness::Vanished(_)))).await;
    assert!(soon(kill_leftovers(&case.dir)).await.expect("kills") >= 1);
    assert_eq!(case.marked(), Vec::<u32>::new());
}
