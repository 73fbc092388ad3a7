//! Requests that come at the moment when something else is being stored, and commits whose answer is lost.

use super::{
    append::{batch, event, message},
    support::{TestStore, claim, insert, provision, run_of, task, test_store},
};
use chrono::Utc;
use mas_gateway::{
    model::{
        agent::AgentStatus,
        id::{AgentId, RunId},
        run::{Failure, FailureCode, Run, RunOutcome},
        task::{MessageMode, Task, TaskStatus},
    },
    store::{Appended, Batch, Begun, Provision, Quota, Store, TaskChange},
};
use serde_json::json;

/// A store with an agent that stays and works on its first message.
async fn with_agent() -> (TestStore, Provision) {
    let store = test_store().await;
    insert(&store, &task("ann")).await;
    let mut p = provision(&claim(&store).await.expect("there"));
    p.agent.durable = true;
    assert!(store.provision(&p).await.expect("provisioned"));
    (store, p)
}

async fn told(store: &Store, agent: AgentId, mode: MessageMode) -> Task {
    let told = Task { agent_id: Some(agent), mode: Some(mode), ..task("ann") };
    store.insert_task(&told, &Quota::default()).await.expect("inserted");
    told
}

async fn status_of(store: &Store, task: &Task) -> TaskStatus {
    store.get_task(task.id, None).await.expect("read").expect("there").status
}

async fn agent_status(store: &Store, agent: AgentId) -> AgentStatus {
    store.get_agent(agent, None).await.expect("read").expect("there").status
}

#[tokio::test]
async fn an_agent_told_to_end_while_its_last_batch_is_stored_ends() {
    for (meant, failure) in [(AgentStatus::Parked, None), (AgentStatus::Lost, Some(Failure::new(FailureCode::AgentLost, "gone")))]
    {
        let (store, p) = with_agent().await;
        let (sent, state) = (told(&store, p.agent.id, MessageMode::Steer).await, json!({}));
        let steering = Batch { steering: Some((sent.id, 0)), ..batch(&p, (0, 10), &state, &[]) };
        assert_eq!(store.append(&steering).await.expect("appended"), Appended::Done { task: None });
        store.request_termination(p.agent.id, Utc::now()).await.expect("asked");
        assert_eq!(agent_status(&store, p.agent.id).await, AgentStatus::Starting, "its process lives");
        let last = Batch {
            agent_status: Some(meant),
            agent_failure: failure.as_ref(),
            released: Some(sent.id),
            process_ended: true,
            ..batch(&p, (10, 20), &state, &[])
        };
        store.append(&last).await.expect("appended");
        let agent = store.get_agent(p.agent.id, None).await.expect("read").expect("there");
        assert_eq!((agent.status, agent.failure), (AgentStatus::Terminated, None));
        assert_eq!(status_of(&store, &sent).await, TaskStatus::Cancelled, "nobody would give it a turn");
        store.end().await;
    }
}

/// An agent that was parked and has just been woken for a message.
async fn woken() -> (TestStore, AgentId, Task) {
    let (store, p) = with_agent().await;
    let state = json!({});
    let failure = Some(Failure::new(FailureCode::AgentError, "no"));
    let over = TaskChange { status: TaskStatus::Failed, failure, dead_letter: false, at: Utc::now() };
    let parked = Batch {
        agent_status: Some(AgentStatus::Parked),
        process_ended: true,
        task: Some((run_of(&p).task_id, over)),
        ..batch(&p, (0, 0), &state, &[])
    };
    store.append(&parked).await.expect("appended");
    told(&store, p.agent.id, MessageMode::Queue).await;
    let claimed = claim(&store).await.expect("the message");
    assert_eq!(agent_status(&store, p.agent.id).await, AgentStatus::Starting);
    (store, p.agent.id, claimed)
}

#[tokio::test]
async fn an_agent_told_to_end_while_it_is_woken_ends_whatever_becomes_of_that() {
    for case in ["laid down", "failed", "orphaned"] {
        let (store, agent, claimed) = woken().await;
        store.request_termination(agent, Utc::now()).await.expect("asked");
        match case {
            "laid down" => assert!(store.lay_down_agent(agent, Utc::now()).await.expect("changed")),
            "failed" => {
                let failure = Failure::new(FailureCode::AgentUnavailable, "no CLI");
                store.fail_start(agent, Some(claimed.id), &failure, Utc::now()).await.expect("changed");
            }
            _ => assert_eq!(store.park_orphaned_agents(Utc::now()).await.expect("changed"), 1),
        }
        assert_eq!(agent_status(&store, agent).await, AgentStatus::Terminated, "{case}");
        store.end().await;
    }
    let (store, agent, _) = woken().await;
    assert!(store.lay_down_agent(agent, Utc::now()).await.expect("changed"));
    assert_eq!(agent_status(&store, agent).await, AgentStatus::Parked);
    store.end().await;
}

