//! Extractors whose refusals are problems that name the field.

use super::problem::Problem;
use crate::{
    app::{
        authorise,
        error::{AppError, Missing},
        size::excerpt,
    },
    model::key::{Principal, Scope},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Json, Path, Query, Request},
    http::{StatusCode, request::Parts},
    response::IntoResponse,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{fmt::Display, str::FromStr};

/// Characters of a caller's name or value that a refusal quotes, of the words around it, and of what would be right.
const QUOTED_CHARS: usize = 100;
const SAID_CHARS: usize = 300;
const EXPECTED_CHARS: usize = 2_000;

/// The authenticated caller, put there by `auth::guard`.
pub(super) struct Caller(pub(super) Principal);

impl Caller {
    /// Refuses a key without `scope`.
    pub(super) fn needs(&self, scope: Scope) -> Result<&Principal, Problem> {
        authorise(&self.0, scope)?;
        Ok(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Principal>().cloned().map(Self);
        found.ok_or_else(|| AppError::Internal("a guarded handler was reached without a caller".into()).into())
    }
}

/// A JSON body, whatever its content type says. An empty one counts as `{}`, so that all-optional bodies may be left out.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        // serde would take an array for the fields in order; `{` or nothing.
        if bytes.trim_ascii_start().first() != Some(&b'{') && Json::<IgnoredAny>::from_bytes(bytes).is_ok() {
            return Err(Problem::invalid("", "the body must be one JSON object"));
        }
        Json::<T>::from_bytes(bytes).map(|Json(value)| Self(value)).map_err(|rejection| {
            let text = rejection.body_text();
            if rejection.status() == StatusCode::UNPROCESSABLE_ENTITY {
                refusal(&text)
            } else {
                let detail = format!("the body is not valid JSON ({}); send one JSON object", without_length(reason(&text)));
                Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail)
            }
        })
    }
}

/// The bytes of the body, within the limit.
pub(super) async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the request body is too large; shorten it")
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "the request body could not be read; send it again"),
    })
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(value)| Self(value)).map_err(|error| refusal(&error.body_text()))
    }
}

/// The id in the path.
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr<Err: Display>, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let what = kind_at(parts.uri.path());
        let not_found = |detail: String| Problem::from(AppError::NotFound(what, detail));
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| not_found("the path holds no readable id".into()))?;
        text.parse().map(Self).map_err(|error: T::Err| not_found(error.to_string()))
    }
}

/// What the ids below a path are of.
fn kind_at(path: &str) -> Missing {
    match path.split('/').nth(1).unwrap_or_default() {
        "tasks" => Missing::Task,
        "agents" => Missing::Agent,
        "swarm" => Missing::Swarm,
        "consensus" => Missing::Proposal,
        "workflow-runs" | "sparc" => Missing::Run,
        "workflows" => Missing::Workflow,
        "roles" => Missing::Role,
        _ => Missing::Other,
    }
}

/// Reads `PREFIX: field: message` as axum words its refusals.
fn refusal(text: &str) -> Problem {
    let text = without_length(reason(text));
    let text = text.as_str();
    if let Some(name) = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| text.split_once(start))
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(name, _)| name)
    {
        let message = text.split_once(": ").filter(|(path, _)| !path.contains('`')).map_or(text, |(_, message)| message);
        return Problem::invalid(name, message);
    }
    match text.split_once(": ") {
        Some((path, message)) if !path.contains([' ', '`']) => Problem::invalid(path, message),
        _ => Problem::invalid("", text),
    }
}

/// serde's words without the length of what they quote: names and values of the caller, who has them already.
fn without_length(text: &str) -> String {
    // What is expected is said last, in words of the gateway.
    let (given, expected) = text.split_at(text.rfind(", expected ").unwrap_or(text.len()));
    let given = match given.find(['`', '"']).map(|at| given.split_at(at + 1)) {
        Some((before, quoted)) if !expected.is_empty() && quoted.chars().count() > QUOTED_CHARS + 1 => {
            let mark = before.chars().last().unwrap_or('`');
            format!("{}{}{mark}", excerpt(before, SAID_CHARS), excerpt(quoted, QUOTED_CHARS))
        }
        _ => excerpt(given, SAID_CHARS),
    };
    format!("{given}{}", excerpt(expected, EXPECTED_CHARS))
}

