//! Bad input: a clear problem that tells what to do, and nothing changed.

use crate::support::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

/// A server whose agents cannot start: tasks fail at once, which is enough here.
async fn app() -> TestApp {
    TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await
}

#[tokio::test]
async fn every_bad_task_is_refused_with_the_field_and_nothing_is_created() {
    let app = app().await;
    let good = json!({"title": "t", "description": "d"});
    let cases: [(&str, Value); 20] = [
        ("description", json!("")),
        ("description", json!("   \n ")),
        ("description", json!("x".repeat(200_000))),
        ("description", json!(7)),
        ("description", json!("nul \u{0} byte")),
        ("title", json!("t".repeat(500))),
        ("project", json!("no-such-project")),
        ("agent_type", json!("wizard")),
        ("model", json!("gpt-5")),
        ("priority", json!("yesterday")),
        ("timeout_seconds", json!(0)),
        ("timeout_seconds", json!(-5)),
        ("budget_usd", json!(-0.5)),
        ("budget_usd", json!(0)),
        ("output_schema", json!({"type": "wat"})),
        ("output_schema", json!({"type": "array"})),
        ("output_schema", json!("words")),
        ("wait_seconds", json!(41)),
        ("idempotency_key", json!("")),
        ("unheard_of", json!(1)),
    ];
    for (field, value) in cases {
        let mut body = good.clone();
        body[field] = value;
        let problem = app.post("/tasks", &body).await.problem(422, "validation_failed");
        assert!(problem.to_string().contains(field), "{field}: {problem}");
    }
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
}

#[tokio::test]
async fn bodies_that_are_not_json_objects_are_refused() {
    let app = app().await;
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("", 422, "validation_failed"),
        ("[]", 422, "validation_failed"),
        ("null", 422, "validation_failed"),
    ] {
        let request = app.request(Method::POST, "/tasks").header("content-type", "application/json").body(body);
        app.send(request).await.problem(status, code);
    }
    let huge = format!("{{\"description\": \"{}\"}}", "x".repeat(2 << 20));
    app.send(app.request(Method::POST, "/tasks").header("content-type", "application/json").body(huge))
        .await
        .problem(413, "body_too_large");
}

#[tokio::test]
async fn unknown_ids_cursors_queries_and_paths_say_what_is_right() {
    let app = app().await;
    let unknown = "task_0193f2a87c3e7d10b5a1c2d3e4f50617";
    for path in [
        format!("/tasks/{unknown}"),
        format!("/tasks/{unknown}/events"),
        "/tasks/nonsense".into(),
        "/agents/task_1".into(),
        "/nowhere".into(),
    ] {
        app.get(&path).await.problem(404, "not_found");
    }
    for path in [
        "/tasks?limit=-1",
        "/tasks?limit=0",
        "/tasks?limit=x",
        "/tasks?cursor=nonsense",
        "/tasks?status=sleeping",
        "/tasks?surprise=1",
        "/agents?status=x",
    ] {
        app.get(path).await.problem(422, "validation_failed");
    }
    app.send(app.request(Method::DELETE, "/tasks")).await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn illegal_transitions_say_which_are_legal() {
    let app = app().await;
    let task = app.ended(&app.create(&json!({"text": "x"}), json!({})).await).await;
    assert_eq!(task["status"], "failed");
    let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
    app.patch(&path, &json!({"status": "cancelled"})).await.problem(409, "illegal_transition");
    app.post(&format!("{path}/cancel"), &json!({})).await.problem(409, "illegal_transition");
    let problem = app.patch(&path, &json!({"status": "complete"})).await.problem(409, "illegal_transition");
    assert!(problem["detail"].as_str().expect("words").contains("complete"), "{problem}");
    app.patch(&path, &json!({})).await.problem(422, "validation_failed");
    let renamed = app.patch(&path, &json!({"title": "a better name"})).await.expect(200);
    assert_eq!(renamed["title"], "a better name");
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_task() {
    let app = app().await;
    let body = json!({"title": "once", "description": "d", "idempotency_key": "k-1"});
    let (first, second) = (app.post("/tasks", &body).await, app.post("/tasks", &body).await);
    assert!([201, 202].contains(&first.status.as_u16()), "{}", first.text);
    assert_eq!(second.status, 200);
    assert_eq!(first.json()["id"], second.json()["id"]);
    let path = format!("/tasks/{}", first.json()["id"].as_str().expect("an id"));
    app.patch(&path, &json!({"title": "renamed"})).await.expect(200);
    assert_eq!(app.post("/tasks", &body).await.expect(200)["id"], first.json()["id"], "a retry stays a retry");
    let other = json!({"title": "once", "description": "something else", "idempotency_key": "k-1"});
    app.post("/tasks", &other).await.problem(409, "idempotency_conflict");
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    let app = app().await;
    for number in 0..7 {
        app.create(&json!({"text": "x"}), json!({"title": format!("task {number}")})).await;
    }
    let (mut titles, mut path) = (vec![], "/tasks?limit=3".to_owned());
    loop {
        let page = app.get(&path).await.expect(200);
        titles.extend(
            page["tasks"].as_array().expect("tasks").iter().map(|task| task["title"].as_str().expect("a title").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/tasks?limit=3&cursor={cursor}");
    }
    let expected: Vec<_> = (0..7).rev().map(|number| format!("task {number}")).collect();
    assert_eq!(titles, expected);
}

#[tokio::test]
async fn answers_stay_below_what_chatgpt_accepts() {
    let app = app().await;
    // Control characters become six characters each in JSON.
    let nasty = "\u{1}".repeat(50_000);
    for _ in 0..4 {
        let answer = app.post("/tasks", &json!({"title": "\"".repeat(200), "description": nasty})).await;
        assert!(answer.status.is_success(), "{}", &answer.text[..200]);
        assert!(answer.text.chars().count() < 100_000);
        let path = format!("/tasks/{}", answer.json()["id"].as_str().expect("an id"));
        assert!(app.get(&path).await.text.chars().count() < 100_000);
    }
    assert!(app.get("/tasks?limit=200").await.text.chars().count() < 100_000);
}
