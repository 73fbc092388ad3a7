//! What processes use, measured by the kernel.

use super::{
    dir::{Liveness, ProcessDir},
    tree::{cgroup_members, descendants, stat_fields},
};
use chrono::{DateTime, Utc};
use rustix::process::Pid;
use std::{fs, ops::RangeInclusive, path::Path};

/// `USER_HZ`: the unit of times in `/proc`, the same on every architecture Rust supports on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Times among the fields of `/proc/PID/stat`, each user and system: of the process, and of its dead children once it has
/// collected them.
const OWN_TIMES: RangeInclusive<usize> = 11..=12;
const CHILDREN_TIMES: RangeInclusive<usize> = 13..=14;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessFacts {
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time so far.
    pub cpu_seconds: f64,
}

/// Measures `pid` alone, without its children. `None` if there is no such process or it is dead.
pub fn process_facts(pid: u32) -> Option<ProcessFacts> {
    Some(ProcessFacts { cpu_seconds: cpu_seconds(pid, OWN_TIMES)?, rss_bytes: resident_bytes(pid)? })
}

/// What a CLI and all it started use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeFacts {
    /// The CLI.
    pub pid: u32,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// Resident memory of all; what several share counts for each of them.
    pub rss_bytes: u64,
    /// User and system time so far, that of ended processes included.
    pub cpu_seconds: f64,
    /// How many live. Threads do not count.
    pub processes: u32,
}

/// Measures the CLI of `dir` with all it started, without the shim. `None` unless the CLI runs. Looks only at processes of
/// the tree, so that one may ask often.
pub fn tree_facts(dir: &ProcessDir) -> Option<TreeFacts> {
    let Ok(Liveness::Running(Some(started))) = dir.inspect() else { return None };
    resident_bytes(started.pid)?;
    let members = members(started.shim_pid, started.cgroup.as_deref());
    let Usage { rss_bytes, processes } = Usage::of(&members);
    // The shim's children are the CLI and its orphans.
    let ended = cpu_seconds(started.shim_pid, CHILDREN_TIMES)?;
    let times = *OWN_TIMES.start()..=*CHILDREN_TIMES.end();
    let running: f64 = members.iter().filter_map(|pid| cpu_seconds(*pid, times.clone())).sum();
    // While the lock is held, the numbers are those of the shim and its CLI.
    let facts =
        TreeFacts { pid: started.pid, started_at: started.started_at, rss_bytes, cpu_seconds: ended + running, processes };
    dir.is_locked().is_ok_and(|locked| locked).then_some(facts)
}

/// What the limits are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) rss_bytes: u64,
    pub(super) processes: u32,
}

impl Usage {
    /// Of those that live: the dead ones have no memory.
    pub(super) fn of(pids: &[u32]) -> Self {
        pids.iter()
            .filter_map(|pid| resident_bytes(*pid))
            .fold(Self::default(), |sum, bytes| Self { rss_bytes: sum.rss_bytes + bytes, processes: sum.processes + 1 })
    }
}

/// Everything a living shim is responsible for: its CLI's cgroup or, without one, what descends from the shim, which
/// adopts orphans. Dead ones that nobody has collected may be among them.
pub(super) fn members(shim: u32, cgroup: Option<&Path>) -> Vec<u32> {
    let found = match (cgroup, Pid::from_raw(shim.cast_signed())) {
        (Some(cgroup), _) => cgroup_members(cgroup),
        (None, Some(shim)) => descendants(shim),
        (None, None) => Vec::new(),
    };
    found.into_iter().map(|pid| pid.as_raw_pid().unsigned_abs()).collect()
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_seconds(pid: u32, times: RangeInclusive<usize>) -> Option<f64> {
    let fields = stat_fields(pid)?;
    let ticks: Option<f64> = fields.get(times)?.iter().map(|field| field.parse::<f64>().ok()).sum();
    Some(ticks? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_this_process() {
        let facts = process_facts(std::process::id()).expect("we live");
        assert!(facts.rss_bytes > 100_000 && facts.cpu_seconds >= 0.0, "{facts:?}");
        assert_eq!(process_facts(u32::MAX), None);
    }
}
