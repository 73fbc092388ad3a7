//! Claude Code: one persistent `stream-json` session per process, with the control protocol on stdin.
//!
//! Behaviour as measured with version 2.1.197: nothing is printed before the first user message except
//! answers to control requests, so the `initialize` answer is the sign of readiness; `is_error` decides about
//! success, never `subtype`; `total_cost_usd` is a running total of the process; a malformed line on stdin
//! ends the CLI; messages sent while it is busy are merged, so one is sent at a time.

mod encode;
mod parse;

pub use encode::{allow, ask_usage, deny, initialize, interrupt, mcp_response, only_reads, refuse, user_message};
pub use parse::{LOGIN_HINT, parse_line};

use super::{Launch, LaunchRequest, Session};
use crate::model::tool::SERVER;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The version the adapter was written against.
pub const TESTED_VERSION: &str = "2.1.197";

/// Whether the CLI's words say that there is no such session to resume.
pub fn is_unknown_session(words: &str) -> bool {
    words.contains("No conversation found with session ID")
}

/// Where the CLI keeps the conversation of a session: below its configuration, by the directory it works in, with
/// everything but letters and digits turned into `-` (seen with 2.1.197).
pub fn session_file(config_dir: &Path, cwd: &Path, session: Uuid) -> PathBuf {
    let name: String = cwd.to_string_lossy().chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
    config_dir.join("projects").join(name).join(format!("{session}.jsonl"))
}

/// Whether the conversation, as the CLI keeps it, holds the message with this id.
pub fn holds_message(conversation: &str, id: &str) -> bool {
    conversation.contains(&format!("\"uuid\":\"{id}\""))
}

/// The answer to the message with this id, when the conversation holds it whole: the CLI would not go on with such a turn.
pub fn kept_answer(conversation: &str, id: &str) -> Option<String> {
    let (_, after) = conversation.split_once(&format!("\"uuid\":\"{id}\""))?;
    let entries = after.lines().skip(1).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_turn = |entry: &Value| matches!(entry["type"].as_str(), Some("assistant" | "user")) && entry["isSidechain"] != true;
    let last = entries.filter(of_turn).last()?;
    let message = Some(&last["message"]).filter(|message| last["type"] == "assistant" && message["stop_reason"] == "end_turn")?;
    let blocks = message["content"].as_array()?.iter();
    blocks.rev().find_map(|block| block["text"].as_str()).map(str::to_owned)
}

/// Variables that would make an agent leave the rehearsal model.
const LIVE_ONLY: [&str; 8] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSH_AUTH_SOCK",
];

