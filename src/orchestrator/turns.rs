//! The tasks that are the turns of a run, and the agents it makes for itself.

use super::Orchestrator;
use crate::model::{
    agent::{Agent, AgentType},
    id::AgentId,
    task::{MessageMode, Task},
    workflow::{plan::TurnSpec, run::WorkflowRun},
};
use chrono::Utc;

impl Orchestrator {
    /// The agent type of a stage. One whose role was removed meanwhile is a coder.
    fn agent_type(&self, role: &str) -> AgentType {
        role.parse().ok().filter(|name| self.settings.roles.get().get(*name).is_some()).unwrap_or(AgentType::CODER)
    }

    /// An agent of the run's own, at rest until its first turn. It ends with the run.
    pub(super) fn new_agent(&self, run: &WorkflowRun, name: &str, spec: &TurnSpec) -> Agent {
        let agent_type = self.agent_type(&spec.role);
        Agent {
            key_id: run.key_id,
            name: name.chars().take(100).collect(),
            backend: spec.backend.unwrap_or_else(|| self.settings.roles.get().backend_of(agent_type)),
            project: run.project.clone(),
            model: spec.model.clone().or_else(|| self.settings.roles.get().model_of(agent_type)),
            workspace_name: Some(run.id.to_string()),
            ..Agent::at_rest(run.owner.clone(), agent_type, run.provenance, Utc::now())
        }
    }

    /// The task of a turn: for an agent of its own, or a message to `agent`.
    pub(super) fn new_task(&self, run: &WorkflowRun, spec: &TurnSpec, agent: Option<AgentId>) -> Task {
        let agent_type = self.agent_type(&spec.role);
        Task {
            key_id: run.key_id,
            title: spec.title.clone(),
            description: spec.prompt.clone(),
            backend: spec.backend.unwrap_or_else(|| self.settings.roles.get().backend_of(agent_type)),
            project: run.project.clone(),
            model: spec.model.clone().or_else(|| self.settings.roles.get().model_of(agent_type)).filter(|_| agent.is_none()),
            budget_usd: run.input.turn_budget_usd,
            mode: agent.map(|_| MessageMode::Queue),
            workflow_run_id: Some(run.id),
            workspace_name: agent.is_none().then(|| run.id.to_string()),
            reviewed: spec.reviewed,
            traceparent: run.traceparent.clone(),
            output_schema: spec.output_schema.clone(),
            agent_id: agent,
            ..Task::new(run.owner.clone(), agent_type, spec.timeout_seconds, run.provenance, Utc::now())
        }
    }
}
