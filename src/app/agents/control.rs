//! Stopping turns, ending agents, and bringing ended ones back.

use super::AgentResource;
use crate::{
    app::{App, checks::whole_number, detached, error::AppError, now, wait::wait_seconds},
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus},
        id::AgentId,
        key::Principal,
        limits::PAGE_ITEMS,
    },
    store::{AgentFilter, Quota},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Seconds to wait for a turn to stop or an agent to end when the caller does not say.
const DEFAULT_WAIT: u32 = 10;

/// How long to wait for a turn to stop.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"wait_seconds": 10}))]
pub struct InterruptAgent {
    /// Seconds to wait for the turn to stop, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// Whose turns to stop. Name the agents, or say `all`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"all": true, "wait_seconds": 10}))]
pub struct InterruptAgents {
    /// The agents, at most 200.
    #[schema(nullable = false, max_items = 200)]
    pub agent_ids: Option<Vec<AgentId>>,
    /// true: every agent of yours that works.
    #[schema(nullable = false)]
    pub all: Option<bool>,
    /// Seconds to wait for the turns to stop, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// What became of a request to interrupt several agents.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"interrupted": ["agent_0193f2a87c3e7d10b5a1c2d3e4f50617"], "still_stopping": [], "were_idle": [], "next_step": "The turns have stopped. send_message gives the agents work again."}))]
pub struct InterruptedAgents {
    /// Agents whose turn was stopped.
    pub interrupted: Vec<AgentId>,
    /// Agents whose turn had not stopped within the time to wait.
    pub still_stopping: Vec<AgentId>,
    /// Agents that had no turn to stop.
    pub were_idle: Vec<AgentId>,
    /// What to do next, in words.
    pub next_step: String,
}

/// How long to wait for an agent to end.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"wait_seconds": 10}))]
pub struct TerminateAgent {
    /// Seconds to wait for its end, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// What to say when bringing an agent back.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct ResumeAgent {
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

impl App {
    /// Stops the agent's running turn; its conversation stays, and it goes on with its next message.
    pub async fn interrupt_agent(&self, who: &Principal, id: AgentId, how: InterruptAgent) -> Result<AgentResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, DEFAULT_WAIT)?;
        let agent = self.find_agent(who, id).await?;
        if !self.interrupt(who, &agent, wait).await? {
            return Err(AppError::AgentIdle { id, status: agent.status });
        }
        let agent = self.find_agent(who, id).await?;
        self.agent_resource(agent).await
    }

    /// Stops the turns of several agents, or of all that work.
    pub async fn interrupt_agents(&self, who: &Principal, which: InterruptAgents) -> Result<InterruptedAgents, AppError> {
        let wait = wait_seconds(which.wait_seconds, DEFAULT_WAIT)?;
        let agents = match (which.agent_ids, which.all.unwrap_or(false)) {
            (Some(ids), false) if !ids.is_empty() && ids.len() <= PAGE_ITEMS as usize => {
                let mut agents = Vec::with_capacity(ids.len());
                // All of them have to exist before anything is done to one.
                for id in ids {
                    agents.push(self.find_agent(who, id).await?);
                }
                agents
            }
            (None, true) => self.working_agents(who).await?,
            _ => {
                let words = format!("name 1 to {PAGE_ITEMS} agents in `agent_ids`, or set `all` to true, not both");
                return Err(AppError::field("agent_ids", words));
            }
        };
        let stopping = agents.iter().map(|agent| async move {
            let was_working = self.interrupt(who, agent, wait).await?;
            let now = self.find_agent(who, agent.id).await?;
            Ok::<_, AppError>((agent.id, was_working, is_stopping(&now)))
        });
        let mut answer =
            InterruptedAgents { interrupted: vec![], still_stopping: vec![], were_idle: vec![], next_step: String::new() };
        for outcome in futures::future::join_all(stopping).await {
            match outcome? {
                (id, true, false) => answer.interrupted.push(id),
                (id, true, true) => answer.still_stopping.push(id),
                (id, false, _) => answer.were_idle.push(id),
            }
        }
        answer.next_step = match (answer.still_stopping.as_slice(), answer.interrupted.as_slice()) {
            ([first, ..], _) => format!(
                "Some turns are still stopping. Call get_agent with the id {first} and wait_seconds=40, and so on for those in still_stopping."
            ),
            ([], []) => "No turn was running. send_message gives an agent work.".to_owned(),
            ([], _) => "The turns have stopped. send_message gives the agents work again.".to_owned(),
        };
        Ok(answer)
    }

