//! Exact retries of changes that make nothing new: the first answer under an idempotency key is given again.
//!
//! What makes something keeps the key with it, and answers a repetition with it as it stands by then. The other changes may
//! be made twice without harm; here only their answer is kept. An answer lost before it was kept is made anew. For both, how
//! long the caller waits is not part of the request.

use super::{extract::read_body, problem::Problem, router::ApiState};
use crate::{
    app::{check_idempotency_key, error::AppError, request_hash},
    model::{answer::Answer, key::Principal},
};
use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// Says that an answer was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Answers a repeated request from what was kept, and keeps the answer to a new one.
pub(super) async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    answer(&state, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(state: &ApiState, request: Request, next: Next) -> Result<Response, Problem> {
    // The one change that is no POST. Methods a path does not have get their 405, whatever key they carry.
    let is_edit = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == "/tasks/{id}");
    if request.method() != if is_edit { Method::PATCH } else { Method::POST } {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let bytes = read_body(Request::new(body), state).await?;
    let mut asked: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let key = asked["idempotency_key"].as_str().map(str::to_owned);
    let who = parts.extensions.get::<Principal>().cloned();
    if let Some(fields) = asked.as_object_mut() {
        fields.remove("wait_seconds");
    }
    let request_hash = request_hash(&json!([parts.method.as_str(), parts.uri.path(), asked]));
    let request = Request::from_parts(parts, Body::from(bytes));
    // What is no text is refused by the handler.
    let (Some(key), Some(who)) = (key, who) else { return Ok(next.run(request).await) };
    check_idempotency_key(&key)?;
    if let Some(earlier) = state.app.earlier_answer(&who, &key, &request_hash).await? {
        return replayed(earlier);
    }
    let (parts, body) = next.run(request).await.into_parts();
    let unread = |error| AppError::Internal(format!("an answer cannot be read: {error}"));
    let bytes = to_bytes(body, usize::MAX).await.map_err(unread)?;
    if parts.status.is_success() {
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer { request_hash, status: parts.status.as_u16(), body };
        // The change was made; without this only its repetition is answered anew.
        if let Err(error) = state.app.keep_answer(&who, &key, &answer).await {
            tracing::warn!(%error, "an answer could not be kept for its repetition");
        }
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn replayed(earlier: Answer) -> Result<Response, Problem> {
    let unknown = |error| AppError::Internal(format!("a kept answer has no status: {error}"));
    let status = StatusCode::from_u16(earlier.status).map_err(unknown)?;
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let headers = [json, (REPLAYED, HeaderValue::from_static("true"))];
    Ok((status, headers, earlier.body).into_response())
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApi, model::key::Scope};
    use serde_json::json;

    #[tokio::test]
    async fn a_repeated_change_gets_its_first_answer() {
        let api = TestApi::start().await;
        let key = api.key("ann", &[Scope::Operate]).await;
        let task = api.call("POST", "/tasks", &key, r#"{"description": "Fix the door"}"#).await.json();
        let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
        let rename = r#"{"title": "door", "idempotency_key": "k"}"#;
        let first = api.call("PATCH", &path, &key, rename).await;
        assert_eq!((first.status.as_u16(), &first.json()["title"]), (200, &json!("door")), "{}", first.text);
        api.call("PATCH", &path, &key, r#"{"title": "window"}"#).await;

        let again = api.call("PATCH", &path, &key, rename).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(api.call("GET", &path, &key, "").await.json()["title"], "window", "nothing was done again");

        let wrong = api.call("PUT", &format!("{path}/cancel"), &key, r#"{"idempotency_key": "k"}"#).await;
        assert_eq!(wrong.status, 405, "{}", wrong.text);
        let other = api.call("POST", &format!("{path}/cancel"), &key, r#"{"idempotency_key": "k"}"#).await;
        assert_eq!((other.status.as_u16(), &other.json()["code"]), (409, &json!("idempotency_conflict")));
        assert_eq!(api.call("GET", &path, &key, "").await.json()["status"], "created", "nothing was cancelled");
        let refused = api.call("PATCH", &path, &key, r#"{"title": "x", "idempotency_key": " "}"#).await;
        assert_eq!(refused.json()["errors"][0]["field"], "idempotency_key", "{}", refused.text);
        let stranger = api.key("bob", &[Scope::Operate]).await;
        let theirs = api.call("PATCH", &path, &stranger, rename).await;
        assert_eq!(theirs.status, 404, "a key is its user's own");
    }

    #[tokio::test]
    async fn how_long_the_caller_waits_is_not_part_of_the_request() {
        let api = TestApi::start().await;
        let key = api.key("ann", &[Scope::Operate]).await;
        let create = |wait: u32| format!(r#"{{"description": "Fix the door", "idempotency_key": "c", "wait_seconds": {wait}}}"#);
        let task = api.call("POST", "/tasks", &key, &create(0)).await;
        assert_eq!((task.status.as_u16(), task.headers.get("idempotency-replayed")), (201, None), "{}", task.text);
        let again = api.call("POST", "/tasks", &key, &create(1)).await;
        assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &task.json()["id"]), "{}", again.text);
        assert_eq!(again.headers["idempotency-replayed"], "true");

        let path = format!("/tasks/{}/cancel", task.json()["id"].as_str().expect("an id"));
        let first = api.call("POST", &path, &key, r#"{"idempotency_key": "k", "wait_seconds": 5}"#).await;
        for body in [r#"{"idempotency_key": "k", "wait_seconds": 30}"#, r#"{"idempotency_key": "k"}"#] {
            let again = api.call("POST", &path, &key, body).await;
            assert_eq!((again.status.as_u16(), &again.text), (200, &first.text));
            assert_eq!(again.headers["idempotency-replayed"], "true");
        }
    }

    #[tokio::test]
    async fn a_refused_change_is_not_kept() {
        let api = TestApi::start().await;
        let key = api.key("ann", &[Scope::Operate]).await;
        let task = api.call("POST", "/tasks", &key, r#"{"description": "Fix the door"}"#).await.json();
        let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
        let illegal = r#"{"status": "complete", "idempotency_key": "k"}"#;
        let first = api.call("PATCH", &path, &key, illegal).await;
        assert_eq!(first.status, 409, "{}", first.text);
        assert!(first.json()["next_step"].as_str().is_some_and(|step| step.contains("get_task")), "{}", first.text);
        let again = api.call("PATCH", &path, &key, illegal).await;
        assert_eq!((again.status.as_u16(), again.headers.get("idempotency-replayed")), (409, None));
    }
}
