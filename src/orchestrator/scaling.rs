//! Hands the tasks of swarms to their members, adds members where that is wanted, and ends those that are not needed any more.

use super::{Orchestrator, POLL};
use crate::{
    bus::Topic,
    model::{
        agent::Agent,
        id::{KeyId, SwarmId},
        swarm::{
            Swarm, SwarmStatus,
            scaling::{Assignee, Waiting, next_assignment},
        },
        task::Task,
        team::living,
    },
    store::{Grown, Quota, StoreError},
};
use chrono::Utc;
use std::collections::BTreeSet;

/// Tasks handed out in a swarm before the others have their turn.
const TASKS: u32 = 200;

/// Keeps swarms in step with their work until the gateway stops.
pub(super) async fn keep_up(orchestrator: Orchestrator) {
    let mut news = orchestrator.bus.subscribe(Topic::Orchestrate);
    let mut settled = orchestrator.bus.subscribe(Topic::Settled);
    while !orchestrator.stop.is_cancelled() {
        if let Err(error) = orchestrator.scale_all().await {
            tracing::error!(%error, "the tasks of swarms cannot be handed out; trying again");
        }
        tokio::select! {
            () = orchestrator.stop.cancelled() => {}
            () = news.changed() => {}
            () = settled.changed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

impl Orchestrator {
    async fn scale_all(&self) -> Result<(), StoreError> {
        for swarm in self.store.list_swarms_with_waiting_tasks().await? {
            // Those whose limit is reached are asked again at the next look.
            let mut full = BTreeSet::new();
            for _ in 0..TASKS {
                if !self.hand_out(swarm, &mut full).await? {
                    break;
                }
            }
        }
        let since = Utc::now() - self.settings.spare_idle;
        for (agent, swarm) in self.store.list_surplus_members(since).await? {
            if self.store.end_surplus_member(agent, swarm, since, Utc::now()).await? {
                tracing::info!(%agent, %swarm, "a member that was added is not needed any more");
                for topic in [Topic::Control(agent), Topic::Agent(agent), Topic::Swarm(swarm)] {
                    self.bus.notify(topic);
                }
            }
        }
        Ok(())
    }

    /// Gives the next task of a swarm to one of its members. `false`: there is nothing more to be done for now.
    async fn hand_out(&self, id: SwarmId, full: &mut BTreeSet<Option<KeyId>>) -> Result<bool, StoreError> {
        let Some(swarm) = self.store.get_swarm(id, None).await? else { return Ok(false) };
        if swarm.status != SwarmStatus::Active {
            for task in self.store.cancel_waiting_tasks(id, Utc::now()).await? {
                self.bus.notify(Topic::Task(task));
            }
            return Ok(false);
        }
        let everybody = self.store.list_members(id).await?;
        let place = everybody.iter().filter_map(|agent| agent.swarm_place).max().map_or(0, |last| last + 1);
        let members = living(everybody);
        let busy = self.store.list_busy_members(id).await?;
        let tasks = self.store.list_next_tasks(id).await?;
        let waiting = tasks.iter().map(|task| Waiting {
            task: task.id,
            agent_type: task.agent_type,
            may_grow: !full.contains(&task.key_id),
        });
        let Some((next, assignee)) = next_assignment(&swarm, &members, &busy, &waiting.collect::<Vec<_>>()) else {
            return Ok(false);
        };
        let Some(task) = tasks.into_iter().find(|task| task.id == next) else { return Ok(false) };
        let (agent, quota) = match assignee {
            Assignee::Member(id) => (members.into_iter().find(|agent| agent.id == id), None),
            Assignee::New => (Some(self.spare(&swarm, &members, &task, place)), Some(self.quota(task.key_id).await?)),
        };
        let Some(agent) = agent else { return Ok(false) };
        match self.store.assign_task(&swarm, &task, &agent, quota.as_ref(), Utc::now()).await? {
            Grown::Done => {
                tracing::info!(task = %task.id, agent = %agent.id, swarm = %id, added = quota.is_some(), "a task goes to a member");
                let topics = [Topic::Dispatch, Topic::Control(agent.id), Topic::Agent(agent.id), Topic::Task(task.id)];
                topics.into_iter().chain([Topic::Swarm(id)]).for_each(|topic| self.bus.notify(topic));
            }
            // Something is not as it was read.
            Grown::Stale => {}
            Grown::Refused(limit) => {
                tracing::debug!(?limit, swarm = %id, "no member is added: a limit is reached");
                full.insert(task.key_id);
            }
        }
        Ok(true)
    }

    /// What the key that work was asked for with may have in use.
    async fn quota(&self, key_id: Option<KeyId>) -> Result<Quota, StoreError> {
        let key = match key_id {
            Some(id) => self.store.get_key(id).await?.map(|key| key.limits).unwrap_or_default(),
            None => self.settings.key_limits,
        };
        Ok(Quota { key_id, key: key.or(self.settings.key_limits), gateway: self.settings.limits, keeps: None })
    }

    /// A member to be added for a task, at rest until its turn: like those of its type there are already.
    fn spare(&self, swarm: &Swarm, members: &[Agent], task: &Task, place: i64) -> Agent {
        let (roles, agent_type) = (self.settings.roles.get(), task.agent_type);
        let like = members.iter().find(|agent| agent.agent_type == agent_type);
        Agent {
            key_id: task.key_id,
            name: format!("{agent_type}-{place}"),
            backend: like.map_or_else(|| roles.backend_of(agent_type), |agent| agent.backend),
            project: swarm.project.clone(),
            model: like.map_or_else(|| roles.model_of(agent_type), |agent| agent.model.clone()),
            swarm_id: Some(swarm.id),
            swarm_place: Some(place),
            scaled: true,
            workspace_name: Some(swarm.id.to_string()),
            ..Agent::at_rest(swarm.owner.clone(), agent_type, swarm.provenance, Utc::now())
        }
    }
}
