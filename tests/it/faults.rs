//! The fault suite: a scripted agent does what a real CLI cannot be made to do. Each case ends with its named
//! outcome, an event log without a hole, and no process left.

use crate::support::{TestApp, assert_no_hole};
use serde_json::{Value, json};
use std::{os::unix::fs::PermissionsExt, path::PathBuf};

/// Answers the handshake and takes the prompt, as Claude Code does.
pub(crate) const GREET: &str = r#"read -r hello
echo '{"type":"control_response","response":{"subtype":"success","request_id":"x","response":{"account":{"apiKeySource":"none needed"}}}}'
read -r prompt
"#;
pub(crate) const SAY: &str = r#"echo '{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"half done"}]}}'
"#;
pub(crate) const RESULT: &str = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":0}'
"#;
pub(crate) const HANG: &str = "trap '' TERM INT HUP; while :; do sleep 1000; done\n";

/// A server whose CLI is this script.
pub(crate) async fn app(script: &str, settings: &[(&str, &str)]) -> (TestApp, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let cli: PathBuf = dir.path().join("claude");
    let text = format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo scripted; exit; }}\n{script}");
    std::fs::write(&cli, text).expect("written");
    std::fs::set_permissions(&cli, PermissionsExt::from_mode(0o755)).expect("executable");
    let mut all = vec![("MAS_CLAUDE_CODE__COMMAND", cli.to_str().expect("UTF-8"))];
    all.extend(settings);
    (TestApp::with(&all).await, dir)
}

/// Runs one task on the scripted agent to its end.
async fn run(script: &str, settings: &[(&str, &str)]) -> (Value, Vec<Value>) {
    let (app, _dir) = app(script, settings).await;
    let task = app.ended(&app.create(&json!({"text": "unused"}), json!({"on_lost": "fail"})).await).await;
    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert_eq!(app.agent_processes(), Vec::<String>::new(), "something is left");
    (task, events)
}

/// Runs one task that must fail with this code, and returns it.
async fn fails(script: &str, settings: &[(&str, &str)], code: &str) -> Value {
    let (task, events) = run(script, settings).await;
    assert_eq!((&task["status"], &task["failure"]["code"]), (&json!("failed"), &json!(code)), "{task} {events:?}");
    task
}

#[tokio::test]
async fn never_ready() {
    fails(HANG, &[("MAS_RUNNER__READY_TIMEOUT_SECONDS", "1")], "not_ready").await;
}

#[tokio::test]
async fn exits_at_once() {
    let task = fails("echo 'no such library' >&2\nexit 3\n", &[], "start_failed").await;
    let detail = task["failure"]["detail"].as_str().expect("words");
    assert!(detail.contains("code 3") && detail.contains("no such library"), "{detail}");
}

#[tokio::test]
async fn says_nothing_after_its_prompt() {
    fails(&format!("{GREET}{HANG}"), &[("MAS_RUNNER__FIRST_EVENT_TIMEOUT_SECONDS", "1")], "no_first_event").await;
}

#[tokio::test]
async fn stalls_in_the_middle_of_its_turn() {
    let task = fails(&format!("{GREET}{SAY}{HANG}"), &[("MAS_RUNNER__STALL_TIMEOUT_SECONDS", "1")], "stalled").await;
    assert_eq!(task["result"], "half done", "the partial result is kept");
}

#[tokio::test]
async fn is_stopped_by_a_signal() {
    let script = format!("{GREET}{SAY}kill -STOP $$\n");
    fails(&script, &[("MAS_RUNNER__STALL_TIMEOUT_SECONDS", "1")], "stalled").await;
}

#[tokio::test]
async fn is_killed_in_the_middle_of_its_turn() {
    let task = fails(&format!("{GREET}{SAY}kill -KILL $$\n"), &[], "agent_exited").await;
    assert!(task["failure"]["detail"].as_str().expect("words").contains("signal 9"), "{task}");
    assert_eq!(task["result"], "half done");
}

#[tokio::test]
async fn is_killed_again_and_again() {
    let (app, _dir) = app(&format!("{GREET}{SAY}kill -KILL $$\n"), &[("MAS_RUNNER__MAX_RECOVERIES", "2")]).await;
    let task = app.ended(&app.create(&json!({"text": "unused"}), json!({"on_lost": "retry"})).await).await;
    assert_eq!(task["failure"]["code"], "agent_exited", "{task}");
    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert_eq!(events.iter().filter(|event| event["data"]["state"] == "recovering").count(), 2, "{events:?}");
}

#[tokio::test]
async fn gives_a_result_and_does_not_exit() {
    let (task, events) = run(&format!("{GREET}{RESULT}{HANG}"), &[("MAS_RUNNER__EXIT_TIMEOUT_SECONDS", "1")]).await;
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("done")), "{task}");
    assert!(events.iter().any(|event| event["data"]["state"] == "exit_forced"), "{events:?}");
}

#[tokio::test]
async fn floods_its_output() {
    fails(&format!("{GREET}yes '{{\"type\":\"flood\"}}'\n"), &[("MAS_RUNNER__MAX_OUTPUT_BYTES", "200000")], "output_limit").await;
}

#[tokio::test]
async fn writes_one_line_of_fifty_megabytes() {
    let long = r#"printf '{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"'
head -c 50000000 /dev/zero | tr '\0' x
echo '"}]}}'
"#;
    let (task, events) = run(&format!("{GREET}{long}{RESULT}"), &[]).await;
    assert_eq!(task["status"], "complete", "{}", task["failure"]);
    assert_eq!(events.iter().filter(|event| event["kind"] == "message").count(), 1);
}

#[tokio::test]
async fn forks_a_daemon() {
    let daemon = "setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & wait' >/dev/null 2>&1 &\n";
    let (task, _) = run(&format!("{GREET}{daemon}{RESULT}"), &[]).await;
    assert_eq!(task["status"], "complete", "{task}");
}

#[tokio::test]
async fn ignores_every_signal_it_can() {
    let (app, _dir) = app(&format!("{GREET}{SAY}{HANG}"), &[]).await;
    let task = app.create(&json!({"text": "unused"}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "message").await;
    let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
    let cancelled = app.post(&path, &json!({"wait_seconds": 30})).await.expect(200);
    assert_eq!((&cancelled["status"], &cancelled["result"]), (&json!("cancelled"), &json!("half done")), "{cancelled}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn repeats_a_failed_request_for_ever() {
    let retry = r#"while :; do echo '{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":1,"error_status":529,"error":"overloaded"}'; sleep 0.01; done
"#;
    fails(&format!("{GREET}{retry}"), &[("MAS_RUNNER__MAX_RETRIES_PER_TURN", "5")], "too_many_retries").await;
}

#[tokio::test]
async fn writes_garbage() {
    let garbage = "while :; do echo 'Segmentation fault'; sleep 0.01; done\n";
    fails(&format!("{GREET}{garbage}"), &[("MAS_RUNNER__MAX_GARBAGE_LINES", "5")], "garbage_output").await;
}

#[tokio::test]
async fn leaves_half_a_line_behind() {
    let (task, events) = run(&format!("{GREET}printf '{{\"type\":\"assist'; exit 1\n"), &[]).await;
    assert_eq!(task["failure"]["code"], "agent_exited", "{task}");
    assert!(events.iter().any(|event| event["data"]["line"] == "{\"type\":\"assist"), "kept as it is: {events:?}");
}

#[tokio::test]
async fn closes_its_output_and_lives_on() {
    fails(&format!("{GREET}{SAY}exec 1>&-\n{HANG}"), &[], "output_closed").await;
}
