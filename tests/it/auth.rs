//! Keys, scopes, owners and rate limits.

use crate::support::{Answer, TestApp};
use reqwest::Method;
use serde_json::json;

/// A server whose agents cannot start: enough for everything that is not about agents.
async fn app(settings: &[(&str, &str)]) -> TestApp {
    let mut all = vec![("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")];
    all.extend(settings);
    TestApp::with(&all).await
}

pub(crate) fn make_key(app: &TestApp, arguments: &[&str]) -> String {
    let mut all = vec!["key", "create"];
    all.extend(arguments);
    let output = app.mas(&all).output().expect("ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn as_user(app: &TestApp, key: Option<&str>, method: Method, path: &str) -> Answer {
    app.send(app.request_as(key, method, path)).await
}

#[tokio::test]
async fn without_a_good_key_everything_but_the_public_pages_is_refused_alike() {
    let app = app(&[]).await;
    for path in ["/health", "/openapi.json", "/openapi-actions.json", "/api-docs/", "/privacy"] {
        assert_eq!(as_user(&app, None, Method::GET, path).await.status, 200, "{path}");
    }
    assert!([200, 503].contains(&as_user(&app, None, Method::GET, "/ready").await.status.as_u16()));

    let revoked = make_key(&app, &["--name", "old"]);
    let list = app.mas(&["key", "list"]).output().expect("ran");
    let list = String::from_utf8(list.stdout).expect("text");
    let id = list.lines().find(|line| line.contains("old")).and_then(|line| line.split_whitespace().next()).expect("listed");
    assert!(!list.contains(&revoked), "secrets are never listed");
    assert!(app.mas(&["key", "revoke", id]).status().expect("ran").success());

    let mut bodies = vec![];
    for key in [None, Some("mas_wrong"), Some(revoked.as_str())] {
        let mut problem = as_user(&app, key, Method::GET, "/tasks").await.problem(403, "invalid_key");
        problem.as_object_mut().expect("an object").remove("instance");
        bodies.push(problem);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test]
async fn a_key_sees_its_own_users_tasks_and_admin_sees_all() {
    let app = app(&[]).await;
    let ann = make_key(&app, &["--user", "ann"]);
    let bob = make_key(&app, &["--user", "bob"]);
    let body = json!({"title": "private", "description": "x"});
    let (ann, bob) = (Some(ann.as_str()), Some(bob.as_str()));
    let task = app.send(app.request_as(ann, Method::POST, "/tasks").json(&body)).await.json();
    let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
    assert_eq!(as_user(&app, ann, Method::GET, &path).await.status, 200);
    assert_eq!(app.get(&path).await.status, 200, "admin");
    as_user(&app, bob, Method::GET, &path).await.problem(404, "not_found");
    as_user(&app, bob, Method::GET, &format!("{path}/events")).await.problem(404, "not_found");
    as_user(&app, bob, Method::POST, &format!("{path}/cancel")).await.problem(404, "not_found");
    assert_eq!(as_user(&app, bob, Method::GET, "/tasks").await.expect(200)["tasks"], json!([]));
}

#[tokio::test]
async fn a_reading_key_reads_and_does_not_change() {
    let app = app(&[]).await;
    let reader = make_key(&app, &["--scopes", "read"]);
    assert_eq!(as_user(&app, Some(&reader), Method::GET, "/tasks").await.status, 200);
    let body = json!({"title": "t", "description": "d"});
    let refused = app.send(app.request_as(Some(&reader), Method::POST, "/tasks").json(&body)).await;
    let problem = refused.problem(403, "insufficient_scope");
    assert!(problem["detail"].as_str().expect("words").contains("operate"));
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let app = app(&[("MAS_LIMITS__REQUESTS_PER_MINUTE", "3")]).await;
    for _ in 0..3 {
        let answer = app.get("/tasks").await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers.contains_key("x-ratelimit-remaining"), "{:?}", answer.headers);
    }
    let refused = app.get("/tasks").await;
    assert_eq!(refused.problem(429, "rate_limited")["retryable"], true);
    assert!(refused.headers["retry-after"].to_str().expect("text").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
    assert_eq!(app.get("/health").await.status, 200, "the guardian is not limited");
}

#[tokio::test]
async fn guessing_keys_is_limited_without_locking_out_the_owner() {
    let app = app(&[("MAS_LIMITS__FAILED_AUTH_PER_MINUTE", "4")]).await;
    let mut codes = vec![];
    for number in 0..8 {
        let key = format!("mas_guess_{number}");
        codes.push(as_user(&app, Some(&key), Method::GET, "/tasks").await.status.as_u16());
    }
    assert_eq!(codes, [403, 403, 403, 403, 429, 429, 429, 429]);
    assert_eq!(app.get("/tasks").await.status, 200);
}

#[tokio::test]
async fn the_first_start_leaves_an_admin_key_in_a_private_file() {
    use std::os::unix::fs::PermissionsExt;
    let app = app(&[("MAS_BOOTSTRAP_KEY", "")]).await;
    let path = app.data_dir().join("admin-key");
    crate::support::until("the key is written", || std::fs::read_to_string(&path).is_ok_and(|key| key.ends_with('\n'))).await;
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&path).expect("readable");
    assert!(key.starts_with("mas_") && key.trim().len() >= 68);
    assert_eq!(as_user(&app, Some(key.trim()), Method::GET, "/tasks").await.status, 200);
}
