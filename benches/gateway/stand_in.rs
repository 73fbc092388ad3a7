//! How long a line takes from an agent's stdout to a client: a stand-in CLI writes the time, the reader compares.

use crate::servers::{Gateway, KEY};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const LINES: usize = 300;
const PAUSE: Duration = Duration::from_millis(5);

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

/// The body of the stand-in's process: answers the handshake, writes time stamps for a prompt, ends at end of input.
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
            for _ in 0..LINES {
                std::thread::sleep(PAUSE);
                let delta = json!({"type": "text_delta", "text": now_ms().to_string()});
                say(&json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}}));
            }
            say(&json!({"type": "result", "subtype": "success", "is_error": false, "result": "done", "total_cost_usd": 0.0}));
        }
    }
}

pub(crate) async fn through_gateway() -> Vec<f64> {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("claude");
    let program = std::env::current_exe().expect("this program");
    std::fs::write(&script, format!("#!/bin/sh\nexec {} stand-in-cli \"$@\"\n", program.display())).expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("executable");
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

pub(crate) async fn direct() -> Vec<f64> {
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .arg("stand-in-cli")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("piped").write_all(b"{\"type\":\"user\"}\n").await.expect("written");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut latencies = vec![];
    while let Some(line) = lines.next_line().await.expect("text") {
        let arrived = now_ms();
        let value: Value = serde_json::from_str(&line).expect("JSON");
        if let Some(text) = value["event"]["delta"]["text"].as_str() {
            latencies.push(arrived - text.parse::<f64>().expect("a time"));
        }
    }
    assert!(child.wait().await.expect("exits").success());
    latencies
}
