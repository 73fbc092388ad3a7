//! Swarms as callers see them.

use crate::{
    app::{size::excerpt, workflows::WorkflowRunResource},
    model::{
        agent::{Agent, AgentStatus, AgentType, Backend},
        id::{AgentId, MessageId, SwarmId, WorkflowRunId},
        run::Provenance,
        swarm::{Swarm, SwarmHealth, SwarmStatus, Topology, scaling::Scaling},
        task::TaskStatus,
        team::TeamMessage,
        workflow::run::{WorkflowRun, WorkflowRunStatus},
    },
    store::SwarmTotals,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Most questions to the user shown, characters of each, and of the one in the next step.
const QUESTIONS_SHOWN: usize = 5;
const QUESTION_CHARS: usize = 500;
const ASKED_CHARS: usize = 500;

/// An agent of a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SwarmAgent {
    /// The agent, for `get_agent`, `send_message` and `interrupt_agents`.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub agent_type: AgentType,
    /// Where it stands. parked: it rests without a process and goes on with its next turn.
    pub status: AgentStatus,
    /// The CLI behind it.
    pub backend: Backend,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// Present and true when it was added for a task that nobody was free for; it ends when it has had nothing to do for a while.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub scaled: bool,
}

/// Tasks of a swarm's agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SwarmTasks {
    /// Those that wait, also those that nobody has yet.
    pub waiting: i64,
    /// Those that are worked on or judged.
    pub active: i64,
    /// Those that are done.
    pub complete: i64,
    /// Those that failed.
    pub failed: i64,
    /// Those that were stopped.
    pub cancelled: i64,
}

/// Something a member of a swarm wants to know of its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SwarmQuestion {
    /// The message, for `in_reply_to` of `send_message`.
    pub id: MessageId,
    /// Who asks, and whom `send_message` takes the answer to.
    pub agent_id: AgentId,
    /// Its name.
    pub agent_name: String,
    /// What it is about.
    pub subject: String,
    /// The beginning of the question; the whole is among the messages of the team.
    pub text: String,
    /// When the answer should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deadline: Option<DateTime<Utc>>,
    /// Whether the deadline has passed.
    pub overdue: bool,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
}

/// A swarm.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "swarm_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "star-1a2b3c", "topology": "star", "project": "default", "status": "active", "health": "healthy", "health_reasons": [], "agent_count": 4, "max_agents": 64, "auto_scale": false, "agents": [{"id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "coordinator-0", "type": "coordinator", "status": "busy", "backend": "claude-code"}], "active_runs": ["wfrun_0193f2a87c3e7d10b5a1c2d3e4f50617"], "tasks": {"waiting": 0, "active": 1, "complete": 3, "failed": 0, "cancelled": 0}, "messages": 2, "open_questions": 0, "questions": [], "circles_broken": 0, "turns": 4, "cost_usd": 0.2, "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:00Z", "next_step": "It works. Call get_workflow_run with the id in active_runs and wait_seconds=40."}))]
pub struct SwarmResource {
    /// The swarm's id.
    pub id: SwarmId,
    /// A readable name.
    pub name: String,
    /// How its agents work together.
    pub topology: Topology,
    /// The project they work in.
    pub project: String,
    /// What it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub objective: Option<String>,
    /// Where it stands.
    pub status: SwarmStatus,
    /// How it is doing.
    pub health: SwarmHealth,
    /// Why it is not healthy.
    pub health_reasons: Vec<String>,
    /// Agents that have not ended.
    pub agent_count: usize,
    /// Most agents it may have.
    pub max_agents: u32,
    /// Whether agents are added for tasks that nobody is free for.
    pub auto_scale: bool,
    /// Its agents, without those that were added for tasks and are not needed any more. Empty in lists.
    pub agents: Vec<SwarmAgent>,
    /// Its runs that have not ended, for `get_workflow_run`.
    pub active_runs: Vec<WorkflowRunId>,
    /// Its newest run. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub latest_run: Option<WorkflowRunResource>,
    /// How the gateway has scaled it, the latest first, at most 20. Empty in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub scaling: Vec<Scaling>,
    /// Tasks of its agents.
    pub tasks: SwarmTasks,
    /// Messages between its agents and with you.
    pub messages: i64,
    /// Questions of its agents to you that you have not answered. An agent that has ended wants no answer.
    pub open_questions: usize,
    /// These questions, the most urgent first, at most 5. Empty in lists.
    pub questions: Vec<SwarmQuestion>,
    /// Circles of agents waiting for one another that the gateway has broken; each is among the messages of the team.
    pub circles_broken: i64,
    /// Turns its agents have begun.
    pub turns: i64,
    /// US dollars of its turns, by the agent CLI's price table; absent while it reported none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::app::money::usd")]
    #[schema(nullable = false)]
    pub cost_usd: Option<f64>,
    /// Tokens of its turns, as the agent CLI reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<i64>,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stopped_at: Option<DateTime<Utc>>,
    /// What to do next, in words.
    pub next_step: String,
}

