//! `[claude_flow]` and `[mcp]`: claude-flow, and the registry of MCP servers.

use super::{ConfigError, ProjectSettings, invalid};
use crate::model::mcp::McpServers;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::ErrorKind, path::PathBuf};

/// `[claude_flow]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct ClaudeFlow {
    pub command: String,
    pub tools: Vec<String>,
    pub mirror: bool,
}

impl ClaudeFlow {
    /// Whether it is set up.
    pub fn is_wanted(&self) -> bool {
        !self.command.is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if let Some(tool) = self.tools.iter().find(|tool| tool.is_empty() || !tool.bytes().all(is_plain)) {
            return Err(invalid("claude_flow.tools", format!("`{tool}` is no tool or category of claude-flow's MCP server")));
        }
        if self.mirror && !self.is_wanted() {
            return Err(invalid("claude_flow.mirror", "needs claude-flow; set claude_flow.command to its executable"));
        }
        Ok(())
    }
}

/// `[mcp]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Mcp {
    pub servers_file: PathBuf,
}

impl Mcp {
    /// Reads the registry and holds the projects against it. `given`: whether the file was named, and so has to be there.
    pub(super) fn load(&self, given: bool, projects: &BTreeMap<String, ProjectSettings>) -> Result<McpServers, ConfigError> {
        let file = self.servers_file.display();
        let servers = match std::fs::read_to_string(&self.servers_file) {
            Ok(text) => McpServers::parse(&text).map_err(|problem| invalid("mcp.servers_file", format!("{file}: {problem}")))?,
            Err(error) if error.kind() == ErrorKind::NotFound && !given => McpServers::default(),
            Err(error) => return Err(invalid("mcp.servers_file", format!("{file} cannot be read: {error}"))),
        };
        for (name, project) in projects {
            servers.check(&project.mcp_servers).map_err(|problem| {
                invalid(&format!("projects.{name}.mcp_servers"), format!("{problem} (they are named in {file})"))
            })?;
        }
        Ok(servers)
    }
}
