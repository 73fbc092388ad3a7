//! What claude-flow is told of our things, in its own words. Pure.

use crate::model::{
    agent::{Agent, AgentStatus, AgentType},
    id::{ProposalId, SwarmId, TaskId},
    proposal::{Proposal, ProposalStatus},
    swarm::{Swarm, SwarmStatus},
    task::{Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// Most agents of a swarm of claude-flow's.
const SWARM_AGENTS: u32 = 50;
/// claude-flow takes 10,000.
const QUESTION_CHARS: usize = 2_000;
const MARK: &str = "mas-gateway/";
/// No id of a swarm: without one, claude-flow would put an agent into its latest swarm.
const NO_SWARM: &str = "none";

/// Something to show.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Thing {
    Swarm(Swarm),
    Task(Task),
    /// As a task of the type `consensus`: claude-flow counts the votes of its own workers only.
    Proposal(Proposal),
    Agent(Agent),
}

/// A call of a tool: its name and arguments.
pub(super) type Call = (&'static str, Value);

impl Thing {
    pub(super) fn id(&self) -> String {
        match self {
            Self::Swarm(swarm) => swarm.id.to_string(),
            Self::Task(task) => task.id.to_string(),
            Self::Proposal(proposal) => proposal.id.to_string(),
            Self::Agent(agent) => agent.id.to_string(),
        }
    }

    pub(super) fn updated_at(&self) -> DateTime<Utc> {
        match self {
            Self::Swarm(swarm) => swarm.updated_at,
            Self::Task(task) => task.updated_at,
            Self::Proposal(proposal) => proposal.updated_at,
            Self::Agent(agent) => agent.updated_at,
        }
    }

    /// Everything that would have to be told again if it changed.
    pub(super) fn news(&self) -> String {
        match self {
            Self::Swarm(swarm) => if is_over(swarm) { "terminated" } else { "running" }.to_owned(),
            Self::Task(task) => {
                let agent = task.agent_id.map(|agent| format!(" by {agent}")).unwrap_or_default();
                format!("{}{agent}", task_word(task.status))
            }
            Self::Proposal(proposal) => proposal.status.as_str().to_owned(),
            Self::Agent(agent) => agent_word(agent.status).to_owned(),
        }
    }

    /// Whether it ended before claude-flow heard of it, and there is no use in telling now.
    pub(super) fn is_past(&self) -> bool {
        match self {
            Self::Swarm(swarm) => is_over(swarm),
            Self::Task(_) | Self::Proposal(_) => false,
            Self::Agent(agent) => agent.status.is_ended(),
        }
    }

    /// The swarm an agent belongs to, by our id.
    pub(super) fn swarm(&self) -> Option<String> {
        match self {
            Self::Agent(agent) => agent.swarm_id.map(|swarm| swarm.to_string()),
            Self::Swarm(_) | Self::Task(_) | Self::Proposal(_) => None,
        }
    }

    /// The call that makes its record. `swarm`: claude-flow's id of the swarm it belongs to.
    pub(super) fn create(&self, swarm: Option<&str>) -> Call {
        match self {
            Self::Swarm(swarm) => {
                let most = swarm.max_agents.clamp(1, SWARM_AGENTS);
                let config = json!({"autoScaling": swarm.auto_scale, "communicationProtocol": mark(&swarm.id.to_string())});
                let topology = swarm.topology.as_str();
                ("swarm_init", json!({"topology": topology, "maxAgents": most, "strategy": "specialized", "config": config}))
            }
            Self::Task(task) => {
                let (kind, agents) = (task_type(task.agent_type), task.agent_id.map(|agent| agent.to_string()));
                let agents: Vec<_> = agents.into_iter().collect();
                let (title, priority, id) = (&task.title, task.priority.as_str(), task.id.to_string());
                let arguments =
                    json!({"type": kind, "description": title, "priority": priority, "assignTo": agents, "tags": [id]});
                ("task_create", arguments)
            }
            Self::Proposal(proposal) => {
                let question: String = proposal.question.chars().take(QUESTION_CHARS).collect();
                let tags = json!([proposal.id.to_string(), proposal.rules.protocol.as_str()]);
                ("task_create", json!({"type": "consensus", "description": question, "priority": "normal", "tags": tags}))
            }
            Self::Agent(agent) => {
                let config = json!({"name": agent.name, "backend": agent.backend.as_str(), "model": agent.model});
                let (id, swarm) = (agent.id.to_string(), swarm.unwrap_or(NO_SWARM));
                let kind = agent.agent_type.as_str();
                // `inherit` keeps claude-flow from choosing a model; nobody runs the agent there.
                let arguments = json!({"agentId": id, "agentType": kind, "swarmId": swarm, "model": "inherit", "config": config});
                ("agent_spawn", arguments)
            }
        }
    }

    /// Claude-flow's id of it, in the answer to that call.
    pub(super) fn id_in(&self, answer: &Value) -> Option<String> {
        let field = match self {
            Self::Swarm(_) => "swarmId",
            Self::Task(_) | Self::Proposal(_) => "taskId",
            Self::Agent(_) => "agentId",
        };
        answer[field].as_str().map(str::to_owned)
    }

    /// The call that brings its record up to date, if it is more than a new one says.
    pub(super) fn update(&self, their_id: &str) -> Option<Call> {
        match self {
            Self::Swarm(swarm) => is_over(swarm).then(|| ("swarm_shutdown", json!({"swarmId": their_id}))),
            Self::Task(task) => {
                let mut arguments = json!({"taskId": their_id, "status": task_word(task.status)});
                if let Some(agent) = task.agent_id {
                    arguments["assignTo"] = json!([agent.to_string()]);
                }
                if task.status == TaskStatus::Complete {
                    arguments["progress"] = 100.into();
                }
                Some(("task_update", arguments))
            }
            Self::Proposal(proposal) => Some(proposal_call(proposal, their_id)),
            Self::Agent(agent) if agent.status.is_ended() => Some(("agent_terminate", json!({"agentId": their_id}))),
            Self::Agent(agent) => Some(("agent_update", json!({"agentId": their_id, "status": agent_word(agent.status)}))),
        }
    }

    /// The call whose answer must name `their_id` before the update is made: claude-flow ends its latest swarm when it does
    /// not know the one it is told to end.
    pub(super) fn check(&self, their_id: &str) -> Option<Call> {
        match self {
            Self::Swarm(swarm) if is_over(swarm) => Some(("swarm_status", json!({"swarmId": their_id}))),
            Self::Swarm(_) | Self::Task(_) | Self::Proposal(_) | Self::Agent(_) => None,
        }
    }
}

/// The call that tells of claude-flow's newest swarm, and the one that lists its newest tasks.
pub(super) fn newest(tasks: u32) -> [Call; 2] {
    [("swarm_status", json!({})), ("task_list", json!({"limit": tasks}))]
}

/// The call that tells more of a task than a list does.
pub(super) fn task_status(their_id: &str) -> Call {
    ("task_status", json!({"taskId": their_id}))
}

/// Claude-flow's ids of the tasks in a list.
pub(super) fn listed(answer: &Value) -> Vec<String> {
    let tasks = answer["tasks"].as_array().into_iter().flatten();
    tasks.filter_map(|task| task["taskId"].as_str().map(str::to_owned)).collect()
}

/// What a record of claude-flow's is about, when we made it: claude-flow's id, and ours.
pub(super) fn origin(record: &Value) -> Option<(String, String)> {
    if let Some(swarm) = record["swarmId"].as_str() {
        let ours = record["config"]["communicationProtocol"].as_str()?.strip_prefix(MARK)?;
        return Some((swarm.to_owned(), ours.parse::<SwarmId>().ok()?.to_string()));
    }
    let ours = record["tags"][0].as_str()?;
    let is_ours = ours.parse::<TaskId>().is_ok() || ours.parse::<ProposalId>().is_ok();
    is_ours.then_some((record["taskId"].as_str()?.to_owned(), ours.to_owned()))
}

/// The one field of a swarm's record that takes any text, so that its record can be found again.
fn mark(swarm: &str) -> String {
    format!("{MARK}{swarm}")
}

fn is_over(swarm: &Swarm) -> bool {
    swarm.status == SwarmStatus::Stopped
}

fn proposal_call(proposal: &Proposal, their_id: &str) -> Call {
    let status = match proposal.status {
        ProposalStatus::Open => "in_progress",
        ProposalStatus::Inconclusive | ProposalStatus::TimedOut => "failed",
        ProposalStatus::Cancelled => "cancelled",
        // No agent is assigned, so this changes the record of none.
        ProposalStatus::Decided | ProposalStatus::Rejected => {
            let (choice, why) =
                proposal.outcome.as_ref().map_or((None, ""), |outcome| (outcome.choice.as_ref(), outcome.why.as_str()));
            let result = json!({"outcome": proposal.status.as_str(), "choice": choice, "why": why});
            return ("task_complete", json!({"taskId": their_id, "result": result}));
        }
    };
    ("task_update", json!({"taskId": their_id, "status": status}))
}

const fn task_word(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Created => "pending",
        TaskStatus::Assigned | TaskStatus::InProgress | TaskStatus::Review | TaskStatus::Revision => "in_progress",
        TaskStatus::Complete => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "cancelled",
    }
}

const fn agent_word(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Busy | AgentStatus::Interrupting => "busy",
        AgentStatus::Starting | AgentStatus::Idle | AgentStatus::Parked => "idle",
        AgentStatus::Terminated | AgentStatus::Failed | AgentStatus::Lost => "terminated",
    }
}

