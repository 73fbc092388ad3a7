//! The error responses operations have in common.

use crate::api::problem::{PROBLEM_JSON, Problem};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Header, Object, Ref, RefOr, Response, ResponseBuilder, schema::Type},
};

type Responses = BTreeMap<String, RefOr<Response>>;

/// Errors of every operation behind a key.
pub(in crate::api) struct Guarded;
/// Errors of operations on one thing.
pub(in crate::api) struct Missing;
/// Errors of operations with a body.
pub(in crate::api) struct BadBody;
/// The error of operations that may be repeated with an `idempotency_key` and are allowed in every state.
pub(in crate::api) struct Reused;
/// Errors of operations the state of a thing may forbid.
pub(in crate::api) struct Conflict;

impl IntoResponses for Guarded {
    fn responses() -> Responses {
        Responses::from([
            problem(
                StatusCode::FORBIDDEN,
                "invalid_key",
                "The key is missing or not valid, or lacks the scope (insufficient_scope)",
                false,
            ),
            problem(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", true),
            problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "validation_failed",
                "A field or parameter is not acceptable; errors names it",
                false,
            ),
            problem(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests; Retry-After says when to come back", true),
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the gateway", false),
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The database cannot be used right now; nothing was changed",
                true,
            ),
        ])
    }
}

impl IntoResponses for Missing {
    fn responses() -> Responses {
        Responses::from([problem(StatusCode::NOT_FOUND, "not_found", "There is no such thing, or it is not yours", false)])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> Responses {
        Responses::from([
            problem(StatusCode::BAD_REQUEST, "invalid_json", "The body is not valid JSON", false),
            problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", false),
        ])
    }
}

impl IntoResponses for Reused {
    fn responses() -> Responses {
        let description = "The idempotency_key belongs to a different request";
        Responses::from([problem(StatusCode::CONFLICT, "idempotency_conflict", description, false)])
    }
}

impl IntoResponses for Conflict {
    fn responses() -> Responses {
        let description =
            "The task's status does not allow it, or the idempotency_key belongs to a different request (idempotency_conflict)";
        Responses::from([problem(StatusCode::CONFLICT, "illegal_transition", description, false)])
    }
}

fn problem(status: StatusCode, code: &'static str, description: &str, retryable: bool) -> (String, RefOr<Response>) {
    // Made by the type itself, so that the example has what every answer has. Serialising plain data cannot fail.
    let example = Problem::new(status, code, description);
    let example = serde_json::to_value(if retryable { example.retry_after(1) } else { example }).unwrap_or_default();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(Some(example)).build();
    let mut response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content);
    if retryable {
        let mut header = Header::new(Object::with_type(Type::Integer));
        header.description = Some("Seconds to wait before the next attempt".into());
        response = response.header("Retry-After", header);
    }
    (status.as_u16().to_string(), RefOr::T(response.build()))
}
