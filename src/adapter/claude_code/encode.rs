//! Lines written to Claude Code's stdin.

use crate::{adapter::Outgoing, model::tool::SERVER};
use serde_json::{Value, json};
use std::path::Path;

fn control(id: String, request: &Value) -> Outgoing {
    let line = json!({"type": "control_request", "request_id": id, "request": request}).to_string();
    Outgoing { id, line }
}

fn answer(request_id: &str, response: &Value) -> Outgoing {
    let line = json!({"type": "control_response", "response": response}).to_string();
    Outgoing { id: request_id.to_owned(), line }
}

/// The handshake. `role` is added to the system prompt, in place of what the command line adds; `schema` makes every turn
/// end with a structured answer. The CLI ignores a schema that has `format` anywhere (seen with 2.1.197), so it gets the
/// schema without; answers are validated against the whole schema here. With `team` we are an MCP server for the CLI, which
/// asks us at once and answers the handshake once we have answered.
pub fn initialize(id: String, role: Option<&str>, schema: Option<&Value>, team: bool) -> Outgoing {
    let mut request = json!({"subtype": "initialize"});
    if let Some(role) = role {
        request["appendSystemPrompt"] = role.into();
    }
    if let Some(schema) = schema {
        request["jsonSchema"] = without_format(schema);
    }
    if team {
        request["sdkMcpServers"] = json!([SERVER]);
    }
    control(id, &request)
}

pub(super) fn without_format(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => members
            .iter()
            // As a keyword its value is a string; a property of that name has a schema.
            .filter(|(name, value)| !(name.as_str() == "format" && value.is_string()))
            .map(|(name, value)| match name.as_str() {
                "const" | "default" | "enum" | "examples" => (name.clone(), value.clone()),
                _ => (name.clone(), without_format(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_format).collect(),
        other => other.clone(),
    }
}

/// A prompt. Send the next one only after the turn's `result`.
pub fn user_message(id: String, text: &str) -> Outgoing {
    let line = json!({
        "type": "user",
        "message": {"role": "user", "content": text},
        "uuid": id,
        "parent_tool_use_id": null,
        "session_id": "",
    })
    .to_string();
    Outgoing { id, line }
}

/// Asks what the process has spent so far.
pub fn ask_usage(id: String) -> Outgoing {
    control(id, &json!({"subtype": "get_usage"}))
}

/// Ends the current turn, its running tool included, and keeps the session.
pub fn interrupt(id: String) -> Outgoing {
    control(id, &json!({"subtype": "interrupt"}))
}

/// Allows a tool call with the input it came with.
pub fn allow(request_id: &str, input: &Value) -> Outgoing {
    let decision = json!({"behavior": "allow", "updatedInput": input});
    answer(request_id, &json!({"subtype": "success", "request_id": request_id, "response": decision}))
}

/// The file a tool call only reads, if that is all it does.
pub fn only_reads<'a>(tool: &str, input: &'a Value) -> Option<&'a Path> {
    (tool == "Read").then(|| input["file_path"].as_str().map(Path::new)).flatten()
}

/// Refuses a tool call; the model reads `message` and goes on.
pub fn deny(request_id: &str, message: &str) -> Outgoing {
    let decision = json!({"behavior": "deny", "message": message});
    answer(request_id, &json!({"subtype": "success", "request_id": request_id, "response": decision}))
}

/// Answers a message of the CLI's MCP client with a JSON-RPC message.
pub fn mcp_response(request_id: &str, message: &Value) -> Outgoing {
    let response = json!({"mcp_response": message});
    answer(request_id, &json!({"subtype": "success", "request_id": request_id, "response": response}))
}

/// Answers a question this gateway does not offer to answer.
pub fn refuse(request_id: &str, message: &str) -> Outgoing {
    answer(request_id, &json!({"subtype": "error", "request_id": request_id, "error": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keyword_format_is_taken_out_of_a_schema() {
        let schema = json!({"type": "object", "default": {"format": "x"}, "properties": {
            "format": {"type": "string", "format": "date"}, "list": {"items": [{"format": "uri"}]},
        }});
        let cleaned = json!({"type": "object", "default": {"format": "x"}, "properties": {
            "format": {"type": "string"}, "list": {"items": [{}]},
        }});
        assert_eq!(without_format(&schema), cleaned);
    }

    #[test]
    fn every_line_is_one_json_object_that_holds_its_id() {
        let hostile = "line one\nline two \u{2028} \"quoted\" \u{0}";
        for outgoing in [
            initialize("a-1".into(), Some(hostile), Some(&json!({"type": "object"})), true),
            user_message("a-2".into(), hostile),
            interrupt("a-3".into()),
            deny("a-4", hostile),
            refuse("a-5", hostile),
            mcp_response("a-6", &json!({"result": hostile})),
        ] {
            assert!(!outgoing.line.contains('\n') && outgoing.line.contains(&outgoing.id), "{}", outgoing.line);
            assert!(serde_json::from_str::<Value>(&outgoing.line).is_ok_and(|value| value.is_object()));
        }
    }
}
