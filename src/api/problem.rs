//! Errors as RFC 9457 `application/problem+json`, whoever produced them: handlers, extractors, layers or panics.

use super::router::ApiState;
use crate::app::{
    error::{AppError, FieldError, Missing},
    size::{encoded_prefix, excerpt, json_chars},
};
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::any::Any;
use utoipa::ToSchema;

/// Media type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// Header that carries the request id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Most characters of a path that is told back.
const PATH_CHARS: usize = 200;
/// Most refusals in a problem that has to be shortened, and characters one may take to name its field.
const ERRORS: usize = 20;
const FIELD_CHARS: usize = 200;

/// An error in the form of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"type": "urn:mas:problem:validation_failed", "title": "Unprocessable Entity", "status": 422, "detail": "project: there is no such project; use one of: default", "code": "validation_failed", "next_step": "Correct what detail and errors name, then make the call again.", "retryable": false, "errors": [{"field": "project", "message": "there is no such project; use one of: default"}]}))]
pub struct Problem {
    /// `urn:mas:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// The status in words.
    #[serde(serialize_with = "in_words")]
    #[schema(value_type = String)]
    pub title: StatusCode,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do next.
    #[schema(value_type = String)]
    pub detail: Box<str>,
    /// What to do next, as a sentence to follow.
    pub next_step: &'static str,
    /// Stable: programs may match on it.
    pub code: &'static str,
    /// Whether the same request may well succeed later without a change.
    pub retryable: bool,
    /// Request id to report, for faults of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub instance: Option<Box<str>>,
    /// The fields that were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn in_words<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.canonical_reason().unwrap_or("Error"))
}

impl Problem {
    /// An error that trying again unchanged does not mend.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind: format!("urn:mas:problem:{code}").into(),
            title: status,
            status: status.as_u16(),
            detail: detail.into(),
            next_step: next_step(code),
            code,
            retryable: false,
            instance: None,
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Says that trying again later makes sense, and when.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retryable = true;
        self.next_step =
            "Wait the seconds of the header Retry-After, then make the same call again, with the same idempotency_key.";
        self.retry_after = Some(seconds);
        self
    }

    /// A refusal of one field or parameter.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        AppError::field(field, message).into()
    }

    /// Too many requests.
    pub(super) fn too_many(seconds: u32, what: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", format!("{what}; try again in {seconds} s")).retry_after(seconds)
    }

    /// What a layer or the router itself meant by a bare status.
    fn of_status(status: StatusCode, method: &Method, path: &str, allow: Option<&HeaderValue>) -> Self {
        let allowed = allow.and_then(|value| value.to_str().ok()).unwrap_or("what the header Allow says");
        let path = excerpt(path, PATH_CHARS);
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => {
                let detail = format!("there is nothing at {path}; /openapi.json lists every path");
                return Self { next_step: "Use one of the paths in /openapi.json.", ..Self::new(status, "not_found", detail) };
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", format!("{path} does not take {method}; it takes {allowed}"))
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                ("body_too_large", "the request body is too large; shorten it or put large content into the project".to_owned())
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "send the body as application/json".to_owned()),
            StatusCode::REQUEST_TIMEOUT => {
                let detail = "the request took too long and was given up; what it asked for may be done";
                return Self::new(status, "timeout", detail).retry_after(1);
            }
            status if status.is_server_error() => return AppError::Internal(format!("bare {status}")).into(),
            _ => ("bad_request", "the request cannot be understood; see /openapi.json".to_owned()),
        };
        Self::new(status, code, detail)
    }
}

/// What a caller can do about an error of this code that is not worth repeating unchanged.
fn next_step(code: &str) -> &'static str {
    match code {
        "files_not_fetched" => {
            "Make the same call again with fresh links to the files, with the same idempotency_key. If it stays, say which file is refused."
        }
        "not_found" => next_step_without(Missing::Other),
        "invalid_key" | "insufficient_scope" => "Do not repeat the call. Ask the operator for a key that may do this.",
        "idempotency_conflict" => "Take a new idempotency_key for new work, or repeat the first request exactly.",
        "illegal_transition" | "task_ended" => "Call get_task to see where the task stands; create a new task for more work.",
        "proposal_ended" => "Call get_proposal to read how it ended; propose it again if it is to be decided anew.",
        "run_ended" => "Call get_workflow_run to see what came of it; begin a new run for more work.",
        "agent_ended" => "Call resume_agent, then send the message again.",
        "swarm_busy" => "Call get_swarm_status until the agents are idle, or interrupt_agents, then repeat the call.",
        "swarm_ended" => "Do not repeat the call. What the swarm has left can still be read.",
        "agent_idle" => "Nothing has to be stopped. send_message gives the agent work.",
        "agent_busy" => "Call get_agent with wait_seconds until it is idle, or interrupt_agents, then repeat the call.",
        "no_conversation" => "Call send_message first, or create_agent for a new agent.",
        "limit_reached" => "Do not repeat the call at once. Say which limit is reached, and do first what detail says.",
        "internal" => "Do not repeat the call. Report `instance` to the operator.",
        _ => "Correct what detail and errors name, then make the call again.",
    }
}

