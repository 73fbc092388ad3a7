//! How much memory and how many processes a tree may have. The kernel keeps the memory within its limit where the tree has
//! a cgroup with that controller; whatever it does not keep, the shim looks after.

use super::{
    record::{ExitReason, Spec},
    usage::{Usage, members},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PERIOD: Duration = Duration::from_millis(500);
/// A child shares or copies all memory of its parent until it executes something; only what is seen twice is an excess.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// `pids.max` counts threads, and agents' runtimes have dozens. So it only stops floods that are faster than our looks.
const THREADS_PER_PROCESS: u64 = 64;

/// Has the kernel keep what it can of the limits for everybody who joins the new `cgroup`; true if that is the memory.
pub(super) fn impose(cgroup: &Path, spec: &Spec) -> bool {
    if spec.max_memory_bytes.is_none() && spec.max_processes.is_none() {
        return false;
    }
    if let Some(parent) = cgroup.parent() {
        // Refused where the server itself is in the parent, unless that is the root. Never one without the other: `pids`
        // would then be accepted, and the children take no members any more.
        set(&parent.join("cgroup.subtree_control"), "+memory +pids");
    }
    if let Some(limit) = spec.max_processes {
        set(&cgroup.join("pids.max"), &(u64::from(limit) * THREADS_PER_PROCESS).to_string());
    }
    spec.max_memory_bytes.is_some_and(|limit| set(&cgroup.join("memory.max"), &limit.to_string()))
}

fn set(file: &Path, value: &str) -> bool {
    file.exists() && fs::write(file, value).is_ok()
}

/// Whether the kernel killed a member because the cgroup reached its own limit, by the cgroup's `memory.events`. A kill
/// without `oom` was for the sake of a cgroup above or of the whole host.
fn tells_of_a_kill(events: &str) -> bool {
    let count = |name: &str| {
        let (_, count) = events.lines().filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == name)?;
        count.trim().parse::<u64>().ok()
    };
    [count("oom"), count("oom_kill")].iter().all(|count| count.is_some_and(|count| count > 0))
}

/// The limits of one tree.
pub(super) struct Limits {
    memory: Option<u64>,
    processes: Option<u32>,
    shim: u32,
    cgroup: Option<PathBuf>,
    /// What the kernel did to keep the memory within its limit, if it does that.
    kernel: Option<PathBuf>,
    /// When to look again, if there is anything to look for.
    pub(super) next_look: Option<Instant>,
    suspected: bool,
}

impl Limits {
    /// For a CLI that joined `cgroup`; `imposed` is what [`impose`] said of it.
    pub(super) fn new(spec: &Spec, cgroup: Option<PathBuf>, imposed: bool) -> Self {
        let is_limited = spec.max_memory_bytes.is_some() || spec.max_processes.is_some();
        Self {
            memory: spec.max_memory_bytes,
            processes: spec.max_processes,
            shim: std::process::id(),
            kernel: cgroup.as_ref().filter(|_| imposed).map(|cgroup| cgroup.join("memory.events")),
            cgroup,
            next_look: is_limited.then(|| Instant::now() + PERIOD),
            suspected: false,
        }
    }

    /// Looks if it is time to. Says which limit is exceeded, in words too.
    pub(super) fn check(&mut self) -> Option<(ExitReason, String)> {
        if self.next_look? > Instant::now() {
            return None;
        }
        let exceeded = self.killed_by_kernel().or_else(|| self.exceeded(self.usage()));
        let is_confirmed = std::mem::replace(&mut self.suspected, exceeded.is_some());
        self.next_look = Some(Instant::now() + if self.suspected { SECOND_LOOK } else { PERIOD });
        exceeded.filter(|_| is_confirmed)
    }

    /// Whether the kernel had to kill for the limit. To be asked before the cgroup goes.
    pub(super) fn killed_by_kernel(&self) -> Option<(ExitReason, String)> {
        let limit = self.memory?;
        let events = fs::read_to_string(self.kernel.as_ref()?).ok()?;
        let detail = format!("the CLI and what it started reached the limit of {limit} bytes of memory");
        tells_of_a_kill(&events).then_some((ExitReason::MemoryLimit, detail))
    }

    fn usage(&self) -> Usage {
        if self.kernel.is_some() && self.processes.is_none() {
            return Usage::default();
        }
        Usage::of(&members(self.shim, self.cgroup.as_deref()))
    }

