//! Every protocol comes to its outcome with ballots that are real turns.

use super::{app_set, app_with, assert_asked_once, assert_voters_ended, ballots, choice, decided, path_of, propose, says, voter};
use crate::support::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn cli_a_quorum_decides_and_shows_who_voted_what_and_why() {
    let app = app_with(&[says(&voter(3, "vote"), &choice("PostgreSQL")), says("Step: vote", &choice("SQLite"))]).await;
    let body = json!({
        "question": "Which database?", "options": ["SQLite", "PostgreSQL"],
        "voters": [{"type": "architect", "count": 2}, {"type": "reviewer"}], "idempotency_key": "database",
    });
    let proposal = propose(&app, body.clone()).await;
    assert_eq!((&proposal["status"], &proposal["protocol"], &proposal["round"]), (&json!("open"), &json!("quorum"), &json!(1)));
    let ended = decided(&app, &proposal).await;
    assert_eq!((&ended["status"], &ended["decision"]), (&json!("decided"), &json!("SQLite")), "{ended}");
    assert_eq!(ended["why"], "`SQLite` has 2 of 3 votes, more than half is needed");
    assert_eq!(ended["tally"][0], json!({"choice": "SQLite", "voters": [1, 2], "weight": 2.0}));
    assert_eq!(ended["dissent"], json!([{"voter": 3, "choice": "PostgreSQL", "rationale": "because of PostgreSQL"}]));
    assert_eq!(ended["provenance"], "rehearsal");
    for ballot in ended["ballots"].as_array().expect("ballots") {
        assert!(ballot["confidence"] == 0.9 && ballot["cast_at"].is_string() && ballot["run_id"].is_string(), "{ballot}");
        let task = app.get(&format!("/tasks/{}", ballot["task_id"].as_str().expect("a task"))).await.expect(200);
        assert_eq!((&task["status"], &task["agent_id"]), (&json!("complete"), &ballot["agent_id"]));
    }
    assert_asked_once(&app, &ended).await;

    let again = app.post("/consensus/propose", &body).await.expect(200);
    assert_eq!(again["id"], proposal["id"], "the same key and request are the same proposal");
    let mut other = body;
    other["question"] = json!("Which other database?");
    app.post("/consensus/propose", &other).await.problem(409, "idempotency_conflict");
    app.post(&path_of(&ended, "/cancel"), &json!({})).await.problem(409, "proposal_ended");
    let page = app.get("/consensus/status").await.expect(200);
    assert_eq!((&page["counts"]["decided"], &page["counts"]["open"]), (&json!(1), &json!(0)));
    assert_eq!((&page["proposals"][0]["id"], &page["proposals"][0]["decision"]), (&ended["id"], &json!("SQLite")));
    assert_eq!(app.get("/consensus/status?status=rejected").await.expect(200)["proposals"], json!([]));
    let report = app.get("/performance/report").await.expect(200);
    assert_eq!((&report["consensus_rate"]["value"], &report["consensus_time"]["count"]), (&json!(1.0), &json!(1)), "{report}");
    stranger_sees_nothing(&app, &ended).await;
}

