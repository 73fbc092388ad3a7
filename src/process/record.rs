//! The records of a process: what to run, that it runs, and how it ended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What to run and within which limits. The environment is given separately and never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Program (looked up in the CLI's `PATH` unless it has a `/`) and arguments.
    pub argv: Vec<String>,
    /// Working directory of the CLI; absolute.
    pub cwd: PathBuf,
    /// When the CLI is stopped if it still runs and [`super::Input::set_deadline`] has not moved it.
    pub deadline: Option<DateTime<Utc>>,
    /// Size that `stdout` never exceeds.
    pub max_output_bytes: u64,
    /// Memory that the CLI and all it started may have together.
    #[serde(default)]
    pub max_memory_bytes: Option<u64>,
    /// How many processes the CLI and all it started may be. Threads do not count.
    #[serde(default)]
    pub max_processes: Option<u32>,
    /// Time between the request to stop and the kill, and between the end of stdout and the end of the CLI.
    pub stop_grace_ms: u64,
}

/// `spec.json`: the [`Spec`] with what the launcher adds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredSpec {
    #[serde(flatten)]
    pub(super) spec: Spec,
    pub(super) marker: String,
    pub(super) cgroup_parent: Option<PathBuf>,
    /// Whether it is stopped when the server lets go of the shim's stdin.
    #[serde(default)]
    pub(super) tied: bool,
}

impl StoredSpec {
    /// The cgroup of the CLI and all it starts, if one can be made.
    pub(super) fn cgroup(&self) -> Option<PathBuf> {
        self.cgroup_parent.as_ref().map(|parent| parent.join(format!("mas-{}", self.marker)))
    }
}

/// `started.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The supervising shim.
    pub shim_pid: u32,
    /// The CLI.
    pub pid: u32,
    /// The cgroup the CLI was put into; absent if it runs without.
    pub cgroup: Option<PathBuf>,
    /// When the CLI was started.
    pub started_at: DateTime<Utc>,
}

/// `exit.json`: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, if the CLI ended by itself.
    pub code: Option<i32>,
    /// Signal that ended the CLI.
    pub signal: Option<i32>,
    /// Why it ended.
    pub reason: ExitReason,
    /// More about the reason, in words.
    pub detail: Option<String>,
    /// When nothing of the process was left.
    pub ended_at: DateTime<Utc>,
    /// Final size of `stdout`.
    pub stdout_bytes: u64,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// By itself.
    Exited,
    /// It was asked to stop.
    Stopped,
    /// It was killed on request.
    Killed,
    /// Its deadline passed.
    Deadline,
    /// It wrote more than it may.
    OutputLimit,
    /// It and what it started took more memory than they may.
    MemoryLimit,
    /// It and what it started were more processes than they may be.
    ProcessLimit,
    /// Its output could not be stored.
    DiskFull,
    /// It closed its output and lived on.
    OutputClosed,
    /// It could not be started.
    SpawnFailed,
}

impl ExitReason {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Deadline => "deadline",
            Self::OutputLimit => "output_limit",
            Self::MemoryLimit => "memory_limit",
            Self::ProcessLimit => "process_limit",
            Self::DiskFull => "disk_full",
            Self::OutputClosed => "output_closed",
            Self::SpawnFailed => "spawn_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_from_before_there_were_these_limits_has_none() {
        let old = r#"{"argv":["x"],"cwd":"/","deadline":null,"max_output_bytes":1,"stop_grace_ms":1,"marker":"m","cgroup_parent":null}"#;
        let StoredSpec { spec, .. } = serde_json::from_str(old).expect("reads");
        assert_eq!((spec.max_memory_bytes, spec.max_processes), (None, None));
    }

    #[test]
    fn reasons_are_spelled_as_in_json() {
        for reason in [
            ExitReason::Exited,
            ExitReason::OutputLimit,
            ExitReason::MemoryLimit,
            ExitReason::ProcessLimit,
            ExitReason::SpawnFailed,
            ExitReason::DiskFull,
        ] {
            assert_eq!(serde_json::to_value(reason).expect("serialises"), reason.as_str());
        }
    }
}