/// Arguments and environment of a new session.
pub fn launch(request: &LaunchRequest<'_>) -> Launch {
    let mut argv = vec![request.executable.to_string_lossy().into_owned()];
    argv.extend(
        [
            "-p",
            "--input-format",
            "stream-json",
            "--output-format",
            "stream-json",
            "--verbose",
            "--include-partial-messages",
            // Tells when a message that was sent into a running turn has been taken up.
            "--replay-user-messages",
            "--permission-prompt-tool",
            "stdio",
            "--strict-mcp-config",
            // No settings files: they could allow tools or run hooks behind the project's configuration.
            "--setting-sources=",
        ]
        .map(str::to_owned),
    );
    argv.push(format!("--permission-mode={}", request.permission_mode));
    match request.session {
        Session::New => argv.push(format!("--session-id={}", request.session_id)),
        Session::Resume => argv.push(format!("--resume={}", request.session_id)),
        Session::ResumeTurn { system_prompt, schema } => {
            argv.push(format!("--resume={}", request.session_id));
            argv.push(format!("--append-system-prompt-file={}", system_prompt.display()));
            argv.extend(schema.map(|schema| format!("--json-schema={}", encode::without_format(schema))));
        }
    }
    if let Some(file) = request.mcp_config {
        argv.push(format!("--mcp-config={}", file.display()));
    }
    if let Some(model) = request.model {
        argv.push(format!("--model={model}"));
    }
    if let Some(budget) = request.budget_usd {
        argv.push(format!("--max-budget-usd={budget}"));
    }
    let mut allowed = request.allowed_tools.to_vec();
    if request.team {
        let servers = json!({ "mcpServers": { SERVER: {"type": "sdk", "name": SERVER} } });
        argv.push(format!("--mcp-config={servers}"));
        allowed.push(format!("mcp__{SERVER}"));
    }
    if !(allowed.is_empty() && request.denied_tools.is_empty()) {
        let permissions = json!({ "allow": allowed, "deny": request.denied_tools });
        argv.push(format!("--settings={}", json!({ "permissions": permissions })));
    }

    let mut env = request.inherited.clone();
    if let Some((url, home)) = request.rehearsal {
        for name in LIVE_ONLY {
            env.remove(name);
        }
        env.insert("ANTHROPIC_BASE_URL".into(), url.to_owned());
        env.insert("ANTHROPIC_API_KEY".into(), "rehearsal".into());
        env.insert("HOME".into(), home.to_string_lossy().into_owned());
    }
    if matches!(request.session, Session::ResumeTurn { .. }) {
        env.insert("CLAUDE_CODE_RESUME_INTERRUPTED_TURN".into(), "1".into());
    }
    env.insert("CLAUDE_CONFIG_DIR".into(), request.config_dir.to_string_lossy().into_owned());
    env.insert("CLAUDE_CODE_MAX_RETRIES".into(), request.max_retries.to_string());
    env.insert("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".into(), "1".into());
    env.insert("DISABLE_AUTOUPDATER".into(), "1".into());
    Launch { argv, env, files: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::project::PermissionMode;
    use std::collections::BTreeMap;

    fn request<'a>(inherited: &'a BTreeMap<String, String>, rehearsal: Option<(&'a str, &'a Path)>) -> LaunchRequest<'a> {
        LaunchRequest {
            executable: Path::new("/opt/claude"),
            session_id: Uuid::nil(),
            session: Session::New,
            model: Some("sonnet"),
            permission_mode: PermissionMode::AcceptEdits,
            allowed_tools: &[],
            mcp_config: None,
            denied_tools: &[],
            team: false,
            budget_usd: Some(0.5),
            max_retries: 2,
            config_dir: Path::new("/data/claude"),
            inherited,
            rehearsal,
        }
    }

    #[test]
    fn rehearsal_agents_carry_no_credential_and_know_only_the_loopback_model() {
        let inherited: BTreeMap<String, String> =
            LIVE_ONLY.iter().chain(&["PATH"]).map(|name| ((*name).to_owned(), "real".to_owned())).collect();
        let launch = launch(&request(&inherited, Some(("http://127.0.0.1:9", Path::new("/data/home")))));
        assert_eq!(launch.env["ANTHROPIC_BASE_URL"], "http://127.0.0.1:9");
        assert_eq!(launch.env["HOME"], "/data/home");
        let real: Vec<_> = launch.env.iter().filter(|(_, value)| *value == "real").map(|(name, _)| name.as_str()).collect();
        assert_eq!(real, ["PATH"]);
    }

    #[test]
    fn only_a_whole_answer_to_this_message_is_an_answer() {
        let prompt = json!({"type": "user", "uuid": "p", "message": {"content": "x"}}).to_string();
        let says = |text: &str, reason: Value| {
            let message = json!({"content": [{"type": "text", "text": text}], "stop_reason": reason});
            json!({"type": "assistant", "uuid": "a", "message": message}).to_string()
        };
        let done = says("done", json!("end_turn"));
        let other = json!({"type": "queue-operation"}).to_string();
        let tool = json!({"type": "user", "uuid": "t", "message": {"content": []}}).to_string();
        for (lines, answer) in [
            (vec![&prompt, &done, &other], Some("done")),
            (vec![&prompt, &says("first", json!("tool_use")), &tool, &done], Some("done")),
            (vec![&prompt], None),
            (vec![&done, &prompt], None),
            (vec![&prompt, &says("half", json!(null))], None),
            (vec![&prompt, &done, &tool], None),
            (vec![&done], None),
        ] {
            let text = lines.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n");
            assert_eq!(kept_answer(&text, "p").as_deref(), answer, "{text}");
        }
    }

    #[test]
    fn only_a_team_has_its_server_and_may_use_it_without_asking() {
        let inherited = BTreeMap::new();
        let arguments = |team| launch(&LaunchRequest { team, ..request(&inherited, None) }).argv.join(" ");
        assert!(!arguments(false).contains("mcp-config=") && !arguments(false).contains("mcp__team"));
        assert!(arguments(true).contains(r#"{"team":{"type":"sdk","name":"team"}}"#) && arguments(true).contains("mcp__team"));
    }

    #[test]
    fn limits_and_mode_are_passed_as_single_arguments() {
        let inherited = BTreeMap::new();
        let argv = launch(&request(&inherited, None)).argv;
        for wanted in ["--permission-mode=acceptEdits", "--model=sonnet", "--max-budget-usd=0.5"] {
            assert!(argv.iter().any(|argument| argument == wanted), "{wanted} in {argv:?}");
        }
    }
}
