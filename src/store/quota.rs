//! The limits that new work must keep within, as things to count. They are counted where it is stored.

use crate::model::{
    id::KeyId,
    quota::{KeyLimits, SetBy},
};

/// The limits a new task or agent must keep within.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quota {
    /// The key it is made with.
    pub key_id: Option<KeyId>,
    /// The key's limits.
    pub key: KeyLimits,
    /// Those of the gateway.
    pub gateway: KeyLimits,
    /// The key of the agent that a message would make stay, with its limits.
    pub keeps: Option<(Option<KeyId>, KeyLimits)>,
}

impl Quota {
    /// For an agent that is to count again.
    pub fn of_agent(key_id: Option<KeyId>, key: KeyLimits, gateway: KeyLimits) -> Self {
        Self { key_id, key, gateway, keeps: None }
    }
}

/// One thing to count: the query for all keys, and what must not be reached.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) set_by: SetBy,
    pub(super) sql: &'static str,
    pub(super) most: f64,
}

/// The agent of a finished task counts no more, unless somebody wrote to it.
const COUNT_AGENTS: &str = "SELECT CAST(count(*) AS DOUBLE PRECISION) FROM agent WHERE status NOT IN ('terminated', 'failed', 'lost') \
                            AND (durable OR status <> 'parked') AND ($1 IS NULL OR key_id = $1) AND $2 = $2";
/// The same with the voters of proposals that are an agent for their turn only: those whose turn waits, and those who are to be
/// asked first thing. So many voters as have no agent sit at a proposal: a word that only the seats' JSON has, and no text in it can.
const COUNT_AGENTS_AND_VOTERS: &str = "SELECT CAST((SELECT count(*) FROM agent WHERE status NOT IN ('terminated', 'failed', 'lost') \
                                       AND (durable OR status <> 'parked') AND ($1 IS NULL OR key_id = $1)) \
                                       + (SELECT count(*) FROM proposal p JOIN ballot b ON b.proposal_id = p.id JOIN task t ON t.id = b.task_id \
                                       WHERE p.status = 'open' AND b.status = 'asked' \
                                       AND t.agent_id IS NULL AND t.ended_at IS NULL AND ($1 IS NULL OR t.key_id = $1)) \
                                       + (SELECT COALESCE(sum((length(CAST(seats AS TEXT)) \
                                       - length(replace(CAST(seats AS TEXT), '\"agent_type\"', ''))) / 12 \
                                       - (length(CAST(seats AS TEXT)) \
                                       - length(replace(CAST(seats AS TEXT), '\"agent_id\"', ''))) / 10), 0) FROM proposal \
                                       WHERE status = 'open' AND generation = 0 AND ($1 IS NULL OR key_id = $1)) \
                                       AS DOUBLE PRECISION) WHERE $2 = $2";
/// Tasks that wait, and the first turns of proposals, which come a moment after these.
const COUNT_QUEUED: &str = "SELECT CAST((SELECT count(*) FROM task WHERE status = 'created' AND ($1 IS NULL OR key_id = $1)) \
                            + (SELECT COALESCE(sum((length(CAST(seats AS TEXT)) \
                            - length(replace(CAST(seats AS TEXT), '\"agent_type\"', ''))) / 12), 0) FROM proposal \
                            WHERE status = 'open' AND generation = 0 AND ($1 IS NULL OR key_id = $1)) AS DOUBLE PRECISION) \
                            WHERE $2 = $2";
const SUM_USD: &str = "SELECT CAST(COALESCE(sum(r.cost_usd), 0) AS DOUBLE PRECISION) FROM run r JOIN task t ON t.id = r.task_id \
                       WHERE r.started_at >= $2 AND ($1 IS NULL OR t.key_id = $1)";

impl Quota {
    pub(super) fn checks(&self, is_agent: bool) -> Vec<Check> {
        let mut checks = Vec::new();
        for (limits, set_by) in [(self.key, SetBy::Key), (self.gateway, SetBy::Gateway)] {
            let mut add = |name, sql, most: Option<f64>| checks.extend(most.map(|most| Check { name, set_by, sql, most }));
            if is_agent {
                add("max_agents", COUNT_AGENTS, limits.max_agents.map(f64::from));
            } else {
                add("max_queued_tasks", COUNT_QUEUED, limits.max_queued_tasks.map(f64::from));
                add("usd_per_day", SUM_USD, limits.usd_per_day);
            }
        }
        checks
    }

    /// The checks of a new proposal: those of what it adds, and those of what was used before. `agents`: whether it adds any.
    pub(super) fn checks_of_voters(&self, agents: bool) -> (Vec<Check>, Vec<Check>) {
        let agents = if agents { self.checks(true) } else { Vec::new() };
        let agents = agents.into_iter().map(|check| Check { sql: COUNT_AGENTS_AND_VOTERS, ..check });
        let (added, used): (Vec<_>, Vec<_>) = self.checks(false).into_iter().partition(|check| check.sql == COUNT_QUEUED);
        (added.into_iter().chain(agents).collect(), used)
    }
}
