//! The server's side of the Model Context Protocol, as far as an agent's tools need it (modelcontextprotocol.io, revision
//! 2025-11-25): `initialize`, `ping`, `tools/list` and `tools/call`, as JSON-RPC 2.0 messages. Pure.

use crate::model::tool::{self, ToolAnswer, ToolCall};
use serde_json::{Value, json};

/// The revision offered to clients that ask for none.
const REVISION: &str = "2025-11-25";
/// JSON-RPC's code for a method that is not there.
const NO_METHOD: i32 = -32601;
const BAD_PARAMS: i32 = -32602;

/// What a message of the client leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// This is the answer.
    Answer(Value),
    /// A tool is called; the answer comes later.
    Call(ToolCall),
}

/// Takes a message of the client. `request_id` is the CLI's own, for the answer to a call.
pub fn step(request_id: &str, message: &Value) -> Step {
    let id = &message["id"];
    let params = &message["params"];
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => Step::Answer(result(
            id,
            &json!({
                "protocolVersion": params["protocolVersion"].as_str().unwrap_or(REVISION),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": tool::SERVER, "version": env!("CARGO_PKG_VERSION")},
            }),
        )),
        "tools/list" => Step::Answer(result(id, &json!({"tools": tool::tool_list()}))),
        "tools/call" => match params["name"].as_str() {
            Some(name) => Step::Call(ToolCall {
                request_id: request_id.to_owned(),
                rpc_id: id.clone(),
                name: name.to_owned(),
                arguments: params["arguments"].clone(),
            }),
            None => Step::Answer(error(id, BAD_PARAMS, "the call names no tool")),
        },
        "ping" => Step::Answer(result(id, &json!({}))),
        // A notification has no id and gets no answer; the CLI wants one all the same.
        _ if id.is_null() => Step::Answer(json!({"jsonrpc": "2.0", "result": {}})),
        method => Step::Answer(error(id, NO_METHOD, &format!("there is no method `{method}`"))),
    }
}

/// The answer to a call.
pub fn called(rpc_id: &Value, answer: &ToolAnswer) -> Value {
    result(rpc_id, &json!({"content": [{"type": "text", "text": answer.text}], "isError": answer.is_error}))
}

fn result(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(message: &Value) -> Value {
        match step("r-1", message) {
            Step::Answer(answer) => answer,
            Step::Call(call) => panic!("{call:?}"),
        }
    }

    #[test]
    fn the_handshake_takes_the_revision_of_the_client() {
        let asked = json!({"method": "initialize", "params": {"protocolVersion": "2025-06-18"}, "jsonrpc": "2.0", "id": 0});
        let answered = answer(&asked);
        assert_eq!((&answered["id"], &answered["result"]["protocolVersion"]), (&json!(0), &json!("2025-06-18")));
        assert_eq!(answer(&json!({"method": "notifications/initialized"})), json!({"jsonrpc": "2.0", "result": {}}));
        let tools = answer(&json!({"method": "tools/list", "id": 1}));
        assert!(tools["result"]["tools"].as_array().expect("tools").len() == 9, "{tools}");
        assert_eq!(answer(&json!({"method": "resources/list", "id": 2}))["error"]["code"], NO_METHOD);
        assert_eq!(answer(&json!({"method": "tools/call", "id": 3}))["error"]["code"], BAD_PARAMS);
    }

    #[test]
    fn a_call_keeps_what_its_answer_needs() {
        let asked = json!({"method": "tools/call", "params": {"name": "list_team", "arguments": {}, "_meta": {}}, "id": 7});
        let Step::Call(call) = step("r-2", &asked) else { panic!("no call") };
        assert_eq!((call.request_id.as_str(), &call.rpc_id, call.name.as_str()), ("r-2", &json!(7), "list_team"));
        let answered = called(&call.rpc_id, &ToolAnswer { text: "no".into(), is_error: true });
        assert_eq!((&answered["id"], &answered["result"]["isError"]), (&json!(7), &json!(true)));
    }
}
