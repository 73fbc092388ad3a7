//! Named directories agents may work in.

use super::word::word_enum;
use std::path::PathBuf;

/// The project that exists without configuration, and that requests mean when they name none.
pub const DEFAULT_PROJECT: &str = "default";

word_enum! {
    /// What Claude Code may do without asking (its own `--permission-mode` words).
    PermissionMode {
        /// Reads are free, everything else is asked for.
        Default = "default",
        /// File edits are free too.
        AcceptEdits = "acceptEdits",
        /// Read only.
        Plan = "plan",
        /// Everything not allowed beforehand is refused by the CLI itself.
        DontAsk = "dontAsk",
        /// Everything is free. Refused by the CLI for root unless `IS_SANDBOX=1` is passed on.
        BypassPermissions = "bypassPermissions",
    }
}

/// A project as configured. Requests name it; they never pass a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name requests use.
    pub name: String,
    /// Absolute directory.
    pub path: PathBuf,
    /// Permission mode of agents working here.
    pub permission_mode: PermissionMode,
    /// Tool rules allowed without asking, in the CLI's syntax (`Bash(git *)`, `Edit`).
    pub allowed_tools: Vec<String>,
    /// MCP servers attached to its agents, by their names in the registry; their tools are allowed without asking.
    pub mcp_servers: Vec<String>,
}
