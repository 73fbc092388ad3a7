//! Which member of a swarm gets which waiting task, and when one is added for it.
//!
//! Tasks are looked at in the order of their urgency, then age. One goes to a free member of its type: one that stays before one that was
//! added, one whose process waits before one that is parked, then the first to have joined. If nobody of the type is free, a member is
//! added where the swarm scales, has fewer than its `max_agents`, and no limit of a key stands against it. Else the task waits, and
//! those behind it are looked at: they may be for others.

use super::Swarm;
use crate::model::{
    agent::{Agent, AgentStatus, AgentType},
    id::{AgentId, TaskId},
    word::word_enum,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

word_enum! {
    /// What became of a member by scaling.
    ScalingKind {
        /// It was added.
        Added = "added",
        /// It was ended after it had had nothing to do for a while.
        Ended = "ended",
    }
}

/// How a swarm was scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scaling {
    /// When.
    pub at: DateTime<Utc>,
    /// What became of the member.
    pub kind: ScalingKind,
    /// The member.
    pub agent_id: AgentId,
    /// The task it was added for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_id: Option<TaskId>,
}

/// A task that waits for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The task.
    pub task: TaskId,
    /// The type it is for.
    pub agent_type: AgentType,
    /// Whether a member may be added for it, as far as its key is concerned.
    pub may_grow: bool,
}

/// Who gets a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignee {
    /// This member.
    Member(AgentId),
    /// One to be added.
    New,
}

/// The next task to hand out and who gets it; see the module's comment. `members` are all that have not ended, `busy` those who have
/// work that waits or runs, `waiting` the tasks in their order.
pub fn next_assignment(
    swarm: &Swarm,
    members: &[Agent],
    busy: &BTreeSet<AgentId>,
    waiting: &[Waiting],
) -> Option<(TaskId, Assignee)> {
    let is_free = |agent: &&Agent| {
        matches!(agent.status, AgentStatus::Idle | AgentStatus::Parked) && !agent.terminate_requested && !busy.contains(&agent.id)
    };
    let has_room = swarm.auto_scale && members.len() < swarm.max_agents as usize;
    waiting.iter().find_map(|task| {
        let of_type = members.iter().filter(is_free).filter(|agent| agent.agent_type == task.agent_type);
        let rank = |agent: &&Agent| (agent.scaled, agent.status != AgentStatus::Idle, agent.swarm_place, agent.id);
        let found = of_type.min_by_key(rank).map(|agent| Assignee::Member(agent.id));
        found.or((has_room && task.may_grow).then_some(Assignee::New)).map(|assignee| (task.task, assignee))
    })
}

#[cfg(test)]
mod tests;
