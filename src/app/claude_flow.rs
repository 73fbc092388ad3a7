//! `get_claude_flow_status` and `list_mcp_servers`: what stands beside the gateway's own agents.

use super::App;
use crate::model::{
    mcp::{McpServer, RemoteTransport},
    mirror::MirrorStatus,
};
use serde::Serialize;
use utoipa::ToSchema;

/// How claude-flow stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"backend": true, "mirror": true, "version": "ruflo v3.43.0", "projects": [{"project": "shop", "connected": true, "mirrored": 12, "mirrored_at": "2026-11-20T10:00:04Z"}]}))]
pub struct ClaudeFlowStatus {
    /// Whether tasks and agents may ask for the backend `claude-flow`.
    pub backend: bool,
    /// Whether claude-flow is told of swarms, agents, tasks and proposals.
    pub mirror: bool,
    /// What claude-flow says of its version, once the mirror has asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    /// The mirror of each project.
    pub projects: Vec<MirrorStatus>,
}

/// A registered MCP server, without what may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"name": "docs", "transport": "stdio", "command": "node", "env": ["DOCS_TOKEN"], "headers": [], "projects": ["shop"]}))]
pub struct McpServerResource {
    /// The name projects and roles use.
    pub name: String,
    /// `stdio`, `http` or `sse`.
    pub transport: String,
    /// The program of a stdio server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub command: Option<String>,
    /// The address of another one, without credentials and parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// Names of the variables it is given.
    pub env: Vec<String>,
    /// Names of the headers that are sent to it.
    pub headers: Vec<String>,
    /// Projects whose agents it is attached to.
    pub projects: Vec<String>,
}

/// The registered MCP servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpServerList {
    /// By name.
    pub servers: Vec<McpServerResource>,
}

impl App {
    /// How claude-flow stands, as a backend and as a mirror.
    pub fn get_claude_flow_status(&self) -> ClaudeFlowStatus {
        let mirror = self.bus.mirror();
        ClaudeFlowStatus {
            backend: self.settings.has_claude_flow,
            mirror: mirror.is_some(),
            version: mirror.as_ref().and_then(|mirror| mirror.version.clone()),
            projects: mirror.map(|mirror| mirror.projects.into_values().collect()).unwrap_or_default(),
        }
    }

    /// The MCP servers that projects and roles may attach to their agents.
    pub fn list_mcp_servers(&self) -> McpServerList {
        let names = |map: &std::collections::BTreeMap<String, String>| map.keys().cloned().collect();
        let servers = self.settings.mcp_servers.0.iter().map(|(name, server)| {
            let users = self.settings.projects.values().filter(|project| project.mcp_servers.contains(name));
            let resource = McpServerResource {
                name: name.clone(),
                transport: "stdio".into(),
                command: None,
                url: None,
                env: vec![],
                headers: vec![],
                projects: users.map(|project| project.name.clone()).collect(),
            };
            match server {
                McpServer::Stdio(server) => {
                    McpServerResource { command: Some(server.command.clone()), env: names(&server.env), ..resource }
                }
                McpServer::Remote(server) => McpServerResource {
                    transport: match server.transport {
                        RemoteTransport::Http => "http".into(),
                        RemoteTransport::Sse => "sse".into(),
                    },
                    url: Some(without_secrets(&server.url)),
                    headers: names(&server.headers),
                    ..resource
                },
            }
        });
        McpServerList { servers: servers.collect() }
    }
}

/// The address without user, password, parameters and fragment.
fn without_secrets(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else { return "(not a URL)".into() };
    // They fail for addresses without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
