//! The message a step stands for, and the API's error body.

use super::plan::{HttpError, Step};
use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The model named when neither step nor request names one.
pub(super) const MODEL: &str = "claude-rehearsal-1";

/// A complete assistant message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) blocks: Vec<Value>,
    pub(super) stop_reason: String,
    pub(super) usage: Map<String, Value>,
}

impl Message {
    /// What `step` answers to a request for `model`.
    pub(super) fn new(step: &Step, model: Option<&str>) -> Self {
        let blocks = step.blocks.clone().unwrap_or_else(|| blocks(step));
        let uses_tool = blocks.iter().any(|block| block["type"] == "tool_use");
        let stop_reason = step.stop_reason.as_deref().unwrap_or(if uses_tool { "tool_use" } else { "end_turn" });
        let model = step.model.as_deref().or(model).unwrap_or(MODEL);
        Self { id: id("msg"), model: model.to_owned(), stop_reason: stop_reason.to_owned(), blocks, usage: usage(step) }
    }

    /// The body of an answer that is not streamed.
    pub(super) fn to_json(&self) -> Value {
        json!({"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": self.blocks,
            "stop_reason": self.stop_reason, "stop_sequence": null, "usage": self.usage})
    }
}

fn blocks(step: &Step) -> Vec<Value> {
    let thinking =
        step.thinking.iter().map(|text| json!({"type": "thinking", "thinking": text, "signature": super::stream::SIGNATURE}));
    let text = step.text.iter().filter(|text| !text.is_empty()).map(|text| json!({"type": "text", "text": text}));
    let tools = step.tool_use.iter().map(|tool| {
        let id = tool.id.clone().unwrap_or_else(|| id("toolu"));
        json!({"type": "tool_use", "id": id, "name": tool.name, "input": tool.input})
    });
    let blocks: Vec<_> = thinking.chain(text).chain(tools).collect();
    if blocks.is_empty() { vec![json!({"type": "text", "text": "(empty rehearsal step)"})] } else { blocks }
}

fn usage(step: &Step) -> Map<String, Value> {
    let default =
        [("input_tokens", 10), ("cache_creation_input_tokens", 0), ("cache_read_input_tokens", 0), ("output_tokens", 5)];
    let mut usage: Map<_, _> = default.into_iter().map(|(name, tokens)| (name.to_owned(), json!(tokens))).collect();
    usage.extend(step.usage.clone());
    usage
}

/// A fresh identifier in the API's style.
pub(super) fn id(kind: &str) -> String {
    format!("{kind}_rehearsal_{}", Uuid::new_v4().simple())
}

/// The HTTP error a step stands for.
pub(super) fn scripted_error(error: &HttpError, headers: HeaderMap) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = api_error(status, error.kind.as_deref(), &error.message);
    response.headers_mut().extend(headers);
    response.headers_mut().extend(error.headers.clone());
    response
}

/// An error answer; the type follows from the status unless it is given.
pub(super) fn api_error(status: StatusCode, kind: Option<&str>, message: &str) -> Response {
    let kind = kind.unwrap_or(match status.as_u16() {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    });
    (status, Json(json!({"type": "error", "error": {"type": kind, "message": message}}))).into_response()
}