    async fn working_agents(&self, who: &Principal) -> Result<Vec<Agent>, AppError> {
        let mut agents = Vec::new();
        for status in [AgentStatus::Starting, AgentStatus::Busy, AgentStatus::Interrupting] {
            let filter = AgentFilter {
                owner: who.owner_filter(),
                status: Some(status),
                agent_type: None,
                before: None,
                limit: PAGE_ITEMS * 50,
            };
            agents.extend(self.store.list_agents(&filter).await?);
        }
        Ok(agents)
    }

    /// Stops what the agent does and waits for it. `false`: there was nothing to stop.
    async fn interrupt(&self, who: &Principal, agent: &Agent, wait: u32) -> Result<bool, AppError> {
        let Some(task) = self.store.running_task_of(agent.id).await? else { return Ok(false) };
        let mut waiter = self.waiter(Topic::Task(task.id), wait);
        let (app, caller, id) = (self.clone(), who.clone(), task.id);
        match detached(async move { app.request_stop(&caller, id).await }).await {
            // It has just ended by itself.
            Err(AppError::IllegalTransition { .. }) => return Ok(true),
            outcome => outcome?,
        };
        loop {
            let task = self.find_task(who, task.id).await?;
            if task.status.is_terminal() || !waiter.changed().await {
                return Ok(true);
            }
        }
    }

    /// Ends an agent: its turn is stopped, its process closed, and what does not obey is killed. Messages that wait are
    /// cancelled.
    pub async fn terminate_agent(&self, who: &Principal, id: AgentId, how: TerminateAgent) -> Result<AgentResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, DEFAULT_WAIT)?;
        self.find_agent(who, id).await?;
        let waiter = self.waiter(Topic::Agent(id), wait);
        let app = self.clone();
        detached(async move {
            let waiting = app.store.list_waiting_messages(id, PAGE_ITEMS).await?;
            app.store.request_termination(id, now()).await?;
            app.bus.notify(Topic::Control(id));
            app.bus.notify(Topic::Agent(id));
            for task in &waiting {
                app.bus.notify(Topic::Task(task.id));
            }
            Ok(())
        })
        .await?;
        let agent = self.agent_when(who, id, waiter, |agent| agent.status == AgentStatus::Terminated).await?;
        self.agent_resource(agent).await
    }

    /// Brings an ended agent back to rest, with its conversation; one that has not ended stays as it is.
    pub async fn resume_agent(&self, who: &Principal, id: AgentId) -> Result<AgentResource, AppError> {
        let agent = self.find_agent(who, id).await?;
        if agent.status.is_ended() {
            if let Some(ended) = self.ended_swarm(&agent).await {
                return Err(ended);
            }
            let (app, limits) = (self.clone(), self.limits_of(&agent).await?);
            let quota = Quota::of_agent(agent.key_id, limits, self.settings.limits);
            detached(async move {
                if let Some(limit) = app.store.revive_agent(id, agent.status, &quota, now()).await? {
                    return Err(AppError::LimitReached(limit));
                }
                app.bus.notify(Topic::Agent(id));
                Ok(())
            })
            .await?;
        }
        let agent = self.find_agent(who, id).await?;
        self.agent_resource(agent).await
    }
}

fn is_stopping(agent: &Agent) -> bool {
    matches!(agent.status, AgentStatus::Interrupting)
}
