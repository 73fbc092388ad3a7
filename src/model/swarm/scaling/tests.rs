//! Who gets which task, and when somebody is added.

use super::*;
use crate::model::{
    id::SwarmId,
    run::Provenance,
    swarm::{SwarmStatus, Topology},
};
use proptest::prelude::*;

fn swarm(auto_scale: bool, max_agents: u32) -> Swarm {
    Swarm {
        id: SwarmId::generate(),
        owner: "ann".into(),
        key_id: None,
        name: "a team".into(),
        topology: Topology::Mesh,
        project: "default".into(),
        objective: None,
        max_agents,
        auto_scale,
        status: SwarmStatus::Active,
        generation: 1,
        idempotency_key: None,
        request_hash: String::new(),
        provenance: Provenance::Rehearsal,
        created_at: Utc::now(),
        updated_at: Utc::now(),
        stopped_at: None,
    }
}

fn member(agent_type: AgentType, place: i64, status: AgentStatus, scaled: bool) -> Agent {
    Agent {
        name: format!("{agent_type}-{place}"),
        status,
        swarm_place: Some(place),
        scaled,
        ..Agent::at_rest("ann".into(), agent_type, Provenance::Rehearsal, Utc::now())
    }
}

fn task(agent_type: AgentType) -> Waiting {
    Waiting { task: TaskId::generate(), agent_type, may_grow: true }
}

const NOBODY: BTreeSet<AgentId> = BTreeSet::new();
const CODER: AgentType = AgentType::CODER;
const TESTER: AgentType = AgentType::TESTER;

#[test]
fn a_free_member_of_the_type_goes_before_a_new_one() {
    let scaled = member(CODER, 0, AgentStatus::Idle, true);
    let parked = member(CODER, 1, AgentStatus::Parked, false);
    let warm = member(CODER, 2, AgentStatus::Idle, false);
    let at_work = member(CODER, 3, AgentStatus::Busy, false);
    let given = task(CODER);
    let swarm = swarm(true, 9);
    let to = |members: &[Agent], busy: &BTreeSet<AgentId>| next_assignment(&swarm, members, busy, &[given]);
    let member = |agent: &Agent| Some((given.task, Assignee::Member(agent.id)));
    let everybody = [scaled.clone(), parked.clone(), warm.clone(), at_work.clone()];
    assert_eq!(to(&everybody, &NOBODY), member(&warm), "its process waits");
    assert_eq!(to(&everybody, &BTreeSet::from([warm.id])), member(&parked), "the other one has something to do");
    assert_eq!(to(&everybody, &BTreeSet::from([warm.id, parked.id])), member(&scaled), "it may end if it gets nothing");
    assert_eq!(to(&[at_work], &NOBODY), Some((given.task, Assignee::New)));
    let mut ending = warm;
    ending.terminate_requested = true;
    assert_eq!(to(&[ending], &NOBODY), Some((given.task, Assignee::New)));
}

#[test]
fn without_room_tasks_wait_and_others_go_before_them() {
    let coder = member(CODER, 0, AgentStatus::Busy, false);
    let tester = member(TESTER, 1, AgentStatus::Parked, false);
    let members = [coder, tester.clone()];
    let (code, test) = (task(CODER), task(TESTER));
    for swarm in [swarm(false, 9), swarm(true, 2)] {
        assert_eq!(next_assignment(&swarm, &members, &NOBODY, &[code]), None);
        let next = next_assignment(&swarm, &members, &NOBODY, &[code, test]);
        assert_eq!(next, Some((test.task, Assignee::Member(tester.id))));
    }
    let held = Waiting { may_grow: false, ..code };
    assert_eq!(next_assignment(&swarm(true, 9), &members, &NOBODY, &[held]), None, "its key has as many as it may");
}

proptest! {
    /// Hands out everything that can be: nobody gets two, nothing goes twice, the bound holds, and nobody free is passed over.
    #[test]
    fn handing_out_keeps_to_the_rule(
        auto_scale in any::<bool>(),
        max_agents in 1..8_u32,
        members in proptest::collection::vec((0..2_usize, 0..3_usize, any::<bool>()), 0..6),
        tasks in proptest::collection::vec((0..2_usize, any::<bool>()), 0..9),
    ) {
        const TYPES: [AgentType; 2] = [CODER, TESTER];
        const STATUSES: [AgentStatus; 3] = [AgentStatus::Idle, AgentStatus::Parked, AgentStatus::Busy];
        let swarm = swarm(auto_scale, max_agents);
        let given = members.into_iter().zip(0..);
        let mut members: Vec<Agent> = given.map(|((of, status, scaled), place)| member(TYPES[of], place, STATUSES[status], scaled)).collect();
        let before = members.len();
        let mut waiting: Vec<Waiting> = tasks.into_iter().map(|(of, may_grow)| Waiting { may_grow, ..task(TYPES[of]) }).collect();
        let mut busy = BTreeSet::new();
        while let Some((id, assignee)) = next_assignment(&swarm, &members, &busy, &waiting) {
            let at = waiting.iter().position(|task| task.task == id).expect("it waits");
            let task = waiting.remove(at);
            let given = match assignee {
                Assignee::Member(id) => id,
                Assignee::New => {
                    let is_free = |agent: &&Agent| agent.agent_type == task.agent_type && agent.status != AgentStatus::Busy && !busy.contains(&agent.id);
                    prop_assert!(auto_scale && task.may_grow && !members.iter().any(|agent| is_free(&agent)));
                    let place = i64::try_from(members.len()).expect("few");
                    members.push(member(task.agent_type, place, AgentStatus::Parked, true));
                    members[members.len() - 1].id
                }
            };
            let found = members.iter().find(|agent| agent.id == given).expect("a member");
            prop_assert_eq!(found.agent_type, task.agent_type);
            prop_assert!(busy.insert(given), "one at a time");
        }
        prop_assert!(members.len() <= before.max(max_agents as usize));
        for task in waiting {
            let free = members.iter().any(|agent| agent.agent_type == task.agent_type && agent.status != AgentStatus::Busy && !busy.contains(&agent.id));
            prop_assert!(!free, "a task waits although somebody is free");
            prop_assert!(!(auto_scale && task.may_grow && members.len() < max_agents as usize), "and although there is room");
        }
    }
}
