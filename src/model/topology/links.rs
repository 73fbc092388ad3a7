//! Who may write to whom.
//!
//! | topology | links |
//! |---|---|
//! | mesh | everybody with everybody |
//! | star | the hub with everybody; the hub is the first coordinator, else the first agent |
//! | hierarchical | parent with child. Root: the first coordinator or planner, else the first agent. Below it the leads: the other coordinators, planners and architects. Everybody else is a worker, and workers are dealt out to the leads in turn, or all belong to the root where there are no leads |
//! | ring | each with the one before and the one after, the last with the first |
//!
//! Agents are taken in the order of their places, so the answer does not depend on the order they are given in.

use crate::model::{
    agent::{AgentType, Backend},
    id::AgentId,
    swarm::Topology,
};

/// An agent of a swarm, as far as topology is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The agent.
    pub agent: AgentId,
    /// Its role.
    pub role: AgentType,
    /// The CLI behind it.
    pub backend: Backend,
    /// Its place in the order of joining.
    pub place: i64,
    /// Whether it was added for tasks that waited. It comes and goes, so it is nobody's hub, root or lead.
    pub added: bool,
}

/// Whether `from` may write to `to`: both are members, not the same, and linked. Symmetric.
pub fn may_message(topology: Topology, members: &[Member], from: AgentId, to: AgentId) -> bool {
    contacts(topology, members, from).contains(&to)
}

/// The members `from` may write to, in the order of their places. Empty when it is no member.
pub fn contacts(topology: Topology, members: &[Member], from: AgentId) -> Vec<AgentId> {
    let ordered = in_order(members);
    let Some(own) = ordered.iter().position(|member| member.agent == from) else { return vec![] };
    let is_linked: Box<dyn Fn(usize) -> bool> = match topology {
        Topology::Mesh => Box::new(|_| true),
        Topology::Star => {
            let hub = first_of(&ordered, &[AgentType::COORDINATOR]);
            Box::new(move |other| own == hub || other == hub)
        }
        Topology::Hierarchical => {
            let parents = parents(&ordered);
            Box::new(move |other| parents[own] == Some(other) || parents[other] == Some(own))
        }
        Topology::Ring => {
            let count = ordered.len();
            Box::new(move |other| (own + 1) % count == other || (other + 1) % count == own)
        }
    };
    (0..ordered.len()).filter(|other| *other != own && is_linked(*other)).map(|other| ordered[other].agent).collect()
}

pub(super) fn in_order(members: &[Member]) -> Vec<Member> {
    let mut ordered = members.to_vec();
    ordered.sort_by_key(|member| (member.place, member.agent));
    ordered
}

/// The first member with one of the roles, else the first of all.
pub(super) fn first_of(ordered: &[Member], roles: &[AgentType]) -> usize {
    ordered.iter().position(|member| !member.added && roles.contains(&member.role)).unwrap_or(0)
}

