//! Configuration: built-in defaults → `mas.toml` → `MAS_*` → flags, validated once.
//! The only reader of the process environment.

mod claude_flow;
mod data_dir;
mod files;
mod gc;
mod project;
mod remote;
mod telemetry;
mod tunnel;
mod validate;
mod variables;

pub use claude_flow::{ClaudeFlow, Mcp};
pub use data_dir::{DataDir, write_private};
pub use files::Files;
pub use gc::Gc;
pub use project::ProjectSettings;
pub use remote::ClientVariables;
pub use telemetry::Telemetry;
pub use tunnel::Tunnel;

use crate::model::{
    mcp::McpServers,
    pattern::any_matches,
    project::{DEFAULT_PROJECT, PermissionMode, Project},
    public_url::normal_public_url,
    quota::KeyLimits,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};
use variables::is_setting;

const DEFAULTS: &str = include_str!("defaults.toml");

/// What is wrong with the configuration, naming the setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read, or a value has the wrong type or name.
    #[error("configuration: {0}")]
    Load(String),
    /// A value is of the right type but makes no sense.
    #[error("configuration: {setting}: {problem}")]
    Invalid {
        /// `section.key`.
        setting: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl From<config::ConfigError> for ConfigError {
    fn from(error: config::ConfigError) -> Self {
        // The source says the same again.
        Self::Load(error.to_string())
    }
}

fn invalid(setting: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { setting: setting.to_owned(), problem: problem.into() }
}

/// The effective settings, validated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// HTTP server.
    pub server: Server,
    /// Database.
    pub store: Store,
    /// Rate limits.
    pub limits: Limits,
    /// Supervision of agents.
    pub runner: Runner,
    /// Housekeeping.
    pub gc: Gc,
    /// Files from and for callers.
    pub files: Files,
    /// The Claude Code CLI.
    pub claude_code: ClaudeCode,
    /// claude-flow.
    pub claude_flow: ClaudeFlow,
    /// MCP servers for agents.
    pub mcp: Mcp,
    /// The built-in scripted model.
    pub rehearsal: Rehearsal,
    /// The way in from outside.
    pub tunnel: Tunnel,
    /// Traces.
    pub telemetry: Telemetry,
    /// Directories agents may work in, by name.
    #[serde(default)]
    pub projects: BTreeMap<String, ProjectSettings>,
    /// `MAS_BOOTSTRAP_KEY`: the first admin key.
    #[serde(skip)]
    pub bootstrap_key: Option<String>,
    /// Environment agents inherit: what `claude_code.env_allow` lets through.
    #[serde(skip)]
    pub agent_env: BTreeMap<String, String>,
    /// The servers that `mcp.servers_file` names.
    #[serde(skip)]
    pub mcp_servers: McpServers,
    /// Environment the tunnel client inherits: what `tunnel.env_allow` lets through.
    #[serde(skip)]
    pub tunnel_env: BTreeMap<String, String>,
}

