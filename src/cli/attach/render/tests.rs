//! Events and the lines they become.

use super::*;
use serde_json::json;

fn texts(kind: Value) -> Vec<String> {
    texts_in(kind, &Turn::default())
}

fn texts_in(kind: Value, turn: &Turn) -> Vec<String> {
    let kind: EventKind = serde_json::from_value(kind).expect("an event");
    event(&kind, turn).iter().map(ToString::to_string).collect()
}

#[test]
fn texts_and_tools_read_like_a_conversation() {
    assert_eq!(texts(json!({"kind": "message", "data": {"text": "I **look**:\n- here"}})), ["", "⏺ I look:", "  • here"]);
    let of_helper = json!({"kind": "message", "data": {"text": "found", "parent_tool_use_id": "t"}});
    assert_eq!(texts(of_helper), ["", "  ┆ found"]);
    let call = json!({"kind": "tool_call", "data": {"tool_use_id": "t", "tool": "Bash", "input": {"command": "ls"}}});
    assert_eq!(texts(call), ["⏺ Bash ls"]);
    let result = |is_error| json!({"kind": "tool_result", "data": {"tool_use_id": "t", "is_error": is_error, "text": "a\nb"}});
    assert_eq!(texts(result(false)), ["  ⎿ a", "    b"]);
    let red = event(&serde_json::from_value(result(true)).expect("an event"), &Turn::default());
    assert_eq!(red[0].spans.last().expect("text").style, bad());
    assert_eq!(texts(json!({"kind": "thinking", "data": {"text": "so\n\nthen"}})), ["✻ so", "  then"]);
    assert!(texts(json!({"kind": "message", "data": {"text": "  \n"}})).is_empty());
}

#[test]
fn the_end_of_a_turn_says_how_and_what_it_used() {
    let usage = json!({"input_tokens": 1200, "output_tokens": 34, "cache_read_input_tokens": 1_000_000});
    let result = |data: Value| {
        let mut all = json!({"is_error": false, "subtype": "success", "usage": usage, "cost_usd": 0.0123});
        all.as_object_mut().expect("fields").extend(data.as_object().expect("fields").clone());
        json!({"kind": "result", "data": all})
    };
    let said = Turn { last_text: "Done.".into(), is_stopped: false };
    let figures = " · 1,001,200 tokens in, 34 out · $0.0123";
    assert_eq!(texts_in(result(json!({"text": "Done."})), &said), [format!("✓ finished{figures}")]);
    assert_eq!(texts_in(result(json!({"text": "Other."})), &said), ["", "⏺ Other.", &format!("✓ finished{figures}")]);
    let failed = result(json!({"is_error": true, "subtype": "error_x", "errors": ["no\nmoney"]}));
    assert_eq!(texts_in(failed.clone(), &said), [format!("✗ failed: no money{figures}")]);
    let stopped = Turn { is_stopped: true, ..said.clone() };
    assert_eq!(texts_in(failed, &stopped), [format!("■ interrupted; the conversation is kept{figures}")]);
    let answer = texts_in(result(json!({"structured_output": {"a": 1}})), &said);
    assert_eq!(answer[..4], ["", "│ {", "│   \"a\": 1", "│ }"]);
    let bare = json!({"kind": "result", "data": {"is_error": true, "subtype": "error_max_turns"}});
    assert_eq!(texts(bare), ["✗ failed: error_max_turns"]);
}

#[test]
fn changes_of_state_are_told_when_they_matter() {
    let status = |state: &str, detail: Value| texts(json!({"kind": "status", "data": {"state": state, "detail": detail}}));
    assert_eq!(
        status("permission_denied", json!("The project `x` does not allow this.")),
        ["· permission denied: The project `x` does not allow this."]
    );
    assert_eq!(status("cli_note", json!("one\ntwo")), ["· one (+1 lines)"]);
    assert!(status("requesting", Value::Null).is_empty() && status("assigned", Value::Null).is_empty());
    let process = |data: Value| texts(json!({"kind": "process", "data": data}));
    assert!(
        process(json!({"state": "started", "pid": 1})).is_empty() && process(json!({"state": "exited", "code": 0})).is_empty()
    );
    assert_eq!(process(json!({"state": "exited", "signal": 9})), ["· the agent's process ended by signal 9"]);
    assert_eq!(
        process(json!({"state": "exited", "code": 1, "reason": "memory_limit"})),
        ["· the agent's process ended with code 1 (memory limit)"]
    );
    assert_eq!(process(json!({"state": "lost"})), ["· the agent's process is gone without a trace"]);
}

#[test]
fn trouble_with_the_provider_is_told() {
    let retry = json!({"kind": "retry", "data": {"attempt": 1, "max_retries": 3, "delay_ms": 1500, "status": 529, "error": "overloaded"}});
    assert_eq!(texts(retry), ["· the model did not answer (overloaded 529); try 1 of 3 failed, the next in 2 s"]);
    let limit = |status: &str| {
        texts(
            json!({"kind": "rate_limit", "data": {"status": status, "resets_at": "2026-11-20T10:00:00Z", "limit": "five_hour"}}),
        )
    };
    assert!(limit("allowed").is_empty());
    assert_eq!(limit("rejected"), ["· refused by the provider's limit (five_hour), resets 2026-11-20 10:00 UTC"]);
}

#[test]
fn prompts_stand_apart() {
    let texts = |joined| prompt("one\ntwo\n", joined).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(false), ["", "› one", "  two"]);
    assert_eq!(texts(true), ["", "› one", "  two", "  (into the running turn)"]);
}

#[test]
fn figures_are_readable() {
    assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([0.00123, 12.3].map(dollars), ["$0.0012", "$12.30"]);
}
