//! Requests that come at an awkward moment.

use super::{stubborn_tool, until_tool_runs};
use crate::{
    faults::{self, RESULT},
    support::{TestApp, path_of, until},
};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

/// What the CLI has kept of the agent's conversation.
fn conversation(app: &TestApp, agent: &Value) -> String {
    let name = format!("{}.jsonl", agent["session_id"].as_str().expect("an id"));
    let projects = std::fs::read_dir(app.data_dir().join("claude/projects")).into_iter().flatten().flatten();
    projects.filter_map(|project| std::fs::read_to_string(project.path().join(&name)).ok()).collect()
}

#[tokio::test]
async fn cli_a_message_sent_into_a_turn_that_is_then_interrupted_gets_its_own_turn() {
    let app = TestApp::with_lab(&[]).await;
    let agent = app.agent(json!({"project": "lab"})).await;
    let task = app.tell(&agent, &stubborn_tool(), json!({})).await;
    until_tool_runs(&app, &task).await;
    let sent = app.tell(&agent, &json!({"text": "after all"}), json!({"mode": "steer"})).await;
    app.agent_until(&agent, |agent| agent["queued"] == 0).await;
    app.post(&path_of(&agent, "/interrupt"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(app.ended(&task).await["status"], "cancelled");
    let sent = app.ended(&sent).await;
    assert_eq!((&sent["status"], &sent["result"]), (&json!("complete"), &json!("after all")), "{sent}");
    let (_, messages) = app.last_conversation().await;
    assert_eq!(messages.matches("after all").count(), 1, "it reached the CLI once: {messages}");
    assert_eq!(app.agent_until(&agent, |agent| agent["status"] == "idle").await["turns"], 2);
}

#[tokio::test]
async fn cli_a_message_sent_into_a_turn_can_be_cancelled() {
    let app = TestApp::with_lab(&[]).await;
    let agent = app.agent(json!({"project": "lab"})).await;
    let task = app.tell(&agent, &stubborn_tool(), json!({})).await;
    until_tool_runs(&app, &task).await;
    let sent = app.tell(&agent, &json!({"text": "never mind"}), json!({"mode": "steer"})).await;
    app.agent_until(&agent, |agent| agent["queued"] == 0).await;
    app.post(&format!("/tasks/{}/cancel", sent["id"].as_str().expect("an id")), &json!({"wait_seconds": 0})).await;
    app.post(&path_of(&agent, "/interrupt"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(app.ended(&task).await["status"], "cancelled");
    assert_eq!(app.ended(&sent).await["status"], "cancelled");
    app.agent_until(&agent, |agent| agent["status"] == "idle").await;
    let next = app.tell(&agent, &json!({"text": "next"}), json!({"wait_seconds": 40})).await;
    assert_eq!(next["result"], "next", "{next}");
}

#[tokio::test]
async fn cli_a_turn_whose_result_was_lost_with_its_shim_comes_to_an_end() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let task = app.tell(&agent, &json!({"text": "a b c d e f", "delay_ms": 50}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    let [shim, _] = app.running()[0];
    kill_process(shim, Signal::STOP).expect("stopped");
    until("the CLI has kept its answer", || conversation(&app, &agent).contains("\"a b c d e f\"")).await;

    kill_process(shim, Signal::KILL).expect("killed");
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("a b c d e f")), "{ended}");
    assert_eq!(
        conversation(&app, &agent).matches("\"role\":\"user\",\"content\":\"REHEARSE").count(),
        1,
        "the prompt reached the CLI once"
    );
    let next = app.tell(&agent, &json!({"text": "next"}), json!({"wait_seconds": 40})).await;
    assert_eq!(next["result"], "next", "{next}");
}

#[tokio::test]
async fn a_pause_that_is_over_keeps_no_idle_agent_busy() {
    let fault = r#"echo '{"type":"assistant","error":"server_error","message":{"model":"<synthetic>","content":[{"type":"text","text":"529"}]}}'
echo '{"type":"result","subtype":"success","is_error":true,"result":"API Error: 529","total_cost_usd":0}'"#;
    let greet = faults::GREET.replace("read -r prompt\n", "");
    let turns = format!(
        "while read -r prompt; do case \"$prompt\" in\n*FAULT*) {fault};;\n*HANG*) sleep 1000;;\n*) {};;\nesac; done\n",
        RESULT.trim()
    );
    let settings = [
        ("MAS_RUNNER__MAX_TASK_RETRIES", "0"),
        ("MAS_RUNNER__CIRCUIT_FAILURES", "1"),
        ("MAS_RUNNER__CIRCUIT_PAUSE_SECONDS", "1"),
    ];
    let (app, _dir) = faults::app(&format!("{greet}{turns}"), &settings).await;
    let (busy, idle) = (app.agent(json!({})).await, app.agent(json!({})).await);
    app.tell(&busy, &json!("HANG"), json!({})).await;
    app.agent_until(&busy, |agent| agent["status"] == "busy").await;
    let failed = app.tell(&idle, &json!("FAULT"), json!({"wait_seconds": 40})).await;
    assert_eq!(failed["failure"]["code"], "provider_unavailable", "{failed}");
    let wait = |seconds: u32| path_of(&busy, &format!("?wait_seconds={seconds}"));
    assert_eq!(app.get(&wait(2)).await.expect(200)["status"], "busy", "the pause is over now");
    let before = app.cpu_ticks();
    assert_eq!(app.get(&wait(1)).await.expect(200)["status"], "busy");
    let used = app.cpu_ticks() - before;
    assert!(used < 30, "{used} of 100 ticks in a second in which nothing happened");
    // What waits while the gate is closed gets its turn when it opens.
    app.tell(&idle, &json!("FAULT"), json!({"wait_seconds": 40})).await;
    let waiting = app.tell(&idle, &json!("hello"), json!({"wait_seconds": 40})).await;
    assert_eq!(waiting["status"], "complete", "{waiting}");
}
