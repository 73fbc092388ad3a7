//! Messages and what is remembered: once, together with what they belong to, and found again on either engine.

mod memory;

use super::{
    append::batch,
    support::{TestStore, insert, provision, task, test_store},
};
use chrono::{SubsecRound, TimeDelta, Utc};
use mas_gateway::{
    model::{
        agent::{Agent, AgentStatus, AgentType},
        id::{AgentId, MessageId, SwarmId, TaskId},
        run::Provenance,
        swarm::{Swarm, SwarmStatus, Topology},
        task::{Priority, TaskStatus},
        team::{Draft, MessageKind, Post, Recipient, Sender, TeamMessage},
    },
    store::{Appended, InboxFilter, Inserted, MessageFilter, Quota, Store, TeamChange},
};
use memory::{artifact, found, memory};
use serde_json::Value;

/// A swarm with agents of these roles, named by role and place.
pub(crate) fn team(topology: Topology, roles: &[AgentType], owner: &str) -> (Swarm, Vec<Agent>) {
    let now = Utc::now().trunc_subsecs(6);
    let swarm = Swarm {
        id: SwarmId::generate(),
        owner: owner.to_owned(),
        key_id: None,
        name: "a team".into(),
        topology,
        project: "default".into(),
        objective: None,
        max_agents: 64,
        auto_scale: false,
        status: SwarmStatus::Active,
        generation: 1,
        idempotency_key: None,
        request_hash: String::new(),
        provenance: Provenance::Rehearsal,
        created_at: now,
        updated_at: now,
        stopped_at: None,
    };
    let agents = roles.iter().zip(0..).map(|(role, place)| Agent {
        id: AgentId::generate(),
        name: format!("{role}-{place}"),
        agent_type: *role,
        durable: true,
        generation: 0,
        status: AgentStatus::Starting,
        workspace: String::new(),
        branch: None,
        swarm_id: Some(swarm.id),
        swarm_place: Some(place),
        ..provision(&task(owner)).agent
    });
    (swarm.clone(), agents.collect())
}

pub(crate) async fn store_team(store: &Store, topology: Topology, roles: &[AgentType], owner: &str) -> (Swarm, Vec<Agent>) {
    let (swarm, agents) = team(topology, roles, owner);
    assert_eq!(store.insert_swarm(&swarm, agents.clone(), &Quota::default()).await.expect("inserted"), Inserted::New);
    (swarm, agents)
}

async fn pair() -> (TestStore, Swarm, Agent, Agent) {
    let store = test_store().await;
    let (swarm, mut agents) = store_team(&store, Topology::Mesh, &[AgentType::CODER, AgentType::TESTER], "ann").await;
    let (two, one) = (agents.pop().expect("two"), agents.pop().expect("one"));
    (store, swarm, one, two)
}

fn draft(to: Recipient) -> Draft {
    Draft {
        to,
        kind: MessageKind::Question,
        priority: Priority::Normal,
        subject: "a subject".into(),
        body: "a body \u{0}".into(),
        requires_response: true,
        deadline_seconds: Some(60),
        in_reply_to: None,
    }
}

fn post(draft: Draft, swarm: &Swarm, members: &[&Agent], from: &Agent) -> Post {
    let members: Vec<Agent> = members.iter().map(|agent| (*agent).clone()).collect();
    draft.post(swarm, &members, Sender::Agent { id: from.id, hops: 0, behind: &[] }, 60, Utc::now()).expect("may be sent")
}

async fn send(store: &Store, post: &Post) {
    assert!(store.change_team(TeamChange::Send(Box::new(post.clone()))).await.expect("sent"));
}

async fn inbox(store: &Store, agent: AgentId) -> Vec<MessageId> {
    let filter = InboxFilter { agent, thread: None, include_read: false, after: None, limit: 100 };
    store.list_inbox(&filter).await.expect("listed").iter().map(|message| message.id).collect()
}

fn history(swarm: &Swarm) -> MessageFilter {
    MessageFilter { swarm: swarm.id, agent: None, thread: None, unread: false, before: None, limit: 100 }
}

