//! The API over HTTP semantics: layers, errors, keys, limits, streams.

use super::testing::{Answer, TestApi, settings};
use crate::{
    app::testing::message,
    model::{id::TaskId, key::Scope, run::RunOutcome, runner::RunnerStatus, task::TaskStatus},
};
use axum::{body::Body, extract::ConnectInfo, http::Request};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

const OPERATE: &[Scope] = &[Scope::Operate];

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()) && body["retryable"].is_boolean(), "{body}");
    assert_eq!(body["type"], json!(format!("urn:mas:problem:{code}")));
}

#[tokio::test]
async fn a_task_is_created_shown_listed_changed_and_cancelled() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let created = api.call("POST", "/tasks", &key, r#"{"description": "Fix the door", "idempotency_key": "k"}"#).await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.headers["cache-control"], "no-store");
    assert_eq!(created.headers["x-content-type-options"], "nosniff");
    assert_eq!(created.headers["x-ratelimit-limit"], "1000");
    assert!(created.headers.contains_key("ratelimit") && created.headers.contains_key("x-request-id"));
    let task = created.json();
    assert_eq!(
        (&task["status"], &task["title"], &task["progress"]),
        (&json!("created"), &json!("Fix the door"), &json!("queued"))
    );
    assert!(task.get("result").is_none() && task.get("cancel_requested").is_none(), "{task}");
    let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));

    let again = api.call("POST", "/tasks", &key, r#"{"description": "Fix the door", "idempotency_key": "k"}"#).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &task["id"]));
    let conflict = api.call("POST", "/tasks", &key, r#"{"description": "Paint the door", "idempotency_key": "k"}"#).await;
    assert_problem(&conflict, 409, "idempotency_conflict");

    assert_eq!(api.call("GET", &path, &key, "").await.json()["id"], task["id"]);
    assert_eq!(api.call("GET", "/tasks?status=created", &key, "").await.json()["tasks"][0]["id"], task["id"]);
    assert_eq!(api.call("GET", "/tasks?status=failed", &key, "").await.json(), json!({"tasks": []}));
    assert_eq!(api.call("PATCH", &path, &key, r#"{"priority": "high"}"#).await.json()["priority"], "high");
    let illegal = api.call("PATCH", &path, &key, r#"{"status": "complete"}"#).await;
    assert_problem(&illegal, 409, "illegal_transition");
    assert!(illegal.json()["detail"].as_str().expect("words").contains("`cancelled`"), "{}", illegal.text);
    let cancelled = api.call("POST", &format!("{path}/cancel"), &key, "").await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (200, &json!("cancelled")));
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let task = api.call("POST", "/tasks", &key, r#"{"description": "x", "budget_usd": 2.5, "wait_seconds": 0}"#).await.json();
    let mut work = api.test.claim().await;
    api.test.say(&mut work, "working").await;
    api.test.complete(&mut work, "done").await;
    let document = super::openapi_actions("https://mas.example.org");
    let (task, agent) = (task["id"].as_str().expect("an id"), work.agent.to_string());
    for (template, id) in [
        ("/tasks", ""),
        ("/tasks/{id}", task),
        ("/tasks/{id}/events", task),
        ("/tasks/{id}/files", task),
        ("/events", ""),
        ("/performance/report", ""),
        ("/agents", ""),
        ("/agents/{id}", &agent),
        ("/agents/{id}/output", &agent),
        ("/health", ""),
    ] {
        let suffix = if template == "/tasks/{id}" { "?after=0" } else { "" };
        let answer = api.call("GET", &format!("{}{suffix}", template.replace("{id}", id)), &key, "").await;
        assert_eq!(answer.status, 200, "{template}: {}", answer.text);
        let schema = &document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            // Not offered to ChatGPT, as another operation does the same: that one's events are these.
            assert_eq!(template, "/tasks/{id}/events");
            let log = &document["components"]["schemas"]["EventLogPage"]["properties"]["events"]["items"]["properties"];
            let event = &answer.json()["events"][0];
            for (name, value) in event.as_object().expect("an event") {
                let mut schema = log[name].clone();
                assert!(schema.is_object(), "{name} is not in the document");
                schema["additionalProperties"] = false.into();
                jsonschema::validate(&schema, value).unwrap_or_else(|error| panic!("{template}: {name}: {error}"));
            }
            continue;
        }
        let mut schema = super::openapi::tests::resolved(&document, schema).clone();
        schema["additionalProperties"] = false.into();
        if let Err(error) = jsonschema::validate(&schema, &answer.json()) {
            panic!("{template}: {error} at {}: {}", error.instance_path(), answer.text);
        }
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_named() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    for (method, path, body, status, field) in [
        ("POST", "/tasks", r#"{"description": "x", "project": "nowhere"}"#, 422, "project"),
        ("POST", "/tasks", r#"{"description": "x", "agent_type": "boss"}"#, 422, "agent_type"),
        ("POST", "/tasks", r#"{"description": ""}"#, 422, "description"),
        ("POST", "/tasks", r#"{"description": "x", "surprise": 1}"#, 422, "surprise"),
        ("POST", "/tasks", r#"{"description": "x", "timeout_seconds": -5}"#, 422, "timeout_seconds"),
        ("GET", "/tasks?limit=0", "", 422, "limit"),
        ("GET", "/tasks?cursor=nonsense", "", 422, "cursor"),
        ("GET", "/tasks?project=%00", "", 422, "project"),
        ("GET", "/tasks?colour=red", "", 422, "colour"),
        ("GET", "/agents?status=happy", "", 422, "status"),
        ("GET", "/events?kind=massage", "", 422, "kind"),
        ("GET", "/events?task_id=task_1", "", 422, "task_id"),
        ("GET", "/events?after=-1", "", 422, "after"),
        ("GET", "/performance/report?window_hours=721", "", 422, "window_hours"),
        ("GET", "/agents/agent_0193f2a87c3e7d10b5a1c2d3e4f50617/output?after=-1", "", 422, "after"),
        ("PATCH", "/tasks/task_0193f2a87c3e7d10b5a1c2d3e4f50617", "{}", 422, ""),
    ] {
        let answer = api.call(method, path, &key, body).await;
        assert_problem(&answer, status, "validation_failed");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{}", answer.text);
    }
    assert_problem(&api.call("POST", "/tasks", &key, "{nonsense").await, 400, "invalid_json");
    for path in [
        "/tasks/nonsense",
        "/tasks/task_0193f2a87c3e7d10b5a1c2d3e4f50617",
        "/agents/agent_0193f2a87c3e7d10b5a1c2d3e4f50617",
        "/tasks/%ff",
    ] {
        assert_problem(&api.call("GET", path, &key, "").await, 404, "not_found");
    }
}

#[tokio::test]
async fn what_layers_refuse_is_a_problem_too() {
    let api = TestApi::with(super::ApiSettings { request_timeout: Duration::from_millis(50), ..settings() }).await;
    let key = api.key("ann", OPERATE).await;
    assert_problem(&api.call("GET", "/nowhere", &key, "").await, 404, "not_found");
    let wrong_method = api.call("DELETE", "/tasks", &key, "").await;
    assert_problem(&wrong_method, 405, "method_not_allowed");
    assert!(wrong_method.headers.contains_key("allow"), "{:?}", wrong_method.headers);
    let large = format!(r#"{{"description": "{}"}}"#, "x".repeat(200_000));
    assert_problem(&api.call("POST", "/tasks", &key, &large).await, 413, "body_too_large");
    let chunks = futures::stream::iter((0..200).map(|_| Ok::<_, std::convert::Infallible>("x".repeat(1_000))));
    let chunked = Request::post("/tasks").header("X-MAS-Key", &key).body(Body::from_stream(chunks)).expect("a request");
    assert_problem(&api.send(chunked).await, 413, "body_too_large");
    let slow = api.call("GET", "/test/slow", "", "").await;
    assert_problem(&slow, 408, "timeout");
    assert!(slow.headers.contains_key("retry-after"));
    let panic = api.call("GET", "/test/panic", "", "").await;
    assert_problem(&panic, 500, "internal");
    assert!(!panic.text.contains("mas_secret"), "{}", panic.text);
    assert_eq!(panic.json()["instance"].as_str(), panic.headers["x-request-id"].to_str().ok());
}

#[tokio::test]
async fn every_bad_key_gets_the_same_answer() {
    let api = TestApi::start().await;
    let revoked = api.key("ann", OPERATE).await;
    let id = api.test.app.authenticate(&revoked).await.expect("works").key_id;
    api.test.app.revoke_key(id).await.expect("revoked");
    let missing = api.send(Request::get("/tasks").body(Body::empty()).expect("a request")).await;
    assert_problem(&missing, 403, "invalid_key");
    assert!(missing.text.contains("X-MAS-Key") && missing.text.contains("mas key create"), "{}", missing.text);
    for key in ["", "wrong", "mas_00", &revoked] {
        assert_eq!(api.call("GET", "/tasks", key, "").await.text, missing.text);
    }
}

#[tokio::test]
async fn scopes_and_owners_are_respected() {
    let api = TestApi::start().await;
    let (ann, bob, reader) = (api.key("ann", OPERATE).await, api.key("bob", OPERATE).await, api.key("ann", &[Scope::Read]).await);
    let task = api.call("POST", "/tasks", &ann, r#"{"description": "x"}"#).await.json();
    let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
    assert_eq!(api.call("GET", &path, &reader, "").await.status, 200);
    for (method, path) in [("POST", "/tasks"), ("PATCH", path.as_str()), ("POST", &format!("{path}/cancel"))] {
        let body = if path == "/tasks" { r#"{"description": "x"}"# } else { "{}" };
        let refused = api.call(method, path, &reader, body).await;
        assert_problem(&refused, 403, "insufficient_scope");
        assert!(refused.text.contains("`operate`"), "{}", refused.text);
    }
    assert_problem(&api.call("GET", &path, &bob, "").await, 404, "not_found");
    assert_problem(&api.call("POST", &format!("{path}/cancel"), &bob, "").await, 404, "not_found");
    assert_problem(&api.call("GET", "/tasks", &api.key("eve", &[Scope::Approve]).await, "").await, 403, "insufficient_scope");
}

#[tokio::test]
async fn requests_beyond_the_rate_wait() {
    let api = TestApi::with(super::ApiSettings { requests_per_minute: 2, failed_auth_per_minute: 2, ..settings() }).await;
    let (ann, bob) = (api.key("ann", OPERATE).await, api.key("bob", OPERATE).await);
    for _ in 0..2 {
        assert_eq!(api.call("GET", "/tasks", &ann, "").await.status, 200);
    }
    let refused = api.call("GET", "/tasks", &ann, "").await;
    assert_problem(&refused, 429, "rate_limited");
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    let wait: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=31).contains(&wait) && refused.json()["retryable"] == true, "{}", refused.text);

    let stranger = |address: &str| {
        let address: SocketAddr = address.parse().expect("an address");
        Request::get("/tasks")
            .header("X-MAS-Key", "guess")
            .extension(ConnectInfo(address))
            .body(Body::empty())
            .expect("a request")
    };
    for _ in 0..2 {
        assert_problem(&api.send(stranger("10.0.0.1:1")).await, 403, "invalid_key");
    }
    assert_problem(&api.send(stranger("10.0.0.1:2")).await, 429, "rate_limited");
    assert_problem(&api.send(stranger("10.0.0.2:1")).await, 403, "invalid_key");
    let mut valid = stranger("10.0.0.1:3");
    valid.headers_mut().insert("x-mas-key", bob.parse().expect("a header"));
    assert_eq!(api.send(valid).await.status, 200, "strangers behind the same address lock nobody out");
}

#[tokio::test]
async fn public_pages_need_no_key() {
    let api = TestApi::start().await;
    let get = async |path: &str| {
        let request = Request::get(path).header("host", "mas.example.org").header("accept-encoding", "gzip;q=0");
        api.send(request.body(Body::empty()).expect("a request")).await
    };
    let health = get("/health").await.json();
    assert_eq!((&health["status"], &health["version"]), (&json!("ok"), &json!(env!("CARGO_PKG_VERSION"))));
    let not_ready = get("/ready").await;
    assert_eq!(
        (not_ready.status.as_u16(), &not_ready.json()["checks"]["store"]["ok"]),
        (503, &json!(true)),
        "{}",
        not_ready.text
    );
    let status = RunnerStatus { running: true, cli_version: Some("2.1.0 (Claude Code)".into()), cli_problem: None, pause: None };
    api.test.bus.set_runner_status(status);
    assert_eq!(get("/ready").await.status, 200);
    assert_eq!(get("/openapi.json").await.json()["info"]["title"], "mas-gateway");
    assert_eq!(get("/openapi-actions.json").await.json()["servers"][0]["url"], "https://mas.example.org");
    let privacy = get("/privacy").await.text;
    for words in ["Privacy", "files of the conversation", "collector of traces", "No bodies, no keys"] {
        assert!(privacy.contains(words), "{words}: {privacy}");
    }
    let ui = get("/api-docs/").await;
    assert_eq!(ui.status, 200);
    assert!(ui.headers["content-security-policy"].to_str().expect("text").contains("script-src 'self'"));
    assert!(get("/api-docs/swagger-initializer.js").await.text.contains("/openapi.json"));
}

#[tokio::test]
async fn long_results_are_shortened_and_compressed() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let id = api.call("POST", "/tasks", &key, r#"{"description": "x"}"#).await.json()["id"].as_str().expect("an id").to_owned();
    let mut work = api.test.claim().await;
    api.test.complete(&mut work, &"\u{1}long ".repeat(50_000)).await;
    for path in [
        format!("/tasks/{id}"),
        format!("/tasks/{id}?after=0"),
        format!("/tasks/{id}/events"),
        format!("/agents/{}/output", work.agent),
    ] {
        let answer = api.call("GET", &path, &key, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.chars().count() < 100_000, "{path}: {}", answer.text.chars().count());
        assert!(!answer.json()["truncated"].as_array().expect("names").is_empty(), "{path}");
    }
    let gzip = Request::get(format!("/tasks/{id}")).header("X-MAS-Key", &key).header("accept-encoding", "gzip");
    let response = api.raw(gzip.body(Body::empty()).expect("a request")).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn shortening_an_answer_leaves_no_event_out() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let body = json!({ "description": "\u{1}".repeat(15_000) }).to_string();
    let id = api.call("POST", "/tasks", &key, &body).await.json()["id"].as_str().expect("an id").to_owned();
    let mut work = api.test.claim().await;
    for _ in 0..60 {
        api.test.say(&mut work, &"e".repeat(700)).await;
    }
    api.test.complete(&mut work, &"\u{1}".repeat(50_000)).await;
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < 61 {
        let answer = api.call("GET", &format!("/tasks/{id}?after={after}"), &key, "").await;
        assert!(answer.text.chars().count() < 100_000);
        let answer = answer.json();
        seen.extend(answer["events"].as_array().expect("events").iter().map(|event| event["seq"].as_i64()));
        assert_ne!(answer["next_cursor"], json!(after), "no standstill");
        after = answer["next_cursor"].as_i64().expect("a cursor");
    }
    assert_eq!(seen, (1..=61).map(Some).collect::<Vec<_>>());
}

fn stream(path: &str, key: &str, last: Option<&str>) -> Request<Body> {
    let request = Request::get(path).header("X-MAS-Key", key).header("accept", "text/event-stream");
    let request = last.iter().fold(request, |request, last| request.header("Last-Event-ID", *last));
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn a_stream_is_resumed_and_closed_after_the_end() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let id = api.call("POST", "/tasks", &key, r#"{"description": "x"}"#).await.json()["id"].as_str().expect("an id").to_owned();
    let mut work = api.test.claim().await;
    for text in ["one", "two", "three"] {
        api.test.emit(&mut work, vec![message(text)], None, RunOutcome::default()).await;
    }
    api.test.complete(&mut work, "done").await;
    let path = format!("/tasks/{id}/events");
    let mut request = stream(&path, &key, Some("2"));
    request.headers_mut().insert("accept-encoding", "gzip".parse().expect("a header"));
    let answer = api.send(request).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    assert!(!answer.headers.contains_key("content-encoding"));
    let frames: Vec<&str> = answer.text.trim_end().split("\n\n").collect();
    assert_eq!(frames.len(), 3, "{}", answer.text);
    assert!(frames[0].contains("id: 3") && frames[0].contains("event: message") && frames[0].contains("three"), "{}", frames[0]);
    let data = frames[1].lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    assert_eq!(serde_json::from_str::<Value>(data).expect("JSON")["seq"], 4);
    assert_eq!(frames[2], "event: end\ndata: {\"status\":\"complete\"}");
    for bad in ["x", "-1", "1.5"] {
        assert_problem(&api.send(stream(&path, &key, Some(bad))).await, 422, "validation_failed");
    }
    let unknown = format!("/tasks/{}/events", TaskId::generate());
    assert_problem(&api.send(stream(&unknown, &key, None)).await, 404, "not_found");
}

#[tokio::test]
async fn shutdown_ends_an_open_stream() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let id = api.call("POST", "/tasks", &key, r#"{"description": "x"}"#).await.json()["id"].as_str().expect("an id").to_owned();
    let response = api.raw(stream(&format!("/tasks/{id}/events"), &key, None)).await;
    let mut body = response.into_body().into_data_stream();
    api.test.stop.cancel();
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    let body = r#"{"description": "x", "wait_seconds": 40}"#;
    let request = api.call("POST", "/tasks", &key, body);
    assert!(tokio::time::timeout(Duration::from_millis(300), request).await.is_err(), "it waits");
    let tasks = api.call("GET", "/tasks", &key, "").await.json();
    assert_eq!(tasks["tasks"][0]["status"], TaskStatus::Created.as_str(), "{tasks}");
}

#[tokio::test]
async fn a_closed_database_is_503_and_says_when_to_come_back() {
    let api = TestApi::start().await;
    let key = api.key("ann", OPERATE).await;
    api.test.store.close().await;
    let answer = api.call("GET", "/tasks", &key, "").await;
    assert_problem(&answer, 503, "store_unavailable");
    assert_eq!((answer.headers["retry-after"].to_str().ok(), &answer.json()["retryable"]), (Some("1"), &json!(true)));
    let ready = api.call("GET", "/ready", "", "").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["checks"]["store"]["ok"]), (503, &json!(false)));
}
