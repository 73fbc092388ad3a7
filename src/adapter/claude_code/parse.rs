//! Lines read from Claude Code's stdout.
//!
//! Stream pieces whose content follows in a complete line (block starts and stops, tool input and thinking
//! deltas) give no event; every other line gives at least one, and what is not understood is kept as `raw`.

use crate::{
    adapter::{Parsed, Question, SessionState, Signal, TurnEnd},
    model::{
        event::EventKind,
        run::{Failure, FailureCode, Usage},
        tool::SERVER,
    },
};
use chrono::DateTime;
use serde_json::Value;

/// What `line` means, given what came before.
pub fn parse_line(state: &mut SessionState, line: &str) -> Parsed {
    let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(line) else {
        return events(vec![raw(line)]);
    };
    // Sub-agents have conversations of their own.
    if matches!(text(&value["type"]), "assistant" | "user") && value["parent_tool_use_id"].is_null() {
        state.last_message_id = owned(&value["uuid"]);
    }
    match text(&value["type"]) {
        "assistant" => events(assistant(state, &value, line)),
        "user" if value["isReplay"] == true && is_prompt(&value) => {
            Parsed { events: vec![], signal: Some(Signal::TookUp(text(&value["uuid"]).to_owned())) }
        }
        "user" => events(user(&value, line)),
        "stream_event" => events(stream_event(&value, line)),
        "system" => events(system(state, &value, line)),
        "rate_limit_event" => events(vec![rate_limit(&value["rate_limit_info"])]),
        "result" => result(state, &value),
        "control_response" => control_response(state, &value["response"]),
        "control_request" => control_request(&value),
        // Questions are answered at once, so there is nothing to take back; keep-alives say nothing.
        "control_cancel_request" | "keep_alive" => Parsed::default(),
        _ => events(vec![raw(line)]),
    }
}

fn events(events: Vec<EventKind>) -> Parsed {
    Parsed { events, signal: None }
}

