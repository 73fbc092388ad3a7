//! The MCP servers an agent's process is given.

use super::Runner;
use crate::{
    adapter::claude_flow,
    model::{agent::Agent, mcp::McpServer},
    process::ProcessDir,
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a process is given.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Attached {
    /// The CLI's MCP configuration, secrets included; absent without servers.
    pub(super) config: Option<String>,
    /// Permission rules that let their tools be used.
    pub(super) allowed: Vec<String>,
}

impl Runner {
    /// The servers its project and its role name, and the hive's own for an agent whose CLI is started by claude-flow at `flow`. A name
    /// that is no longer registered is left out; the configuration was checked when the gateway started.
    pub(super) fn attached(&self, agent: &Agent, of_role: &[String], dir: &ProcessDir, flow: Option<&Path>) -> Attached {
        let settings = &self.settings;
        let names = settings.projects.get(&agent.project).into_iter().flat_map(|project| &project.mcp_servers).chain(of_role);
        let known = names.filter_map(|name| settings.mcp_servers.0.get_key_value(name));
        let tools = &settings.claude_flow.tools;
        let own = flow.filter(|_| !tools.is_empty());
        attach(known, own.map(|flow| (claude_flow::SERVER, claude_flow::server(flow, dir.path(), tools))))
    }
}

fn attach<'a>(
    registered: impl Iterator<Item = (&'a String, &'a McpServer)>,
    own: impl IntoIterator<Item = (&'static str, Value)>,
) -> Attached {
    let registered = registered.map(|(name, server)| (name.clone(), json!(server)));
    let servers: Map<String, Value> = registered.chain(own.into_iter().map(|(name, server)| (name.to_owned(), server))).collect();
    if servers.is_empty() {
        return Attached::default();
    }
    let allowed = servers.keys().map(|name| format!("mcp__{name}")).collect();
    Attached { config: Some(json!({ "mcpServers": servers }).to_string()), allowed }
}
