//! What a runner tells about itself and what it is told.

use serde::Serialize;

/// A runner's own account of its state, shown by `/ready`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunnerStatus {
    /// Whether the claim loop runs.
    pub running: bool,
    /// Version text of the agent CLI, when it answered.
    pub cli_version: Option<String>,
    /// Why the CLI cannot be used, in words.
    pub cli_problem: Option<String>,
    /// Agents with a live process.
    pub live_agents: u32,
}
