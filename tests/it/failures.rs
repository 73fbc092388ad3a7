//! Tasks that cannot be done say why and what to do.

use crate::support::{TestApp, claude};
use serde_json::json;

#[tokio::test]
async fn a_missing_cli_fails_the_task_at_once_with_the_fix() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let task = app.ended(&app.create(&json!({"text": "x"}), json!({})).await).await;
    assert_eq!(task["failure"]["code"], "agent_unavailable", "{task}");
    assert!(task["failure"]["detail"].as_str().expect("words").contains("npm install"), "{task}");
    let ready = app.get("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    assert!(ready.text.contains("/nonexistent/claude"), "{}", ready.text);
}

#[tokio::test]
async fn a_locked_database_is_told_as_a_passing_fault_and_nothing_is_half_written() {
    use sqlx::{Connection, Executor, SqliteConnection};
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude"), ("MAS_STORE__URL", "")]).await;
    let url = format!("sqlite://{}", app.data_dir().join("mas.db").display());
    assert_eq!(app.get("/tasks").await.status, 200, "started");
    let mut other = SqliteConnection::connect(&url).await.expect("opened");
    other.execute("BEGIN IMMEDIATE").await.expect("locked");
    let refused = app.post("/tasks", &json!({"title": "t", "description": "d"})).await;
    assert_eq!(refused.problem(503, "store_unavailable")["retryable"], true);
    assert!(refused.headers.contains_key("retry-after"));
    other.execute("ROLLBACK").await.expect("unlocked");
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
    assert_eq!(app.post("/tasks", &json!({"title": "t", "description": "d"})).await.status, 201);
}

#[tokio::test]
async fn cli_time_is_up_and_the_partial_result_is_kept() {
    let app = TestApp::start().await;
    let plan = json!({"steps": [{"text": "first part", "tool_use": {"name": "Bash", "input": {"command": "echo on"}}}, {"hang": 600.0}]});
    let task = app.ended(&app.create(&plan, json!({"timeout_seconds": 4})).await).await;
    assert_eq!((&task["failure"]["code"], &task["result"]), (&json!("timeout"), &json!("first part")), "{task}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_budget_binds() {
    let app = TestApp::start().await;
    let plan = json!({"steps": [
        {"text": "costly", "tool_use": {"name": "Bash", "input": {"command": "echo on"}}, "usage": {"input_tokens": 1_000_000, "output_tokens": 1000}},
        {"text": "never reached"},
    ]});
    let task = app.ended(&app.create(&plan, json!({"budget_usd": 0.01})).await).await;
    assert_eq!(task["failure"]["code"], "budget_exceeded", "{task}");
    assert!(task["cost_usd"].as_f64() > Some(0.01), "{task}");
    assert_eq!(task["result"], "costly");
}

#[tokio::test]
async fn cli_a_refused_model_request_is_told_in_the_clis_words() {
    let app = TestApp::start().await;
    let task = app.ended(&app.create(&json!({"error": {"status": 403, "message": "no access"}}), json!({})).await).await;
    assert_eq!(task["failure"]["code"], "agent_unavailable", "{task}");
    let task = app.ended(&app.create(&json!({"error": {"status": 400, "message": "no such thing"}}), json!({})).await).await;
    assert_eq!(task["failure"]["code"], "agent_error", "{task}");
    assert!(task["failure"]["detail"].as_str().expect("words").contains("no such thing"), "{task}");
}

#[tokio::test]
async fn cli_retries_are_visible_and_end_well() {
    let app = TestApp::start().await;
    let plan = json!({"error": {"status": 529, "message": "busy"}, "times": 2, "text": "recovered"});
    let task = app.ended(&app.create(&plan, json!({})).await).await;
    assert_eq!(task["result"], "recovered", "{task}");
    assert_eq!(app.events(&task).await.iter().filter(|event| event["kind"] == "retry").count(), 2);
}

#[tokio::test]
async fn cli_an_answer_that_breaks_its_schema_fails_the_task() {
    let app = TestApp::start().await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let task = app.ended(&app.create(&json!({"text": "just words"}), json!({"output_schema": schema})).await).await;
    assert_eq!(task["failure"]["code"], "invalid_structured_output", "{task}");
    assert!(claude().exists());
}
