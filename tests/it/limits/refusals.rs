//! Limits that make no sense, and agents that take nothing: refused with what to do, and nothing is changed.

use super::stand_in::StandIn;
use crate::{faults, support::path_of};
use serde_json::{Value, json};

#[tokio::test]
async fn limits_out_of_bounds_are_refused_by_name_and_nothing_is_made() {
    let it = StandIn::patient(&[]).await;
    let bad = [
        ("budget_usd", json!(0)),
        ("budget_usd", json!(-1)),
        ("budget_usd", json!(1e12)),
        ("budget_tokens", json!(0)),
        ("budget_tokens", json!(-5)),
        ("budget_tokens", json!(1.5)),
        ("timeout_seconds", json!(0)),
        ("timeout_seconds", json!(-1)),
        ("timeout_seconds", json!(1e9)),
        ("idle_timeout_seconds", json!(0)),
        ("max_output_bytes", json!(0)),
        ("max_memory_bytes", json!(1)),
        ("max_processes", json!(0)),
    ];
    for (path, body) in [("/tasks", json!({"title": "t", "description": "d"})), ("/agents", json!({}))] {
        for (field, value) in &bad {
            let mut body = body.clone();
            body[field] = value.clone();
            let problem = it.app.post(path, &body).await.problem(422, "validation_failed");
            assert!(problem.to_string().contains(field), "{path} {field} {value}: {problem}");
        }
    }
    let long = json!({"title": "t", "description": "x".repeat(100_001)});
    let problem = it.app.post("/tasks", &long).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "description", "{problem}");
    assert_eq!(it.app.get("/tasks").await.expect(200)["tasks"], json!([]));
    assert_eq!(it.app.get("/agents").await.expect(200)["agents"], json!([]));
}

/// The agent as it is shown.
async fn shown(it: &StandIn, agent: &Value) -> Value {
    it.app.get(&path_of(agent, "")).await.expect(200)
}

#[tokio::test]
async fn agents_that_take_nothing_say_why_and_stay_as_they_are() {
    let it = StandIn::patient(&[]).await;
    it.touch("open");
    let idle = it.app.agent(json!({})).await;
    for body in [json!({"wait_seconds": 41}), json!({"wait_seconds": -1}), json!({"surprise": 1})] {
        it.app.post(&path_of(&idle, "/interrupt"), &body).await.problem(422, "validation_failed");
    }
    let problem = it.app.post(&path_of(&idle, "/interrupt"), &json!({})).await.problem(409, "agent_idle");
    assert!(problem["detail"].as_str().is_some_and(|words| words.contains("`idle`: no turn runs")), "{problem}");
    let same = ["status", "generation", "updated_at", "turns", "queued"];
    let is_same = |before: &Value, after: &Value| same.iter().all(|field| before[field] == after[field]);
    let after = shown(&it, &idle).await;
    assert!(is_same(&idle, &after), "{idle} {after}");
    let resumed = it.app.post(&path_of(&idle, "/resume"), &json!({})).await.expect(200);
    assert!(is_same(&idle, &resumed), "one that has not ended stays as it is: {resumed}");

    let ended = it.app.post(&path_of(&idle, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(ended["status"], "terminated");
    let problem = it.app.post(&path_of(&idle, "/message"), &json!({"text": "hello"})).await.problem(409, "agent_ended");
    assert!(problem["detail"].as_str().is_some_and(|words| words.contains("resume_agent")), "{problem}");
    it.app.post(&path_of(&idle, "/interrupt"), &json!({})).await.problem(409, "agent_idle");
    let all = it.app.post("/agents/interrupt", &json!({"agent_ids": [idle["id"]]})).await.expect(200);
    assert_eq!(all["were_idle"], json!([idle["id"]]));
    it.app.post(&path_of(&idle, "/fork"), &json!({})).await.problem(409, "no_conversation");
    assert_eq!(shown(&it, &idle).await, ended);
    let fork = it.app.post(&path_of(&idle, "/fork"), &json!({"model": "gpt-9"})).await.problem(422, "validation_failed");
    assert_eq!(fork["errors"][0]["field"], "model", "{fork}");
    assert_eq!(it.app.get("/tasks").await.expect(200)["tasks"], json!([]));
    assert_eq!(it.app.get("/agents").await.expect(200)["agents"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_failed_agent_takes_no_messages_and_says_what_failed() {
    let (app, _dir) = faults::app("echo 'no such library' >&2\nexit 3\n", &[]).await;
    let agent = app.agent(json!({})).await;
    assert_eq!((&agent["status"], &agent["failure"]["code"]), (&json!("failed"), &json!("start_failed")), "{agent}");
    let problem = app.post(&path_of(&agent, "/message"), &json!({"text": "hello"})).await.problem(409, "agent_ended");
    assert!(problem["detail"].as_str().is_some_and(|words| words.contains("`failed`")), "{problem}");
    app.post(&path_of(&agent, "/interrupt"), &json!({})).await.problem(409, "agent_idle");
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200), agent);
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
}

#[tokio::test]
async fn limits_of_a_key_that_make_no_sense_make_no_key() {
    let it = StandIn::patient(&[]).await;
    let keys = || String::from_utf8(it.app.mas(&["key", "list"]).output().expect("ran").stdout).expect("text");
    let before = keys();
    for (flag, value) in [
        ("--usd-per-day", "-1"),
        ("--usd-per-day", "nan"),
        ("--usd-per-day", "inf"),
        ("--max-agents", "-1"),
        ("--max-agents", "many"),
        ("--max-live-agents", "0"),
        ("--max-queued-tasks", "4294967296"),
    ] {
        let output = it.app.mas(&["key", "create", &format!("{flag}={value}")]).output().expect("ran");
        let words = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && output.stdout.is_empty() && words.contains(flag), "{flag} {value}: {words}");
    }
    assert_eq!(keys(), before);
}
