//! Swarms: agents that work together in a topology.

pub mod scaling;

use super::{
    id::{KeyId, SwarmId},
    run::Provenance,
    word::word_enum,
};
use chrono::{DateTime, Utc};

word_enum! {
    /// Who works with whom in a swarm.
    Topology {
        /// Everybody with everybody: all work on the objective and see each other's findings.
        Mesh = "mesh",
        /// A tree: a planner splits, leads pass on, workers do, results go up again.
        Hierarchical = "hierarchical",
        /// A coordinator splits, the others work in parallel, the coordinator merges.
        Star = "star",
        /// One after another: each takes the output of the one before.
        Ring = "ring",
    }
}

word_enum! {
    /// Where a swarm stands.
    SwarmStatus {
        /// It takes objectives.
        Active = "active",
        /// Its work is being ended.
        Stopping = "stopping",
        /// Its agents have ended.
        Stopped = "stopped",
    }
}

word_enum! {
    /// How a swarm is doing.
    SwarmHealth {
        /// All is well.
        Healthy = "healthy",
        /// It works, but not as it should.
        Degraded = "degraded",
        /// It cannot work.
        Down = "down",
    }
}

/// A swarm as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swarm {
    /// Its identifier.
    pub id: SwarmId,
    /// The user it belongs to.
    pub owner: String,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// A readable name.
    pub name: String,
    /// Who works with whom.
    pub topology: Topology,
    /// The project its agents work in.
    pub project: String,
    /// What it was made for.
    pub objective: Option<String>,
    /// Most agents it may have.
    pub max_agents: u32,
    /// Whether members are added for tasks that no member is free for, and end when they have had nothing to do for a while.
    pub auto_scale: bool,
    /// Where it stands.
    pub status: SwarmStatus,
    /// Raised by every change; a late writer with an older one changes nothing.
    pub generation: i64,
    /// The caller's key for exact retries.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that made it, in hexadecimal.
    pub request_hash: String,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When it was stopped.
    pub stopped_at: Option<DateTime<Utc>>,
}
