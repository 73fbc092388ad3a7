//! What a runner tells about itself.

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
}
