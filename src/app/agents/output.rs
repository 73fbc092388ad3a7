//! What an agent wrote and did, as readable text.

use crate::{
    app::{
        App,
        error::AppError,
        size::{excerpt, json_chars},
        tasks::{event_cursor, page_limit},
        wait::wait_seconds,
    },
    bus::Topic,
    model::{agent::AgentStatus, event::EventKind, id::AgentId, key::Principal},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Kinds of events that make up an agent's readable output.
const OUTPUT_KINDS: &[&str] = &["message", "tool_call", "tool_result", "result"];
/// Rows read at once; one may have megabytes.
const CHUNK: u32 = 32;
/// Characters shown of a tool's input; the event holds all of it.
const TOOL_INPUT_CHARS: usize = 2_000;

/// Which output to read.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OutputQuery {
    /// Only output after this cursor: `next_cursor` of the answer before. Left out: from the beginning.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
    /// Most pieces to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// Seconds to wait when there is nothing new yet, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

/// One piece of an agent's output.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputPiece {
    /// Place in the agent's log.
    pub seq: i64,
    /// When the gateway captured it.
    pub at: DateTime<Utc>,
    /// `message`, `tool_call`, `tool_result` or `result`.
    pub kind: &'static str,
    /// The piece as readable text.
    pub text: String,
}

/// A page of an agent's output, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"output": [{"seq": 3, "at": "2026-11-20T10:00:04Z", "kind": "message", "text": "I will look at the server first."}, {"seq": 4, "at": "2026-11-20T10:00:05Z", "kind": "tool_call", "text": "Read {\"file_path\":\"src/main.rs\"}"}], "next_cursor": 4, "has_more": false, "status": "busy", "next_step": "The agent works. Call get_agent_output with after=4 and wait_seconds=40 for what it writes next."}))]
pub struct OutputPage {
    /// The pieces.
    pub output: Vec<OutputPiece>,
    /// The value of `after` for the next call.
    pub next_cursor: i64,
    /// Whether there is more right now.
    pub has_more: bool,
    /// Where the agent stands.
    pub status: AgentStatus,
    /// What to do next, in words.
    pub next_step: String,
}

impl App {
    /// What an agent wrote and did, as text; with `wait_seconds` it waits for the first piece.
    pub async fn get_agent_output(&self, who: &Principal, id: AgentId, query: OutputQuery) -> Result<OutputPage, AppError> {
        let after = event_cursor(query.after.unwrap_or(0))?;
        let limit = page_limit(query.limit)?;
        let mut waiter = self.waiter(Topic::Agent(id), wait_seconds(query.wait_seconds, 0)?);
        loop {
            let status = self.find_agent(who, id).await?.status;
            let (output, has_more) = self.read_output(id, after, limit).await?;
            if !output.is_empty() || !status.is_live() || !waiter.changed().await {
                let next_cursor = output.last().map_or(after, |piece| piece.seq);
                let next_step = next_step(status, next_cursor, has_more);
                return Ok(OutputPage { output, next_cursor, has_more, status, next_step });
            }
        }
    }

    async fn read_output(&self, id: AgentId, mut after: i64, limit: u32) -> Result<(Vec<OutputPiece>, bool), AppError> {
        let (mut output, mut used) = (Vec::new(), 0);
        loop {
            let rows = self.store.list_agent_events(id, after, CHUNK, OUTPUT_KINDS).await?;
            let last = rows.len() < CHUNK as usize;
            for row in rows {
                after = row.seq;
                let Some(text) = readable(&row.kind) else { continue };
                let piece = OutputPiece { seq: row.seq, at: row.at, kind: row.kind.name(), text };
                used += json_chars(&piece) + 1;
                if !output.is_empty() && (output.len() >= limit as usize || used > self.settings.page_chars()) {
                    return Ok((output, true));
                }
                output.push(piece);
            }
            if last {
                return Ok((output, false));
            }
        }
    }
}

fn next_step(status: AgentStatus, cursor: i64, has_more: bool) -> String {
    match status {
        _ if has_more => format!("There is more. Call get_agent_output with after={cursor} to read on."),
        AgentStatus::Starting | AgentStatus::Busy | AgentStatus::Interrupting => {
            format!("The agent works. Call get_agent_output with after={cursor} and wait_seconds=40 for what it writes next.")
        }
        AgentStatus::Idle | AgentStatus::Parked => "The agent is at rest. send_message gives it work.".to_owned(),
        AgentStatus::Terminated | AgentStatus::Failed | AgentStatus::Lost => {
            "The agent has ended; nothing more comes. resume_agent brings it back with its conversation.".to_owned()
        }
    }
}

/// An event as a person would want to read it; nothing for kinds that are not output.
fn readable(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::ToolCall { tool, input, .. } => Some(format!("{tool} {}", excerpt(&input.to_string(), TOOL_INPUT_CHARS))),
        EventKind::ToolResult { is_error: true, text, .. } => Some(format!("error: {text}")),
        EventKind::Message { text, .. } | EventKind::ToolResult { text, .. } => Some(text.clone()),
        EventKind::Result { is_error, subtype, text, errors, .. } => {
            let mut lines = vec![if *is_error { format!("failed: {subtype}") } else { "finished".to_owned() }];
            lines.extend(text.clone());
            lines.extend(errors.iter().cloned());
            Some(lines.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_says_how_to_follow_it() {
        assert!(next_step(AgentStatus::Busy, 7, false).contains("after=7 and wait_seconds=40"));
        assert!(next_step(AgentStatus::Terminated, 7, true).contains("get_agent_output with after=7 to"));
        assert!(!next_step(AgentStatus::Parked, 7, false).contains("wait_seconds"));
    }

    #[test]
    fn output_reads_like_a_transcript() {
        let call =
            EventKind::ToolCall { tool_use_id: "1".into(), tool: "Bash".into(), input: serde_json::json!({"command": "ls"}) };
        assert_eq!(readable(&call).as_deref(), Some(r#"Bash {"command":"ls"}"#));
        let failed = EventKind::ToolResult { tool_use_id: "1".into(), is_error: true, text: "no such file".into(), result: None };
        assert_eq!(readable(&failed).as_deref(), Some("error: no such file"));
        assert_eq!(readable(&EventKind::Delta { text: "x".into() }), None);
    }
}