async fn stranger_sees_nothing(app: &TestApp, proposal: &Value) {
    let key = crate::auth::make_key(app, &["--user", "bob"]);
    let request = app.request_as(Some(&key), Method::GET, &path_of(proposal, ""));
    app.send(request).await.problem(404, "not_found");
    let page = app.send(app.request_as(Some(&key), Method::GET, "/consensus/status")).await.expect(200);
    assert_eq!((&page["proposals"], &page["counts"]["decided"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn cli_a_veto_of_an_agent_that_stays_rejects_and_leaves_the_agent() {
    let app = app_with(&[says(&voter(1, "vote"), &choice("wait")), says("Step: vote", &choice("ship"))]).await;
    let agent = app.agent(json!({"agent_type": "reviewer"})).await;
    let body = json!({
        "question": "Ship it?", "options": ["ship", "wait"], "threshold": 0.6, "wait_seconds": 40,
        "voters": [{"agent_id": agent["id"], "veto": true, "weight": 0.5}, {"type": "coder", "count": 2}],
    });
    let proposal = propose(&app, body).await;
    let ended = decided(&app, &proposal).await;
    assert_eq!((&ended["status"], ended.get("decision")), (&json!("rejected"), None), "{ended}");
    assert_eq!(ended["threshold"], "at least 60 %");
    assert_eq!(ended["ballots"][0]["agent_id"], agent["id"]);
    let agent = app.agent_until(&agent, |agent| agent["status"] != "busy").await;
    assert!(["idle", "parked"].contains(&agent["status"].as_str().expect("a status")), "{agent}");
}

/// Statements are for `a`; who lies denies it.
fn byzantine(question: &str, liars: &[usize]) -> Vec<Value> {
    let honest = json!({"choice": "a", "prepared": "a", "rationale": "most stated it", "confidence": 1});
    let lie = json!({"choice": "b", "prepared": "b", "rationale": "never said otherwise", "confidence": 1});
    let mut rules: Vec<Value> =
        liars.iter().map(|liar| says(&format!("You are voter {liar} of .*{question}.*Step: commit"), &lie)).collect();
    rules.push(says(&format!("{question}.*Step: prepare"), &choice("a")));
    rules.push(says(&format!("{question}.*Step: commit"), &honest));
    rules
}

#[tokio::test]
async fn cli_byzantine_voters_decide_with_one_liar_and_not_with_two() {
    let rules = [byzantine("First case", &[3]), byzantine("Second case", &[2, 4])].concat();
    let app = app_with(&rules).await;
    let body = |question: &str| json!({"question": question, "options": ["a", "b"], "protocol": "byzantine", "voters": [{"type": "analyst", "count": 4}]});
    let one = decided(&app, &propose(&app, body("First case")).await).await;
    assert_eq!((&one["status"], &one["decision"]), (&json!("decided"), &json!("a")), "{one}");
    assert_eq!(one["equivocations"][0]["voter"], 3, "{one}");
    assert_eq!(one["tally"], json!([{"choice": "a", "voters": [1, 2, 4], "weight": 3.0}]), "the liar's ballot does not count");
    assert_eq!(one["ballots"].as_array().map(Vec::len), Some(8));
    assert_asked_once(&app, &one).await;
    assert_voters_ended(&app, &one).await;

    let two = decided(&app, &propose(&app, body("Second case")).await).await;
    assert_eq!((&two["status"], two.get("decision")), (&json!("inconclusive"), None), "{two}");
    let liars: Vec<_> = two["equivocations"].as_array().expect("a list").iter().map(|found| found["voter"].clone()).collect();
    assert_eq!(liars, [2, 4]);
    assert!(two["why"].as_str().is_some_and(|why| why.contains("up to 1 may lie")), "{two}");
}

#[tokio::test]
async fn cli_gossip_goes_on_until_all_agree_and_keeps_its_history_also_with_one_place() {
    // It may be made just so; the rounds that follow are part of what was allowed.
    let settings = [("MAS_RUNNER__MAX_LIVE_AGENTS", "1"), ("MAS_LIMITS__MAX_QUEUED_TASKS", "3"), ("MAS_LIMITS__MAX_AGENTS", "3")];
    let app =
        app_set(&settings, &[says(&voter(3, "opinion, round 1"), &choice("tabs")), says("Step: opinion", &choice("spaces"))])
            .await;
    let body =
        json!({"question": "Tabs or spaces?", "protocol": "gossip", "fanout": 1, "voters": [{"type": "coder", "count": 3}]});
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!(
        (&ended["status"], &ended["decision"], &ended["round"]),
        (&json!("decided"), &json!("spaces"), &json!(2)),
        "{ended}"
    );
    let tallies: Vec<usize> =
        ended["rounds"].as_array().expect("rounds").iter().map(|round| round["tally"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(tallies, [2, 1], "two opinions, then one");
    let agents = |round: i64| {
        let ballots = ended["ballots"].as_array().expect("ballots").iter().filter(move |ballot| ballot["round"] == round);
        ballots.map(|ballot| ballot["agent_id"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(agents(1), agents(2), "the same voters, who remember");
    assert_voters_ended(&app, &ended).await;
}

#[tokio::test]
async fn cli_a_crdt_merges_what_everybody_contributes() {
    let edits = |text: &str| json!({"edits": [{"section": "Risks", "text": text}, {"section": "Goals", "text": "Be quick."}], "rationale": "x", "confidence": 1});
    let app = app_with(&[says(&voter(1, "edit"), &edits("Data loss.")), says("Step: edit", &edits("Delay."))]).await;
    let body = json!({
        "question": "Write the plan.", "options": ["Goals", "Risks"], "protocol": "crdt", "voters": [{"type": "planner", "count": 2}],
    });
    let ended = decided(&app, &propose(&app, body).await).await;
    assert_eq!(ended["decision"], "## Goals\n\n- Be quick.\n\n## Risks\n\n- Data loss.\n- Delay.", "{ended}");
    assert_eq!((&ended["status"], &ended["dissent"]), (&json!("decided"), &json!([])));
    assert_eq!(ballots(&ended), ["1 edit voter 1 #1 cast contributed", "1 edit voter 2 #1 cast contributed"]);
}

#[tokio::test]
async fn cli_voters_without_a_script_come_to_an_outcome_under_every_protocol() {
    let app = app_with(&[]).await;
    for (protocol, voters) in [("quorum", 2), ("raft", 3), ("crdt", 2)] {
        let body = json!({"question": "Which?", "options": ["x", "y"], "protocol": protocol, "voters": [{"type": "coder", "count": voters}]});
        let ended = decided(&app, &propose(&app, body).await).await;
        assert_eq!(ended["status"], "decided", "{ended}");
    }
}
