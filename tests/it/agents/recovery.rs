//! Durable agents when the server, the host or the CLI dies.

use crate::support::{TestApp, path_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn kill(pid: &Value) {
    let pid = i32::try_from(pid.as_u64().expect("a pid")).expect("a pid");
    let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
}

/// Ends server, shims and CLIs alike, and starts the server again.
async fn reboot(app: &mut TestApp) {
    app.kill();
    app.kill_agents();
    crate::support::until("the agents are gone", || app.agent_processes().is_empty()).await;
    app.launch();
}

#[tokio::test]
async fn cli_a_killed_server_finds_its_idle_and_its_busy_agents_again() {
    let mut app = TestApp::start().await;
    let (idle, busy) = (app.agent(json!({})).await, app.agent(json!({})).await);
    app.tell(&idle, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    let words = "a b c d e f g h i j k l m n o p q r s t";
    let task = app.tell(&busy, &json!({"text": words, "delay_ms": 100}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    let queued = app.tell(&busy, &json!({"text": "then this"}), json!({})).await;
    app.kill();
    app.launch();
    let again = app.agent_until(&idle, |agent| agent["process"]["pid"].is_u64()).await;
    assert_eq!((&again["status"], &again["process"]["pid"]), (&json!("idle"), &idle["process"]["pid"]), "{again}");
    assert_eq!(app.ended(&task).await["result"], words);
    assert_eq!(app.ended(&queued).await["result"], "then this", "what waited gets its turn");
    app.tell(&idle, &json!("What do you know?"), json!({"wait_seconds": 40})).await;
    assert!(app.last_conversation().await.1.contains("I know HERON."));
}

#[tokio::test]
async fn cli_after_a_reboot_idle_agents_rest_and_busy_ones_go_on_in_their_session() {
    let mut app = TestApp::start().await;
    let (idle, busy) = (app.agent(json!({})).await, app.agent(json!({"system_prompt": "Your word is KINGFISHER."})).await);
    app.tell(&idle, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    app.tell(&busy, &json!({"text": "I know EGRET."}), json!({"wait_seconds": 40})).await;
    let words = "a b c d e f g h i j k l m n o p q r s t";
    let task = app.tell(&busy, &json!({"text": words, "delay_ms": 100}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    reboot(&mut app).await;
    app.agent_until(&idle, |agent| agent["status"] == "parked").await;
    assert_eq!(app.ended(&task).await["result"], words);
    let (system, messages) = app.last_conversation().await;
    assert!(messages.contains("I know EGRET.") && system.contains("KINGFISHER"), "{system} {messages}");
    app.tell(&idle, &json!("What do you know?"), json!({"wait_seconds": 40})).await;
    assert!(app.last_conversation().await.1.contains("I know HERON."));
}

#[tokio::test]
async fn cli_a_killed_idle_cli_costs_nothing_and_a_killed_busy_one_goes_on() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    app.tell(&agent, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    kill(&agent["process"]["pid"]);
    app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    let words = "a b c d e f g h i j k l";
    let task = app.tell(&agent, &json!({"text": words, "delay_ms": 100}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    kill(&app.get(&path_of(&agent, "")).await.expect(200)["process"]["pid"]);
    assert_eq!(app.ended(&task).await["result"], words);
    assert!(app.last_conversation().await.1.contains("I know HERON."));
    app.agent_until(&agent, |agent| agent["status"] == "idle").await;
}

#[tokio::test]
async fn cli_a_message_that_steers_survives_a_killed_server() {
    let mut app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let slow = app.tell(&agent, &json!({"text": "a b c d e f g h i j k l", "delay_ms": 100}), json!({})).await;
    app.events_until(&slow, |event| event["kind"] == "delta").await;
    let late = app.tell(&agent, &json!({"text": "late"}), json!({"mode": "steer"})).await;
    app.agent_until(&agent, |agent| agent["queued"] == 0).await;
    app.kill();
    app.launch();
    assert_eq!(app.ended(&slow).await["result"], "a b c d e f g h i j k l");
    assert_eq!(app.ended(&late).await["result"], "late");
    assert_eq!(app.agent_until(&agent, |agent| agent["status"] == "idle").await["turns"], 2);
}

#[tokio::test]
async fn cli_an_agent_told_to_end_before_the_server_died_ends_after_it() {
    let mut app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let task = app.tell(&agent, &json!({"hang": 600.0}), json!({})).await;
    app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    app.kill();
    app.sql("UPDATE agent SET terminate_requested = TRUE").await;
    app.launch();
    app.agent_until(&agent, |agent| agent["status"] == "terminated").await;
    assert_eq!(app.ended(&task).await["status"], "cancelled");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_session_the_cli_lost_is_told_and_not_replaced_by_an_empty_one() {
    let app = TestApp::with(&[("MAS_RUNNER__PARK_AFTER_SECONDS", "0")]).await;
    let agent = app.agent(json!({})).await;
    app.tell(&agent, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    std::fs::remove_dir_all(app.data_dir().join("claude/projects")).expect("there were conversations");
    let task = app.tell(&agent, &json!("What do you know?"), json!({"wait_seconds": 40})).await;
    assert_eq!((&task["status"], &task["failure"]["code"]), (&json!("failed"), &json!("session_lost")), "{task}");
    let failed = app.get(&path_of(&agent, "")).await.expect(200);
    assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("session_lost")), "{failed}");
}

#[tokio::test]
async fn cli_a_reclaimed_worktree_is_made_again_for_the_next_message() {
    let mut app = TestApp::prepared(&[
        ("MAS_RUNNER__PARK_AFTER_SECONDS", "0"),
        ("MAS_GC__WORKTREES_DAYS", "0"),
        ("MAS_GC__INTERVAL_SECONDS", "0"),
    ])
    .await;
    let repository = app.repository("shop");
    app.launch();
    let agent = app.agent(json!({"project": "shop"})).await;
    let write = |name: &str| {
        json!({"steps": [
            {"tool_use": {"name": "Write", "input": {"file_path": format!("{{}}/{name}"), "content": "x"}}}, {"text": "written"},
        ]})
    };
    let place = app.agent_until(&agent, |agent| agent["workspace"].is_string()).await["workspace"].clone();
    let plan = write("first.txt").to_string().replace("{}", place.as_str().expect("a directory"));
    let task = app.tell(&agent, &serde_json::from_str(&plan).expect("JSON"), json!({"wait_seconds": 40})).await;
    assert_eq!(task["changes"]["files_changed"], 1, "{task}");
    app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    assert!(app.mas(&["gc"]).status().expect("ran").success());
    assert!(!std::path::Path::new(place.as_str().expect("a directory")).exists(), "reclaimed");
    let plan = write("second.txt").to_string().replace("{}", place.as_str().expect("a directory"));
    let task = app.tell(&agent, &serde_json::from_str(&plan).expect("JSON"), json!({"wait_seconds": 40})).await;
    assert_eq!((&task["status"], &task["changes"]["files_changed"]), (&json!("complete"), &json!(2)), "{task}");
    drop(repository);
}