impl SwarmResource {
    /// Whether runs or tasks go on.
    pub(super) fn is_at_work(&self) -> bool {
        !self.active_runs.is_empty() || self.agent_count > 0 && self.tasks.waiting + self.tasks.active > 0
    }
}

/// How swarms are doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"swarms": []}))]
pub struct SwarmStatusReport {
    /// The swarms, newest first.
    pub swarms: Vec<SwarmResource>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<SwarmId>,
}

fn health(
    members: &[Agent],
    living: usize,
    runs: &[WorkflowRun],
    latest: Option<&WorkflowRunResource>,
    totals: &SwarmTotals,
    roleless: Vec<String>,
    questions: &[SwarmQuestion],
) -> (SwarmHealth, Vec<String>) {
    let mut reasons = roleless;
    for agent in members.iter().filter(|agent| matches!(agent.status, AgentStatus::Failed | AgentStatus::Lost)) {
        let why = agent.failure.as_ref().map(|failure| format!(": {}", failure.detail)).unwrap_or_default();
        reasons.push(format!("{} is {}{why}", agent.name, agent.status));
    }
    for run in runs.iter().filter(|run| run.status == WorkflowRunStatus::Waiting) {
        reasons.push(format!("{} waits for an answer (answer_workflow_run)", run.id));
    }
    for (agent_type, count) in &totals.unassigned {
        if !members.iter().any(|agent| super::can_work(agent) && agent.agent_type == *agent_type) {
            reasons.push(format!("{count} tasks wait for a {agent_type}, and it has none"));
        }
    }
    if totals.open_circles > 0 {
        let count = totals.open_circles;
        reasons.push(format!("in {count} broken circles of delegation the last agent has not answered yet"));
    }
    for question in questions.iter().take(QUESTIONS_SHOWN) {
        let since = if question.overdue { ", which is overdue" } else { "" };
        reasons.push(format!("{} waits for an answer of yours{since} ({})", question.agent_name, question.id));
    }
    if let Some(failure) = latest.and_then(|run| run.failure.as_ref()) {
        reasons.push(format!("its newest run failed: {}", failure.detail));
    }
    if living == 0 {
        reasons.insert(0, "none of its agents can work".into());
        return (SwarmHealth::Down, reasons);
    }
    (if reasons.is_empty() { SwarmHealth::Healthy } else { SwarmHealth::Degraded }, reasons)
}

