//! Agents as callers see them.

use crate::{
    app::size::excerpt,
    model::{
        agent::{Agent, AgentStatus, AgentType, Backend},
        id::{AgentId, TaskId},
        run::{Failure, Provenance, Run},
        runner::ProcessFacts,
        task::{MessageMode, Task},
    },
    store::AgentUsage,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// An agent: a worker that outlives its processes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "coder-1a2b3c", "agent_type": "coder", "backend": "claude-code", "project": "default", "status": "busy", "task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "progress": "using the tool Bash", "process": {"pid": 4711, "started_at": "2026-11-20T10:00:00Z", "rss_bytes": 209_715_200, "cpu_seconds": 1.5, "processes": 2}, "queued": 0, "turns": 1, "cost_usd": 0.04, "session_id": "5f0c8a3e-8d0e-4e0b-9d0a-0c9a51d1a2b3", "workspace": "/data/workspaces/agent", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:04Z", "next_step": "The agent works. Call get_agent with wait_seconds=40 to see it finish, or get_task for the result."}))]
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
    /// Where it stands. parked: it rests without a process and goes on with its next message.
    pub status: AgentStatus,
    /// Why it could not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<Failure>,
    /// The agent whose conversation it took over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub forked_from: Option<AgentId>,
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
    /// What its processes use right now, while it has any. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub process: Option<ProcessFacts>,
    /// Messages that wait for their turn. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub queued: Option<i64>,
    /// The first of them, in the order of their turns. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub queue: Option<Vec<QueuedMessage>>,
    /// Turns it has begun. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub turns: Option<i64>,
    /// US dollars of all its turns, by the agent CLI's price table; absent while it reported none. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::app::money::usd")]
    #[schema(nullable = false)]
    pub cost_usd: Option<f64>,
    /// Tokens of all its turns, as the agent CLI reported them. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<i64>,
    /// US dollars it may spend in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub budget_usd: Option<f64>,
    /// Tokens it may use in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub budget_tokens: Option<u64>,
    /// The CLI's session id.
    pub session_id: Uuid,
    /// Directory it works in, on the gateway's machine; absent until its first process is prepared.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub workspace: String,
    /// Git branch of its worktree, when the project is a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub branch: Option<String>,
    /// Commit its worktree started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub base_commit: Option<String>,
    /// Present and true when somebody asked to end it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub terminate_requested: bool,
    /// Whether a real model or the rehearsal model answers it.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// What to do next, in words.
    pub next_step: String,
}

/// A message that waits for its turn.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueuedMessage {
    /// Its task.
    pub task_id: TaskId,
    /// The beginning of its text.
    pub text: String,
    /// How it reaches the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mode: Option<MessageMode>,
    /// When it was sent.
    pub created_at: DateTime<Utc>,
}

/// A page of agents, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"agents": [{"id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "coder-1a2b3c", "agent_type": "coder", "backend": "claude-code", "project": "default", "status": "parked", "session_id": "5f0c8a3e-8d0e-4e0b-9d0a-0c9a51d1a2b3", "workspace": "/data/workspaces/agent", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:01:12Z", "next_step": "Send the agent a message with send_message."}]}))]
pub struct AgentPage {
    /// The agents.
    pub agents: Vec<AgentResource>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<AgentId>,
}

impl From<Agent> for AgentResource {
    /// The agent as in lists.
    fn from(agent: Agent) -> Self {
        Self {
            next_step: next_step(&agent),
            id: agent.id,
            name: agent.name,
            agent_type: agent.agent_type,
            backend: agent.backend,
            project: agent.project,
            model: agent.model,
            status: agent.status,
            failure: agent.failure,
            forked_from: agent.forked_from,
            task_id: None,
            progress: None,
            latest_output: None,
            process: None,
            queued: None,
            queue: None,
            turns: None,
            cost_usd: None,
            tokens: None,
            budget_usd: agent.limits.budget_usd,
            budget_tokens: agent.limits.budget_tokens,
            session_id: agent.session_id,
            workspace: agent.workspace,
            branch: agent.branch,
            base_commit: agent.base_commit,
            terminate_requested: agent.terminate_requested && agent.status != AgentStatus::Terminated,
            provenance: agent.provenance,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

impl AgentResource {
    /// The agent with everything there is to know.
    pub(super) fn complete(
        agent: Agent,
        run: Option<Run>,
        usage: AgentUsage,
        waiting: i64,
        queue: Vec<Task>,
        process: Option<ProcessFacts>,
    ) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let (task_id, progress, latest_output) =
            run.map_or((None, None, None), |run| (Some(run.task_id), text(run.progress), text(run.latest_output)));
        let queue = queue.into_iter().map(|task| QueuedMessage {
            task_id: task.id,
            text: excerpt(&task.description, EXCERPT_CHARS),
            mode: task.mode,
            created_at: task.created_at,
        });
        Self {
            task_id,
            progress,
            latest_output,
            process,
            queued: Some(waiting),
            queue: Some(queue.collect()),
            turns: Some(usage.turns),
            cost_usd: usage.cost_usd,
            tokens: usage.tokens,
            ..Self::from(agent)
        }
    }
}

/// Characters shown of a waiting message.
const EXCERPT_CHARS: usize = 200;

fn next_step(agent: &Agent) -> String {
    let words = match agent.status {
        AgentStatus::Terminated => "The agent was ended. resume_agent brings it back with its conversation.",
        _ if agent.terminate_requested => "The agent is being ended. Call get_agent with wait_seconds=10 to see it.",
        AgentStatus::Failed | AgentStatus::Lost => {
            "The agent could not go on; failure.detail says why. Do what it says, then call resume_agent."
        }
        AgentStatus::Starting => "The agent is being started. Messages can be sent already, with send_message.",
        AgentStatus::Idle | AgentStatus::Parked => "Send the agent a message with send_message.",
        AgentStatus::Busy | AgentStatus::Interrupting => {
            "The agent works. Call get_agent with wait_seconds=40 to see it finish, or get_task with task_id for the result."
        }
    };
    words.to_owned()
}