/// Each member's parent in the tree; none for the root.
pub(super) fn parents(ordered: &[Member]) -> Vec<Option<usize>> {
    const LEADS: [AgentType; 3] = [AgentType::COORDINATOR, AgentType::PLANNER, AgentType::ARCHITECT];
    let root = first_of(ordered, &[AgentType::COORDINATOR, AgentType::PLANNER]);
    let is_lead = |index: usize| index != root && !ordered[index].added && LEADS.contains(&ordered[index].role);
    let leads: Vec<usize> = (0..ordered.len()).filter(|index| is_lead(*index)).collect();
    let mut turns = leads.iter().copied().cycle();
    let parent = |index| match index {
        _ if index == root => None,
        _ if is_lead(index) => Some(root),
        _ => turns.next().or(Some(root)),
    };
    (0..ordered.len()).map(parent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ARCHITECT: AgentType = AgentType::ARCHITECT;
    const CODER: AgentType = AgentType::CODER;
    const COORDINATOR: AgentType = AgentType::COORDINATOR;
    const PLANNER: AgentType = AgentType::PLANNER;
    const TESTER: AgentType = AgentType::TESTER;

    fn team(roles: &[AgentType]) -> Vec<Member> {
        let places = 0..;
        roles
            .iter()
            .zip(places)
            .map(|(role, place)| Member {
                agent: AgentId::generate(),
                role: *role,
                backend: Backend::ClaudeCode,
                place,
                added: false,
            })
            .collect()
    }

    /// The places each member may write to.
    fn links(topology: Topology, roles: &[AgentType]) -> Vec<Vec<i64>> {
        let team = team(roles);
        let place = |agent| team.iter().find(|member| member.agent == agent).expect("a member").place;
        team.iter().map(|member| contacts(topology, &team, member.agent).into_iter().map(place).collect()).collect()
    }

    /// Small, reproducible, and different for every seed.
    fn roles_of(mut seed: u64, count: usize) -> Vec<AgentType> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).expect("31 bits")
        };
        (0..count).map(|_| AgentType::SHIPPED[next() % AgentType::SHIPPED.len()]).collect()
    }

    #[test]
    fn every_topology_is_symmetric_connected_and_indifferent_to_the_order_given() {
        for topology in Topology::ALL.iter().copied() {
            for seed in 0..300 {
                let roles = roles_of(seed, usize::try_from(seed % 17 + 1).expect("small"));
                let team = team(&roles);
                let mut reversed = team.clone();
                reversed.reverse();
                for one in &team {
                    assert!(!may_message(topology, &team, one.agent, one.agent), "nobody writes to itself");
                    assert_eq!(contacts(topology, &team, one.agent), contacts(topology, &reversed, one.agent));
                    for other in &team {
                        let [there, back] =
                            [(one, other), (other, one)].map(|(a, b)| may_message(topology, &team, a.agent, b.agent));
                        assert_eq!(there, back, "{topology} {roles:?}");
                    }
                }
                let (mut reached, mut open) = (BTreeSet::from([team[0].agent]), vec![team[0].agent]);
                while let Some(agent) = open.pop() {
                    open.extend(contacts(topology, &team, agent).into_iter().filter(|other| reached.insert(*other)));
                }
                assert_eq!(reached.len(), team.len(), "{topology} {roles:?}");
            }
        }
    }

    #[test]
    fn a_tree_has_one_link_less_than_members_and_a_ring_two_for_each() {
        for seed in 0..100 {
            let roles = roles_of(seed, 9);
            assert_eq!(links(Topology::Hierarchical, &roles).concat().len(), 2 * 8, "{roles:?}");
            assert!(links(Topology::Ring, &roles).iter().all(|neighbours| neighbours.len() == 2));
            assert!(links(Topology::Mesh, &roles).iter().all(|others| others.len() == 8));
        }
    }

    #[test]
    fn a_star_has_its_coordinator_in_the_middle() {
        assert_eq!(links(Topology::Star, &[CODER, COORDINATOR, TESTER]), [vec![1], vec![0, 2], vec![1]]);
        assert_eq!(links(Topology::Star, &[CODER, TESTER, TESTER]), [vec![1, 2], vec![0], vec![0]]);
    }

    #[test]
    fn workers_are_dealt_out_to_the_leads() {
        let roles = [CODER, PLANNER, ARCHITECT, TESTER, CODER, COORDINATOR];
        let expected = [vec![2], vec![2, 5], vec![0, 1, 4], vec![5], vec![2], vec![1, 3]];
        assert_eq!(links(Topology::Hierarchical, &roles), expected);
        assert_eq!(links(Topology::Hierarchical, &[CODER, TESTER, TESTER]), [vec![1, 2], vec![0], vec![0]]);
    }

    #[test]
    fn members_that_were_added_change_no_link_of_those_that_stay() {
        for topology in [Topology::Star, Topology::Hierarchical, Topology::Mesh] {
            for seed in 0..100 {
                let staying = team(&roles_of(seed, 7));
                let mut grown = staying.clone();
                for (role, place) in [COORDINATOR, PLANNER, CODER].into_iter().zip(7..) {
                    grown.push(Member { agent: AgentId::generate(), role, place, added: true, ..staying[0] });
                }
                for one in &staying {
                    let among_them = |agent: &AgentId| staying.iter().any(|member| member.agent == *agent);
                    let mut linked = contacts(topology, &grown, one.agent);
                    linked.retain(among_them);
                    assert_eq!(linked, contacts(topology, &staying, one.agent), "{topology}");
                }
            }
        }
    }

    #[test]
    fn small_rings_close() {
        assert_eq!(links(Topology::Ring, &[CODER]), [Vec::<i64>::new()]);
        assert_eq!(links(Topology::Ring, &[CODER, CODER]), [vec![1], vec![0]]);
        assert_eq!(links(Topology::Ring, &[CODER; 4]), [vec![1, 3], vec![0, 2], vec![1, 3], vec![0, 2]]);
    }

    #[test]
    fn strangers_reach_nobody() {
        let team = team(&[CODER, CODER]);
        assert!(contacts(Topology::Mesh, &team, AgentId::generate()).is_empty());
    }
}
