//! The shape of the work in each topology: who has a turn, after whom, and with whom at the same time.

use super::*;
use crate::model::{
    agent::Backend,
    id::AgentId,
    workflow::{
        check::check,
        plan::{Known, RunState, TurnState, plan},
        run::RunInput,
    },
};
use std::collections::BTreeMap;

const ARCHITECT: AgentType = AgentType::ARCHITECT;
const CODER: AgentType = AgentType::CODER;
const COORDINATOR: AgentType = AgentType::COORDINATOR;
const PLANNER: AgentType = AgentType::PLANNER;
const REVIEWER: AgentType = AgentType::REVIEWER;
const TESTER: AgentType = AgentType::TESTER;

fn team(roles: &[AgentType]) -> Vec<Member> {
    roles
        .iter()
        .zip(0..)
        .map(|(role, place)| Member {
            agent: AgentId::generate(),
            role: *role,
            backend: Backend::ClaudeFlow,
            place,
            added: false,
        })
        .collect()
}

/// Plays an objective; gives the waves of turns that were started together, by path.
fn waves(topology: Topology, roles: &[AgentType], agrees_from: u32) -> Vec<Vec<String>> {
    let workflow = workflow(topology, &team(roles));
    assert_eq!(check(&workflow, &|_| true), [], "{topology} {roles:?}");
    let input = RunInput { task: "the objective".into(), timeout_seconds: 60, ..RunInput::default() };
    let (mut turns, answers, mut waves) = (BTreeMap::new(), BTreeMap::new(), vec![]);
    loop {
        let next = plan(&Known { workflow: &workflow, input: &input, turns: &turns, answers: &answers });
        if next.start.is_empty() {
            assert!(matches!(next.state, RunState::Complete(_)), "{:?}", next.state);
            return waves;
        }
        waves.push(next.start.iter().map(|spec| spec.key.path.clone()).collect());
        for spec in next.start {
            let round = spec.key.path.split('~').nth(1).and_then(|rest| rest.split('/').next()?.parse::<u32>().ok()).unwrap_or(0);
            let part = json!({"title": "t", "instruction": format!("do {}", spec.key.path)});
            let count =
                spec.output_schema.as_ref().and_then(|schema| schema["properties"]["parts"]["maxItems"].as_u64()).unwrap_or(0);
            let parts: Vec<Value> = (0..count).map(|_| part.clone()).collect();
            let output = json!({"parts": parts, "finding": format!("by {}", spec.key.path), "agrees": round >= agrees_from});
            turns.insert(spec.key, TurnState::Done { text: "done".into(), output: spec.output_schema.map(|_| output) });
        }
    }
}

#[test]
fn a_star_splits_works_at_once_and_merges() {
    let waves = waves(Topology::Star, &[CODER, COORDINATOR, TESTER], 0);
    assert_eq!(waves, [vec!["split"], vec!["coder_0", "tester_2"], vec!["merge"]]);
}

#[test]
fn a_hierarchy_goes_down_and_up_again() {
    let waves = waves(Topology::Hierarchical, &[PLANNER, ARCHITECT, CODER, CODER, TESTER, COORDINATOR], 0);
    assert_eq!(
        waves,
        [
            vec!["plan"],
            vec!["architect_1/split_architect_1", "coordinator_5/split_coordinator_5"],
            vec!["architect_1/coder_2", "architect_1/tester_4", "coordinator_5/coder_3"],
            vec!["architect_1/merge_architect_1", "coordinator_5/merge_coordinator_5"],
            vec!["synthesis"],
        ]
    );
}

#[test]
fn a_hierarchy_without_leads_is_a_star() {
    assert_eq!(waves(Topology::Hierarchical, &[PLANNER, CODER, TESTER], 0), waves(Topology::Star, &[PLANNER, CODER, TESTER], 0));
}

#[test]
fn a_mesh_goes_on_until_all_agree_or_the_rounds_are_used_up() {
    let roles = [CODER, TESTER, REVIEWER];
    let round = |n: u32| vec![format!("rounds~{n}/coder_0"), format!("rounds~{n}/tester_1"), format!("rounds~{n}/reviewer_2")];
    assert_eq!(
        waves(Topology::Mesh, &roles, 0),
        [round(1), round(2), vec!["synthesis".into()]],
        "nobody can agree before the second"
    );
    assert_eq!(waves(Topology::Mesh, &roles, 99), [round(1), round(2), round(3), vec!["synthesis".into()]]);
}

#[test]
fn a_ring_goes_around() {
    assert_eq!(waves(Topology::Ring, &[CODER, TESTER, REVIEWER], 0), [["coder_0"], ["tester_1"], ["reviewer_2"]]);
}

#[test]
fn any_team_of_any_size_completes() {
    for topology in Topology::ALL.iter().copied() {
        for count in [1, 2, 7, 64] {
            let roles: Vec<AgentType> =
                (0..count).map(|n| AgentType::SHIPPED[(n * 7 + count) % AgentType::SHIPPED.len()]).collect();
            let turns: usize = waves(topology, &roles, 2).iter().map(Vec::len).sum();
            assert!(turns >= count, "{topology} {count}: everybody has a turn");
        }
    }
}
