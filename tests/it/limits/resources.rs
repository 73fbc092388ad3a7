//! Time, silence, output, memory and processes: whose limit it was, and that the agent can be used again.

use super::{limit, turn};
use crate::support::{TestApp, path_of};
use serde_json::{Value, json};

/// Says something, then nothing any more.
fn silent() -> Value {
    json!({"steps": [{"text": "first part", "tool_use": {"name": "Bash", "input": {"command": "echo on"}}}, {"hang": 600.0}]})
}

/// The agent rests, or waits for its next message, which works.
async fn is_usable(app: &TestApp, agent: &Value) {
    let next = turn(app, agent, &json!({"text": "back again"})).await;
    assert_eq!(next["result"], "back again", "{next}");
}

#[tokio::test]
async fn cli_silence_is_bounded_by_the_task_or_its_agent() {
    let app = TestApp::start().await;
    let task = app.ended(&app.create(&silent(), json!({"idle_timeout_seconds": 2})).await).await;
    assert_eq!((&task["failure"]["code"], &task["result"]), (&json!("stalled"), &json!("first part")), "{task}");
    assert_eq!(task["failure"]["limit"], limit("idle_timeout_seconds", "task", 2.0));

    let agent = app.agent(json!({"idle_timeout_seconds": 2})).await;
    let message = turn(&app, &agent, &silent()).await;
    assert_eq!((&message["failure"]["code"], &message["result"]), (&json!("stalled"), &json!("first part")), "{message}");
    assert_eq!(message["failure"]["limit"], limit("idle_timeout_seconds", "agent", 2.0));
    is_usable(&app, &agent).await;
}

#[tokio::test]
async fn cli_an_agents_time_binds_its_messages_unless_they_have_their_own() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({"timeout_seconds": 2})).await;
    let message = turn(&app, &agent, &silent()).await;
    assert_eq!((&message["failure"]["code"], &message["result"]), (&json!("timeout"), &json!("first part")), "{message}");
    assert_eq!(message["failure"]["limit"], limit("timeout_seconds", "agent", 2.0));
    let body = json!({"text": format!("REHEARSE:{}", silent()), "timeout_seconds": 1, "wait_seconds": 40});
    let message = app.ended(&app.post(&path_of(&agent, "/message"), &body).await.json()).await;
    assert_eq!(message["failure"]["limit"], limit("timeout_seconds", "task", 1.0), "{message}");
    is_usable(&app, &agent).await;
}

#[tokio::test]
async fn cli_output_is_bounded_by_the_task_or_its_agent() {
    let app = TestApp::start().await;
    let plan = json!({"steps": [
        {"text": "first part", "tool_use": {"name": "Bash", "input": {"command": "echo on"}}},
        {"text": "word ".repeat(9_000)},
    ]});
    let task = app.ended(&app.create(&plan, json!({"max_output_bytes": 30_000})).await).await;
    assert_eq!((&task["failure"]["code"], &task["result"]), (&json!("output_limit"), &json!("first part")), "{task}");
    assert_eq!(task["failure"]["limit"], limit("max_output_bytes", "task", 30_000.0));

    let agent = app.agent(json!({"max_output_bytes": 30_000})).await;
    let message = turn(&app, &agent, &plan).await;
    assert_eq!((&message["failure"]["code"], &message["result"]), (&json!("output_limit"), &json!("first part")), "{message}");
    assert_eq!(message["failure"]["limit"], limit("max_output_bytes", "agent", 30_000.0));
    is_usable(&app, &agent).await;
}

/// A tool that keeps 600 MB, or is 40 processes, one half of them in sessions of their own.
const HOARDER: &str = "{ head -c 600000000 /dev/zero; sleep 1000; } | tail -n 1";
const CROWD: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 & setsid sleep 1000 & done; wait";

#[tokio::test]
async fn cli_memory_and_processes_of_a_tool_count_and_nothing_of_it_is_left() {
    let app = TestApp::with_lab(&[]).await;
    for (command, name, value, code) in
        [(HOARDER, "max_memory_bytes", 430_000_000, "memory_limit"), (CROWD, "max_processes", 20, "process_limit")]
    {
        let plan = json!({"steps": [
            {"text": "first part", "tool_use": {"name": "Bash", "input": {"command": command, "timeout": 600_000}}},
            {"text": "never"},
        ]});
        let task = app.ended(&app.create(&plan, json!({"project": "lab", name: value})).await).await;
        assert_eq!((&task["failure"]["code"], &task["result"]), (&json!(code), &json!("first part")), "{task}");
        assert_eq!(task["failure"]["limit"], limit(name, "task", f64::from(value)), "{task}");
        assert_eq!(app.agent_processes(), Vec::<String>::new());

        let agent = app.agent(json!({"project": "lab", name: value})).await;
        let message = turn(&app, &agent, &plan).await;
        assert_eq!((&message["failure"]["code"], &message["result"]), (&json!(code), &json!("first part")), "{message}");
        assert_eq!(message["failure"]["limit"], limit(name, "agent", f64::from(value)), "{message}");
        assert_eq!(app.agent_processes(), Vec::<String>::new());
        assert_eq!(app.get(&path_of(&agent, "")).await.expect(200)["status"], "parked");
        is_usable(&app, &agent).await;
        // Idle, its CLI would be among the processes of the next round.
        app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
        app.agent_until(&agent, |agent| agent["status"] == "terminated").await;
    }
}