fn task_type(agent_type: AgentType) -> &'static str {
    match agent_type.as_str() {
        "coder" => "implementation",
        "reviewer" => "review",
        "tester" => "testing",
        "researcher" => "research",
        "optimizer" => "optimization",
        "documenter" => "documentation",
        _ => "custom",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{id::SwarmId, run::Provenance, swarm::Topology};

    fn swarm(status: SwarmStatus) -> Swarm {
        let now = Utc::now();
        Swarm {
            id: SwarmId::generate(),
            owner: "ann".into(),
            key_id: None,
            name: "s".into(),
            topology: Topology::Star,
            project: "shop".into(),
            objective: None,
            max_agents: 64,
            auto_scale: false,
            status,
            generation: 0,
            idempotency_key: None,
            request_hash: String::new(),
            provenance: Provenance::Live,
            created_at: now,
            updated_at: now,
            stopped_at: None,
        }
    }

    #[test]
    fn a_swarm_is_ended_only_after_a_look_that_it_is_the_one() {
        let (active, stopped) = (Thing::Swarm(swarm(SwarmStatus::Active)), Thing::Swarm(swarm(SwarmStatus::Stopped)));
        let (tool, arguments) = active.create(None);
        assert_eq!((tool, &arguments["topology"], &arguments["maxAgents"]), ("swarm_init", &json!("star"), &json!(50)));
        let record = json!({"swarmId": "swarm-1", "config": arguments["config"]});
        assert_eq!(origin(&record), Some(("swarm-1".to_owned(), active.id())));
        assert_eq!(origin(&json!({"swarmId": "swarm-2", "config": {"communicationProtocol": "message-bus"}})), None);
        assert_eq!((active.update("swarm-1"), active.check("swarm-1"), active.is_past()), (None, None, false));
        assert_eq!(stopped.check("swarm-1").expect("a look").0, "swarm_status");
        assert_eq!(stopped.update("swarm-1"), Some(("swarm_shutdown", json!({"swarmId": "swarm-1"}))));
        assert!(stopped.is_past() && active.news() != stopped.news());
    }
}
