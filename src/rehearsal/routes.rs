//! The HTTP side: routes and handlers of the Messages API.

use super::{
    choose::{Attempts, Choice, choose},
    reply::{MODEL, Message, api_error, id, scripted_error},
    rules::Rule,
    stream,
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Largest request body. Conversations with images and long tool results come near the real API's 32 MB.
const BODY_BYTES: usize = 64 << 20;
/// Requests kept for who wants to see what a model would have got.
const KEPT_REQUESTS: usize = 32;
/// Larger ones are not kept.
const KEPT_BYTES: usize = 1 << 20;
/// The header by which Claude Code names its session.
const SESSION: &str = "x-claude-code-session-id";

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Stage {
    rules: Vec<Rule>,
    attempts: Mutex<Attempts>,
    requests: Mutex<VecDeque<Bytes>>,
    stop: CancellationToken,
}

impl Stage {
    /// A stage for these rules, whose streams break off on `stop`.
    pub(super) fn new(rules: Vec<Rule>, stop: CancellationToken) -> Self {
        Self { rules, attempts: Mutex::default(), requests: Mutex::default(), stop }
    }
}

/// All routes.
pub(super) fn router(stage: Arc<Stage>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/models", get(models))
        .route("/rehearsal/requests", get(requests))
        .fallback(anything)
        .method_not_allowed_fallback(anything)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn(note))
        .with_state(stage)
}

/// Gives every answer a request id and logs the exchange without its bodies.
async fn note(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = id("req");
    let mut response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), request_id, "rehearsal request");
    if let Ok(value) = HeaderValue::try_from(request_id) {
        response.headers_mut().entry("request-id").or_insert(value);
    }
    response
}

async fn anything() -> Json<Value> {
    Json(json!({}))
}

async fn models() -> Json<Value> {
    let model = json!({"type": "model", "id": MODEL, "display_name": "Rehearsal", "created_at": "2025-01-01T00:00:00Z"});
    Json(json!({"data": [model], "has_more": false, "first_id": MODEL, "last_id": MODEL}))
}

/// An estimate: a quarter of the request's bytes.
async fn count_tokens(body: Bytes) -> Json<Value> {
    Json(json!({"input_tokens": (body.len() / 4).max(1)}))
}

/// The last requests for messages, oldest first.
async fn requests(State(stage): State<Arc<Stage>>) -> Json<Vec<Value>> {
    let kept: Vec<Bytes> = stage.requests.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    Json(kept.iter().filter_map(|body| serde_json::from_slice(body).ok()).collect())
}

fn keep(stage: &Stage, body: &Bytes) {
    if body.len() <= KEPT_BYTES {
        let mut requests = stage.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == KEPT_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(body.clone());
    }
}

async fn messages(State(stage): State<Arc<Stage>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request @ Value::Object(_)) => request,
        Ok(_) => return bad_request("the body is not a JSON object"),
        Err(error) => return bad_request(&format!("the body is not JSON: {error}")),
    };
    keep(&stage, &body);
    let session = headers.get(SESSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let choice = match choose(&request, body.len(), session, &stage.rules) {
        Ok(choice) => choice,
        Err(problem) => return bad_request(&problem),
    };
    let streaming = request["stream"] == true;
    tracing::debug!(session, bytes = body.len(), streaming, scripted = choice.key.is_some(), "rehearsal message");
    answer(&stage, choice, request["model"].as_str(), streaming).await
}

async fn answer(stage: &Stage, choice: Choice, model: Option<&str>, streaming: bool) -> Response {
    let Choice { step, key } = choice;
    if step.first_delay_ms > 0 && !(streaming && step.ping_ms.is_some()) {
        stream::sleep(Duration::from_millis(step.first_delay_ms), &stage.stop).await;
        if stage.stop.is_cancelled() {
            return api_error(overloaded(), None, "the rehearsal model stops");
        }
    }
    if let Some(error) = &step.error {
        let counted = key.as_ref().zip(step.times);
        let failing =
            counted.is_none_or(|(key, times)| stage.attempts.lock().unwrap_or_else(PoisonError::into_inner).count(key) < times);
        if failing {
            return scripted_error(error, step.headers);
        }
    }
    let message = Message::new(&step, model);
    let mut response = if streaming {
        let body = Body::from_stream(stream::play(stream::cues(&message, &step), stage.stop.clone()));
        let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
        (headers, body).into_response()
    } else {
        Json(message.to_json()).into_response()
    };
    response.headers_mut().extend(step.headers);
    response
}

fn bad_request(problem: &str) -> Response {
    api_error(StatusCode::BAD_REQUEST, None, &format!("rehearsal: {problem}"))
}

/// The status by which the API says that it is overloaded; CLIs try again later.
fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
