//! Calls of the tools of a team: kept until they are answered, answered once, in their order.

use super::*;
use crate::model::tool::ToolAnswer;

fn asks(request: &str, message: &Value) -> String {
    let request_body = json!({"subtype": "mcp_message", "server_name": "team", "message": message});
    json!({"type": "control_request", "request_id": request, "request": request_body}).to_string()
}

fn calls(request: &str, rpc_id: u32) -> String {
    asks(
        request,
        &json!({"method": "tools/call", "params": {"name": "list_team", "arguments": {}}, "jsonrpc": "2.0", "id": rpc_id}),
    )
}

fn answer(text: &str) -> ToolAnswer {
    ToolAnswer { text: text.into(), is_error: false }
}

fn in_a_team() -> Stage {
    let mut stage = Stage::new(None);
    stage.brief.team = true;
    stage.line(READY);
    stage
}

#[test]
fn the_handshake_of_the_tools_is_answered_before_the_clis_own() {
    let mut stage = Stage::new(None);
    stage.brief.team = true;
    assert!(stage.input(Input::Started).send[0].line.contains(r#""sdkMcpServers":["team"]"#));
    let reaction = stage.line(&asks("r1", &json!({"method": "initialize", "params": {}, "jsonrpc": "2.0", "id": 0})));
    assert!(reaction.send[0].line.contains("protocolVersion") && reaction.events.is_empty(), "{reaction:?}");
    let reaction = stage.line(&asks("r2", &json!({"method": "tools/list", "jsonrpc": "2.0", "id": 1})));
    assert!(reaction.send[0].line.contains("search_memory"), "{reaction:?}");
}

#[test]
fn calls_outlive_the_server_and_are_answered_in_their_order() {
    let mut stage = in_a_team();
    assert!(stage.line(&calls("r1", 5)).send.is_empty(), "the answer takes the store");
    stage.line(&calls("r2", 6));
    let stored = serde_json::to_value(&stage.machine).expect("serialises");
    stage.machine = serde_json::from_value(stored).expect("deserialises");
    for (request, rpc_id, text) in [("r1", 5, "first"), ("r2", 6, "second")] {
        assert_eq!(stage.machine.calls[0].request_id, request);
        let sent = stage.input(Input::Called(&answer(text))).send;
        let line: Value = serde_json::from_str(&sent[0].line).expect("JSON");
        let response = &line["response"]["response"]["mcp_response"];
        assert_eq!((&line["response"]["request_id"], &response["id"]), (&json!(request), &json!(rpc_id)), "{line}");
        assert_eq!(response["result"]["content"][0]["text"], text, "{line}");
        assert!(stage.machine.outbox.iter().any(|kept| kept.id == request), "sent again unless the shim has seen it");
    }
    assert!(stage.input(Input::Called(&answer("nobody asked"))).send.is_empty());
}

#[test]
fn a_call_of_a_process_that_is_gone_is_not_carried_out() {
    let mut stage = in_a_team();
    stage.line(&calls("r1", 5));
    stage.exit(ExitReason::Exited, Some(1));
    assert!(stage.machine.calls.is_empty());
}

#[test]
fn an_agent_without_a_team_has_no_tools() {
    let mut stage = Stage::new(None);
    stage.line(READY);
    let reaction = stage.line(&calls("r1", 5));
    assert!(reaction.send[0].line.contains("\"error\"") && stage.machine.calls.is_empty(), "{reaction:?}");
}
