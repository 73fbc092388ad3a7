//! claude-flow: Claude Code as the queen of a hive, started by `hive-mind spawn --claude --non-interactive`.
//!
//! As measured with version 3.43.0: claude-flow writes records, composes a prompt for the queen, and runs the first `claude`
//! on PATH with its own stdin and stdout. It gives it that prompt as an argument, no session, no model and no budget, and
//! an MCP configuration it guesses from files around it. It needs `hive-mind init` first, and exits with 0 when there is
//! no `claude`.
//!
//! So the `claude` it finds is ours ([`WRAPPER`], in a directory of its own): it takes claude-flow's prompt as an addition to
//! the system prompt and starts the real CLI as [`claude_code`] would, on the same pipes. From then on both backends speak
//! the same protocol: sessions, budgets, permissions, interrupts and recovery are the same, claude's own `result` decides, and
//! what users write travels on stdin. claude-flow itself works in the directory of the process, so its state is nobody
//! else's (it loses updates of concurrent writers), and nothing of it comes into a project's commits.

use super::{Launch, LaunchRequest, Parsed, Session, SessionState, claude_code};
use crate::model::{agent::AgentType, event::EventKind};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// The version the adapter was written against.
pub const TESTED_VERSION: &str = "3.43.0";

/// The name under which the hive's own tools are attached; claude-flow's prompt calls them so.
pub const SERVER: &str = "ruflo";

/// The executable named `claude` that is first on claude-flow's PATH. It runs the file that the process was given.
pub const WRAPPER: &str = "#!/bin/sh\nexec /bin/sh \"$MAS_HIVE_CLAUDE\" \"$@\"\n";

/// Files in the process directory: what the shim runs, what [`WRAPPER`] runs, and what the latter makes of both prompts.
const START: &str = "start.sh";
const CLAUDE: &str = "claude.sh";
const PROMPT: &str = "hive-prompt";

/// Where claude-flow's prompt has the objective. The real one follows on stdin, as every message after it.
const OBJECTIVE: &str = "What the user asks for in this conversation";

/// What is needed beside a [`LaunchRequest`].
#[derive(Debug, Clone, Copy)]
pub struct Hive<'a> {
    /// Absolute path of claude-flow's executable.
    pub executable: &'a Path,
    /// Directory that holds nothing but [`WRAPPER`].
    pub bin: &'a Path,
    /// The directory of the process.
    pub process_dir: &'a Path,
    /// Where the agent works.
    pub workspace: &'a Path,
    /// File that holds what is added to the system prompt.
    pub system_prompt: &'a Path,
    /// The agent's role.
    pub agent_type: AgentType,
}

/// Settings of every claude-flow process: no daemon that outlives it, no look at the registry.
pub fn quiet(env: &mut BTreeMap<String, String>) {
    for (name, value) in [("RUFLO_DAEMON_AUTOSTART", "0"), ("CLAUDE_FLOW_AUTO_UPDATE", "false"), ("NO_COLOR", "1")] {
        env.insert(name.into(), value.into());
    }
}

/// Arguments, environment and files of a hive.
pub fn launch(hive: &Hive<'_>, request: &LaunchRequest<'_>) -> Launch {
    let prompt = hive.process_dir.join(PROMPT);
    let mut session = request.session;
    if let Session::ResumeTurn { system_prompt, .. } = &mut session {
        *system_prompt = &prompt;
    }
    let Launch { mut argv, mut env, mut files } = claude_code::launch(&LaunchRequest { session, ..request.clone() });
    if !matches!(session, Session::ResumeTurn { .. }) {
        argv.push(format!("--append-system-prompt-file={}", prompt.display()));
    }
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str).to_owned();
    env.insert("PATH".into(), format!("{}:{path}", hive.bin.display()));
    env.insert("MAS_HIVE_CLAUDE".into(), hive.process_dir.join(CLAUDE).to_string_lossy().into_owned());
    quiet(&mut env);
    files.push((START, start(hive)));
    files.push((CLAUDE, claude(hive, &prompt, &path, &argv)));
    let start = hive.process_dir.join(START).to_string_lossy().into_owned();
    Launch { argv: vec!["/bin/sh".into(), start], env, files }
}

/// `--no-auto-permissions`: whatever starts, it is never with all permissions by claude-flow's doing.
fn start(hive: &Hive<'_>) -> String {
    let (flow, dir) = (quote(&hive.executable.to_string_lossy()), quote(&hive.process_dir.to_string_lossy()));
    format!(
        "set -eu\ncd {dir}\n\
         {flow} hive-mind init --topology=hierarchical-mesh --consensus=byzantine </dev/null\n\
         exec {flow} hive-mind spawn --claude --non-interactive --no-auto-permissions --count=1 --type={} --objective={}\n",
        hive.agent_type,
        quote(OBJECTIVE),
    )
}

/// The last argument is claude-flow's prompt; all others are replaced. The agent's tools see the PATH they would see otherwise.
fn claude(hive: &Hive<'_>, prompt: &Path, path: &str, argv: &[String]) -> String {
    let (prompt, role) = (quote(&prompt.to_string_lossy()), quote(&hive.system_prompt.to_string_lossy()));
    let argv: Vec<String> = argv.iter().map(|argument| quote(argument)).collect();
    format!(
        "set -eu\nfor prompt; do :; done\n\
         {{ printf '%s\\n\\n' \"$prompt\"; cat {role}; }} >{prompt}\n\
         cd {}\nunset MAS_HIVE_CLAUDE\nPATH={}\nexport PATH\nexec {}\n",
        quote(&hive.workspace.to_string_lossy()),
        quote(path),
        argv.join(" "),
    )
}

