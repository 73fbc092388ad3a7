//! Tasks of swarms go to one member each, however many hand them out at once, and nobody ends who gets one.

use super::{
    support::{TestStore, insert, task, test_store},
    team::store_team,
};
use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use mas_gateway::{
    model::{
        agent::{Agent, AgentStatus, AgentType},
        id::AgentId,
        quota::KeyLimits,
        swarm::{Swarm, Topology, scaling::ScalingKind},
        task::{MessageMode, Priority, Task, TaskStatus},
    },
    store::{Grown, Inserted, Quota, Store},
};

async fn with_task() -> (TestStore, Swarm, Agent, Task) {
    let store = test_store().await;
    let (swarm, mut agents) = store_team(&store, Topology::Mesh, &[AgentType::CODER], "ann").await;
    let given = Task { swarm_id: Some(swarm.id), ..task("ann") };
    assert_eq!(insert(&store, &given).await, Inserted::New);
    (store, swarm, agents.pop().expect("one"), given)
}

fn spare(like: &Agent, place: i64) -> Agent {
    Agent {
        id: AgentId::generate(),
        status: AgentStatus::Parked,
        generation: 1,
        swarm_place: Some(place),
        scaled: true,
        ..like.clone()
    }
}

async fn stored(store: &Store, task: &Task) -> Task {
    store.get_task(task.id, None).await.expect("read").expect("there")
}

#[tokio::test]
async fn of_many_who_hand_a_task_out_one_does_and_nobody_is_added_twice() {
    let (store, swarm, member, given) = with_task().await;
    assert_eq!(store.claim_task(Utc::now(), &[]).await.expect("asked"), None, "it is for no runner yet");
    assert_eq!(store.list_swarms_with_waiting_tasks().await.expect("listed"), [swarm.id]);
    let quota = Quota::default();
    let hand_out = async |place| {
        let new = spare(&member, place);
        store.assign_task(&swarm, &given, &new, Some(&quota), Utc::now()).await.expect("answered")
    };
    let outcomes = join_all((1..9).map(hand_out)).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Grown::Done).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Grown::Done | Grown::Stale)), "{outcomes:?}");
    let members = store.list_members(swarm.id).await.expect("listed");
    let now = stored(&store, &given).await;
    assert_eq!((members.len(), now.agent_id, now.mode), (2, Some(members[1].id), Some(MessageMode::Queue)));
    let records = store.list_scalings(swarm.id, 9).await.expect("listed");
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].kind, records[0].agent_id, records[0].task_id), (ScalingKind::Added, members[1].id, Some(given.id)));
    assert!(store.list_swarms_with_waiting_tasks().await.expect("listed").is_empty());
    // Whoever had it is told to end before it began: somebody else gets it.
    store.request_termination(members[1].id, Utc::now()).await.expect("ended");
    assert_eq!(stored(&store, &given).await.status, TaskStatus::Created);
    assert_eq!(store.list_next_tasks(swarm.id).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn the_first_task_of_each_type_is_next() {
    let (store, swarm, _, first) = with_task().await;
    let more = |priority, agent_type| Task { swarm_id: Some(swarm.id), priority, agent_type, ..task("ann") };
    let (later, other) = (more(Priority::Normal, AgentType::CODER), more(Priority::Low, AgentType::TESTER));
    let urgent = more(Priority::High, AgentType::CODER);
    for task in [&later, &other] {
        assert_eq!(insert(&store, task).await, Inserted::New);
    }
    let next = async || store.list_next_tasks(swarm.id).await.expect("listed").iter().map(|task| task.id).collect::<Vec<_>>();
    assert_eq!(next().await, [first.id, other.id]);
    assert_eq!(insert(&store, &urgent).await, Inserted::New);
    assert_eq!(next().await, [urgent.id, other.id]);
    let counts = store.count_unassigned_tasks(swarm.id).await.expect("counted");
    assert_eq!(counts, [(AgentType::CODER, 3), (AgentType::TESTER, 1)]);
}

#[tokio::test]
async fn a_limit_leaves_nothing_behind() {
    let (store, swarm, member, given) = with_task().await;
    let gateway = KeyLimits { max_agents: Some(1), ..KeyLimits::default() };
    let quota = Quota { gateway, ..Quota::default() };
    let refused = store.assign_task(&swarm, &given, &spare(&member, 1), Some(&quota), Utc::now()).await.expect("answered");
    assert!(matches!(&refused, Grown::Refused(limit) if limit.name == "max_agents"), "{refused:?}");
    assert_eq!(store.list_members(swarm.id).await.expect("listed").len(), 1);
    assert_eq!((stored(&store, &given).await.agent_id, store.list_scalings(swarm.id, 9).await.expect("listed")), (None, vec![]));
}

#[tokio::test]
async fn a_member_that_was_added_ends_or_gets_a_task_but_never_both() {
    for round in 0..12 {
        let (store, swarm, member, given) = with_task().await;
        let first = stored(&store, &given).await;
        let added = spare(&member, 1);
        store.assign_task(&swarm, &first, &added, Some(&Quota::default()), Utc::now()).await.expect("answered");
        let (since, at) = (Utc::now() + TimeDelta::seconds(60), Utc::now());
        assert!(!store.end_surplus_member(added.id, swarm.id, since, at).await.expect("answered"), "it has something to do");
        // Its task is done, and another one comes at the moment when it is to end.
        let cancelled = mas_gateway::store::TaskChange { status: TaskStatus::Cancelled, failure: None, dead_letter: false, at };
        let held = stored(&store, &given).await;
        store.change_task(held.id, held.generation, &cancelled).await.expect("changed").expect("cancelled");
        let next = Task { swarm_id: Some(swarm.id), ..task("ann") };
        assert_eq!(insert(&store, &next).await, Inserted::New);
        let now = store.get_swarm(swarm.id, None).await.expect("read").expect("there");
        let surplus = store.list_surplus_members(since).await.expect("listed");
        assert_eq!(surplus, [(added.id, swarm.id)], "round {round}");
        let (ended, given) = tokio::join!(
            store.end_surplus_member(added.id, swarm.id, since, at),
            store.assign_task(&now, &next, &added, None, at)
        );
        let (ended, given) = (ended.expect("answered"), given.expect("answered"));
        let agent = store.get_agent(added.id, None).await.expect("read").expect("there");
        assert_eq!(given == Grown::Done, !ended, "round {round}: {given:?}");
        assert_eq!(agent.status == AgentStatus::Terminated, ended, "round {round}: {agent:?}");
        assert_eq!(stored(&store, &next).await.agent_id.is_some(), !ended);
    }
}

#[tokio::test]
async fn a_swarm_that_is_stopped_takes_no_task_and_its_waiting_ones_are_cancelled() {
    let (store, swarm, _, given) = with_task().await;
    let stopped = store.stop_swarm(swarm.id, Utc::now()).await.expect("stopped");
    assert_eq!((stopped.tasks, stored(&store, &given).await.status), (vec![given.id], TaskStatus::Cancelled));
    let late = Task { swarm_id: Some(swarm.id), ..task("ann") };
    assert_eq!(insert(&store, &late).await, Inserted::AgentEnded);
    assert_eq!(store.get_task(late.id, None).await.expect("read"), None);
}