#[tokio::test]
async fn the_turn_an_agent_is_woken_for_can_be_interrupted() {
    let (store, agent, claimed) = woken().await;
    let running = store.running_task_of(agent).await.expect("read").expect("there");
    assert_eq!((running.id, running.run_id), (claimed.id, None));
    store.end().await;
}

#[tokio::test]
async fn a_message_cancelled_on_its_way_into_a_turn_does_not_wait_for_ever() {
    let (store, p) = with_agent().await;
    let (kept, dropped, state) =
        (told(&store, p.agent.id, MessageMode::Steer).await, told(&store, p.agent.id, MessageMode::Steer).await, json!({}));
    for sent in [&kept, &dropped] {
        store.append(&Batch { steering: Some((sent.id, 0)), ..batch(&p, (0, 0), &state, &[]) }).await.expect("appended");
        assert_eq!(store.sent_message_of(p.agent.id).await.expect("read").expect("there").id, kept.id);
    }
    store.request_cancel(dropped.id, Utc::now()).await.expect("asked");
    for sent in [&kept, &dropped] {
        store.append(&Batch { released: Some(sent.id), ..batch(&p, (0, 0), &state, &[]) }).await.expect("appended");
    }
    assert_eq!(status_of(&store, &kept).await, TaskStatus::Created);
    let dropped = store.get_task(dropped.id, None).await.expect("read").expect("there");
    assert_eq!((dropped.status, dropped.ended_at.is_some()), (TaskStatus::Cancelled, true));
    store.end().await;
}

#[tokio::test]
async fn what_is_stored_again_because_the_answer_was_lost_stands_once() {
    let (store, p) = with_agent().await;
    assert!(store.provision(&p).await.expect("provisioned"), "the same again");
    assert_eq!(store.list_processes_of(p.agent.id).await.expect("listed").len(), 1);

    let (queued, steered) =
        (told(&store, p.agent.id, MessageMode::Queue).await, told(&store, p.agent.id, MessageMode::Steer).await);
    let run = Run {
        id: RunId::generate(),
        task_id: queued.id,
        progress: String::new(),
        latest_output: String::new(),
        outcome: RunOutcome::default(),
        ..run_of(&p).clone()
    };
    let begun = Begun { task_generation: 0, run: run.clone() };
    let (state, events) = (json!({}), [event(&p, 1, message("begins"))]);
    let first = Batch { begun: Some(&begun), run_id: Some(run.id), ..batch(&p, (0, 0), &state, &events) };
    let steer = Batch { steering: Some((steered.id, 0)), run_id: Some(run.id), ..batch(&p, (0, 0), &state, &[]) };
    for _ in 0..2 {
        assert_eq!(store.append(&first).await.expect("appended"), Appended::Done { task: None });
        assert_eq!(store.append(&steer).await.expect("appended"), Appended::Done { task: None });
    }
    for message in [&queued, &steered] {
        let task = store.get_task(message.id, None).await.expect("read").expect("there");
        assert_eq!((task.status, task.generation, task.run_id), (TaskStatus::Assigned, 1, Some(run.id)));
    }
    assert_eq!(store.list_agent_events(p.agent.id, 0, 10, &[]).await.expect("listed").len(), 1);
    let other = Begun { task_generation: 0, run: Run { id: RunId::generate(), ..run } };
    let late = Batch { begun: Some(&other), ..batch(&p, (0, 0), &state, &[]) };
    assert_eq!(store.append(&late).await.expect("tried"), Appended::Refused, "somebody else took it");
    store.end().await;
}

/// On an engine that locks rows, two of these could wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn turns_begin_and_are_claimed_while_their_agents_are_told_to_end() {
    let store = test_store().await;
    let state = json!({});
    for round in 0..60 {
        insert(&store, &task("ann")).await;
        let p = provision(&claim(&store).await.expect("there"));
        assert!(store.provision(&p).await.expect("provisioned"));
        let message = told(&store, p.agent.id, MessageMode::Queue).await;
        if round % 2 == 0 {
            let run = Run { id: RunId::generate(), task_id: message.id, ..run_of(&p).clone() };
            let begun = Begun { task_generation: 0, run };
            let busy = Batch { begun: Some(&begun), agent_status: Some(AgentStatus::Busy), ..batch(&p, (0, 0), &state, &[]) };
            let (begun, ended) = tokio::join!(store.append(&busy), store.request_termination(p.agent.id, Utc::now()));
            begun.expect("appended");
            ended.expect("asked");
            assert_ne!(status_of(&store, &message).await, TaskStatus::Created);
        } else {
            let parked = Batch { agent_status: Some(AgentStatus::Parked), process_ended: true, ..batch(&p, (0, 0), &state, &[]) };
            store.append(&parked).await.expect("appended");
            let (claimed, ended) =
                tokio::join!(store.claim_task(Utc::now(), &[]), store.request_termination(p.agent.id, Utc::now()));
            let (claimed, _) = (claimed.expect("tried"), ended.expect("asked"));
            let wanted = if claimed.is_some() { TaskStatus::Assigned } else { TaskStatus::Cancelled };
            assert_eq!(status_of(&store, &message).await, wanted);
        }
    }
    store.end().await;
}
