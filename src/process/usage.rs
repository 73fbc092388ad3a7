//! What processes use, measured by the kernel.

use super::tree::stat_fields;
use std::fs;

/// `USER_HZ`: the unit of times in `/proc`, the same on every architecture Rust supports on Linux.
const TICKS_PER_SECOND: u32 = 100;

/// What a process uses, measured by the kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessFacts {
    /// Resident memory.
    pub rss_bytes: u64,
    /// User and system time so far.
    pub cpu_seconds: f64,
}

/// Measures `pid` alone, without its children. `None` if there is no such process or it is dead.
pub fn process_facts(pid: u32) -> Option<ProcessFacts> {
    let fields = stat_fields(pid)?;
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let cpu_seconds = (f64::from(ticks(11)?) + f64::from(ticks(12)?)) / f64::from(TICKS_PER_SECOND);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ProcessFacts { rss_bytes: kibibytes * 1024, cpu_seconds })
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
