//! Leaders that are lost, answers that cannot be read, time that is over, a server that is killed.

use super::{
    app_with, assert_asked_once, assert_voters_ended, ballots, choice, decided, path_of, proposal_until, propose, says, voter,
};
use crate::support::{self, TestApp, until};
use serde_json::{Value, json};

/// The first leader never comes to an end with its draft.
fn raft_rules() -> Vec<Value> {
    let accept = json!({"accept": true, "rationale": "good", "confidence": 1});
    vec![
        json!({"match": voter(1, "draft"), "hang": 600.0}),
        says("Step: draft", &choice("plan B")),
        says("Step: acknowledge", &accept),
    ]
}

async fn leader_at_work(app: &TestApp) -> (Value, Value) {
    let body = json!({"question": "What is the plan?", "protocol": "raft", "voters": [{"type": "planner", "count": 3}]});
    let proposal = propose(app, body).await;
    let leader = json!({"id": proposal["voters"][0]["agent_id"]});
    app.agent_until(&leader, |agent| agent["status"] == "busy").await;
    (proposal, leader)
}

fn assert_second_term(ended: &Value) {
    assert_eq!(
        (&ended["status"], &ended["decision"], &ended["round"]),
        (&json!("decided"), &json!("plan B"), &json!(2)),
        "{ended}"
    );
    assert!(ended["why"].as_str().is_some_and(|why| why.contains("term 2")), "{ended}");
    assert!(ended["voters"][0]["lost"].is_string(), "{ended}");
    let drafts: Vec<_> = ballots(ended).into_iter().filter(|ballot| ballot.contains("draft")).collect();
    assert_eq!(drafts, ["1 draft voter 1 #1 abstained -", "2 draft voter 2 #1 cast plan B"]);
}