/// `[server]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Server {
    pub bind: SocketAddr,
    pub public_url: String,
    pub data_dir: PathBuf,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub body_limit_bytes: usize,
    pub request_timeout_seconds: u64,
    pub shutdown_seconds: u64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Store {
    pub url: String,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Limits {
    pub requests_per_minute: u32,
    pub failed_auth_per_minute: u32,
    pub response_chars: usize,
    pub max_agents: u32,
    pub max_queued_tasks: u32,
    pub usd_per_day: f64,
    pub max_agents_per_key: u32,
    pub max_live_agents_per_key: u32,
    pub max_queued_tasks_per_key: u32,
    pub usd_per_day_per_key: f64,
}

impl Limits {
    /// What everybody together may use.
    pub fn of_gateway(&self) -> KeyLimits {
        limits(self.max_agents, 0, self.max_queued_tasks, self.usd_per_day)
    }

    /// What a key may use that has no limits of its own.
    pub fn of_key(&self) -> KeyLimits {
        limits(self.max_agents_per_key, self.max_live_agents_per_key, self.max_queued_tasks_per_key, self.usd_per_day_per_key)
    }
}

fn limits(agents: u32, live: u32, queued: u32, usd: f64) -> KeyLimits {
    let most = |limit: u32| (limit > 0).then_some(limit);
    KeyLimits {
        max_agents: most(agents),
        max_live_agents: most(live),
        max_queued_tasks: most(queued),
        usd_per_day: (usd > 0.0).then_some(usd),
    }
}

/// `[runner]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Runner {
    pub max_live_agents: usize,
    pub park_after_seconds: u64,
    pub scale_down_after_seconds: u64,
    pub max_starting: usize,
    pub ready_timeout_seconds: u64,
    pub exit_timeout_seconds: u64,
    pub interrupt_timeout_seconds: u64,
    pub first_event_timeout_seconds: u64,
    pub stall_timeout_seconds: u64,
    pub max_retries_per_turn: u32,
    pub max_garbage_lines: u32,
    pub max_recoveries: u32,
    pub max_task_retries: u32,
    pub retry_delay_seconds: u64,
    pub circuit_failures: u32,
    pub circuit_pause_seconds: u64,
    pub max_memory_bytes: u64,
    pub max_processes: u32,
    pub task_timeout_seconds: u32,
    pub max_output_bytes: u64,
    pub rotate_output_bytes: u64,
    pub on_shutdown: OnShutdown,
}

/// What happens to running agents when the server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnShutdown {
    /// They work on; the next start picks them up.
    Detach,
    /// They are ended.
    Stop,
}

/// `[claude_code]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct ClaudeCode {
    pub command: String,
    pub config_dir: PathBuf,
    pub default_model: String,
    pub models: Vec<String>,
    pub max_retries: u32,
    pub env_allow: Vec<String>,
}

/// `[rehearsal]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Rehearsal {
    pub enabled: bool,
    pub rules: PathBuf,
}

/// What the command line may override.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "one field per flag of `mas serve`")]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub bind: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
    pub log_format: Option<LogFormat>,
    pub rehearsal: bool,
    pub tunnel: Option<String>,
}

