//! Operations on agents.

use super::{
    App,
    error::AppError,
    size::{excerpt, json_chars, take_within},
    tasks::{event_cursor, page_cursor, page_limit},
    wait::wait_seconds,
};
use crate::{
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, AgentType, Backend},
        event::EventKind,
        id::{AgentId, TaskId},
        key::Principal,
        limits::RESPONSE_CHARS,
        run::{Provenance, Run},
    },
    store::AgentFilter,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Kinds of events that make up an agent's readable output.
const OUTPUT_KINDS: &[&str] = &["message", "tool_call", "tool_result", "result"];
/// Rows read at once; one may have megabytes.
const CHUNK: u32 = 32;
/// Characters shown of a tool's input; the event holds all of it.
const TOOL_INPUT_CHARS: usize = 2_000;

/// Which agents to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentQuery {
    /// Only agents with this status.
    #[param(nullable = false)]
    pub status: Option<AgentStatus>,
    /// Most agents to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^agent_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

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

/// An agent: a worker that outlives its processes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "coder-1a2b3c", "agent_type": "coder", "backend": "claude-code", "project": "default", "status": "busy", "task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "progress": "running Bash", "session_id": "5f0c8a3e-8d0e-4e0b-9d0a-0c9a51d1a2b3", "workspace": "/data/workspaces/agent", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:04Z"}))]
pub struct AgentResource {
    /// The agent's id.
    pub id: AgentId,
    /// A readable name.
    pub name: String,
    /// Its role.
    pub agent_type: AgentType,
    /// The CLI behind it.
    pub backend: Backend,
    /// The project it works in.
    pub project: String,
    /// The model asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// Where it stands.
    pub status: AgentStatus,
    /// The task it works or last worked on. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_id: Option<TaskId>,
    /// What is or was going on, in words. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub progress: Option<String>,
    /// The end of the latest text it wrote. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub latest_output: Option<String>,
    /// The CLI's session id.
    pub session_id: Uuid,
    /// Directory it works in, on the gateway's machine.
    pub workspace: String,
    /// Git branch of its worktree, when the project is a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub branch: Option<String>,
    /// Commit its worktree started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub base_commit: Option<String>,
    /// Whether a real model or the rehearsal model answers it.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

impl AgentResource {
    fn new(agent: Agent, run: Option<Run>) -> Self {
        let (task_id, progress, latest_output) =
            run.map_or((None, None, None), |run| (Some(run.task_id), Some(run.progress), Some(run.latest_output)));
        Self {
            id: agent.id,
            name: agent.name,
            agent_type: agent.agent_type,
            backend: agent.backend,
            project: agent.project,
            model: agent.model,
            status: agent.status,
            task_id,
            progress: progress.filter(|text| !text.is_empty()),
            latest_output: latest_output.filter(|text| !text.is_empty()),
            session_id: agent.session_id,
            workspace: agent.workspace,
            branch: agent.branch,
            base_commit: agent.base_commit,
            provenance: agent.provenance,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

/// A page of agents, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"agents": [{"id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "coder-1a2b3c", "agent_type": "coder", "backend": "claude-code", "project": "default", "status": "parked", "session_id": "5f0c8a3e-8d0e-4e0b-9d0a-0c9a51d1a2b3", "workspace": "/data/workspaces/agent", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:01:12Z"}]}))]
pub struct AgentPage {
    /// The agents.
    pub agents: Vec<AgentResource>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<AgentId>,
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
#[schema(example = json!({"output": [{"seq": 3, "at": "2026-11-20T10:00:04Z", "kind": "message", "text": "I will look at the server first."}, {"seq": 4, "at": "2026-11-20T10:00:05Z", "kind": "tool_call", "text": "Read {\"file_path\":\"src/main.rs\"}"}], "next_cursor": 4, "has_more": false, "status": "busy"}))]
pub struct OutputPage {
    /// The pieces.
    pub output: Vec<OutputPiece>,
    /// The value of `after` for the next call.
    pub next_cursor: i64,
    /// Whether there is more right now.
    pub has_more: bool,
    /// Where the agent stands.
    pub status: AgentStatus,
}

impl App {
    /// The caller's agents, newest first.
    pub async fn list_agents(&self, who: &Principal, query: &AgentQuery) -> Result<AgentPage, AppError> {
        let limit = page_limit(query.limit)?;
        let before = query.cursor.as_deref().map(page_cursor).transpose()?;
        let filter = AgentFilter { owner: who.owner_filter(), status: query.status, before, limit: limit + 1 };
        let mut agents = self.store.list_agents(&filter).await?;
        let more = agents.len() > limit as usize;
        agents.truncate(limit as usize);
        let agents = agents.into_iter().map(|agent| AgentResource::new(agent, None)).collect();
        let (agents, cut) = take_within(agents, RESPONSE_CHARS - 1_000);
        let next_cursor = agents.last().filter(|_| more || cut).map(|agent| agent.id);
        Ok(AgentPage { agents, next_cursor })
    }

    /// One agent with what it does now.
    pub async fn get_agent(&self, who: &Principal, id: AgentId) -> Result<AgentResource, AppError> {
        let agent = self.find_agent(who, id).await?;
        let run = self.store.latest_run_of_agent(id).await?;
        Ok(AgentResource::new(agent, run))
    }

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
                return Ok(OutputPage { output, next_cursor, has_more, status });
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
                if !output.is_empty() && (output.len() >= limit as usize || used > RESPONSE_CHARS - 1_000) {
                    return Ok((output, true));
                }
                output.push(piece);
            }
            if last {
                return Ok((output, false));
            }
        }
    }

    pub(super) async fn find_agent(&self, who: &Principal, id: AgentId) -> Result<Agent, AppError> {
        let found = self.store.get_agent(id, who.owner_filter()).await?;
        found.ok_or_else(|| AppError::NotFound(format!("you have no agent {id}; list_agents shows the ones you have")))
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
    fn output_reads_like_a_transcript() {
        let call =
            EventKind::ToolCall { tool_use_id: "1".into(), tool: "Bash".into(), input: serde_json::json!({"command": "ls"}) };
        assert_eq!(readable(&call).as_deref(), Some(r#"Bash {"command":"ls"}"#));
        let failed = EventKind::ToolResult { tool_use_id: "1".into(), is_error: true, text: "no such file".into(), result: None };
        assert_eq!(readable(&failed).as_deref(), Some("error: no such file"));
        assert_eq!(readable(&EventKind::Delta { text: "x".into() }), None);
    }
}
