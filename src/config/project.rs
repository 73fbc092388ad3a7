//! `[projects.NAME]`: a directory agents may work in.

use crate::model::project::PermissionMode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[projects.NAME]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSettings {
    /// Absolute directory.
    pub path: PathBuf,
    /// See [`PermissionMode`].
    #[serde(default = "accept_edits")]
    pub permission_mode: PermissionMode,
    /// Tool rules in the CLI's syntax.
    #[serde(default)]
    pub allowed_tools: Vec<String>,
    /// Names in `mcp.servers_file`.
    #[serde(default)]
    pub mcp_servers: Vec<String>,
}

const fn accept_edits() -> PermissionMode {
    PermissionMode::AcceptEdits
}
