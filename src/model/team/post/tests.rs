//! Who gets a message, who is woken by it, and what senders are told.

use super::*;
use crate::model::{agent::AgentStatus, id::SwarmId, run::Provenance, swarm::Topology};

fn swarm(topology: Topology) -> Swarm {
    Swarm {
        id: SwarmId::generate(),
        owner: "ann".into(),
        key_id: None,
        name: "a team".into(),
        topology,
        project: "default".into(),
        objective: None,
        max_agents: 9,
        auto_scale: false,
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

fn member(role: AgentType, place: i64) -> Agent {
    Agent {
        name: format!("{role}-{place}"),
        status: AgentStatus::Idle,
        swarm_place: Some(place),
        ..Agent::at_rest("ann".into(), role, Provenance::Rehearsal, Utc::now())
    }
}

fn draft(to: Recipient) -> Draft {
    Draft {
        to,
        kind: MessageKind::Question,
        priority: Priority::High,
        subject: "Which port?".into(),
        body: "3000 or 8080?".into(),
        requires_response: true,
        deadline_seconds: Some(60),
        in_reply_to: None,
    }
}

fn team() -> Vec<Agent> {
    vec![member(AgentType::COORDINATOR, 0), member(AgentType::CODER, 1), member(AgentType::CODER, 2)]
}

#[test]
fn names_ids_roles_and_words_are_understood() {
    let mut team = team();
    assert_eq!(resolve("coder-1", &team), Ok(Recipient::Agent(team[1].id)));
    assert_eq!(resolve(&format!(" {} ", team[2].id), &team), Ok(Recipient::Agent(team[2].id)));
    assert_eq!(resolve("coder", &team), Ok(Recipient::Role(AgentType::CODER)));
    assert_eq!((resolve("all", &team), resolve("user", &team)), (Ok(Recipient::All), Ok(Recipient::User)));
    let words = resolve("tester", &team).expect_err("nobody has the role");
    assert!(words.contains("Members: coordinator-0 (coordinator, agent_"), "{words}");
    team[2].name = "coder-1".into();
    assert!(resolve("coder-1", &team).expect_err("two of them").contains("use the id"));
    team[2].name = "coder".into();
    assert_eq!(resolve("coder", &team), Ok(Recipient::Agent(team[2].id)), "a name goes before a role");
}

#[test]
fn a_message_reaches_those_the_topology_allows_and_wakes_those_that_stay() {
    let (swarm, mut team) = (swarm(Topology::Star), team());
    team[2].durable = false;
    let post = |to, sender| draft(to).post(&swarm, &team, sender, 60, Utc::now());
    let from = |place: usize| Sender::Agent { id: team[place].id, hops: 0, behind: &[] };
    let all = post(Recipient::All, from(0)).expect("the hub may write to all");
    assert_eq!(all.recipients, [team[1].id, team[2].id]);
    assert_eq!(all.wake.iter().map(|task| task.agent_id).collect::<Vec<_>>(), [Some(team[1].id)]);
    assert_eq!((all.wake[0].priority, all.wake[0].mode), (Priority::High, Some(MessageMode::Queue)));
    assert!(all.wake[0].description.contains("Which port?") && all.wake[0].description.contains("UTC"));
    assert_eq!(post(Recipient::All, from(1)).expect("as far as it may").recipients, [team[0].id]);
    let words = post(Recipient::Agent(team[2].id), from(1)).expect_err("not linked");
    assert!(words.contains("star") && words.contains("coordinator-0") && words.contains("`user`"), "{words}");
    assert!(post(Recipient::Role(AgentType::CODER), from(1)).is_err());
    assert!(post(Recipient::Agent(team[1].id), from(1)).expect_err("itself").contains("yourself"));
    let to_user = post(Recipient::User, from(1)).expect("always");
    assert!(to_user.recipients.is_empty() && to_user.wake.is_empty());
    assert_eq!(post(Recipient::Role(AgentType::CODER), Sender::User).expect("the user may").recipients.len(), 2);
    assert!(post(Recipient::User, Sender::User).is_err());
}

#[test]
fn nothing_is_sent_in_a_swarm_that_ends_and_nobody_is_woken_for_ever() {
    let (mut swarm, team) = (swarm(Topology::Mesh), team());
    let woken = |swarm: &Swarm, hops| {
        let sender = Sender::Agent { id: team[0].id, hops, behind: &[] };
        draft(Recipient::All).post(swarm, &team, sender, 60, Utc::now()).map(|post| post.wake.len())
    };
    assert_eq!((woken(&swarm, MESSAGE_HOPS - 1), woken(&swarm, MESSAGE_HOPS)), (Ok(2), Ok(0)));
    swarm.status = SwarmStatus::Stopping;
    assert!(woken(&swarm, 0).expect_err("stopping").contains("stopping"));
}

#[test]
fn those_that_have_ended_are_no_members() {
    let mut team = team();
    team[0].status = AgentStatus::Lost;
    team[1].terminate_requested = true;
    assert_eq!(living(team.clone()), [team[2].clone()]);
}

#[test]
fn a_circle_is_delivered_but_wakes_nobody_on_it_and_the_coordinator_is_told() {
    let swarm = swarm(Topology::Mesh);
    let mut team = team();
    team.push(member(AgentType::TESTER, 3));
    let [hub, one, two, three] = [0, 1, 2, 3].map(|n: usize| team[n].id);
    let asked = |from, to| Request { id: MessageId::generate(), from, to, kind: MessageKind::Task };
    let behind = [asked(one, two), asked(two, three)];
    let sender = Sender::Agent { id: three, hops: 2, behind: &behind };
    let send = |to| {
        let draft = Draft { kind: MessageKind::Task, ..draft(to) };
        draft.post(&swarm, &team, sender, 60, Utc::now()).expect("sent")
    };
    let post = send(Recipient::Agent(one));
    assert_eq!((post.recipients.as_slice(), post.wake.len()), ([one].as_slice(), 0), "delivered");
    assert_eq!((&post.circle_at(one).expect("broken").agents, &post.causes), (&vec![one, two, three], &vec![behind[1].id]));
    let alert = post.alert.expect("told");
    assert!(alert.message.from_gateway && alert.message.from_agent.is_none() && alert.message.hops == 2);
    assert_eq!((alert.recipients.as_slice(), alert.wake[0].agent_id), ([hub].as_slice(), Some(hub)));
    assert!(
        alert.message.body.contains("coder-1 waits for an answer of coder-2, who waits for tester-3"),
        "{}",
        alert.message.body
    );
    // Others among the recipients are asked as ever.
    let post = send(Recipient::All);
    assert_eq!(post.recipients, [hub, one, two]);
    assert_eq!(post.wake.iter().map(|task| task.agent_id).collect::<Vec<_>>(), [Some(hub)]);
    assert_eq!((post.circles.len(), post.alert.is_some()), (2, true));
    // A message that wants no answer makes nobody wait, and a coordinator on the circle is not told of itself.
    let mut idle = draft(Recipient::Agent(one));
    idle.requires_response = false;
    let post = idle.post(&swarm, &team, sender, 60, Utc::now()).expect("sent");
    assert!(post.circles.is_empty() && post.causes.is_empty() && post.alert.is_none());
    let behind = [Request { kind: MessageKind::Question, ..asked(hub, one) }, asked(one, hub)];
    let sender = Sender::Agent { id: one, hops: 0, behind: &behind };
    let post = draft(Recipient::Agent(hub)).post(&swarm, &team, sender, 60, Utc::now()).expect("sent");
    assert!(post.circle_at(hub).is_some() && post.alert.is_none());
}
