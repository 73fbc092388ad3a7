//! How long a line takes from an agent's stdout to a client: a stand-in CLI writes the time, the reader compares.

use crate::servers::{Gateway, KEY};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::ChildStdout,
};

const LINES: usize = 300;
const PAUSE: Duration = Duration::from_millis(5);

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

/// The body of the stand-in's process: answers the handshake, writes time stamps for a prompt, ends at end of input.
/// Prompts: `flood N` writes N at once, `answer …` one, `hold …` never ends, anything else writes some with pauses.
pub(crate) fn run() {
    if std::env::args().any(|argument| argument == "--version") {
        println!("stand-in");
        return;
    }
    let mut output = std::io::stdout().lock();
    let mut say = |value: &Value| {
        writeln!(output, "{value}").expect("written");
        output.flush().expect("flushed");
    };
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).expect("JSON");
        if message["type"] == "control_request" {
            let account = json!({"account": {"apiKeySource": "none needed"}});
            say(
                &json!({"type": "control_response", "response": {"subtype": "success", "request_id": message["request_id"], "response": account}}),
            );
        } else if message["type"] == "user" {
            let prompt = message["message"]["content"].as_str().unwrap_or_default();
            let (lines, pause) = match prompt.split_once(' ') {
                // For ever: until it is killed.
                Some(("hold", _)) => loop {
                    std::thread::sleep(Duration::from_mins(1));
                },
                Some(("flood", count)) => (count.trim().parse().expect("a number"), None),
                Some(("answer", _)) => (1, None),
                _ => (LINES, Some(PAUSE)),
            };
            for _ in 0..lines {
                if let Some(pause) = pause {
                    std::thread::sleep(pause);
                }
                let delta = json!({"type": "text_delta", "text": now_ms().to_string()});
                say(&json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}}));
            }
            say(&json!({"type": "result", "subtype": "success", "is_error": false, "result": "done", "total_cost_usd": 0.0}));
        }
    }
}

/// A CLI that is the stand-in, in this directory.
pub(crate) fn script(dir: &Path) -> PathBuf {
    let script = dir.join("claude");
    let program = std::env::current_exe().expect("this program");
    std::fs::write(&script, format!("#!/bin/sh\nexec {} stand-in-cli \"$@\"\n", program.display())).expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("executable");
    script
}

pub(crate) async fn through_gateway() -> Vec<f64> {
    let dir = tempfile::tempdir().expect("a directory");
    let script = script(dir.path());
    let gateway = Gateway::start(&script, &[]).await;
    let client = reqwest::Client::new();
    let url = format!("http://{}/tasks", gateway.address);
    let body = json!({"title": "bench", "description": "write"});
    let task: Value =
        client.post(&url).header("x-mas-key", KEY).json(&body).send().await.expect("sent").json().await.expect("JSON");
    let events = format!("{url}/{}/events", task["id"].as_str().expect("an id"));
    let request = client.get(events).header("x-mas-key", KEY).header("accept", "text/event-stream");
    let mut stream = request.send().await.expect("sent").bytes_stream();
    let (mut text, mut latencies) = (String::new(), vec![]);
    while let Some(piece) = stream.next().await {
        let arrived = now_ms();
        text.push_str(std::str::from_utf8(&piece.expect("bytes")).expect("UTF-8"));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or("{}");
            let event: Value = serde_json::from_str(data).expect("JSON");
            if event["kind"] == "delta" {
                latencies.push(arrived - event["data"]["text"].as_str().expect("text").parse::<f64>().expect("a time"));
            }
            text = rest.to_owned();
        }
    }
    assert_eq!(latencies.len(), LINES);
    latencies
}

/// A bare process that takes one prompt and ends; the lines heard of it.
pub(crate) async fn turn(prompt: String) -> usize {
    let mut lines = started(&prompt).await;
    let mut heard = 0;
    while let Some(line) = lines.next_line().await.expect("text") {
        drop(serde_json::from_str::<Value>(&line).expect("JSON"));
        heard += 1;
    }
    heard
}

/// The output of a bare process that was given a prompt and the end of its input.
async fn started(prompt: &str) -> Lines<BufReader<ChildStdout>> {
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .arg("stand-in-cli")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let message = format!("{}\n", json!({"type": "user", "message": {"content": prompt}}));
    child.stdin.take().expect("piped").write_all(message.as_bytes()).await.expect("written");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    tokio::spawn(async move { child.wait().await });
    lines
}

pub(crate) async fn direct() -> Vec<f64> {
    let mut lines = started("write").await;
    let mut latencies = vec![];
    while let Some(line) = lines.next_line().await.expect("text") {
        let arrived = now_ms();
        let value: Value = serde_json::from_str(&line).expect("JSON");
        if let Some(text) = value["event"]["delta"]["text"].as_str() {
            latencies.push(arrived - text.parse::<f64>().expect("a time"));
        }
    }
    assert_eq!(latencies.len(), LINES);
    latencies
}
