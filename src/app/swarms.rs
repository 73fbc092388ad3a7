//! Swarms: teams of agents that stay, and the objectives they work on.

mod request;
mod view;

pub use request::{GetSwarms, RunSwarm, ScaleSwarm, SpawnSwarm, StopSwarm, SwarmAgents};
pub use view::{SwarmAgent, SwarmQuestion, SwarmResource, SwarmStatusReport, SwarmTasks};

use view::Known;
pub(super) use view::{asked, open_questions};

use super::{
    App,
    checks::{Refusals, request_hash},
    detached,
    error::AppError,
    now,
    size::take_within,
    tasks::{page_limit, title_of},
    wait::wait_seconds,
    workflows::{StartedRun, WorkflowRunResource},
};
use crate::{
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, AgentType},
        id::{SwarmId, WorkflowRunId},
        key::Principal,
        swarm::{Swarm, SwarmStatus},
        topology::{build::workflow, links::Member},
        workflow::run::{RunInput, WorkflowRun, WorkflowRunStatus},
    },
    store::{Grown, Inserted, SwarmFilter, WorkflowRunFilter},
};
use std::collections::{BTreeMap, HashMap};

/// Somebody else may change a swarm between our look and our write; so often we look again.
const ATTEMPTS: usize = 20;
/// Most records of its scaling in the status of a swarm.
const SCALINGS: u32 = 20;

/// What became of a request to spawn a swarm.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnedSwarm {
    /// The swarm.
    pub swarm: SwarmResource,
    /// Whether it was made now; `false` for a repeated `idempotency_key`.
    pub is_new: bool,
}