#[tokio::test]
async fn cli_raft_goes_into_a_second_term_when_its_leader_is_terminated() {
    let app = app_with(&raft_rules()).await;
    let (proposal, leader) = leader_at_work(&app).await;
    app.post(&support::path_of(&leader, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    let ended = decided(&app, &proposal).await;
    assert_second_term(&ended);
    assert_voters_ended(&app, &ended).await;
}

#[tokio::test]
async fn cli_raft_goes_into_a_second_term_when_the_process_of_its_leader_is_killed() {
    let app = app_with(&raft_rules()).await;
    let (proposal, _) = leader_at_work(&app).await;
    until("the leader's process runs", || app.running().len() == 1).await;
    app.kill_agents();
    let ended = decided(&app, &proposal).await;
    assert_second_term(&ended);
    assert_asked_once(&app, &ended).await;
}

/// Whether it is found gone when it is to be asked, or in the middle of its turn.
#[tokio::test]
async fn cli_a_voter_that_ends_meanwhile_is_lost_and_the_others_go_on() {
    let mut slow = says(&voter(2, "opinion, round 1"), &choice("stay"));
    slow["first_delay_ms"] = json!(3000);
    let app = app_with(&[says("You are voter 1 of ", &choice("leave")), slow, says("Step: opinion", &choice("stay"))]).await;
    let agent = app.agent(json!({"agent_type": "analyst"})).await;
    let body = json!({
        "question": "Stay?", "protocol": "gossip", "voters": [{"agent_id": agent["id"]}, {"type": "coder", "count": 2}],
    });
    let proposal = propose(&app, body).await;
    proposal_until(&app, &proposal, |proposal| ballots(proposal).contains(&"1 opinion voter 1 #1 cast leave".to_owned())).await;
    app.post(&support::path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    let ended = decided(&app, &proposal).await;
    assert_eq!((&ended["status"], &ended["decision"]), (&json!("decided"), &json!("stay")), "{ended}");
    assert!(ended["voters"][0]["lost"].is_string() && ended["voters"][1].get("lost").is_none(), "{ended}");
    assert_eq!(ended["tally"], json!([{"choice": "stay", "voters": [2, 3], "weight": 2.0}]));
}

#[tokio::test]
async fn cli_an_answer_that_cannot_be_read_is_asked_for_once_more() {
    let app = app_with(&[
        says("You are voter 3 of .*could not be used", &choice("a")),
        json!({"match": "You are voter 3 of ", "text": "a, I would say"}),
        json!({"match": "You are voter 2 of ", "text": "a, of course"}),
        says("Step: vote", &choice("a")),
    ])
    .await;
    let body = json!({"question": "Which?", "options": ["a", "b"], "voters": [{"type": "analyst", "count": 3}]});
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!(
        ballots(&ended),
        [
            "1 vote voter 1 #1 cast a",
            "1 vote voter 2 #1 invalid -",
            "1 vote voter 2 #2 abstained -",
            "1 vote voter 3 #1 invalid -",
            "1 vote voter 3 #2 cast a",
        ],
        "{ended}"
    );
    assert_eq!((&ended["status"], &ended["why"]), (&json!("decided"), &json!("`a` has 2 of 3 votes, more than half is needed")));
    let reason = ended["ballots"].as_array().expect("ballots").iter().find(|ballot| ballot["status"] == "abstained");
    assert!(reason.is_some_and(|ballot| ballot["reason"].as_str().is_some_and(|why| why.contains("asked again"))), "{ended}");
    assert_asked_once(&app, &ended).await;
}

/// Three of four are enough, so the last one's turn, which would never end, is stopped after a while.
#[tokio::test]
async fn cli_a_quorum_does_not_wait_for_ever_for_a_vote_that_can_change_nothing() {
    let app = app_with(&[json!({"match": "You are voter 4 of ", "hang": 600.0}), says("Step: vote", &choice("a"))]).await;
    let body = json!({"question": "Which?", "options": ["a", "b"], "voters": [{"type": "coder", "count": 4}]});
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!((&ended["status"], &ended["decision"]), (&json!("decided"), &json!("a")), "{ended}");
    assert_eq!((&ended["tally"][0]["voters"], &ended["silent"]), (&json!([1, 2, 3]), &json!([])), "{ended}");
    assert!(ended["voters"][3].get("lost").is_none(), "it was not waited for, so it was not silent: {ended}");
    stopped_turn(&app, &ended, 4).await;
}

#[tokio::test]
async fn cli_a_document_is_of_those_who_contributed_when_time_is_over() {
    let edits = json!({"edits": [{"section": "a", "text": "Be quick."}], "rationale": "x", "confidence": 1});
    let app = app_with(&[json!({"match": "You are voter 2 of ", "hang": 600.0}), says("Step: edit", &edits)]).await;
    let voters = json!([{"type": "coder", "count": 2}]);
    let body = json!({"question": "Which?", "options": ["a", "b"], "protocol": "crdt", "timeout_seconds": 15, "voters": voters});
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!((&ended["status"], &ended["decision"]), (&json!("decided"), &json!("## a\n\n- Be quick.")), "{ended}");
    assert_eq!(ended["silent"], json!([2]), "{ended}");
    assert!(ended["why"].as_str().is_some_and(|why| why.contains("voter 2 gave no answer")), "{ended}");
    assert!(ended["voters"][1]["lost"].as_str().is_some_and(|why| why.contains("silent")), "{ended}");
    stopped_turn(&app, &ended, 2).await;
}

/// Panics unless the turn of a voter that has not answered is over.
async fn stopped_turn(app: &TestApp, ended: &Value, voter: i64) {
    let ballot = ended["ballots"].as_array().expect("ballots").iter().find(|ballot| ballot["voter"] == voter).expect("one");
    assert_eq!(ballot["status"], "abstained", "{ballot}");
    let task = app.ended(&json!({"id": ballot["task_id"]})).await;
    assert_eq!(task["status"], "cancelled", "{task}");
    until("no process is left", || app.agent_processes().is_empty()).await;
}

#[tokio::test]
async fn cli_when_time_is_over_turns_are_stopped_and_what_is_known_is_told() {
    let app = app_with(&[json!({"match": "You are voter 2 of ", "hang": 600.0}), says("Step: vote", &choice("a"))]).await;
    let body = json!({
        "question": "Which?", "options": ["a", "b"], "threshold": "unanimous", "timeout_seconds": 8,
        "voters": [{"type": "coder", "count": 2}],
    });
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!((&ended["status"], ended.get("decision")), (&json!("timed_out"), None), "{ended}");
    // A busy machine may not even have the first vote by then.
    let cast = ballots(&ended).iter().any(|ballot| ballot == "1 vote voter 1 #1 cast a");
    let known = if cast { json!([{"choice": "a", "voters": [1], "weight": 1.0}]) } else { json!([]) };
    assert_eq!(ended["tally"], known, "{ended}");
    let task = json!({"id": ended["ballots"].as_array().expect("ballots").iter().find(|ballot| ballot["voter"] == 2).expect("one")["task_id"]});
    let task = app.ended(&task).await;
    assert!(task["status"] == "cancelled" || task["failure"]["code"] == "timeout", "{task}");
    until("no process is left", || app.agent_processes().is_empty()).await;
}

#[tokio::test]
async fn cli_a_cancelled_proposal_stops_its_voters() {
    let app = app_with(&[json!({"match": "Step: opinion", "hang": 600.0})]).await;
    let body = json!({"question": "Which?", "protocol": "gossip", "voters": [{"type": "coder", "count": 2}]});
    let proposal = propose(&app, body).await;
    until("a voter works", || !app.running().is_empty()).await;
    let ended = app.post(&path_of(&proposal, "/cancel"), &json!({"idempotency_key": "stop"})).await.expect(200);
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let again = app.post(&path_of(&proposal, "/cancel"), &json!({})).await.expect(200);
    assert_eq!((&again["status"], &again["ended_at"]), (&ended["status"], &ended["ended_at"]));
    assert_voters_ended(&app, &ended).await;
}

/// Proposals under every protocol, and the server is killed whenever one of them has moved.
#[tokio::test]
async fn cli_proposals_of_every_protocol_survive_a_server_that_is_killed_at_every_step() {
    let honest = json!({"choice": "a", "prepared": "a", "rationale": "most stated it", "confidence": 1});
    let edits = json!({"edits": [{"section": "a", "text": "Be quick."}], "rationale": "x", "confidence": 1});
    let accept = json!({"accept": true, "rationale": "good", "confidence": 1});
    let rules = [
        says("Step: commit", &honest),
        says("Step: edit", &edits),
        says("Step: acknowledge", &accept),
        says(&voter(2, "opinion, round 1"), &choice("b")),
        says("Step: ", &choice("a")),
    ];
    let mut app = app_with(&rules).await;
    app.set("MAS_RUNNER__ON_SHUTDOWN", "detach");
    app.set("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000");
    restart(&mut app);
    // What is decided by how many voters, and which ballots that takes.
    let table = [
        ("quorum", 2, "a", vec!["1 vote 1", "1 vote 2"]),
        ("raft", 3, "a", vec!["1 acknowledge 2", "1 acknowledge 3", "1 draft 1"]),
        (
            "byzantine",
            4,
            "a",
            vec![
                "1 commit 1",
                "1 commit 2",
                "1 commit 3",
                "1 commit 4",
                "1 prepare 1",
                "1 prepare 2",
                "1 prepare 3",
                "1 prepare 4",
            ],
        ),
        ("gossip", 2, "a", vec!["1 opinion 1", "1 opinion 2", "2 opinion 1", "2 opinion 2"]),
        ("crdt", 2, "## a\n\n- Be quick.", vec!["1 edit 1", "1 edit 2"]),
    ];
    let mut open = vec![];
    for (protocol, voters, ..) in &table {
        let body = json!({"question": "Which?", "options": ["a", "b"], "protocol": protocol, "voters": [{"type": "coder", "count": voters}]});
        open.push(propose(&app, body).await);
    }
    let (mut seen, mut kills) = (vec![Value::Null; open.len()], 0);
    let begun = tokio::time::Instant::now();
    while seen.iter().any(|proposal| proposal.is_null() || proposal["status"] == "open") {
        assert!(begun.elapsed() < support::PATIENCE, "not at an end after {kills} kills: {seen:?}");
        let mut moved = false;
        for (proposal, seen) in open.iter().zip(&mut seen) {
            let now = app.get(&path_of(proposal, "")).await.expect(200);
            moved |= now["status"] != seen["status"] || ballots_or_none(&now) != ballots_or_none(seen);
            *seen = now;
        }
        if moved {
            kills += 1;
            restart(&mut app);
        }
    }
    let (mut turns, mut needless) = (0, 0);
    for ((protocol, _, decision, asked), ended) in table.iter().zip(&seen) {
        assert_eq!((&ended["status"], &ended["decision"]), (&json!("decided"), &json!(decision)), "{protocol}: {ended}");
        let made: Vec<String> = ballots(ended)
            .iter()
            .map(|words| {
                let words: Vec<&str> = words.split(' ').collect();
                // A majority may have acknowledged a draft before the last voter did.
                let is_needless = *protocol == "raft" && words[1] == "acknowledge" && words[5] == "abstained";
                needless += usize::from(is_needless);
                assert!(words[4] == "#1" && (words[5] == "cast" || is_needless), "{protocol}: {ended}");
                format!("{} {} {}", words[0], words[1], words[3])
            })
            .collect();
        assert_eq!(made, *asked, "{protocol}: {ended}");
        turns += made.len();
        // Who is asked once is no agent that stays.
        if ended["voters"][0]["agent_id"].is_string() {
            assert_voters_ended(&app, ended).await;
        }
    }
    let page = app.get("/tasks?limit=200").await.expect(200);
    let tasks = page["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), turns, "a turn for each ballot: {page}");
    let mut stopped = 0;
    for task in tasks {
        let results = app.events(task).await.into_iter().filter(|event| event["kind"] == "result").count();
        stopped += usize::from(task["status"] == "cancelled");
        assert!(results == 1 || task["status"] == "cancelled" && results == 0, "{results} results: {task}");
    }
    assert!(stopped <= needless && needless <= 1, "{stopped} of {needless}: {page}");
    eprintln!("{} proposals, {turns} turns, {kills} kills", table.len());
}

fn ballots_or_none(proposal: &Value) -> Vec<String> {
    if proposal.is_null() { vec![] } else { ballots(proposal) }
}

fn restart(app: &mut TestApp) {
    app.kill();
    app.launch();
}
