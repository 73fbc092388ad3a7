//! Requests that come at an awkward moment.

use super::{stubborn_tool, until_tool_runs};
use crate::support::{TestApp, path_of};
use serde_json::json;

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