async fn ids(store: &Store, filter: MessageFilter) -> Vec<MessageId> {
    store.list_team_messages(&filter).await.expect("listed").iter().map(|message| message.id).collect()
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_and_sending_it_again_changes_nothing() {
    let (store, swarm, one, two) = pair().await;
    let first = post(draft(Recipient::Agent(two.id)), &swarm, &[&one, &two], &one);
    assert_eq!((first.recipients.as_slice(), first.wake.len()), ([two.id].as_slice(), 1));
    send(&store, &first).await;
    send(&store, &first).await;
    let stored = store.get_team_message(swarm.id, first.message.id).await.expect("read").expect("there");
    let micros = |message: &TeamMessage| TeamMessage {
        created_at: message.created_at.trunc_subsecs(6),
        deadline: message.deadline.map(|at| at.trunc_subsecs(6)),
        body: message.body.replace('\0', "\u{fffd}"),
        ..message.clone()
    };
    assert_eq!(stored, micros(&first.message));
    assert_eq!(store.list_waiting_messages(two.id, 9).await.expect("listed").len(), 1, "one turn to answer");
    assert_eq!(store.get_team_message(SwarmId::generate(), first.message.id).await.expect("read"), None, "another swarm");
    let deliveries = store.list_deliveries(&[first.message.id]).await.expect("listed");
    assert_eq!(deliveries.len(), 1);
    assert!(
        stored.is_overdue(&deliveries, None, Utc::now() + TimeDelta::minutes(2))
            && !stored.is_overdue(&deliveries, None, Utc::now())
    );

    let mut answer =
        post(Draft { in_reply_to: Some(stored.clone()), ..draft(Recipient::Agent(one.id)) }, &swarm, &[&one, &two], &two);
    answer.wake.clear();
    send(&store, &answer).await;
    assert_eq!(answer.message.thread_id, first.message.id);
    let deliveries = store.list_deliveries(&[first.message.id]).await.expect("listed");
    assert_eq!(deliveries[0].answered_by, Some(answer.message.id));
    assert!(deliveries[0].read_at.is_some() && !stored.is_overdue(&deliveries, None, Utc::now() + TimeDelta::minutes(2)));
    store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_messages_ask_for_one_turn_and_reading_them_takes_it_back() {
    let (store, swarm, one, two) = pair().await;
    let posts: Vec<Post> = (0..12).map(|_| post(draft(Recipient::All), &swarm, &[&one, &two], &one)).collect();
    let sends = posts.iter().cloned().map(|post| {
        let store = store.clone();
        tokio::spawn(async move { store.change_team(TeamChange::Send(Box::new(post))).await })
    });
    for sent in sends.collect::<Vec<_>>() {
        assert!(sent.await.expect("no panic").expect("sent"));
    }
    let waiting = store.list_waiting_messages(two.id, 99).await.expect("listed");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].description.contains("read_messages"), "{}", waiting[0].description);
    assert_eq!(store.count_unread(two.id).await.expect("counted"), 12);
    assert_eq!(store.count_unread(one.id).await.expect("counted"), 0);

    let read = |messages: &[Post]| TeamChange::Read {
        agent: two.id,
        messages: messages.iter().map(|post| post.message.id).collect(),
        at: Utc::now(),
    };
    assert!(store.change_team(read(&posts[..11])).await.expect("read"));
    assert_eq!(store.list_waiting_messages(two.id, 9).await.expect("listed").len(), 1, "there is one more to read");
    assert!(store.change_team(read(&posts)).await.expect("read"));
    assert_eq!(store.count_unread(two.id).await.expect("counted"), 0);
    let called_off = store.get_task(waiting[0].id, None).await.expect("read").expect("there");
    assert_eq!((called_off.status, called_off.ended_at.is_some()), (TaskStatus::Cancelled, true));
    send(&store, &post(draft(Recipient::All), &swarm, &[&one, &two], &one)).await;
    assert_eq!(store.list_waiting_messages(two.id, 9).await.expect("listed").len(), 1, "a new one asks for a new turn");
    store.end().await;
}

#[tokio::test]
async fn an_agent_that_cannot_take_a_turn_gets_the_message_all_the_same() {
    let (store, swarm, one, two) = pair().await;
    store.request_termination(two.id, Utc::now()).await.expect("marked");
    let late = post(draft(Recipient::Agent(two.id)), &swarm, &[&one, &two], &one);
    send(&store, &late).await;
    assert_eq!(inbox(&store, two.id).await, [late.message.id]);
    assert!(store.list_waiting_messages(two.id, 9).await.expect("listed").is_empty());
    store.end().await;
}

