//! One event as lines of the transcript.

use super::{
    line::{Line, cut},
    markdown::markdown,
    tool,
};
use crate::model::{event::EventKind, run::Usage};
use crossterm::style::{ContentStyle, Stylize};
use serde_json::Value;

/// Rows shown of a prompt, of a thought and of a structured answer.
const PROMPT_ROWS: usize = 20;
const THOUGHT_ROWS: usize = 6;
const ANSWER_ROWS: usize = 40;
/// Columns shown of a line that nobody understands.
const RAW_COLUMNS: usize = 200;

pub(super) fn plain() -> ContentStyle {
    ContentStyle::new()
}

pub(super) fn faint() -> ContentStyle {
    ContentStyle::new().dim()
}

pub(super) fn warning() -> ContentStyle {
    ContentStyle::new().yellow()
}

pub(super) fn bad() -> ContentStyle {
    ContentStyle::new().red()
}

/// What has to be known of the turn to tell of its events.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Turn {
    /// Its last complete text.
    pub(super) last_text: String,
    /// Whether somebody has asked to stop it.
    pub(super) is_stopped: bool,
}

/// The lines of an event; none for those that are pieces of others or bookkeeping.
pub(super) fn event(kind: &EventKind, turn: &Turn) -> Vec<Line> {
    match kind {
        EventKind::Message { text, parent_tool_use_id, .. } => message(text, parent_tool_use_id.is_some()),
        EventKind::Thinking { text } => thought(text),
        EventKind::ToolCall { tool, input, .. } => {
            let argument = tool::argument(input);
            let line = Line::styled(tool.as_str(), plain().bold());
            vec![
                if argument.is_empty() { line } else { line.with(format!(" {argument}"), plain()) }.behind("⏺ ", plain().green()),
            ]
        }
        EventKind::ToolResult { is_error, text, .. } => {
            let style = if *is_error { bad() } else { faint() };
            behind("  ⎿ ", tool::result(text).into_iter().map(|row| Line::styled(row, style)).collect())
        }
        EventKind::Status { state, detail } => status(state, detail.as_deref()),
        EventKind::Retry { attempt, max_retries, delay_ms, status, error } => {
            let status = status.map(|status| format!(" {status}")).unwrap_or_default();
            let seconds = delay_ms.div_ceil(1000);
            let words = format!(
                "the model did not answer ({error}{status}); try {attempt} of {max_retries} failed, the next in {seconds} s"
            );
            vec![remark(words, warning())]
        }
        EventKind::RateLimit { status, .. } if status == "allowed" => vec![],
        EventKind::RateLimit { status, resets_at, limit } => {
            let limit = limit.as_deref().map(|limit| format!(" ({limit})")).unwrap_or_default();
            let until = resets_at.map(|at| format!(", resets {}", at.format("%Y-%m-%d %H:%M UTC"))).unwrap_or_default();
            let is_refused = status == "rejected";
            let words = if is_refused { "refused by the provider's limit" } else { "near the provider's limit" };
            vec![remark(format!("{words}{limit}{until}"), if is_refused { bad() } else { warning() })]
        }
        EventKind::Result { is_error, subtype, text, structured_output, usage, cost_usd, errors } => {
            let mut lines = match (text, structured_output) {
                (_, Some(answer)) => structured(answer),
                (Some(text), None) if !is_error && text.trim() != turn.last_text.trim() => message(text, false),
                _ => vec![],
            };
            let figures = figures(usage.as_ref(), *cost_usd);
            let (mark, style, words) = if turn.is_stopped {
                ("■ ", warning(), "interrupted; the conversation is kept".to_owned())
            } else if *is_error {
                let words: Vec<&str> = text.as_deref().into_iter().chain(errors.iter().map(String::as_str)).collect();
                let words = if words.is_empty() { subtype.clone() } else { words.join("; ") };
                ("✗ ", bad(), format!("failed: {}", words.replace('\n', " ")))
            } else {
                ("✓ ", plain().green(), "finished".to_owned())
            };
            lines.push(Line::styled(words, style).with(figures, faint()).behind(mark, style));
            lines
        }
        EventKind::Process { state, pid: _, code, signal, reason } => process(state, *code, *signal, reason.as_deref()),
        EventKind::DelegationBroken { circle, .. } => {
            let asked = circle.first().map(ToString::to_string).unwrap_or_default();
            vec![remark(
                format!("asked {asked}, which waits for this agent: the circle was broken, nobody was woken for it"),
                warning(),
            )]
        }
        EventKind::Raw { line } => vec![remark(cut(line, RAW_COLUMNS), faint())],
        EventKind::Delta { .. } | EventKind::Usage { .. } => vec![],
    }
}

/// What somebody asked of the agent.
pub(super) fn prompt(text: &str, joined: bool) -> Vec<Line> {
    let style = plain().cyan().bold();
    let all = text.trim_end().lines().count();
    let mut lines: Vec<Line> = text.trim_end().lines().take(PROMPT_ROWS).map(|line| Line::styled(line, style)).collect();
    if all > PROMPT_ROWS {
        lines.push(Line::styled(format!("… {} more lines, {all} in all", all - PROMPT_ROWS), faint()));
    }
    if joined {
        lines.push(Line::styled("(into the running turn)", faint()));
    }
    apart(behind("› ", lines))
}