fn next_step(
    id: SwarmId,
    status: SwarmStatus,
    living: usize,
    runs: &[WorkflowRun],
    tasks: SwarmTasks,
    questions: &[SwarmQuestion],
) -> String {
    match status {
        SwarmStatus::Stopped => return "It is stopped for good. Spawn another swarm for more work.".into(),
        SwarmStatus::Stopping => return "Its agents are being ended. Call get_swarm_status again in a moment.".into(),
        SwarmStatus::Active => {}
    }
    if living == 0 {
        return "None of its agents can work. Bring one back (resume_agent), add some with `mas swarm scale`, or stop it (stop_swarm) \
                and spawn another one."
            .into();
    }
    let asked = questions.first().map(asked).unwrap_or_default();
    let rest = match (runs.first(), tasks) {
        (Some(run), _) if run.status == WorkflowRunStatus::Waiting => {
            format!("Its run {} waits for an answer: call get_workflow_run for the question.", run.id)
        }
        (Some(run), _) => format!("It works. Call get_workflow_run with {} and wait_seconds=40.", run.id),
        (None, SwarmTasks { waiting, active, .. }) if waiting + active > 0 => {
            format!(
                "It works on tasks: {active} are under way, {waiting} wait. Call get_swarm_status with swarm_id {id} and wait_seconds=40."
            )
        }
        (None, _) if !questions.is_empty() => String::new(),
        (None, _) => "It is free: give it an objective (run_swarm), or stop it (stop_swarm).".into(),
    };
    [asked, rest].iter().filter(|words| !words.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// What to do about a question to the user.
pub(in crate::app) fn asked(question: &SwarmQuestion) -> String {
    let text = excerpt(&question.text, ASKED_CHARS);
    format!(
        "{} asks the user: \"{}: {text}\" Ask the user, then call send_message with {}, the answer as text, and in_reply_to {}.",
        question.agent_name, question.subject, question.agent_id, question.id
    )
}

/// Open questions as callers see them.
pub(in crate::app) fn open_questions(messages: &[TeamMessage], members: &[Agent], now: DateTime<Utc>) -> Vec<SwarmQuestion> {
    let question = |message: &TeamMessage| {
        let agent = members.iter().find(|agent| Some(agent.id) == message.from_agent)?;
        Some(SwarmQuestion {
            id: message.id,
            agent_id: agent.id,
            agent_name: agent.name.clone(),
            subject: message.subject.clone(),
            text: excerpt(&message.body, QUESTION_CHARS),
            deadline: message.deadline,
            overdue: message.is_overdue(&[], None, now),
            created_at: message.created_at,
        })
    };
    messages.iter().filter_map(question).collect()
}

/// What is known of a swarm besides its row.
pub(super) struct Known<'a> {
    /// Its members in the order of joining, ended ones included.
    pub(super) members: &'a [Agent],
    pub(super) totals: &'a SwarmTotals,
    /// Its runs that have not ended.
    pub(super) runs: &'a [WorkflowRun],
    /// Its newest run.
    pub(super) latest: Option<WorkflowRunResource>,
    pub(super) scaling: Vec<Scaling>,
    /// Which of its agents cannot be started, because their role is gone.
    pub(super) roleless: Vec<String>,
    /// What its living members want to know of the user, the most urgent first.
    pub(super) questions: Vec<SwarmQuestion>,
}

impl SwarmResource {
    pub(super) fn of(swarm: Swarm, known: Known<'_>, whole: bool) -> Self {
        let Known { members, totals, runs, latest, scaling, roleless, mut questions } = known;
        let living = members.iter().filter(|agent| super::can_work(agent)).count();
        let is_ending = members.iter().any(|agent| !agent.status.is_ended()) || !runs.is_empty();
        let status = if swarm.status == SwarmStatus::Stopped && is_ending { SwarmStatus::Stopping } else { swarm.status };
        let (health, health_reasons) = match status {
            SwarmStatus::Active => health(members, living, runs, latest.as_ref(), totals, roleless, &questions),
            SwarmStatus::Stopping | SwarmStatus::Stopped => (SwarmHealth::Down, vec![format!("it is {status}")]),
        };
        let mut tasks = SwarmTasks::default();
        for (status, count) in &totals.tasks {
            *match status {
                TaskStatus::Created => &mut tasks.waiting,
                TaskStatus::Assigned | TaskStatus::InProgress | TaskStatus::Review | TaskStatus::Revision => &mut tasks.active,
                TaskStatus::Complete => &mut tasks.complete,
                TaskStatus::Failed => &mut tasks.failed,
                TaskStatus::Cancelled => &mut tasks.cancelled,
            } += count;
        }
        let (next_step, open_questions) = (next_step(swarm.id, status, living, runs, tasks, &questions), questions.len());
        questions.truncate(if whole { QUESTIONS_SHOWN } else { 0 });
        // Of those that came and went with its tasks there may be any number; `scaling` tells of them.
        let shown = members.iter().filter(|agent| whole && !(agent.scaled && agent.status == AgentStatus::Terminated));
        let agents = shown.map(|agent| SwarmAgent {
            id: agent.id,
            name: agent.name.clone(),
            agent_type: agent.agent_type,
            status: agent.status,
            backend: agent.backend,
            model: agent.model.clone(),
            scaled: agent.scaled,
        });
        Self {
            id: swarm.id,
            name: swarm.name,
            topology: swarm.topology,
            project: swarm.project,
            objective: swarm.objective,
            status,
            health,
            health_reasons,
            agent_count: living,
            max_agents: swarm.max_agents,
            auto_scale: swarm.auto_scale,
            scaling,
            agents: agents.collect(),
            active_runs: runs.iter().map(|run| run.id).collect(),
            latest_run: latest.filter(|_| whole),
            tasks,
            messages: totals.messages,
            open_questions,
            questions,
            circles_broken: totals.circles,
            turns: totals.usage.turns,
            cost_usd: totals.usage.cost_usd,
            tokens: totals.usage.tokens,
            provenance: swarm.provenance,
            created_at: swarm.created_at,
            updated_at: swarm.updated_at,
            stopped_at: swarm.stopped_at,
            next_step,
        }
    }
}