fn raw(line: &str) -> EventKind {
    EventKind::Raw { line: line.to_owned() }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn usage(value: &Value) -> Option<Usage> {
    serde_json::from_value(value.clone()).ok().filter(|_| value.is_object())
}

fn assistant(state: &mut SessionState, value: &Value, line: &str) -> Vec<EventKind> {
    let message = &value["message"];
    state.last_error = owned(&value["error"]);
    let model = owned(&message["model"]);
    if model.as_deref().is_some_and(|name| name != "<synthetic>") {
        state.model.clone_from(&model);
    }
    let Some(blocks) = message["content"].as_array().filter(|blocks| !blocks.is_empty()) else { return vec![raw(line)] };
    blocks
        .iter()
        .map(|block| match text(&block["type"]) {
            "text" => EventKind::Message {
                text: text(&block["text"]).to_owned(),
                model: model.clone(),
                parent_tool_use_id: owned(&value["parent_tool_use_id"]),
            },
            "thinking" => EventKind::Thinking { text: text(&block["thinking"]).to_owned() },
            "tool_use" => EventKind::ToolCall {
                tool_use_id: text(&block["id"]).to_owned(),
                tool: text(&block["name"]).to_owned(),
                input: block["input"].clone(),
            },
            _ => raw(line),
        })
        .collect()
}

/// Whether a repeated message is one of ours, not the CLI's own record of a command.
fn is_prompt(value: &Value) -> bool {
    !text(&value["message"]["content"]).starts_with("<local-command-")
}

fn user(value: &Value, line: &str) -> Vec<EventKind> {
    let note = |text: &str| EventKind::Status { state: "cli_note".into(), detail: Some(text.to_owned()) };
    match &value["message"]["content"] {
        Value::String(text) => vec![note(text)],
        Value::Array(blocks) if !blocks.is_empty() => blocks
            .iter()
            .map(|block| match text(&block["type"]) {
                "tool_result" => EventKind::ToolResult {
                    tool_use_id: text(&block["tool_use_id"]).to_owned(),
                    is_error: block["is_error"].as_bool().unwrap_or(false),
                    text: tool_text(&block["content"]),
                    result: value.get("tool_use_result").filter(|result| result.is_object()).cloned(),
                },
                "text" => note(text(&block["text"])),
                _ => raw(line),
            })
            .collect(),
        _ => vec![raw(line)],
    }
}

/// A tool's answer as text; other content is named, its data stays in the raw log.
fn tool_text(content: &Value) -> String {
    match content {
        Value::Array(blocks) => blocks
            .iter()
            .map(|block| block["text"].as_str().map_or_else(|| format!("[{}]", text(&block["type"])), str::to_owned))
            .collect::<Vec<_>>()
            .join("\n"),
        other => text(other).to_owned(),
    }
}

fn stream_event(value: &Value, line: &str) -> Vec<EventKind> {
    let event = &value["event"];
    match text(&event["type"]) {
        "content_block_delta" => match text(&event["delta"]["type"]) {
            "text_delta" => vec![EventKind::Delta { text: text(&event["delta"]["text"]).to_owned() }],
            "input_json_delta" | "thinking_delta" | "signature_delta" | "citations_delta" => vec![],
            _ => vec![raw(line)],
        },
        "message_delta" => usage(&event["usage"]).map(|usage| EventKind::Usage { usage }).into_iter().collect(),
        "message_start" | "message_stop" | "content_block_start" | "content_block_stop" | "ping" => vec![],
        _ => vec![raw(line)],
    }
}

fn system(state: &mut SessionState, value: &Value, line: &str) -> Vec<EventKind> {
    let subtype = text(&value["subtype"]);
    let status = |state: &str, detail: Option<String>| vec![EventKind::Status { state: state.to_owned(), detail }];
    match subtype {
        "init" => {
            state.model = owned(&value["model"]).or_else(|| state.model.take());
            let detail = format!(
                "Claude Code {}, model {}, permission mode {}",
                text(&value["claude_code_version"]),
                text(&value["model"]),
                text(&value["permissionMode"]),
            );
            status("session_started", Some(detail))
        }
        "status" => status(value["status"].as_str().unwrap_or("status"), None),
        "api_retry" => vec![EventKind::Retry {
            attempt: number(&value["attempt"]),
            max_retries: number(&value["max_retries"]),
            delay_ms: milliseconds(&value["retry_delay_ms"]),
            status: value["error_status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            error: text(&value["error"]).to_owned(),
        }],
        "task_started" => status("background_task_started", owned(&value["description"])),
        "task_updated" => status("background_task_updated", owned(&value["patch"]["status"])),
        "task_notification" => status("background_task_ended", owned(&value["summary"])),
        "model_fallback" | "informational" => status(subtype, owned(&value["content"])),
        "compact_boundary" => status("context_compacted", owned(&value["compact_metadata"]["trigger"])),
        // An estimate that the next usage figure replaces.
        "thinking_tokens" => vec![],
        _ => vec![raw(line)],
    }
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a saturating cast of a delay is right")]
fn milliseconds(value: &Value) -> u64 {
    value.as_f64().unwrap_or_default() as u64
}

fn rate_limit(info: &Value) -> EventKind {
    EventKind::RateLimit {
        status: text(&info["status"]).to_owned(),
        resets_at: info["resetsAt"].as_i64().and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        limit: owned(&info["rateLimitType"]),
    }
}

fn result(state: &mut SessionState, value: &Value) -> Parsed {
    let total = value["total_cost_usd"].as_f64();
    let cost_usd = total.map(|total| (total - state.total_cost_usd).max(0.0));
    let all_tokens = total_tokens(&value["modelUsage"]);
    let tokens = all_tokens.map(|all| all.saturating_sub(state.total_tokens));
    let errors: Vec<String> = value["errors"].as_array().into_iter().flatten().filter_map(owned).collect();
    let is_error = value["is_error"].as_bool().unwrap_or(true);
    let final_text = owned(&value["result"]);
    let structured_output = value.get("structured_output").filter(|output| !output.is_null()).cloned();
    let usage = usage(&value["usage"]);
    let event = EventKind::Result {
        is_error,
        subtype: text(&value["subtype"]).to_owned(),
        text: final_text.clone(),
        structured_output: structured_output.clone(),
        usage,
        cost_usd,
        errors: errors.clone(),
    };
    // A background task's end starts a turn of its own; its result is not the answer to our prompt, and what it spent
    // counts with the next that is.
    if value["origin"]["kind"] == "task-notification" {
        return events(vec![event]);
    }
    state.total_cost_usd = total.unwrap_or(state.total_cost_usd);
    state.total_tokens = all_tokens.unwrap_or(state.total_tokens);
    let failure = is_error.then(|| failure(state, value, final_text.as_deref(), &errors));
    let end = TurnEnd {
        failure,
        text: final_text,
        structured_output,
        usage,
        cost_usd,
        tokens,
        duration_ms: value["duration_ms"].as_u64(),
    };
    Parsed { events: vec![event], signal: Some(Signal::TurnEnded(Box::new(end))) }
}

/// Tokens of all models, whatever the cache did with them.
fn total_tokens(models: &Value) -> Option<u64> {
    const KINDS: [&str; 4] = ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"];
    let models = models.as_object()?.values();
    Some(models.flat_map(|model| KINDS.map(|kind| model[kind].as_u64().unwrap_or(0))).sum())
}

/// How to log in, for every place that has to say so.
pub const LOGIN_HINT: &str = "Claude Code is not logged in on the gateway's machine. Set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN for the gateway, \
     or log in once with the CLI in the directory of `claude_code.config_dir`; `mas doctor` shows both.";

fn failure(state: &SessionState, value: &Value, final_text: Option<&str>, errors: &[String]) -> Failure {
    let words = final_text.map_or_else(|| errors.join("; "), str::to_owned);
    match (text(&value["subtype"]), state.last_error.as_deref()) {
        ("error_max_budget_usd", _) => Failure::new(
            FailureCode::BudgetExceeded,
            format!(
                "{words}. The partial result is kept; raise its budget to get further (`budget_usd`, of runs `turn_budget_usd`)."
            ),
        ),
        ("error_max_structured_output_retries", _) => Failure::new(
            FailureCode::InvalidStructuredOutput,
            format!("{words}. Simplify `output_schema` or describe the wanted answer in the task."),
        ),
        (_, Some("authentication_failed")) => Failure::new(FailureCode::AgentUnavailable, format!("{words}. {LOGIN_HINT}")),
        (_, Some("rate_limit")) => Failure::new(FailureCode::RateLimited, words),
        (_, Some("server_error")) => Failure::new(FailureCode::ProviderUnavailable, words),
        // An error in the middle of a stream has no word of its own.
        (_, Some("unknown")) if words.contains("Overloaded") => Failure::new(FailureCode::ProviderUnavailable, words),
        (subtype, _) if words.is_empty() => Failure::new(FailureCode::AgentError, format!("Claude Code reported `{subtype}`")),
        _ => Failure::new(FailureCode::AgentError, words),
    }
}

fn control_response(state: &SessionState, response: &Value) -> Parsed {
    let signal = match text(&response["subtype"]) {
        "success" if response["response"]["session"].is_object() => {
            let session = &response["response"]["session"];
            let cost_usd = session["total_cost_usd"].as_f64().map(|total| (total - state.total_cost_usd).max(0.0));
            let tokens = total_tokens(&session["model_usage"]).map(|total| total.saturating_sub(state.total_tokens));
            Some(Signal::Spent { cost_usd, tokens })
        }
        // Only the handshake's answer has an account; interrupts are answered with an empty object.
        "success" => response["response"].get("account").map(|account| {
            let is_set = |name: &str| account[name].as_str().is_some_and(|source| source != "none");
            let third_party = account["apiProvider"].as_str().is_some_and(|provider| provider != "firstParty");
            Signal::Ready { logged_in: is_set("tokenSource") || is_set("apiKeySource") || third_party }
        }),
        _ => Some(Signal::Refused(text(&response["error"]).to_owned())),
    };
    Parsed { events: vec![], signal }
}

fn control_request(value: &Value) -> Parsed {
    let request_id = text(&value["request_id"]).to_owned();
    let request = &value["request"];
    let question = match text(&request["subtype"]) {
        "can_use_tool" => {
            let (tool, input) = (text(&request["tool_name"]).to_owned(), request["input"].clone());
            Question::Permission { request_id, tool, input }
        }
        "mcp_message" if request["server_name"] == SERVER => Question::Mcp { request_id, message: request["message"].clone() },
        subtype => Question::Unsupported { request_id, subtype: subtype.to_owned() },
    };
    Parsed { events: vec![], signal: Some(Signal::Asked(question)) }
}

#[cfg(test)]
mod tests;
