//! Is the agent CLI there, and does it run? Says in words what to do when not.

use super::{Runner, Settings};
use crate::{
    adapter::{LaunchRequest, Session, SessionState, Signal, claude_code, claude_flow},
    model::{project::PermissionMode, runner::RunnerStatus},
    process::{find_program, run_command},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a broken CLI is looked at again; a working one is looked at less often.
const RETRY: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_mins(5);

/// Where the CLI is. The error says what to do.
pub fn find_cli(settings: &Settings) -> Result<PathBuf, String> {
    let command = &settings.claude_code.command;
    let path = settings.agent_env.get("PATH").map_or("", String::as_str);
    find_program(command, path).ok_or_else(|| {
        format!(
            "the Claude Code CLI `{command}` was not found or is not executable; install it with \
             `npm install -g @anthropic-ai/claude-code` or name it in `claude_code.command`"
        )
    })
}

/// Where claude-flow is. The error says what to do.
pub fn find_claude_flow(settings: &Settings) -> Result<PathBuf, String> {
    let command = &settings.claude_flow.command;
    if command.is_empty() {
        return Err("the backend `claude-flow` is not set up; set `claude_flow.command`, or use `claude-code`".into());
    }
    let path = settings.agent_env.get("PATH").map_or("", String::as_str);
    find_program(command, path).ok_or_else(|| {
        format!(
            "claude-flow, `{command}`, was not found or is not executable; install it with `agents/install.sh claude-flow` or \
             name it in `claude_flow.command`"
        )
    })
}

/// The text of the CLI's `--version`. The error says what to do.
pub async fn cli_version(settings: &Settings, executable: &Path) -> Result<String, String> {
    let mut env = settings.agent_env.clone();
    env.insert("CLAUDE_CONFIG_DIR".into(), settings.claude_code.config_dir.to_string_lossy().into_owned());
    env.insert("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".into(), "1".into());
    env.insert("DISABLE_AUTOUPDATER".into(), "1".into());
    version(executable, &env).await
}

/// The text of claude-flow's `--version`. The error says what to do.
pub async fn claude_flow_version(settings: &Settings, executable: &Path) -> Result<String, String> {
    let mut env = settings.agent_env.clone();
    claude_flow::quiet(&mut env);
    version(executable, &env).await
}

async fn version(executable: &Path, env: &BTreeMap<String, String>) -> Result<String, String> {
    let shown = executable.display().to_string();
    let output = run_command(&[&shown, "--version"], Path::new("/"), env, None, VERSION_TIMEOUT, 4096)
        .await
        .map_err(|error| format!("`{shown} --version` did not run: {error}"))?;
    if !output.success() {
        return Err(format!("`{shown} --version` failed: {}", output.stderr_text()));
    }
    Ok(output.stdout_text().lines().next().unwrap_or_default().to_owned())
}

impl Runner {
    /// Keeps the runner's own account for `/ready` up to date.
    pub(super) async fn watch_cli(self: Arc<Self>) {
        loop {
            let version = match find_cli(&self.settings) {
                Ok(executable) => cli_version(&self.settings, &executable).await,
                Err(problem) => Err(problem),
            };
            let (cli_version, cli_problem) = match version {
                Ok(version) => (Some(version), None),
                Err(problem) => (None, Some(problem)),
            };
            if let Some(problem) = &cli_problem {
                tracing::warn!(problem, "the agent CLI cannot be used");
            }
            let pause = if cli_problem.is_some() { RETRY } else { REFRESH };
            self.bus.set_runner_status(RunnerStatus { running: true, cli_version, cli_problem, pause: None });
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether the CLI has credentials, by its own account in the handshake; no model is asked.
pub async fn is_logged_in(settings: &Settings, executable: &Path) -> Result<bool, String> {
    let request = LaunchRequest {
        executable,
        session_id: Uuid::new_v4(),
        session: Session::New,
        model: None,
        permission_mode: PermissionMode::Default,
        allowed_tools: &[],
        mcp_config: None,
        denied_tools: &[],
        team: false,
        budget_usd: None,
        max_retries: 0,
        config_dir: &settings.claude_code.config_dir,
        inherited: &settings.agent_env,
        rehearsal: None,
    };
    let launch = claude_code::launch(&request);
    let argv: Vec<&str> = launch.argv.iter().map(String::as_str).collect();
    let greeting = claude_code::initialize("doctor".into(), None, None, false).line + "\n";
    let output = run_command(&argv, Path::new("/"), &launch.env, Some(&greeting), VERSION_TIMEOUT, 1 << 20)
        .await
        .map_err(|error| format!("`{}` did not run: {error}", executable.display()))?;
    output
        .stdout_text()
        .lines()
        .find_map(|line| match claude_code::parse_line(&mut SessionState::default(), line).signal {
            Some(Signal::Ready { logged_in }) => Some(logged_in),
            _ => None,
        })
        .ok_or_else(|| format!("the CLI did not answer the handshake: {}", output.stderr_text()))
}