impl Config {
    /// Reads and validates everything, from this process's environment.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Self::from_sources(flags, &environment)
    }

    /// [`Config::load`] over a given environment.
    pub fn from_sources(flags: &Flags, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        use config::{Environment, File, FileFormat};
        let mut sources = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        let named = flags.config.clone().or_else(|| environment.get("MAS_CONFIG").map(PathBuf::from));
        sources = match named {
            Some(path) => sources.add_source(File::from(path).format(FileFormat::Toml)),
            None => sources.add_source(File::new("mas.toml", FileFormat::Toml).required(false)),
        };
        let settings: std::collections::HashMap<String, String> =
            environment.iter().filter(|(name, _)| is_setting(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        // `try_parsing` would turn a secret such as `007` into a number; lists are the one case that needs it.
        let (lists, words): (std::collections::HashMap<_, _>, _) =
            settings.into_iter().partition(|(name, _)| is_list(&name.to_lowercase()));
        let variables = |source| Environment::with_prefix("MAS").prefix_separator("_").separator("__").source(Some(source));
        sources = sources.add_source(variables(words));
        let mut with_lists = variables(lists).try_parsing(true).list_separator(",");
        for key in LIST_SETTINGS {
            with_lists = with_lists.with_list_parse_key(key);
        }
        sources = sources.add_source(with_lists);
        if let Some(bind) = flags.bind {
            sources = sources.set_override("server.bind", bind.to_string())?;
        }
        if let Some(data_dir) = &flags.data_dir {
            sources = sources.set_override("server.data_dir", data_dir.to_string_lossy().into_owned())?;
        }
        if let Some(format) = flags.log_format {
            let word = match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            };
            sources = sources.set_override("server.log_format", word)?;
        }
        if flags.rehearsal {
            sources = sources.set_override("rehearsal.enabled", true)?;
        }
        if let Some(client) = &flags.tunnel {
            sources = sources.set_override("tunnel.client", client.as_str())?;
        }
        let mut loaded: Self = sources.build()?.try_deserialize()?;
        loaded.bootstrap_key = environment.get("MAS_BOOTSTRAP_KEY").filter(|key| !key.is_empty()).cloned();
        loaded.complete(environment)?;
        loaded.validate()?;
        Ok(loaded)
    }

    /// Fills in what depends on the environment or on other settings.
    fn complete(&mut self, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        self.server.public_url = normal_public_url(&self.server.public_url);
        if self.server.data_dir.as_os_str().is_empty() {
            let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
            self.server.data_dir = base.map(|base| base.join("mas")).ok_or_else(|| {
                invalid("server.data_dir", "neither HOME nor XDG_DATA_HOME is set; name a directory with --data-dir")
            })?;
        }
        self.server.data_dir =
            std::path::absolute(&self.server.data_dir).map_err(|error| invalid("server.data_dir", error.to_string()))?;
        if self.claude_code.config_dir.as_os_str().is_empty() {
            self.claude_code.config_dir = self.server.data_dir.join("claude");
        }
        let allowed = |patterns: &[String]| {
            let variables = environment.iter().filter(|(name, _)| any_matches(patterns, name));
            variables.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        // An empty variable is a list of one empty word.
        self.claude_flow.tools.retain(|tool| !tool.is_empty());
        let is_named = !self.mcp.servers_file.as_os_str().is_empty();
        if !is_named {
            self.mcp.servers_file = self.server.data_dir.join("mcp/servers.json");
        }
        self.mcp_servers = self.mcp.load(is_named, &self.projects)?;
        self.agent_env = allowed(&self.claude_code.env_allow);
        self.tunnel_env = allowed(&self.tunnel.env_allow);
        Ok(())
    }

    /// All projects, `default` included.
    pub fn projects(&self) -> BTreeMap<String, Project> {
        let scratch = ProjectSettings {
            path: self.server.data_dir.join("projects").join(DEFAULT_PROJECT),
            permission_mode: PermissionMode::AcceptEdits,
            allowed_tools: Vec::new(),
            mcp_servers: Vec::new(),
        };
        let mut all = self.projects.clone();
        all.entry(DEFAULT_PROJECT.to_owned()).or_insert(scratch);
        all.into_iter()
            .map(|(name, ProjectSettings { path, permission_mode, allowed_tools, mcp_servers })| {
                (name.clone(), Project { name, path, permission_mode, allowed_tools, mcp_servers })
            })
            .collect()
    }

    /// Where the database is.
    pub fn store_url(&self) -> String {
        if self.store.url.is_empty() {
            format!("sqlite://{}", self.server.data_dir.join("mas.db").display())
        } else {
            self.store.url.clone()
        }
    }

    /// The settings as TOML with secrets hidden.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut shown = self.clone();
        shown.store.url = hide_password(&shown.store.url);
        toml::to_string_pretty(&shown)
    }
}

const LIST_SETTINGS: [&str; 5] =
    ["claude_code.models", "claude_code.env_allow", "claude_flow.tools", "files.hosts", "tunnel.env_allow"];

fn is_list(variable: &str) -> bool {
    LIST_SETTINGS.iter().any(|key| variable == format!("mas_{}", key.replace('.', "__")))
}

fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{}", hide_parameters(host))
        }
        None => format!("{scheme}://{}", hide_parameters(rest)),
    }
}

/// Connection parameters may be secrets too; none of their values has to be seen.
fn hide_parameters(rest: &str) -> String {
    let Some((before, parameters)) = rest.split_once('?') else { return rest.to_owned() };
    let names: Vec<String> =
        parameters.split('&').map(|pair| format!("{}=***", pair.split('=').next().unwrap_or_default())).collect();
    format!("{before}?{}", names.join("&"))
}

#[cfg(test)]
mod tests;