/// The hive's own tools, as an entry of an MCP configuration: claude-flow's server, working on the hive's records. It gets no
/// credentials: some of its tools would ask a model by themselves, past every budget.
pub fn server(executable: &Path, process_dir: &Path, tools: &[String]) -> Value {
    let no_credentials = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];
    let mut env: BTreeMap<String, String> = no_credentials.map(|name| (name.to_owned(), String::new())).into();
    env.insert("CLAUDE_FLOW_MCP_TOOLS".into(), tools.join(","));
    quiet(&mut env);
    let arguments = ["-c", "cd \"$0\" && exec \"$1\" mcp start", &process_dir.to_string_lossy(), &executable.to_string_lossy()];
    json!({"command": "/bin/sh", "args": arguments, "env": env})
}

/// What `line` means, given what came before: a line of Claude Code's, or one that claude-flow wrote for people.
pub fn parse_line(state: &mut SessionState, line: &str) -> Parsed {
    // claude-flow may leave its cursor in the middle of a line.
    if let Some(at) = line.find("{\"type\":").filter(|at| *at == 0 || !line.starts_with('{')) {
        return claude_code::parse_line(state, &line[at..]);
    }
    let words = line.rsplit('\r').next().unwrap_or_default().trim();
    let words: String = words.chars().filter(|char| !char.is_control()).collect();
    if !words.chars().any(char::is_alphanumeric) {
        return Parsed::default();
    }
    Parsed { events: vec![EventKind::Status { state: "claude_flow".into(), detail: Some(words) }], signal: None }
}

/// The text as one word of a shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::project::PermissionMode;
    use uuid::Uuid;

    fn hive() -> Hive<'static> {
        Hive {
            executable: Path::new("/opt/o'flow"),
            bin: Path::new("/data/bin"),
            process_dir: Path::new("/data/processes/p"),
            workspace: Path::new("/work"),
            system_prompt: Path::new("/data/processes/p/system-prompt"),
            agent_type: AgentType::CODER,
        }
    }

    fn request<'a>(inherited: &'a BTreeMap<String, String>, session: Session<'a>) -> LaunchRequest<'a> {
        LaunchRequest {
            executable: Path::new("/opt/claude"),
            session_id: Uuid::nil(),
            session,
            model: Some("sonnet"),
            permission_mode: PermissionMode::AcceptEdits,
            allowed_tools: &[],
            denied_tools: &[],
            mcp_config: None,
            team: false,
            budget_usd: None,
            max_retries: 2,
            config_dir: Path::new("/data/claude"),
            inherited,
            rehearsal: None,
        }
    }

    fn file(launch: &Launch, name: &str) -> String {
        launch.files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.clone()).expect("given")
    }

    #[test]
    fn claude_is_started_as_without_a_hive_but_for_the_prompt() {
        let inherited = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        let schema = json!({"type": "object"});
        let resume_turn = Session::ResumeTurn { system_prompt: Path::new("/elsewhere"), schema: Some(&schema) };
        for session in [Session::New, Session::Resume, resume_turn] {
            let launch = launch(&hive(), &request(&inherited, session));
            assert_eq!(launch.argv, ["/bin/sh", "/data/processes/p/start.sh"]);
            assert_eq!(launch.env["PATH"], "/data/bin:/bin");
            let claude = file(&launch, CLAUDE);
            assert_eq!(claude.matches("--append-system-prompt-file=").count(), 1, "{claude}");
            assert!(claude.contains("'--append-system-prompt-file=/data/processes/p/hive-prompt'"), "{claude}");
            assert!(claude.contains("'--model=sonnet'") && claude.contains("\nPATH='/bin'\n"), "{claude}");
            assert!(!claude.contains("dangerously"), "{claude}");
        }
    }

    #[test]
    fn no_path_can_break_out_of_its_quotes() {
        let inherited = BTreeMap::new();
        let start = file(&launch(&hive(), &request(&inherited, Session::New)), START);
        assert!(start.contains("exec '/opt/o'\\''flow' hive-mind spawn "), "{start}");
    }

    #[test]
    fn lines_for_people_are_notes_and_those_of_claude_what_they_are() {
        let state = &mut SessionState::default();
        let result = r#"{"type":"result","subtype":"success","is_error":false,"result":"hi"}"#;
        for line in [result.to_owned(), format!("... Preparing\r   \r{result}")] {
            assert!(parse_line(state, &line).signal.is_some(), "{line}");
        }
        let note = |line: &str| match parse_line(&mut SessionState::default(), line).events.pop() {
            Some(EventKind::Status { detail, .. }) => detail,
            other => panic!("{other:?}"),
        };
        assert_eq!(note("\r... Preparing\r      \rReady!").as_deref(), Some("Ready!"));
        assert_eq!(parse_line(&mut SessionState::default(), "+-----+").events, []);
    }
}
