//! The tasks that are the turns of a run, and the agents it makes for itself.

use super::Orchestrator;
use crate::model::{
    agent::{Agent, AgentStatus, AgentType},
    id::{AgentId, TaskId},
    quota::WorkLimits,
    task::{MessageMode, OnLost, Priority, Task, TaskStatus},
    workflow::{plan::TurnSpec, run::WorkflowRun},
};
use chrono::Utc;
use uuid::Uuid;

impl Orchestrator {
    /// The agent type of a stage. One whose role was removed meanwhile is a coder.
    fn agent_type(&self, role: &str) -> AgentType {
        role.parse().ok().filter(|name| self.settings.roles.get(*name).is_some()).unwrap_or(AgentType::CODER)
    }

    /// An agent of the run's own, at rest until its first turn. It ends with the run.
    pub(super) fn new_agent(&self, run: &WorkflowRun, name: &str, spec: &TurnSpec) -> Agent {
        let now = Utc::now();
        let name: String = name.chars().take(100).collect();
        let agent_type = self.agent_type(&spec.role);
        Agent {
            id: AgentId::generate(),
            owner: run.owner.clone(),
            key_id: run.key_id,
            name,
            agent_type,
            backend: spec.backend.unwrap_or_else(|| self.settings.roles.backend_of(agent_type)),
            project: run.project.clone(),
            model: spec.model.clone().or_else(|| self.settings.roles.model_of(agent_type)),
            status: AgentStatus::Parked,
            generation: 1,
            durable: true,
            system_prompt: None,
            limits: WorkLimits::default(),
            session_id: Uuid::new_v4(),
            session_started: false,
            swarm_id: None,
            swarm_place: None,
            scaled: false,
            workspace_name: Some(run.id.to_string()),
            forked_from: None,
            terminate_requested: false,
            failure: None,
            idempotency_key: None,
            request_hash: String::new(),
            workspace: String::new(),
            branch: None,
            base_commit: None,
            provenance: run.provenance,
            created_at: now,
            updated_at: now,
        }
    }

    /// The task of a turn: for an agent of its own, or a message to `agent`.
    pub(super) fn new_task(&self, run: &WorkflowRun, spec: &TurnSpec, agent: Option<AgentId>) -> Task {
        let now = Utc::now();
        let agent_type = self.agent_type(&spec.role);
        Task {
            id: TaskId::generate(),
            owner: run.owner.clone(),
            key_id: run.key_id,
            title: spec.title.clone(),
            description: spec.prompt.clone(),
            agent_type,
            backend: spec.backend.unwrap_or_else(|| self.settings.roles.backend_of(agent_type)),
            project: run.project.clone(),
            model: spec.model.clone().or_else(|| self.settings.roles.model_of(agent_type)).filter(|_| agent.is_none()),
            priority: Priority::Normal,
            timeout_seconds: spec.timeout_seconds,
            budget_usd: run.input.turn_budget_usd,
            limits: WorkLimits::default(),
            mode: agent.map(|_| MessageMode::Queue),
            workflow_run_id: Some(run.id),
            swarm_id: None,
            workspace_name: agent.is_none().then(|| run.id.to_string()),
            reviewed: spec.reviewed,
            traceparent: run.traceparent.clone(),
            joined_task_id: None,
            on_lost: OnLost::Resume,
            output_schema: spec.output_schema.clone(),
            idempotency_key: None,
            request_hash: String::new(),
            status: TaskStatus::Created,
            generation: 0,
            cancel_requested: false,
            agent_id: agent,
            run_id: None,
            failure: None,
            dead_letter: false,
            provenance: run.provenance,
            created_at: now,
            updated_at: now,
            started_at: None,
            ended_at: None,
        }
    }
}