impl App {
    /// Makes a swarm with its agents; with an objective it begins to work on it.
    pub async fn spawn_swarm(&self, who: &Principal, request: SpawnSwarm) -> Result<SpawnedSwarm, AppError> {
        let (swarm, agents, wait) = request.validate(who, &self.settings)?;
        let (app, quota) = (self.clone(), self.settings.quota(who));
        let (swarm, is_new) = detached(async move {
            match app.store.insert_swarm(&swarm, agents, &quota).await? {
                Inserted::New => Ok((swarm, true)),
                Inserted::Existing(known) if known.request_hash == swarm.request_hash => Ok((*known, false)),
                Inserted::Existing(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
                Inserted::AgentEnded => Err(AppError::Internal("new agents cannot have ended".into())),
                Inserted::Refused(limit) => Err(AppError::LimitReached(limit)),
            }
        })
        .await?;
        let id = swarm.id;
        self.bus.notify(Topic::Swarm(id));
        // Stopped meanwhile, it begins nothing; a call that is repeated gets it as it is.
        if let Some(objective) = swarm.objective.clone().filter(|_| is_new || swarm.status == SwarmStatus::Active) {
            // Under a key of its own: a call that died in between, and is repeated, finds or makes the same run.
            let request = RunSwarm { objective, idempotency_key: Some(format!("objective of {id}")), ..RunSwarm::default() };
            self.begin_swarm_run(who, &swarm, request, wait).await?;
        }
        Ok(SpawnedSwarm { swarm: self.swarm_resource(self.find_swarm(who, id).await?, true).await?, is_new })
    }

    /// How one swarm, or all, are doing.
    pub async fn get_swarm_status(&self, who: &Principal, query: &GetSwarms) -> Result<SwarmStatusReport, AppError> {
        let wait = wait_seconds(query.wait_seconds, 0)?;
        if let Some(id) = query.swarm_id {
            let mut waiter = self.waiter(Topic::Swarm(id), wait);
            loop {
                let swarm = self.swarm_resource(self.find_swarm(who, id).await?, true).await?;
                if !swarm.is_at_work() || !waiter.changed().await {
                    return Ok(SwarmStatusReport { swarms: vec![swarm], next_cursor: None });
                }
            }
        }
        let limit = page_limit(query.limit)?;
        let filter = SwarmFilter { owner: who.owner_filter(), status: query.status, before: query.cursor, limit: limit + 1 };
        let found = self.store.list_swarms(&filter).await?;
        let more = found.len() > limit as usize;
        let mut swarms = Vec::with_capacity(found.len());
        for swarm in found.into_iter().take(limit as usize) {
            swarms.push(self.swarm_resource(swarm, false).await?);
        }
        let (swarms, cut) = take_within(swarms, self.settings.page_chars());
        let next_cursor = swarms.last().map(|swarm| swarm.id).filter(|_| more || cut);
        Ok(SwarmStatusReport { swarms, next_cursor })
    }

    /// Has a swarm work on an objective, the way of its topology.
    pub async fn run_swarm(&self, who: &Principal, id: SwarmId, request: RunSwarm) -> Result<StartedRun, AppError> {
        let wait = request.check()?;
        let swarm = self.find_swarm(who, id).await?;
        self.begin_swarm_run(who, &swarm, request, wait).await
    }

    /// Begins the run asked for, or finds the one that the same request began, whatever became of the swarm since.
    async fn begin_swarm_run(
        &self,
        who: &Principal,
        swarm: &Swarm,
        request: RunSwarm,
        wait: u32,
    ) -> Result<StartedRun, AppError> {
        let asked = serde_json::json!(["run_swarm", swarm.id, request.objective, request.turn_timeout_seconds]);
        let hash = request_hash(&asked);
        if let Some(key) = &request.idempotency_key
            && let Some(known) = self.store.find_workflow_run(&swarm.owner, key).await?
        {
            if known.request_hash != hash {
                return Err(AppError::IdempotencyConflict { first: known.id.to_string() });
            }
            return Ok(StartedRun { run: self.run_when_settled(who, known.id, wait).await?, is_new: false });
        }
        let run = self.swarm_run(who, swarm, request, hash).await?;
        self.begin_run(who, run, wait).await
    }

    /// The run of a swarm's members who can work.
    async fn swarm_run(
        &self,
        who: &Principal,
        swarm: &Swarm,
        request: RunSwarm,
        request_hash: String,
    ) -> Result<WorkflowRun, AppError> {
        if swarm.status != SwarmStatus::Active {
            return Err(AppError::SwarmEnded { id: swarm.id, status: swarm.status });
        }
        let members = self.store.list_members(swarm.id).await?;
        // Those that were added for tasks may end in the middle of it.
        let members: Vec<&Agent> = members.iter().filter(|agent| can_work(agent) && !agent.scaled).collect();
        if members.is_empty() {
            // It may be being stopped at this moment.
            let swarm = self.find_swarm(who, swarm.id).await?;
            if swarm.status != SwarmStatus::Active {
                return Err(AppError::SwarmEnded { id: swarm.id, status: swarm.status });
            }
            let words = "all its agents have ended; bring them back (resume_agent), or spawn another (spawn_swarm)";
            return Err(AppError::field("swarm", words));
        }
        if let Some(words) = self.roleless(&members).first() {
            let words = format!("{words}. Bring the role back, or end these agents (terminate_agent)");
            return Err(AppError::field("swarm", words));
        }
        let (definition, now) = (workflow(swarm.topology, &members.into_iter().map(member).collect::<Vec<_>>()), now());
        let timeout = request.turn_timeout_seconds.and_then(|seconds| u32::try_from(seconds).ok());
        Ok(WorkflowRun {
            id: WorkflowRunId::generate(),
            owner: swarm.owner.clone(),
            key_id: Some(who.key_id),
            workflow: definition.name.clone(),
            title: title_of(&request.objective),
            definition,
            input: RunInput {
                task: request.objective,
                timeout_seconds: timeout.unwrap_or(self.settings.task_timeout_seconds),
                ..RunInput::default()
            },
            project: swarm.project.clone(),
            swarm_id: Some(swarm.id),
            status: WorkflowRunStatus::Running,
            generation: 0,
            cancel_requested: false,
            result: None,
            failure: None,
            idempotency_key: request.idempotency_key,
            request_hash,
            provenance: swarm.provenance,
            traceparent: crate::trace::current(),
            created_at: now,
            updated_at: now,
            ended_at: None,
        })
    }

    /// Brings the numbers of a swarm's agents to what is asked for: new ones join, idle ones end, the last to join first.
    pub async fn scale_swarm(&self, who: &Principal, id: SwarmId, request: ScaleSwarm) -> Result<SwarmResource, AppError> {
        let (app, caller) = (self.clone(), who.clone());
        detached(async move { app.rescale(&caller, id, &request).await }).await?;
        self.swarm_resource(self.find_swarm(who, id).await?, true).await
    }

    async fn rescale(&self, who: &Principal, id: SwarmId, request: &ScaleSwarm) -> Result<(), AppError> {
        for _ in 0..ATTEMPTS {
            let swarm = self.find_swarm(who, id).await?;
            if swarm.status != SwarmStatus::Active {
                return Err(AppError::SwarmEnded { id, status: swarm.status });
            }
            let mut refusals = Refusals::default();
            let wanted = request::wanted(&request.agents, &self.settings, &mut refusals, 0);
            let all = self.store.list_members(id).await?;
            let living: Vec<&Agent> = all.iter().filter(|agent| can_work(agent)).collect();
            let mut counts = HashMap::new();
            for agent in &living {
                *counts.entry(agent.agent_type).or_insert(0_u32) += 1;
            }
            let mut total = u32::try_from(living.len()).unwrap_or(u32::MAX);
            let (mut joining, mut kept, mut ending, mut busy) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for group in &wanted {
                let have = counts.get(&group.agent_type).copied().unwrap_or(0);
                for _ in have..group.count {
                    joining.push(group);
                }
                // Those that were added for tasks count, so as many of them stay from now on as it takes.
                let of_type = living.iter().filter(|agent| agent.agent_type == group.agent_type);
                let (added, staying): (Vec<&Agent>, Vec<&Agent>) = of_type.partition(|agent| agent.scaled);
                kept.extend(added.iter().take((group.count as usize).saturating_sub(staying.len())).map(|agent| agent.id));
                let surplus = have.saturating_sub(group.count) as usize;
                let of_type = living.iter().rev().filter(|agent| agent.agent_type == group.agent_type);
                let idle: Vec<_> =
                    of_type.filter(|agent| matches!(agent.status, AgentStatus::Idle | AgentStatus::Parked)).collect();
                if idle.len() < surplus {
                    let (agent_type, idle) = (group.agent_type, idle.len());
                    busy.push(format!("{surplus} agents of type {agent_type} would have to end, but only {idle} are idle"));
                }
                ending.extend(idle.into_iter().take(surplus).map(|agent| agent.id));
                total = total.saturating_add(group.count).saturating_sub(have);
            }
            refusals.check(total >= 1, "agents", || "no agent would be left; stop the swarm instead (stop_swarm)".into());
            refusals.check(total <= swarm.max_agents, "agents", || {
                format!("{total} agents would be more than the swarm's max_agents, {}", swarm.max_agents)
            });
            refusals.finish()?;
            if !busy.is_empty() {
                return Err(AppError::SwarmBusy(format!("{}; wait for the others, or interrupt them", busy.join("; "))));
            }
            let first = all.iter().filter_map(|agent| agent.swarm_place).max().map_or(0, |last| last + 1);
            let agents: Vec<Agent> = (first..)
                .zip(joining)
                .map(|(place, group)| request::new_member(who, &self.settings, &swarm, group, place))
                .collect();
            if !(agents.is_empty() && kept.is_empty()) {
                match self.store.add_members(&swarm, agents, kept, &self.settings.quota(who), now()).await? {
                    Grown::Done => {}
                    Grown::Stale => continue,
                    Grown::Refused(limit) => return Err(AppError::LimitReached(limit)),
                }
            }
            for agent in ending {
                self.store.request_termination(agent, now()).await?;
                self.bus.notify(Topic::Control(agent));
                self.bus.notify(Topic::Agent(agent));
            }
            self.bus.notify(Topic::Swarm(id));
            return Ok(());
        }
        Err(AppError::StoreUnavailable(format!("{id} changed {ATTEMPTS} times while being scaled")))
    }

    /// Stops a swarm: its runs are stopped and its agents end, for good.
    pub async fn stop_swarm(&self, who: &Principal, id: SwarmId, how: StopSwarm) -> Result<SwarmResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, 10)?;
        self.find_swarm(who, id).await?;
        let mut waiter = self.waiter(Topic::Events, wait);
        let app = self.clone();
        detached(async move {
            let stopped = app.store.stop_swarm(id, now()).await?;
            for run in stopped.runs {
                app.bus.notify(Topic::WorkflowRun(run));
            }
            for task in stopped.tasks {
                app.bus.notify(Topic::Task(task));
            }
            for agent in stopped.agents {
                app.bus.notify(Topic::Control(agent));
                app.bus.notify(Topic::Agent(agent));
            }
            app.bus.notify(Topic::Settled);
            app.bus.notify(Topic::Swarm(id));
            Ok(())
        })
        .await?;
        loop {
            let swarm = self.swarm_resource(self.find_swarm(who, id).await?, true).await?;
            if swarm.status == SwarmStatus::Stopped || !waiter.changed().await {
                return Ok(swarm);
            }
        }
    }

    /// Which agents cannot be started because their role is gone, and why: a sentence for each role.
    fn roleless(&self, agents: &[&Agent]) -> Vec<String> {
        let roles = self.settings.roles.get();
        let mut without: BTreeMap<AgentType, Vec<&str>> = BTreeMap::new();
        for agent in agents.iter().filter(|agent| roles.get(agent.agent_type).is_none()) {
            without.entry(agent.agent_type).or_default().push(&agent.name);
        }
        let words =
            |(role, names): (AgentType, Vec<&str>)| format!("{} cannot be started: {}", names.join(", "), roles.why_not(role));
        without.into_iter().map(words).collect()
    }

    /// That the agent's swarm has ended, if it has one and it has.
    pub(super) async fn ended_swarm(&self, agent: &Agent) -> Option<AppError> {
        match self.store.get_swarm(agent.swarm_id?, None).await {
            Ok(Some(swarm)) if swarm.status != SwarmStatus::Active => {
                Some(AppError::SwarmEnded { id: swarm.id, status: swarm.status })
            }
            Ok(_) => None,
            Err(error) => Some(error.into()),
        }
    }

    /// `whole`: with its agents and runs, else without.
    pub(super) async fn swarm_resource(&self, swarm: Swarm, whole: bool) -> Result<SwarmResource, AppError> {
        let members = self.store.list_members(swarm.id).await?;
        let totals = self.store.swarm_totals(swarm.id).await?;
        let mut runs = Vec::new();
        for status in [WorkflowRunStatus::Running, WorkflowRunStatus::Waiting] {
            let filter = WorkflowRunFilter {
                owner: None,
                status: Some(status),
                workflow: None,
                swarm: Some(swarm.id),
                before: None,
                limit: 20,
            };
            runs.extend(self.store.list_workflow_runs(&filter).await?);
        }
        let latest =
            WorkflowRunFilter { owner: None, status: None, workflow: None, swarm: Some(swarm.id), before: None, limit: 1 };
        let latest = match self.store.list_workflow_runs(&latest).await?.pop() {
            Some(run) if whole => {
                let record = self.record(&run).await?;
                Some(WorkflowRunResource::latest(run, &record))
            }
            latest => latest.map(WorkflowRunResource::brief),
        };
        let questions = self.store.list_questions_to_user(swarm.id).await?;
        let questions = open_questions(&questions, &members, now());
        let scaling = if whole { self.store.list_scalings(swarm.id, SCALINGS).await? } else { vec![] };
        let living: Vec<&Agent> = members.iter().filter(|agent| can_work(agent)).collect();
        let roleless = self.roleless(&living);
        let known = Known { members: &members, roleless, totals: &totals, runs: &runs, latest, scaling, questions };
        Ok(SwarmResource::of(swarm, known, whole))
    }
}

fn can_work(agent: &Agent) -> bool {
    !agent.status.is_ended() && !agent.terminate_requested
}

fn member(agent: &Agent) -> Member {
    Member {
        agent: agent.id,
        role: agent.agent_type,
        backend: agent.backend,
        place: agent.swarm_place.unwrap_or(i64::MAX),
        added: agent.scaled,
    }
}
