//! What a runner tells about itself.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::fmt;

/// No turn is begun until a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// When work goes on.
    pub until: DateTime<Utc>,
    /// Why, in words.
    pub reason: String,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no turn is begun until {} UTC: {}", self.until.format("%H:%M:%S"), self.reason)
    }
}

/// What an agent's processes use right now, measured by the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ProcessFacts {
    /// The CLI's process id.
    pub pid: u32,
    /// When the CLI was started.
    pub started_at: DateTime<Utc>,
    /// Resident memory of the CLI and everything it started, in bytes.
    pub rss_bytes: u64,
    /// User and system time of the CLI and everything it started and that still runs, in seconds.
    pub cpu_seconds: f64,
    /// How many processes that is.
    pub processes: u32,
}

/// A runner's own account of its state, shown by `/ready`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunnerStatus {
    /// Whether the claim loop runs.
    pub running: bool,
    /// Version text of the agent CLI, when it answered.
    pub cli_version: Option<String>,
    /// Why the CLI cannot be used, in words.
    pub cli_problem: Option<String>,
    /// Why no work is begun for now.
    pub pause: Option<Pause>,
}
