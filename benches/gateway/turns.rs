//! One turn of the real CLI: as a task of the gateway, and driven directly through pipes.

use crate::{
    ms,
    servers::{Gateway, KEY},
};
use mas_gateway::{
    adapter::{LaunchRequest, Session, claude_code},
    model::project::PermissionMode,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Instant};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};
use uuid::Uuid;

const PROMPT: &str = r#"Say it. REHEARSE:{"text":"said"}"#;

pub(crate) struct Turn {
    /// From the request to the end of the process.
    pub(crate) total_ms: f64,
    /// From the request to the start of the process.
    pub(crate) to_start_ms: f64,
}

pub(crate) async fn through_gateway(gateway: &Gateway) -> Turn {
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    let began = Instant::now();
    let asked_at = chrono::Utc::now();
    let body = json!({"title": "bench", "description": PROMPT, "wait_seconds": 40});
    let task: Value =
        client.post(url("/tasks")).header("x-mas-key", KEY).json(&body).send().await.expect("sent").json().await.expect("JSON");
    let total_ms = ms(began.elapsed());
    assert_eq!(task["status"], "complete", "{task}");
    let path = format!("/tasks/{}/events", task["id"].as_str().expect("an id"));
    let page: Value = client.get(url(&path)).header("x-mas-key", KEY).send().await.expect("sent").json().await.expect("JSON");
    let started =
        page["events"].as_array().expect("events").iter().find(|event| event["data"]["state"] == "started").expect("started");
    let started_at: chrono::DateTime<chrono::Utc> = started["at"].as_str().expect("a time").parse().expect("RFC 3339");
    Turn { total_ms, to_start_ms: ms((started_at - asked_at).to_std().unwrap_or_default()) }
}

pub(crate) async fn direct(claude: &Path, model_url: &str) -> Turn {
    let home = tempfile::tempdir().expect("a directory");
    let inherited = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").expect("PATH"))]);
    let launch = claude_code::launch(&LaunchRequest {
        executable: claude,
        session_id: Uuid::new_v4(),
        session: Session::New,
        model: None,
        permission_mode: PermissionMode::AcceptEdits,
        allowed_tools: &[],
        mcp_config: None,
        denied_tools: &[],
        team: false,
        budget_usd: None,
        max_retries: 0,
        config_dir: home.path(),
        inherited: &inherited,
        rehearsal: Some((model_url, home.path())),
    });
    let began = Instant::now();
    let mut child = Command::new(&launch.argv[0])
        .args(&launch.argv[1..])
        .env_clear()
        .envs(&launch.env)
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let to_start_ms = ms(began.elapsed());
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let greeting = claude_code::initialize(Uuid::new_v4().to_string(), Some("You are the coder."), None, false);
    input.write_all(format!("{}\n", greeting.line).as_bytes()).await.expect("written");
    let mut asked = false;
    while let Some(line) = lines.next_line().await.expect("text") {
        if !asked && line.contains("\"control_response\"") {
            asked = true;
            let message = claude_code::user_message(Uuid::new_v4().to_string(), PROMPT);
            input.write_all(format!("{}\n", message.line).as_bytes()).await.expect("written");
        }
        if line.starts_with("{\"type\":\"result\"") {
            break;
        }
    }
    drop(input);
    assert!(child.wait().await.expect("exits").success());
    Turn { total_ms: ms(began.elapsed()), to_start_ms }
}
