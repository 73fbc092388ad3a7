//! Tasks as callers see them.

use crate::{
    app::{events::EventResource, size::excerpt},
    model::{
        agent::{AgentType, Backend},
        id::{AgentId, SwarmId, TaskId},
        run::{Changes, Failure, FailureCode, Provenance, Run, Usage},
        runner::Pause,
        task::{MessageMode, OnLost, Priority, Task, TaskStatus},
    },
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

const EXCERPT_CHARS: usize = 200;

/// A task with everything that came of it so far.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "title": "Add a health check", "description": "Add GET /health to the server in src/main.rs and a test for it.", "agent_type": "coder", "backend": "claude-code", "project": "default", "priority": "normal", "status": "in_progress", "progress": "running Bash", "timeout_seconds": 3600, "on_lost": "resume", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:04Z", "next_step": "The task is still running. Call get_task with wait_seconds=40 again."}))]
pub struct TaskResource {
    /// The task's id.
    pub id: TaskId,
    /// A short name.
    pub title: String,
    /// The prompt.
    pub description: String,
    /// The role of the agent.
    pub agent_type: AgentType,
    /// The CLI that does it.
    pub backend: Backend,
    /// The project it works in.
    pub project: String,
    /// The model asked for, else the one that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    pub status: TaskStatus,
    /// What is going on, in words.
    pub progress: String,
    /// What to do next, in words.
    pub next_step: String,
    /// The end of the latest text the agent wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub latest_output: Option<String>,
    /// The final answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub result: Option<String>,
    /// The answer in the shape of `output_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub structured_output: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<Failure>,
    /// Tokens, as the agent CLI reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// US dollars, by the agent CLI's price table.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::app::money::usd")]
    #[schema(nullable = false)]
    pub cost_usd: Option<f64>,
    /// Tokens of every model request, sub-agents and cached ones included, as the agent CLI reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<u64>,
    /// Times the turn was repeated after a fault of the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retries: Option<u32>,
    /// Present and true when the task failed although the gateway had repeated it as often as it may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub dead_letter: bool,
    /// Milliseconds of work, as the agent CLI reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub duration_ms: Option<u64>,
    /// What the agent changed in its git worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub changes: Option<Changes>,
    /// The agent that works or worked on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// The swarm whose members do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub swarm_id: Option<SwarmId>,
    /// How it reaches its agent, when it is a message to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mode: Option<MessageMode>,
    /// The task whose running turn the message joined; its result is that of this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub joined_task_id: Option<TaskId>,
    /// Seconds the agent may work.
    pub timeout_seconds: u32,
    /// What happens when the agent's process is lost.
    pub on_lost: OnLost,
    /// US dollars the agent may spend.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub budget_usd: Option<f64>,
    /// Tokens the agent may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub budget_tokens: Option<u64>,
    /// Seconds of silence after which it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub idle_timeout_seconds: Option<u32>,
    /// Bytes the agent CLI may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_output_bytes: Option<u64>,
    /// Memory of the agent CLI and all it starts, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_memory_bytes: Option<u64>,
    /// Processes of the agent CLI and all it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_processes: Option<u32>,
    /// Present and true when somebody asked to stop the task.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub cancel_requested: bool,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When an agent began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_at: Option<DateTime<Utc>>,
    /// Only when `after` was given: the events after that cursor, without single text pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub events: Option<Vec<EventResource>>,
    /// Only when `after` was given: the value of `after` for the next call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<i64>,
}

impl TaskResource {
    /// What callers see of `task` and its current or last run. `pause`: why no turn is begun for now.
    pub(super) fn new(task: Task, run: Option<Run>, pause: Option<Pause>) -> Self {
        let (mut run_progress, mut latest_output, mut outcome) = (String::new(), None, crate::model::run::RunOutcome::default());
        if let Some(run) = run {
            run_progress = run.progress;
            latest_output = Some(run.latest_output).filter(|text| !text.is_empty());
            outcome = run.outcome;
        }
        Self {
            progress: progress(&task, run_progress, pause),
            next_step: next_step(&task),
            id: task.id,
            title: task.title,
            description: task.description,
            agent_type: task.agent_type,
            backend: task.backend,
            project: task.project,
            model: task.model.or(outcome.model),
            priority: task.priority,
            status: task.status,
            latest_output,
            result: outcome.result,
            structured_output: outcome.structured_output,
            failure: task.failure,
            usage: outcome.usage,
            cost_usd: outcome.cost_usd,
            tokens: outcome.tokens,
            retries: Some(outcome.retries).filter(|retries| *retries > 0),
            dead_letter: task.dead_letter,
            duration_ms: outcome.duration_ms,
            changes: outcome.changes,
            agent_id: task.agent_id,
            swarm_id: task.swarm_id,
            mode: task.mode,
            joined_task_id: task.joined_task_id,
            timeout_seconds: task.timeout_seconds,
            on_lost: task.on_lost,
            budget_usd: task.budget_usd,
            budget_tokens: task.limits.budget_tokens,
            idle_timeout_seconds: task.limits.idle_timeout_seconds,
            max_output_bytes: task.limits.max_output_bytes,
            max_memory_bytes: task.limits.max_memory_bytes,
            max_processes: task.limits.max_processes,
            cancel_requested: task.cancel_requested,
            provenance: task.provenance,
            created_at: task.created_at,
            updated_at: task.updated_at,
            started_at: task.started_at,
            ended_at: task.ended_at,
            events: None,
            next_cursor: None,
        }
    }
}

fn progress(task: &Task, of_run: String, pause: Option<Pause>) -> String {
    if let (TaskStatus::Created, false, Some(pause)) = (task.status, task.cancel_requested, pause) {
        return format!("queued; {pause}");
    }
    let word = match task.status {
        TaskStatus::Complete if task.joined_task_id.is_some() => "joined the running turn",
        TaskStatus::Failed => {
            // Also of one that never had a run.
            return task.failure.as_ref().map_or("failed".to_owned(), |failure| format!("failed: {}", failure.code));
        }
        TaskStatus::Cancelled => "stopped by request",
        TaskStatus::Complete => "finished",
        _ if task.cancel_requested => "stopping",
        TaskStatus::Created => "queued",
        _ if !of_run.is_empty() => return of_run,
        TaskStatus::Assigned => "an agent is being prepared",
        TaskStatus::InProgress | TaskStatus::Revision => "the agent works",
        TaskStatus::Review => "the result is being reviewed",
    };
    word.to_owned()
}

fn next_step(task: &Task) -> String {
    if let Some(joined) = task.joined_task_id {
        return format!(
            "The message joined the running turn. Call get_task with the id {joined} and wait_seconds=40 for its end."
        );
    }
    let words = match task.status {
        TaskStatus::Failed if task.dead_letter => {
            "The gateway repeated the turn as often as it may; failure.detail says what went wrong. Create the task again when the provider is back."
        }
        TaskStatus::Created if task.swarm_id.is_some() && task.agent_id.is_none() => {
            "The task waits for the next free agent of its type in its swarm; get_swarm_status shows who works. Call get_task with this id and wait_seconds=40, again until it has ended."
        }
        TaskStatus::Created if task.mode.is_some() => {
            "The message waits for its agent. Call get_task with this id and wait_seconds=40, again until it has ended."
        }
        TaskStatus::Complete => "The task is complete: read result, structured_output and changes, and tell the user.",
        TaskStatus::Cancelled => "The task was cancelled. Create a new task if the work is still wanted.",
        TaskStatus::Failed if task.failure.as_ref().is_some_and(|failure| failure.retryable) => {
            "The task failed; failure.detail says why. Trying again may help: create the task again with a new idempotency_key."
        }
        TaskStatus::Failed => "The task failed. Do what failure.detail says before creating the task again.",
        _ if task.cancel_requested => "The task is being stopped. Call get_task with wait_seconds=40 to see it end.",
        TaskStatus::Created => {
            "The task waits for a free agent. Call get_task with this id and wait_seconds=40, again until it has ended."
        }
        TaskStatus::Assigned | TaskStatus::InProgress | TaskStatus::Review | TaskStatus::Revision => {
            "The task is still running. Call get_task with this id and wait_seconds=40, again until it has ended."
        }
    };
    words.to_owned()
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskSummary {
    /// The task's id.
    pub id: TaskId,
    /// A short name.
    pub title: String,
    /// The first 200 characters of the prompt.
    pub description: String,
    /// The role of the agent.
    pub agent_type: AgentType,
    /// The project it works in.
    pub project: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure_code: Option<FailureCode>,
    /// The agent that works or worked on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_at: Option<DateTime<Utc>>,
}

impl From<Task> for TaskSummary {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            title: task.title,
            description: excerpt(&task.description, EXCERPT_CHARS),
            agent_type: task.agent_type,
            project: task.project,
            priority: task.priority,
            status: task.status,
            failure_code: task.failure.map(|failure| failure.code),
            agent_id: task.agent_id,
            provenance: task.provenance,
            created_at: task.created_at,
            ended_at: task.ended_at,
        }
    }
}

/// A page of tasks, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"tasks": [{"id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "title": "Add a health check", "description": "Add GET /health to the server.", "agent_type": "coder", "project": "default", "priority": "normal", "status": "complete", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "ended_at": "2026-11-20T10:01:12Z"}], "next_cursor": "task_0193f2a87c3e7d10b5a1c2d3e4f50617"}))]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskSummary>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<TaskId>,
}