/// A remark of ours.
pub(super) fn remark(words: impl Into<String>, style: ContentStyle) -> Line {
    Line::styled(words, style).behind("· ", style)
}

fn message(text: &str, of_sub_agent: bool) -> Vec<Line> {
    if text.trim().is_empty() {
        return vec![];
    }
    let lines = markdown(text);
    apart(if of_sub_agent {
        lines.into_iter().map(|line| line.behind("  ┆ ", faint())).collect()
    } else {
        behind("⏺ ", lines)
    })
}

fn thought(text: &str) -> Vec<Line> {
    let style = faint().italic();
    let all = text.trim().lines().filter(|line| !line.trim().is_empty());
    let mut lines: Vec<Line> = all.clone().take(THOUGHT_ROWS).map(|line| Line::styled(line, style)).collect();
    let left = all.count().saturating_sub(THOUGHT_ROWS);
    if left > 0 {
        lines.push(Line::styled(format!("… {left} more lines"), style));
    }
    behind("✻ ", lines)
}

fn structured(answer: &Value) -> Vec<Line> {
    let text = serde_json::to_string_pretty(answer).unwrap_or_default();
    let all = text.lines().count();
    let mut lines: Vec<Line> =
        text.lines().take(ANSWER_ROWS).map(|line| Line::styled(line, plain().cyan()).behind("│ ", faint())).collect();
    if all > ANSWER_ROWS {
        lines.push(Line::styled(format!("… {} more lines, {all} in all", all - ANSWER_ROWS), faint()));
    }
    apart(lines)
}

fn status(state: &str, detail: Option<&str>) -> Vec<Line> {
    let style = match state {
        // The prompt itself is shown for the first two; the third comes with every request to the model, the fourth with its result.
        "assigned" | "steered" | "requesting" | "status" | "cancelling" => return vec![],
        "permission_denied" | "request_refused" | "recovering" | "retrying" | "timing_out" | "exit_forced" | "model_fallback"
        | "changes_incomplete" => warning(),
        _ => faint(),
    };
    let words = state.replace('_', " ");
    let mut rows = detail.unwrap_or_default().trim().lines();
    let line = match (state, rows.next()) {
        // The CLI's own notes say all themselves.
        ("cli_note" | "informational" | "claude_flow", Some(first)) => remark(first, style),
        (_, Some(first)) => remark(format!("{words}: {first}"), style),
        (_, None) => remark(words, style),
    };
    let more = rows.count();
    vec![if more > 0 { line.with(format!(" (+{more} lines)"), faint()) } else { line }]
}

fn process(state: &str, code: Option<i32>, signal: Option<i32>, reason: Option<&str>) -> Vec<Line> {
    let (words, style) = match state {
        // Every process says so, and the status line as well.
        "started" | "ready" => return vec![],
        "reattached" => ("the server was restarted and has found the agent again".to_owned(), faint()),
        "exited" => {
            let reason = reason.filter(|reason| *reason != "exited");
            let how = match (signal, code) {
                (Some(signal), _) => format!("ended by signal {signal}"),
                (None, Some(0)) if reason.is_none() => return vec![],
                (None, Some(code)) => format!("ended with code {code}"),
                (None, None) => "ended".to_owned(),
            };
            let reason = reason.map(|reason| format!(" ({})", reason.replace('_', " "))).unwrap_or_default();
            (format!("the agent's process {how}{reason}"), if code == Some(0) { faint() } else { warning() })
        }
        "lost" => ("the agent's process is gone without a trace".to_owned(), bad()),
        other => (format!("process {other}"), faint()),
    };
    vec![remark(words, style)]
}

/// What a turn has used, as reported.
fn figures(usage: Option<&Usage>, cost_usd: Option<f64>) -> String {
    let tokens = usage.map(|usage| {
        let sent = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
        format!("{} tokens in, {} out", count(sent), count(usage.output_tokens))
    });
    [tokens, cost_usd.map(dollars)].into_iter().flatten().fold(String::new(), |all, figure| all + " · " + &figure)
}

/// A sum of money, small ones in more detail.
pub(super) fn dollars(usd: f64) -> String {
    if usd < 1.0 { format!("${usd:.4}") } else { format!("${usd:.2}") }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The lines behind a mark that stands before the first of them.
fn behind(mark: &str, lines: Vec<Line>) -> Vec<Line> {
    let blank = " ".repeat(mark.chars().count());
    let marks = std::iter::once(mark).chain(std::iter::repeat(blank.as_str()));
    lines.into_iter().zip(marks).map(|(line, mark)| line.behind(mark, faint())).collect()
}

/// The lines with an empty one before them.
fn apart(mut lines: Vec<Line>) -> Vec<Line> {
    lines.insert(0, Line::default());
    lines
}

#[cfg(test)]
mod tests;
