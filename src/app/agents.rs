//! Operations on agents.

mod control;
mod create;
mod message;
mod output;
mod view;

pub use control::{InterruptAgent, InterruptAgents, InterruptedAgents, ResumeAgent, TerminateAgent};
pub use create::{CreateAgent, CreatedAgent, ForkAgent};
pub use message::SendMessage;
pub use output::{OutputPage, OutputPiece, OutputQuery};
pub use view::{AgentPage, AgentResource, QueuedMessage};

use super::{
    App,
    error::{AppError, Missing},
    size::take_within,
    tasks::{page_cursor, page_limit},
    wait::{Waiter, wait_seconds},
};
use crate::{
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, AgentType},
        id::AgentId,
        key::Principal,
        quota::KeyLimits,
    },
    store::AgentFilter,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Most waiting messages shown with an agent.
const QUEUE_ITEMS: u32 = 20;

/// Which agents to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AgentQuery {
    /// Only agents with this status.
    #[param(nullable = false)]
    pub status: Option<AgentStatus>,
    /// Only agents with this role.
    #[param(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// Most agents to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^agent_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// How to look at one agent.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetAgent {
    /// Seconds to wait until the agent has nothing more to do, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

impl App {
    /// The caller's agents, newest first.
    pub async fn list_agents(&self, who: &Principal, query: &AgentQuery) -> Result<AgentPage, AppError> {
        let limit = page_limit(query.limit)?;
        let before = query.cursor.as_deref().map(page_cursor).transpose()?;
        let (status, agent_type) = (query.status, query.agent_type);
        let filter = AgentFilter { owner: who.owner_filter(), status, agent_type, before, limit: limit + 1 };
        let mut agents = self.store.list_agents(&filter).await?;
        let more = agents.len() > limit as usize;
        agents.truncate(limit as usize);
        let (agents, cut) = take_within(agents.into_iter().map(AgentResource::from).collect(), self.settings.page_chars());
        let next_cursor = agents.last().filter(|_| more || cut).map(|agent: &AgentResource| agent.id);
        Ok(AgentPage { agents, next_cursor })
    }

    /// One agent with what it does now; with `wait_seconds` as soon as it has nothing more to do.
    pub async fn get_agent(&self, who: &Principal, id: AgentId, how: GetAgent) -> Result<AgentResource, AppError> {
        let mut waiter = self.waiter(Topic::Agent(id), wait_seconds(how.wait_seconds, 0)?);
        let is_working = |status| matches!(status, AgentStatus::Starting | AgentStatus::Busy | AgentStatus::Interrupting);
        loop {
            let agent = self.find_agent(who, id).await?;
            let has_work =
                !agent.status.is_ended() && (is_working(agent.status) || self.store.count_waiting_messages(agent.id).await? > 0);
            if !has_work || !waiter.changed().await {
                return self.agent_resource(agent).await;
            }
        }
    }

    /// Reads the agent until it is as wanted or the waiter gives up.
    async fn agent_when(
        &self,
        who: &Principal,
        id: AgentId,
        mut waiter: Waiter,
        is_wanted: impl Fn(&Agent) -> bool,
    ) -> Result<Agent, AppError> {
        loop {
            let agent = self.find_agent(who, id).await?;
            if is_wanted(&agent) || !waiter.changed().await {
                return Ok(agent);
            }
        }
    }

    async fn agent_resource(&self, agent: Agent) -> Result<AgentResource, AppError> {
        let run = self.store.latest_run_of_agent(agent.id).await?;
        let usage = self.store.agent_usage(agent.id, None).await?;
        let waiting = self.store.count_waiting_messages(agent.id).await?;
        let queue = self.store.list_waiting_messages(agent.id, QUEUE_ITEMS).await?;
        let process = if agent.status.is_live() { self.bus.process_facts(agent.id).await } else { None };
        Ok(AgentResource::complete(agent, run, usage, waiting, queue, process))
    }

    pub(super) async fn find_agent(&self, who: &Principal, id: AgentId) -> Result<Agent, AppError> {
        let found = self.store.get_agent(id, who.owner_filter()).await?;
        found.ok_or_else(|| {
            AppError::NotFound(Missing::Agent, format!("you have no agent {id}; list_agents shows the ones you have"))
        })
    }

    /// The limits of the key that the agent was made with.
    async fn limits_of(&self, agent: &Agent) -> Result<KeyLimits, AppError> {
        let key = match agent.key_id {
            Some(key) => self.store.get_key(key).await?,
            None => None,
        };
        Ok(key.map(|key| key.limits).unwrap_or_default().or(self.settings.key_limits))
    }

    /// Why a message was refused.
    pub(super) async fn agent_ended(&self, id: Option<AgentId>) -> AppError {
        let found = match id {
            Some(id) => self.store.get_agent(id, None).await,
            None => Ok(None),
        };
        match found {
            Ok(Some(agent)) => {
                let status = if agent.terminate_requested { AgentStatus::Terminated } else { agent.status };
                self.ended_swarm(&agent).await.unwrap_or(AppError::AgentEnded { id: agent.id, status })
            }
            Ok(None) => AppError::NotFound(Missing::Agent, "the agent is gone".into()),
            Err(error) => error.into(),
        }
    }
}