/// What a caller can do when such a thing is not there. Named are only operations that every caller has.
const fn next_step_without(what: Missing) -> &'static str {
    match what {
        Missing::Task => "Check the id: list_tasks shows your tasks.",
        Missing::Agent => "Check the id: list_agents shows your agents.",
        Missing::Swarm => "Check the id: get_swarm_status without swarm_id shows your swarms.",
        Missing::Proposal => "Check the id: it is the one that propose gave.",
        Missing::Run => "Check the id: it is the one that run_workflow, run_sparc or run_swarm gave.",
        Missing::Workflow => "Take one of the names that list_workflows gives.",
        Missing::Role => "Take one of the roles that detail names.",
        Missing::Other => "Check the path and the id in it.",
    }
}

impl From<AppError> for Problem {
    /// The one place where faults are logged.
    fn from(error: AppError) -> Self {
        if let AppError::LimitReached(limit) = &error {
            let (name, set_by) = (limit.name.clone(), limit.set_by.as_str());
            metrics::counter!("mas_limits_reached_total", "name" => name, "set_by" => set_by).increment(1);
        }
        let status = match &error {
            AppError::Validation(_) | AppError::FilesNotFetched(_) => StatusCode::UNPROCESSABLE_ENTITY,
            AppError::NotFound(..) | AppError::NoFile(_) | AppError::NoLink(_) => StatusCode::NOT_FOUND,
            AppError::IllegalTransition { .. }
            | AppError::IdempotencyConflict { .. }
            | AppError::TaskEnded(_)
            | AppError::RunEnded { .. }
            | AppError::AgentEnded { .. }
            | AppError::ProposalEnded { .. }
            | AppError::SwarmBusy(_)
            | AppError::SwarmEnded { .. }
            | AppError::AgentIdle { .. }
            | AppError::AgentBusy { .. }
            | AppError::NoConversation(_)
            | AppError::LimitReached(_) => StatusCode::CONFLICT,
            AppError::InvalidKey | AppError::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            AppError::StoreUnavailable(reason) => {
                tracing::warn!(reason, "the database cannot be used");
                StatusCode::SERVICE_UNAVAILABLE
            }
            AppError::Internal(reason) => {
                tracing::error!(reason, "internal error");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let mut problem = Self::new(status, error.code(), error.to_string());
        problem.retryable = error.is_retryable();
        match error {
            AppError::Validation(fields) => problem.errors = fields,
            AppError::FilesNotFetched(why) => problem.errors = vec![FieldError::new("openaiFileIdRefs", why)],
            AppError::NotFound(what, _) => problem.next_step = next_step_without(what),
            AppError::NoFile(_) => {
                problem.next_step =
                    "Name a file of the task as list_task_files does, or the path of one below its agent's workspace.";
            }
            AppError::NoLink(_) => problem.next_step = "Ask for a new link: list_task_files makes one.",
            AppError::StoreUnavailable(_) => problem = problem.retry_after(1),
            _ => {}
        }
        problem
    }
}

impl Problem {
    /// The same within `limit` characters, which are at least [`RESPONSE_CHARS`]: the longest words are cut, refusals beyond
    /// the first ones left out.
    ///
    /// [`RESPONSE_CHARS`]: crate::model::limits::RESPONSE_CHARS
    fn within(mut self, limit: usize) -> Self {
        if json_chars(&self) <= limit {
            return self;
        }
        self.detail = cut(&self.detail, limit / 4).into();
        self.errors.truncate(ERRORS);
        for FieldError { field, message } in &mut self.errors {
            *field = cut(field, FIELD_CHARS);
            *message = cut(message, limit / 4 / ERRORS);
        }
        self
    }
}

/// The start of a text that takes at most so many characters in JSON.
fn cut(text: &str, budget: usize) -> String {
    let kept = encoded_prefix(text, budget);
    if kept.len() == text.len() { text.to_owned() } else { format!("{kept}…") }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes a response of a panic. The message goes to the log only.
#[expect(clippy::needless_pass_by_value, reason = "the signature tower-http asks for")]
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::from(AppError::Internal(format!("panic: {}", message.unwrap_or("without a message")))).into_response()
}

/// Turns whatever bare errors come from the router and the layers below into problems, gives faults of the gateway the id of
/// the request, and keeps all of them within the limit for answers.
pub(super) async fn normalise(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let response = next.run(request).await;
    let status = response.status();
    let (mut parts, body) = response.into_parts();
    let limit = state.settings.response_chars;
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) if status.is_server_error() || json_chars(&problem) > limit => problem,
        Some(_) => return Response::from_parts(parts, body),
        None if !(status.is_client_error() || status.is_server_error()) || is_json(&parts.headers) => {
            return Response::from_parts(parts, body);
        }
        None => Problem::of_status(status, &method, &path, parts.headers.get(header::ALLOW)),
    };
    let instance = id.filter(|_| status.is_server_error()).map(Into::into);
    let mut response = Problem { instance, ..problem }.within(limit).into_response();
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}

