//! Memory of a gateway and its agents: proportional set sizes, so that pages several processes share count once.

use std::{collections::BTreeMap, path::Path};

/// Megabytes by role.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) server: f64,
    pub(crate) shims: f64,
    /// Agent CLIs and what they have started.
    pub(crate) agents: f64,
    /// How many shims there are.
    pub(crate) count: usize,
}

impl Memory {
    /// Of the server with this process id and every shim that works in its data directory.
    pub(crate) fn of(server: u32, data_dir: &Path) -> Self {
        let mut memory = Self { server: pss_mb(server), ..Self::default() };
        let parents = parents();
        for shim in shims(data_dir, &parents) {
            memory.shims += pss_mb(shim);
            memory.count += 1;
            memory.agents += below(shim, &parents).into_iter().map(pss_mb).sum::<f64>();
        }
        memory
    }

    pub(crate) fn total(&self) -> f64 {
        self.server + self.shims + self.agents
    }
}

/// The CLIs that run for the gateway with this data directory.
pub(crate) fn clis(data_dir: &Path) -> Vec<u32> {
    let parents = parents();
    let is_child = |pid: &u32, shim: u32| parents.get(pid) == Some(&shim);
    shims(data_dir, &parents)
        .into_iter()
        .flat_map(|shim| parents.keys().copied().filter(move |pid| is_child(pid, shim)).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn pss_mb(pid: u32) -> f64 {
    // One that has just ended takes nothing.
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
}

fn shims(data_dir: &Path, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let place = data_dir.display().to_string();
    let is_shim = |pid: &u32| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.contains("__shim") && words.contains(&place)
    };
    parents.keys().copied().filter(is_shim).collect()
}

/// Every process with its parent.
fn parents() -> BTreeMap<u32, u32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; state and parent follow it.
        if let Some(parent) = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) {
            parents.insert(pid, parent.parse().expect("a process id"));
        }
    }
    parents
}

fn below(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}
