//! Lines as Claude Code 2.1.197 writes them.

use super::*;
use serde_json::json;

fn parse(line: &Value) -> Parsed {
    parse_line(&mut SessionState::default(), &line.to_string())
}

fn turn_end(parsed: Parsed) -> TurnEnd {
    match parsed.signal {
        Some(Signal::TurnEnded(end)) => *end,
        other => panic!("no end of turn: {other:?}"),
    }
}

#[test]
fn what_is_not_understood_is_kept_whole() {
    for line in
        ["not json", "[]", r#"{"type":"brand_new","x":1}"#, r#"{"type":"system","subtype":"new"}"#, r#"{"type":"assistant"}"#]
    {
        assert_eq!(parse_line(&mut SessionState::default(), line).events, [raw(line)], "{line}");
    }
}

#[test]
fn content_blocks_become_events_in_order() {
    let parsed = parse(&json!({"type": "assistant", "parent_tool_use_id": null, "message": {"model": "m", "content": [
        {"type": "thinking", "thinking": "hmm"},
        {"type": "text", "text": "I list."},
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
    ]}}));
    let names: Vec<_> = parsed.events.iter().map(EventKind::name).collect();
    assert_eq!(names, ["thinking", "message", "tool_call"]);
}

#[test]
fn is_error_decides_about_success_and_the_error_word_about_the_failure() {
    let mut state = SessionState::default();
    let words = "You've hit your session limit";
    parse_line(
        &mut state,
        &json!({"type": "assistant", "error": "rate_limit", "message": {"model": "<synthetic>", "content": [{"type": "text", "text": words}]}})
            .to_string(),
    );
    let line = json!({"type": "result", "subtype": "success", "is_error": true, "result": words, "total_cost_usd": 0.0});
    let failure = turn_end(parse_line(&mut state, &line.to_string())).failure.expect("is_error is a failure");
    assert_eq!((failure.code, failure.retryable), (FailureCode::RateLimited, true));
}

#[test]
fn a_turn_costs_the_difference_of_the_running_total() {
    let mut state = SessionState::default();
    let result = |total: f64| {
        json!({"type": "result", "subtype": "success", "is_error": false, "result": "ok", "total_cost_usd": total}).to_string()
    };
    assert_eq!(turn_end(parse_line(&mut state, &result(0.25))).cost_usd, Some(0.25));
    assert_eq!(turn_end(parse_line(&mut state, &result(0.75))).cost_usd, Some(0.5));
}

#[test]
fn a_budget_error_has_no_text_and_says_what_to_raise() {
    let end = turn_end(parse(
        &json!({"type": "result", "subtype": "error_max_budget_usd", "is_error": true, "errors": ["Reached maximum budget ($0.01)"]}),
    ));
    let failure = end.failure.expect("failed");
    assert_eq!(failure.code, FailureCode::BudgetExceeded);
    assert!(failure.detail.contains("$0.01") && failure.detail.contains("budget_usd"), "{}", failure.detail);
}

#[test]
fn a_background_tasks_turn_does_not_answer_the_prompt() {
    let parsed = parse(
        &json!({"type": "result", "subtype": "success", "is_error": false, "result": "x", "origin": {"kind": "task-notification"}}),
    );
    assert_eq!((parsed.events.len(), parsed.signal), (1, None));
}

#[test]
fn the_handshake_tells_whether_there_are_credentials() {
    let ready = |account: Value| {
        parse(&json!({"type": "control_response", "response": {"subtype": "success", "request_id": "i", "response": {"account": account}}})).signal
    };
    assert_eq!(ready(json!({"tokenSource": "none", "apiProvider": "firstParty"})), Some(Signal::Ready { logged_in: false }));
    assert_eq!(
        ready(json!({"tokenSource": "none", "apiKeySource": "ANTHROPIC_API_KEY", "apiProvider": "firstParty"})),
        Some(Signal::Ready { logged_in: true })
    );
    let interrupted =
        parse(&json!({"type": "control_response", "response": {"subtype": "success", "request_id": "x", "response": {}}}));
    assert_eq!(interrupted, Parsed::default());
}

#[test]
fn questions_carry_what_the_answer_needs() {
    let asked = parse(
        &json!({"type": "control_request", "request_id": "r1", "request": {"subtype": "can_use_tool", "tool_name": "Bash", "input": {}}}),
    );
    assert_eq!(
        asked.signal,
        Some(Signal::Asked(Question::Permission { request_id: "r1".into(), tool: "Bash".into(), input: json!({}) }))
    );
    let other = parse(&json!({"type": "control_request", "request_id": "r2", "request": {"subtype": "elicitation"}}));
    assert_eq!(
        other.signal,
        Some(Signal::Asked(Question::Unsupported { request_id: "r2".into(), subtype: "elicitation".into() }))
    );
}

#[test]
fn live_text_and_real_token_counts_come_from_the_stream() {
    let delta = parse(
        &json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hel"}}}),
    );
    assert_eq!(delta.events, [EventKind::Delta { text: "hel".into() }]);
    let counts = parse(&json!({"type": "stream_event", "event": {"type": "message_delta", "usage": {"output_tokens": 7}}}));
    assert_eq!(counts.events, [EventKind::Usage { usage: Usage { output_tokens: 7, ..Usage::default() } }]);
}