#[tokio::test]
async fn inboxes_are_by_urgency_and_history_by_time_each_page_by_page() {
    let (store, swarm, one, two) = pair().await;
    let mut sent = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::Critical, Priority::Normal] {
        let draft = Draft { priority, requires_response: false, ..draft(Recipient::Agent(two.id)) };
        let post = post(draft, &swarm, &[&one, &two], &one);
        send(&store, &post).await;
        sent.push(post.message);
    }
    let id = |n: usize| sent[n].id;
    assert_eq!(inbox(&store, two.id).await, [id(2), id(1), id(3), id(0)]);
    assert!(store.list_waiting_messages(two.id, 9).await.expect("listed").is_empty(), "nobody waits for an answer");
    let filter =
        InboxFilter { agent: two.id, thread: None, include_read: true, after: Some((Priority::Normal, id(1))), limit: 1 };
    assert_eq!(store.list_inbox(&filter).await.expect("listed")[0].id, id(3));
    let read = TeamChange::Read { agent: two.id, messages: vec![id(2)], at: Utc::now() };
    assert!(store.change_team(read).await.expect("read"));
    for (filter, expected) in [
        (history(&swarm), vec![3, 2, 1, 0]),
        (MessageFilter { before: Some(id(3)), limit: 2, ..history(&swarm) }, vec![2, 1]),
        (MessageFilter { agent: Some(one.id), ..history(&swarm) }, vec![3, 2, 1, 0]),
        (MessageFilter { agent: Some(one.id), unread: true, ..history(&swarm) }, vec![]),
        (MessageFilter { agent: Some(two.id), unread: true, ..history(&swarm) }, vec![3, 1, 0]),
        (MessageFilter { unread: true, ..history(&swarm) }, vec![3, 1, 0]),
        (MessageFilter { thread: Some(id(1)), ..history(&swarm) }, vec![1]),
        (MessageFilter { swarm: SwarmId::generate(), ..history(&swarm) }, vec![]),
        (MessageFilter { agent: Some(AgentId::generate()), ..history(&swarm) }, vec![]),
    ] {
        assert_eq!(ids(&store, filter).await, expected.into_iter().map(id).collect::<Vec<_>>(), "{filter:?}");
    }
    store.end().await;
}

#[tokio::test]
async fn messages_that_wake_agents_are_counted_from_turn_to_turn() {
    let (store, swarm, one, two) = pair().await;
    let mut first = post(draft(Recipient::Agent(two.id)), &swarm, &[&one, &two], &one);
    first.message.hops = 3;
    send(&store, &first).await;
    let turn = store.list_waiting_messages(two.id, 9).await.expect("listed").pop().expect("a turn");
    assert_eq!(store.hops_of_turn(two.id, turn.id).await.expect("counted"), Some(3));
    assert_eq!(store.hops_of_turn(two.id, TaskId::generate()).await.expect("counted"), None, "another turn");
    let members = [one.clone(), two.clone()];
    let last = draft(Recipient::Agent(one.id))
        .post(&swarm, &members, Sender::Agent { id: two.id, hops: 8, behind: &[] }, 60, Utc::now())
        .expect("sent");
    assert!(last.wake.is_empty(), "two agents do not wake each other for ever");
    store.end().await;
}

#[tokio::test]
async fn what_a_tool_changes_is_stored_with_the_batch_or_not_at_all() {
    let (store, swarm, one, two) = pair().await;
    insert(&store, &task("ann")).await;
    let p = provision(&super::support::claim(&store).await.expect("there"));
    assert!(store.provision(&p).await.expect("provisioned"));
    let sent = TeamChange::Send(Box::new(post(draft(Recipient::Agent(two.id)), &swarm, &[&one, &two], &one)));
    let state = Value::Null;
    let mut elsewhere = batch(&p, (7, 9), &state, &[]);
    elsewhere.team = Some(&sent);
    assert_eq!(store.append(&elsewhere).await.expect("tried"), Appended::Stale);
    assert!(inbox(&store, two.id).await.is_empty(), "the offset was another one");
    let mut good = batch(&p, (0, 0), &state, &[]);
    good.team = Some(&sent);
    for _ in 0..2 {
        // The second time is a repeat after an answer that was lost.
        assert!(matches!(store.append(&good).await.expect("stored"), Appended::Done { .. }));
    }
    assert_eq!(inbox(&store, two.id).await.len(), 1);

    let version = |version| TeamChange::Remember(Box::new(memory(&swarm, &one, artifact("plan", version))));
    let (first, taken) = (version(1), version(1));
    let mut kept = batch(&p, (0, 5), &state, &[]);
    kept.team = Some(&first);
    assert!(matches!(store.append(&kept).await.expect("stored"), Appended::Done { .. }));
    let mut late = batch(&p, (5, 8), &state, &[]);
    late.team = Some(&taken);
    assert_eq!(store.append(&late).await.expect("tried"), Appended::Refused, "the version is taken");
    assert_eq!(store.list_open_processes().await.expect("listed")[0].offset, 5, "and the offset stays");
    assert_eq!(found(&store, &swarm, "").await.len(), 1);
    store.end().await;
}
