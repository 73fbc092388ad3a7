//! Tasks for the members of a swarm.

use super::CreateTask;
use crate::{
    app::{App, checks::Refusals, error::AppError},
    model::{
        agent::{Agent, AgentType},
        key::Principal,
        swarm::{Swarm, SwarmStatus},
        team::living,
    },
};
use std::collections::BTreeSet;

impl App {
    /// The swarm a task is for, if it is for one that can do it now or later.
    pub(super) async fn swarm_of_task(&self, who: &Principal, request: &CreateTask) -> Result<Option<Swarm>, AppError> {
        let Some(id) = request.swarm_id else { return Ok(None) };
        let unknown = || AppError::field("swarm_id", format!("you have no swarm {id}; get_swarm_status shows the ones you have"));
        let swarm = self.store.get_swarm(id, who.owner_filter()).await?.ok_or_else(unknown)?;
        // An exact repeat is answered as the first time, whatever became of the swarm.
        if let Some(key) = &request.idempotency_key
            && self.store.find_task_by_key(&swarm.owner, key).await?.is_some()
        {
            return Ok(Some(swarm));
        }
        if swarm.status != SwarmStatus::Active {
            return Err(AppError::SwarmEnded { id, status: swarm.status });
        }
        let members = living(self.store.list_members(id).await?);
        let mut refusals = Refusals::default();
        let wanted = request.agent_type.unwrap_or(AgentType::CODER);
        refusals.check(can_be_done(&swarm, &members, wanted), "agent_type", || {
            let types: BTreeSet<&str> = members.iter().map(|agent| agent.agent_type.as_str()).collect();
            let there_are = match types.len() {
                0 => "no agent that can work".to_owned(),
                _ => types.into_iter().collect::<Vec<_>>().join(", "),
            };
            let why = if swarm.auto_scale { "it has as many agents as it may" } else { "it does not scale itself (auto_scale)" };
            format!("the swarm has no {wanted}, and {why}; it has: {there_are}. Name one of these, or add a {wanted} to it")
        });
        refusals.finish()?;
        Ok(Some(swarm))
    }
}

/// Whether there is a member of the type, or one may be added.
fn can_be_done(swarm: &Swarm, members: &[Agent], wanted: AgentType) -> bool {
    let has_room = swarm.auto_scale && members.len() < swarm.max_agents as usize;
    has_room || members.iter().any(|agent| agent.agent_type == wanted)
}