fn is_json(headers: &axum::http::HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.starts_with("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::testing::TestApi, model::key::Scope};

    #[test]
    fn long_problems_are_shortened_and_others_left_alone() {
        let limit = *crate::model::limits::RESPONSE_CHARS.start();
        let short = Problem::invalid("project", "there is no such project");
        assert_eq!(short.clone().within(limit), short);
        for (count, field, message) in [(1, "f", "\u{1}".repeat(90_000)), (5_000, "f", "m".into()), (30, "\"", "m".repeat(9_000))]
        {
            let errors = vec![FieldError::new(&field.repeat(3_000), message); count];
            let problem = Problem::from(AppError::Validation(errors)).within(limit);
            assert!(json_chars(&problem) <= limit, "{}", json_chars(&problem));
            assert!(!problem.errors.is_empty() && problem.detail.ends_with('…'), "{problem:?}");
            assert!(problem.next_step.contains("Correct") && problem.status == 422);
        }
    }

    #[tokio::test]
    async fn whatever_is_sent_the_refusal_is_short() {
        let api = TestApi::start().await;
        let key = api.key("ann", &[Scope::Operate]).await;
        let (long, control) = ("y".repeat(60_000), "\\u0001".repeat(15_000));
        let description = r#""description": "x""#;
        for (path, body) in [
            ("/tasks", format!(r#"{{{description}, "backend": "{control}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "priority": "{long}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "on_lost": "{long}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "wait_seconds": "{long}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "{long}": 1}}"#)),
            ("/tasks", format!(r#"{{{description}, "project": "{long}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "model": "{long}"}}"#)),
            ("/tasks", format!(r#"{{{description}, "openaiFileIdRefs": ["{long}"]}}"#)),
            (
                "/tasks",
                format!(r#"{{{description}, "openaiFileIdRefs": [{{"name": "a", "download_link": "https://{long}/"}}]}}"#),
            ),
            ("/agents", format!(r#"{{"agent_type": "{long}"}}"#)),
            ("/agents/interrupt", format!(r#"{{"agent_ids": ["{long}"]}}"#)),
            ("/consensus/propose", format!(r#"{{"question": "q", "protocol": "quorum", "voters": ["{long}"]}}"#)),
            ("/consensus/propose", format!(r#"{{"question": "q", "protocol": "{long}", "voters": []}}"#)),
            ("/consensus/propose", format!(r#"{{"question": "q", "threshold": ["{long}"], "voters": []}}"#)),
            ("/swarm/spawn", format!(r#"{{"topology": "{long}", "agents": []}}"#)),
            ("/swarm/spawn", format!(r#"{{"topology": "star", "agents": [{{"type": "{long}"}}]}}"#)),
            ("/workflows/code_development/run", format!(r#"{{"task": "t", "inputs": {{"{long}": {{"{long}": 1}}}}}}"#)),
        ] {
            let refused = api.call("POST", path, &key, &body).await;
            assert!(refused.status.is_client_error(), "{}", refused.text);
            assert!(refused.text.chars().count() < 4_000, "{path}: {}", refused.text);
        }
        let lost = api.call("GET", &format!("/{long}"), &key, "").await;
        assert!(lost.status == 404 && lost.text.len() < 1_000, "{}", lost.text);
        assert!(lost.json()["next_step"].as_str().is_some_and(|step| step.contains("/openapi.json")), "{}", lost.text);
        for query in [format!("status={long}"), format!("limit={long}"), format!("{long}=1"), format!("cursor={long}")] {
            let refused = api.call("GET", &format!("/tasks?{query}"), &key, "").await;
            assert!(refused.status == 422 && refused.text.chars().count() < 4_000, "{}", refused.text);
        }
    }
}
