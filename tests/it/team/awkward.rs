//! Servers and CLIs that die between a call of a tool and its answer.

use super::{Team, answers, call};
use crate::support::{TestApp, until};
use mas_gateway::model::{agent::AgentType, swarm::Topology};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

const CALLS: usize = 16;

/// Sends of numbered messages to everybody, one after the other, with a pause before each.
fn numbered(pause_ms: u64) -> Value {
    let mut steps: Vec<Value> = (0..CALLS)
        .map(|n| {
            let mut step = call("send_message", &json!({"to": "all", "subject": format!("n{n}"), "body": "x"}));
            step["first_delay_ms"] = pause_ms.into();
            step
        })
        .collect();
    steps.push(json!({"text": "done"}));
    json!({"steps": steps})
}

fn subjects(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["subject"].as_str().expect("a subject").to_owned()).collect()
}

#[tokio::test]
async fn cli_a_call_has_its_effect_once_however_often_the_server_is_killed() {
    let mut app = TestApp::with(&[("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    let team = Team::on(&app, Topology::Mesh, &[AgentType::CODER, AgentType::TESTER]).await;
    let task = app.tell(&team.agents[0], &numbered(100), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "tool_call").await;
    for pause in [0_u64, 130, 40, 210, 90, 330, 10, 170] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        app.kill();
        tokio::time::sleep(Duration::from_millis(pause / 2)).await;
        app.launch();
    }
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("done")), "{ended}");
    let expected: Vec<String> = (0..CALLS).map(|n| format!("n{n}")).collect();
    assert_eq!(subjects(&team.messages(&app).await), expected, "each once, in order");
    let said = answers(&app, &task).await;
    assert!(said.len() == CALLS && said.iter().all(|(is_error, _)| !is_error), "{said:?}");
}

#[tokio::test]
async fn cli_a_call_read_while_the_store_is_out_of_order_waits_and_counts_once() {
    let mut app = TestApp::with(&[("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    if !app.store_url().starts_with("sqlite://") {
        return;
    }
    let team = Team::on(&app, Topology::Mesh, &[AgentType::CODER, AgentType::TESTER]).await;
    let task = app.tell(&team.agents[0], &numbered(200), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "tool_result").await;
    // Calls come while nothing can be stored; then the server dies with whatever it had in mind.
    let mut lock = Lock::take(&app).await;
    let stored = team.messages(&app).await.len();
    until("a call waits for the store", || calls_written(&app) > stored).await;
    app.kill();
    lock.give_back().await;
    app.launch();
    let ended = app.ended(&task).await;
    assert_eq!(ended["status"], "complete", "{ended}");
    let sent = subjects(&team.messages(&app).await);
    assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (CALLS, CALLS), "{sent:?}");
}

/// Calls of tools that the agents' CLIs have written, answered or not.
fn calls_written(app: &TestApp) -> usize {
    let processes = std::fs::read_dir(app.data_dir().join("processes")).expect("a directory");
    let logs = processes.map(|process| std::fs::read_to_string(process.expect("an entry").path().join("stdout")));
    logs.map(|log| log.unwrap_or_default().matches(r#""method":"tools/call""#).count()).sum()
}

/// Keeps others from writing to the `SQLite` file.
struct Lock(sqlx::SqliteConnection);

impl Lock {
    async fn take(app: &TestApp) -> Self {
        use sqlx::{Connection, Executor};
        let mut connection = sqlx::SqliteConnection::connect(&app.store_url()).await.expect("opens");
        connection.execute("BEGIN IMMEDIATE").await.expect("locked");
        Self(connection)
    }

    async fn give_back(&mut self) {
        use sqlx::Executor;
        self.0.execute("ROLLBACK").await.expect("unlocked");
    }
}

#[tokio::test]
async fn cli_a_turn_that_is_resumed_after_its_cli_was_killed_has_the_tools_from_its_first_request() {
    let mut app = TestApp::prepared(&[]).await;
    let send = |subject: &str| call("send_message", &json!({"to": "tester", "subject": subject, "body": "x"}));
    let steps = json!([send("before"), {"text": "a word", "hang": 600}, send("after"), {"text": "done"}]);
    let rules = app.dir.path().join("rules.json");
    let rule = json!([{"match": "Tell the tester", "sequential": true, "steps": steps}]);
    std::fs::write(&rules, rule.to_string()).expect("written");
    app.set("MAS_REHEARSAL__RULES", rules.to_str().expect("UTF-8"));
    app.launch();
    let team = Team::on(&app, Topology::Mesh, &[AgentType::CODER, AgentType::TESTER]).await;
    let task = app.tell(&team.agents[0], &json!("Tell the tester."), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "tool_result").await;
    // The second request is under way, so the CLI has kept the first answer.
    until_requests(&app, 2).await;
    app.kill_agents();
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("done")), "{ended}");
    assert_eq!(subjects(&team.messages(&app).await), ["before", "after"], "{:?}", answers(&app, &task).await);
}

/// Waits until the rehearsal model was asked so often.
async fn until_requests(app: &TestApp, count: usize) {
    let mut ticks = tokio::time::interval(Duration::from_millis(30));
    while app.model_requests().await.len() < count {
        ticks.tick().await;
    }
}
