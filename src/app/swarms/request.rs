//! What callers send about swarms.

use crate::{
    app::{
        AppSettings,
        checks::{Refusals, request_hash, whole_number},
        error::AppError,
        now,
        wait::wait_seconds,
    },
    model::{
        agent::{Agent, AgentType, Backend},
        id::SwarmId,
        key::Principal,
        limits::{IDEMPOTENCY_KEY_CHARS, NAME_CHARS, TIMEOUT_SECONDS},
        project::DEFAULT_PROJECT,
        swarm::{Swarm, SwarmStatus, Topology},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Most agents of a swarm.
const SWARM_AGENTS: u32 = 64;
/// Most entries of a list of agents.
const GROUPS: usize = 20;
/// Longest objective, in characters: every agent is told all of it.
const OBJECTIVE_CHARS: usize = 12_000;

/// Agents of one type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmAgents {
    /// Their type.
    #[serde(rename = "type")]
    pub agent_type: AgentType,
    /// How many. Left out: 1.
    #[schema(nullable = false, minimum = 0, maximum = 64)]
    #[serde(default, deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Their model, from the gateway's allow-list. Left out: the configured default.
    #[schema(nullable = false, min_length = 1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The CLI behind them. Left out: that of the type.
    #[schema(nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
}

/// A swarm to make.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"topology": "star", "agents": [{"type": "coordinator", "count": 1}, {"type": "coder", "count": 2}, {"type": "tester", "count": 1}], "project": "default", "objective": "Build JWT login with tests.", "idempotency_key": "jwt-swarm-1"}))]
pub struct SpawnSwarm {
    /// How its agents work together. star: a coordinator splits and merges. hierarchical: a tree of leads and workers. mesh: all see each other's findings. ring: one after the other. Left out: mesh.
    #[schema(nullable = false)]
    pub topology: Option<Topology>,
    /// Its agents by type, 1 to 64 together. Left out: coordinator, architect, coder, tester, reviewer, or as many of them as `max_agents` lets.
    #[schema(nullable = false, min_items = 1, max_items = 20)]
    pub agents: Option<Vec<SwarmAgents>>,
    /// A readable name, one line of at most 100 characters. Left out: the topology and some digits.
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The project they work in; they share one workspace. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// What to work on at once, at most 12,000 characters. Left out: the swarm waits for `run_swarm`.
    #[schema(nullable = false, min_length = 1, max_length = 12000)]
    pub objective: Option<String>,
    /// Most agents it may ever have, 1 to 64. Left out: 64.
    #[schema(nullable = false, minimum = 1, maximum = 64)]
    #[serde(default, deserialize_with = "whole_number")]
    pub max_agents: Option<i64>,
    /// Whether agents are added, up to `max_agents`, for tasks (`create_task` with `swarm_id`) that none of their type is free for, and end when they have had nothing to do for a while. Left out: false, tasks wait for the agents there are.
    #[schema(nullable = false)]
    pub auto_scale: Option<bool>,
    /// Your key for exact retries: the same key and request are one swarm.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the objective's end, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// Which swarms to look at.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetSwarms {
    /// Only this swarm, with its agents and runs. Left out: all of yours, newest first.
    #[param(nullable = false, inline)]
    pub swarm_id: Option<SwarmId>,
    /// Only swarms that stand here.
    #[param(nullable = false, inline)]
    pub status: Option<SwarmStatus>,
    /// Of one swarm: seconds to wait until no run of it is open and none of its tasks is at work, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
    /// Most swarms to give, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, inline)]
    pub cursor: Option<SwarmId>,
}

/// An objective for a swarm.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"objective": "Add refresh tokens to the login.", "idempotency_key": "refresh-1"}))]
pub struct RunSwarm {
    /// What is to be done, at most 12,000 characters. Every agent is told it.
    #[schema(min_length = 1, max_length = 12000)]
    pub objective: String,
    /// Seconds each turn may take, 1 to 86400. Left out: the gateway's default.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub turn_timeout_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request are one run.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the end, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// The numbers a swarm is to have.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agents": [{"type": "coder", "count": 4}], "idempotency_key": "more-coders"}))]
pub struct ScaleSwarm {
    /// How many agents of each named type there are to be; 0 ends them. Those that `auto_scale` added count, and stay then. Types that are not named stay as they are.
    #[schema(min_items = 1, max_items = 20)]
    pub agents: Vec<SwarmAgents>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// How to stop a swarm.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"wait_seconds": 10}))]
pub struct StopSwarm {
    /// Seconds to wait until its agents have ended, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// Agents of one type, checked.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) agent_type: AgentType,
    pub(super) count: u32,
    pub(super) model: Option<String>,
    pub(super) backend: Backend,
}

/// The groups asked for, each type once. `least`: the smallest count of a group.
pub(super) fn wanted(agents: &[SwarmAgents], settings: &AppSettings, refusals: &mut Refusals, least: i64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    refusals.check(!agents.is_empty(), "agents", || "names no agent; give at least one type".into());
    refusals.check(agents.len() <= GROUPS, "agents", || format!("has {} entries; give at most {GROUPS}", agents.len()));
    for (place, asked) in agents.iter().enumerate().take(GROUPS) {
        let field = |name: &str| format!("agents[{place}].{name}");
        if let Some(model) = &asked.model {
            refusals.model(&field("model"), model, &settings.models);
        }
        let count = Some(asked.count.unwrap_or(1));
        let count = refusals.within::<u32>(&field("count"), count, least..=SWARM_AGENTS.into()).unwrap_or(1);
        let is_new = groups.iter().all(|group| group.agent_type != asked.agent_type);
        refusals.check(is_new, &field("type"), || format!("names {} twice; give one entry with the sum", asked.agent_type));
        let (agent_type, backend) = if count == 0 {
            // Agents can be ended that nobody could start any more.
            (asked.agent_type, asked.backend.unwrap_or(Backend::ClaudeCode))
        } else {
            let agent_type = refusals.role(&field("type"), Some(asked.agent_type), settings);
            (agent_type, refusals.backend(&field("backend"), asked.backend, agent_type, settings))
        };
        let model = asked.model.clone().or_else(|| settings.roles.get().model_of(agent_type));
        groups.push(Group { agent_type: asked.agent_type, count, model, backend });
    }
    groups
}

/// An agent of a swarm, at rest until its first turn.
pub(super) fn new_member(who: &Principal, settings: &AppSettings, swarm: &Swarm, group: &Group, place: i64) -> Agent {
    Agent {
        key_id: Some(who.key_id),
        name: format!("{}-{place}", group.agent_type),
        backend: group.backend,
        project: swarm.project.clone(),
        model: group.model.clone(),
        swarm_id: Some(swarm.id),
        swarm_place: Some(place),
        workspace_name: Some(swarm.id.to_string()),
        ..Agent::at_rest(swarm.owner.clone(), group.agent_type, settings.provenance, now())
    }
}

/// The agents of a swarm that names none and may have so many.
fn usual(most: u32) -> Vec<SwarmAgents> {
    let by_need = [AgentType::COORDINATOR, AgentType::CODER, AgentType::REVIEWER, AgentType::ARCHITECT, AgentType::TESTER];
    let needed = &by_need[..by_need.len().min(most as usize)];
    let all = [AgentType::COORDINATOR, AgentType::ARCHITECT, AgentType::CODER, AgentType::TESTER, AgentType::REVIEWER];
    let taken = all.into_iter().filter(|agent_type| needed.contains(agent_type));
    taken.map(|agent_type| SwarmAgents { agent_type, count: None, model: None, backend: None }).collect()
}

impl SpawnSwarm {
    /// The swarm asked for with its agents, and the seconds to wait, or every reason why not.
    pub(super) fn validate(self, who: &Principal, settings: &AppSettings) -> Result<(Swarm, Vec<Agent>, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        let mut asked = serde_json::json!([
            "spawn_swarm",
            self.topology,
            self.agents,
            self.name,
            self.project,
            self.objective,
            self.max_agents
        ]);
        // Requests that do not say so hash as they did before there was a choice.
        if let (Some(auto_scale), Some(fields)) = (self.auto_scale, asked.as_array_mut()) {
            fields.push(auto_scale.into());
        }
        let max_agents = refusals.within::<u32>("max_agents", self.max_agents, 1..=SWARM_AGENTS.into()).unwrap_or(SWARM_AGENTS);
        let groups = wanted(&self.agents.unwrap_or_else(|| usual(max_agents)), settings, &mut refusals, 1);
        let total: u32 = groups.iter().map(|group| group.count).sum();
        refusals.check(total <= max_agents, "agents", || {
            format!("{total} agents are more than 1..={max_agents}; name fewer, or spawn more swarms")
        });
        if let Some(name) = &self.name {
            refusals.line("name", name, NAME_CHARS);
        }
        let project = self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.project(&project, settings);
        if let Some(objective) = &self.objective {
            refusals.text("objective", objective, OBJECTIVE_CHARS);
        }
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        refusals.finish()?;
        let (id, now, topology) = (SwarmId::generate(), now(), self.topology.unwrap_or(Topology::Mesh));
        let digits = id.uuid().simple().to_string();
        let swarm = Swarm {
            id,
            owner: who.user.clone(),
            key_id: Some(who.key_id),
            name: self.name.unwrap_or_else(|| format!("{topology}-{}", &digits[digits.len() - 6..])),
            topology,
            project,
            objective: self.objective,
            max_agents,
            auto_scale: self.auto_scale.unwrap_or(false),
            status: SwarmStatus::Active,
            generation: 0,
            idempotency_key: self.idempotency_key,
            request_hash: request_hash(&asked),
            provenance: settings.provenance,
            created_at: now,
            updated_at: now,
            stopped_at: None,
        };
        let each = groups.iter().flat_map(|group| std::iter::repeat_n(group, group.count as usize));
        let agents = (0..).zip(each).map(|(place, group)| new_member(who, settings, &swarm, group, place)).collect();
        Ok((swarm, agents, wait))
    }
}

impl RunSwarm {
    /// The seconds to wait, or every reason why not.
    pub(super) fn check(&self) -> Result<u32, AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        refusals.text("objective", &self.objective, OBJECTIVE_CHARS);
        let _ = refusals.within::<u32>("turn_timeout_seconds", self.turn_timeout_seconds, 1..=TIMEOUT_SECONDS.into());
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        refusals.finish()?;
        Ok(wait)
    }
}