/// What axum says after its own introduction.
fn reason(text: &str) -> &str {
    [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
    ]
    .iter()
    .find_map(|start| text.strip_prefix(start))
    .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{
        error::FieldError,
        tasks::{CreateTask, TaskQuery},
    };

    async fn body(text: &str) -> Problem {
        let request = Request::new(text.to_owned().into());
        Body::<CreateTask>::from_request(request, &()).await.map(|_| ()).expect_err(text)
    }

    #[tokio::test]
    async fn bodies_are_refused_by_field() {
        for (text, field, word) in [
            (r#"{"description": "x", "priority": "urgent"}"#, "priority", "critical"),
            (r#"{"description": 7}"#, "description", "string"),
            (r#"{"title": "x"}"#, "description", "missing"),
            ("", "description", "missing"),
            (r#"{"description": "x", "pirority": "high"}"#, "pirority", "unknown field"),
            (r#"{"description": "x", "wait_seconds": 1.5}"#, "wait_seconds", "whole number"),
            ("[1]", "", "JSON object"),
            (r#"["a", "b"]"#, "", "JSON object"),
            ("null", "", "JSON object"),
        ] {
            let problem = body(text).await;
            assert_eq!((problem.status, problem.code), (422, "validation_failed"), "{text}: {problem:?}");
            assert_eq!(problem.errors[0].field, field, "{text}: {problem:?}");
            assert!(problem.errors[0].message.contains(word), "{text}: {problem:?}");
        }
        for text in ["{", r#"{"description": "x"} trailing"#, "nonsense", "\u{feff}{}", "\u{c}", " "] {
            let problem = body(text).await;
            assert_eq!((problem.status, problem.code), (400, "invalid_json"), "{text}: {problem:?}");
        }
    }

    #[tokio::test]
    async fn what_callers_sent_is_quoted_in_short() {
        let long = "x".repeat(60_000);
        let control = "\\u0001".repeat(60_000);
        for (text, field, word) in [
            (format!(r#"{{"description": "x", "priority": "{long}"}}"#), "priority", "`critical`"),
            (format!(r#"{{"description": "x", "backend": "{control}"}}"#), "backend", "`claude-code`"),
            (format!(r#"{{"description": "x", "on_lost": "`{long}, expected `"}}"#), "on_lost", "`resume`"),
            (format!(r#"{{"description": "x", "wait_seconds": "{long}"}}"#), "wait_seconds", "expected"),
            (format!(r#"{{"description": "x", "agent_type": "{long}"}}"#), "agent_type", "agent type"),
            (format!(r#"{{"description": "x", "swarm_id": "{long}"}}"#), "swarm_id", "hexadecimal"),
            (format!(r#"{{"description": ["{long}"]}}"#), "description", "string"),
        ] {
            let problem = body(&text).await;
            let FieldError { field: named, message } = &problem.errors[0];
            assert_eq!(named, field, "{problem:?}");
            assert!(message.contains(word) && message.chars().count() < 700, "{message}");
        }
        let unknown = body(&format!(r#"{{"description": "x", "{long}": 1}}"#)).await;
        let FieldError { field, message } = &unknown.errors[0];
        assert!(field.chars().count() <= 100 && long.starts_with(field.trim_end_matches('…')), "{field}");
        assert!(message.contains("`wait_seconds`") && message.chars().count() < 1_500, "{message}");
    }

    #[tokio::test]
    async fn queries_are_refused_by_field() {
        for (query, field) in
            [("limit=x", "limit"), ("status=done", "status"), ("statuss=created", "statuss"), ("limit=1&limit=2", "limit")]
        {
            let request = Request::builder().uri(format!("/tasks?{query}")).body(()).expect("a request");
            let (mut parts, ()) = request.into_parts();
            let problem = Params::<TaskQuery>::from_request_parts(&mut parts, &()).await.map(|_| ()).expect_err(query);
            assert_eq!((problem.status, problem.errors[0].field.as_str()), (422, field), "{problem:?}");
        }
    }
}
