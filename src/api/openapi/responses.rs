//! The error responses operations have in common.

use crate::api::problem::PROBLEM_JSON;
use serde_json::json;
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
/// Errors of operations the state of a thing may forbid.
pub(in crate::api) struct Conflict;

impl IntoResponses for Guarded {
    fn responses() -> Responses {
        Responses::from([
            problem(
                403,
                "Forbidden",
                "invalid_key",
                "The key is missing or not valid, or lacks the scope (insufficient_scope)",
                false,
            ),
            problem(408, "Request Timeout", "timeout", "The request took too long", true),
            problem(
                422,
                "Unprocessable Entity",
                "validation_failed",
                "A field or parameter is not acceptable; errors names it",
                false,
            ),
            problem(429, "Too Many Requests", "rate_limited", "Too many requests; Retry-After says when to come back", true),
            problem(500, "Internal Server Error", "internal", "A fault of the gateway", false),
            problem(
                503,
                "Service Unavailable",
                "store_unavailable",
                "The database cannot be used right now; nothing was changed",
                true,
            ),
        ])
    }
}

impl IntoResponses for Missing {
    fn responses() -> Responses {
        Responses::from([problem(404, "Not Found", "not_found", "There is no such thing, or it is not yours", false)])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> Responses {
        Responses::from([
            problem(400, "Bad Request", "invalid_json", "The body is not valid JSON", false),
            problem(413, "Payload Too Large", "body_too_large", "The body is too large", false),
        ])
    }
}

impl IntoResponses for Conflict {
    fn responses() -> Responses {
        let description =
            "The task's status does not allow it, or the idempotency_key belongs to a different request (idempotency_conflict)";
        Responses::from([problem(409, "Conflict", "illegal_transition", description, false)])
    }
}

fn problem(status: u16, title: &str, code: &str, description: &str, retryable: bool) -> (String, RefOr<Response>) {
    let example = json!({
        "type": format!("urn:mas:problem:{code}"), "title": title, "status": status,
        "detail": description, "code": code, "retryable": retryable,
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(Some(example)).build();
    let mut response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content);
    if retryable {
        let mut header = Header::new(Object::with_type(Type::Integer));
        header.description = Some("Seconds to wait before the next attempt".into());
        response = response.header("Retry-After", header);
    }
    (status.to_string(), RefOr::T(response.build()))
}
