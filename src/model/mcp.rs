//! MCP servers that projects and roles may attach to their agents, as the registry file names them.

use super::tool::SERVER;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// Names that the gateway gives to servers of its own.
const RESERVED: [&str; 2] = [SERVER, "ruflo"];

/// A server. Its values may be secrets, so it is never shown whole.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum McpServer {
    /// A program that speaks on stdin and stdout.
    Stdio(StdioServer),
    /// A server on the network.
    Remote(RemoteServer),
}

/// A program that speaks on stdin and stdout.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdioServer {
    /// The program: a path, or a name on the agents' PATH.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// What its environment has beyond the agent's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// A server on the network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteServer {
    /// How it is spoken to.
    #[serde(rename = "type")]
    pub transport: RemoteTransport,
    /// Its address.
    pub url: String,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How a server on the network is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteTransport {
    /// Streamable HTTP.
    Http,
    /// Server-sent events, the older way.
    Sse,
}

impl fmt::Debug for McpServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stdio(_) => "a stdio server",
            Self::Remote(_) => "a remote server",
        })
    }
}

/// The registry: servers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpServers(pub BTreeMap<String, McpServer>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, Value>,
}

impl McpServers {
    /// Reads the text of a registry file. The error says what is wrong, without values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|error| {
            format!("is not a registry ({error}); it has the form {{\"mcpServers\": {{\"name\": {{\"command\": …}}}}}}")
        })?;
        let servers = file.servers.into_iter().map(|(name, value)| Ok((name.clone(), server(&name, value)?)));
        servers.collect::<Result<_, String>>().map(Self)
    }

    /// Says which of the names there is no server for.
    pub fn check(&self, names: &[String]) -> Result<(), String> {
        let Some(unknown) = names.iter().find(|name| !self.0.contains_key(*name)) else { return Ok(()) };
        let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "there are none".to_owned() } else { format!("use one of: {known}") };
        Err(format!("there is no MCP server `{unknown}`; {known}"))
    }
}

fn server(name: &str, value: Value) -> Result<McpServer, String> {
    fn read<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
        // The error names fields and types; a wrong value of a string field is quoted, so it is left out.
        let is_typed = value.as_object().is_some();
        serde_json::from_value(value).map_err(|error| {
            let what = error.to_string();
            let what = what.split(": string \"").next().unwrap_or(&what).to_owned();
            if is_typed { format!("server `{name}`: {what}") } else { format!("server `{name}`: is not an object") }
        })
    }
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_name || name.contains("__") {
        return Err(format!("server `{name}`: a name has letters, digits, `-` and single `_` only"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("server `{name}`: the gateway has a server of that name itself; use another"));
    }
    if value.get("url").is_some() || value.get("type").is_some_and(|kind| kind == "http" || kind == "sse") {
        let remote: RemoteServer = read(name, value)?;
        if !(remote.url.starts_with("https://") || remote.url.starts_with("http://")) {
            return Err(format!("server `{name}`: url must start with https:// or http://"));
        }
        return Ok(McpServer::Remote(remote));
    }
    let mut value = value;
    if let Some(object) = value.as_object_mut()
        && object.get("type").is_some_and(|kind| kind == "stdio")
    {
        object.remove("type");
    }
    let stdio: StdioServer = read(name, value)?;
    if stdio.command.is_empty() {
        return Err(format!("server `{name}`: command is empty"));
    }
    Ok(McpServer::Stdio(stdio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_written_alike() {
        let text = r#"{"mcpServers": {"files": {"type": "stdio", "command": "node", "args": ["s.js"], "env": {"A": "b"}},
            "docs": {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "Bearer x"}}}}"#;
        let servers = McpServers::parse(text).expect("a registry");
        let written = serde_json::to_value(&servers.0).expect("JSON");
        assert_eq!(written["files"], serde_json::json!({"command": "node", "args": ["s.js"], "env": {"A": "b"}}));
        assert_eq!(written["docs"]["headers"]["Authorization"], "Bearer x");
        assert!(!format!("{servers:?}").contains("Bearer"));
        assert!(servers.check(&["docs".into(), "files".into()]).is_ok());
        let problem = servers.check(&["files".into(), "mail".into()]).expect_err("unknown");
        assert!(problem.contains("`mail`") && problem.contains("docs, files"), "{problem}");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name_and_without_values() {
        for (entry, part) in [
            (r#""a": {"command": ""}"#, "`a`: command is empty"),
            (r#""a": {"args": []}"#, "missing field `command`"),
            (r#""a": {"command": "x", "envs": {}}"#, "unknown field `envs`"),
            (r#""a": {"type": "http", "url": "ftp://secret"}"#, "url must start with"),
            (r#""a": {"url": "https://x"}"#, "missing field `type`"),
            (r#""a": {"command": "x", "env": "s3cret"}"#, "invalid type"),
            (r#""a b": {"command": "x"}"#, "a name has letters"),
            (r#""team": {"command": "x"}"#, "of that name itself"),
            (r#""a": 7"#, "is not an object"),
        ] {
            let problem = McpServers::parse(&format!(r#"{{"mcpServers": {{{entry}}}}}"#)).expect_err(entry);
            assert!(problem.contains(part) && !problem.contains("s3cret") && !problem.contains("ftp"), "{problem}");
        }
        assert!(McpServers::parse("{}").is_err_and(|problem| problem.contains("mcpServers")));
    }
}