    fn exceeded(&self, usage: Usage) -> Option<(ExitReason, String)> {
        let Usage { rss_bytes, processes } = usage;
        if let Some(limit) = self.memory.filter(|limit| self.kernel.is_none() && rss_bytes > *limit) {
            let detail = format!("the CLI and what it started had {rss_bytes} bytes of memory; the limit is {limit}");
            return Some((ExitReason::MemoryLimit, detail));
        }
        let limit = self.processes.filter(|limit| processes > *limit)?;
        let detail = format!("the CLI and what it started were {processes} processes; the limit is {limit}");
        Some((ExitReason::ProcessLimit, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(max_memory_bytes: Option<u64>, max_processes: Option<u32>) -> Spec {
        Spec {
            argv: vec![],
            cwd: "/".into(),
            deadline: None,
            max_output_bytes: 1,
            max_memory_bytes,
            max_processes,
            stop_grace_ms: 1,
        }
    }

    #[test]
    fn only_a_kill_for_the_own_limit_counts() {
        let events = |oom: u32, kill: u32| format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kill}\noom_group_kill 0\n");
        assert!(tells_of_a_kill(&events(1, 2)));
        assert!(!tells_of_a_kill(&events(0, 0)), "reaching the limit is no harm");
        assert!(!tells_of_a_kill(&events(3, 0)), "nobody was killed");
        assert!(!tells_of_a_kill(&events(0, 1)), "killed for another's sake");
        for useless in ["", "oom", "oom x\noom_kill y", "oom_kill 1"] {
            assert!(!tells_of_a_kill(useless), "{useless}");
        }
    }

    /// A directory that looks like a cgroup.
    #[test]
    fn the_kernel_gets_the_limits_that_it_has_files_for() {
        let parent = tempfile::tempdir().expect("a directory");
        let read = |path: &str| fs::read_to_string(parent.path().join(path)).expect("reads");
        let cgroup = parent.path().join("mas-x");
        fs::create_dir(&cgroup).expect("made");
        assert!(!impose(&cgroup, &spec(Some(1000), Some(10))), "it has no controllers");
        assert_eq!(fs::read_dir(&cgroup).expect("reads").count(), 0, "nothing is made up");

        for file in ["cgroup.subtree_control", "mas-x/memory.max", "mas-x/pids.max", "mas-x/memory.events"] {
            fs::write(parent.path().join(file), "").expect("writes");
        }
        assert!(!impose(&cgroup, &spec(None, None)));
        assert_eq!(read("cgroup.subtree_control"), "", "nothing is changed that nobody wants");
        assert!(!impose(&cgroup, &spec(None, Some(10))), "the memory is not limited");
        assert!(impose(&cgroup, &spec(Some(1000), None)));
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        assert_eq!((read("mas-x/memory.max"), read("mas-x/pids.max")), ("1000".to_owned(), "640".to_owned()));

        let limits = Limits::new(&spec(Some(1000), None), Some(cgroup.clone()), true);
        assert_eq!(limits.killed_by_kernel(), None);
        fs::write(cgroup.join("memory.events"), "oom 1\noom_kill 1\n").expect("writes");
        assert_eq!(limits.killed_by_kernel().map(|(reason, _)| reason), Some(ExitReason::MemoryLimit));
        let not_imposed = Limits::new(&spec(Some(1000), None), Some(cgroup), false);
        assert_eq!(not_imposed.killed_by_kernel(), None);
    }

    #[test]
    fn what_is_seen_only_once_is_no_excess() {
        let cgroup = tempfile::tempdir().expect("a directory");
        let events = cgroup.path().join("memory.events");
        let mut limits = Limits::new(&spec(Some(1), None), Some(cgroup.path().to_owned()), true);
        let mut look = |kills: u32| {
            fs::write(&events, format!("oom 1\noom_kill {kills}\n")).expect("writes");
            assert_eq!(limits.check(), None, "not yet");
            limits.next_look = Some(Instant::now());
            limits.check().map(|(reason, _)| reason)
        };
        assert_eq!([look(1), look(0), look(1)], [None; 3]);
        assert_eq!(look(1), Some(ExitReason::MemoryLimit));
    }

    #[test]
    fn what_is_above_a_limit_is_named_with_it() {
        let usage = Usage { rss_bytes: 1001, processes: 11 };
        let found = |spec: &Spec, imposed| Limits::new(spec, Some("/x".into()), imposed).exceeded(usage);
        assert_eq!(found(&spec(Some(1001), Some(11)), false), None, "the limit itself is allowed");
        let (reason, detail) = found(&spec(Some(1000), Some(10)), false).expect("too much memory");
        assert_eq!(reason, ExitReason::MemoryLimit);
        assert_eq!(detail, "the CLI and what it started had 1001 bytes of memory; the limit is 1000");
        let (reason, detail) = found(&spec(Some(1000), Some(10)), true).expect("too many processes");
        assert_eq!(reason, ExitReason::ProcessLimit, "the memory is the kernel's business");
        assert_eq!(detail, "the CLI and what it started were 11 processes; the limit is 10");
    }

    #[test]
    fn without_limits_there_is_nothing_to_look_for() {
        let mut limits = Limits::new(&spec(None, None), None, false);
        assert_eq!((limits.next_look, limits.check()), (None, None));
    }
}
