//! Proposals, with the real CLI against the rehearsal model: the rules file speaks for the voters.

mod faults;
mod protocols;
mod refusals;

use crate::support::{PATIENCE, TestApp};
use serde_json::{Value, json};
use std::time::Duration;

/// What a voter answers to prompts that match.
pub(crate) fn says(pattern: &str, input: &Value) -> Value {
    json!({"match": pattern, "tool_use": {"name": "StructuredOutput", "input": input}})
}

/// A vote, draft, statement or opinion.
pub(crate) fn choice(choice: &str) -> Value {
    json!({"choice": choice, "rationale": format!("because of {choice}"), "confidence": 0.9})
}

/// The prompts of one voter in one step.
pub(crate) fn voter(number: usize, step: &str) -> String {
    format!("You are voter {number} of .*Step: {step}")
}

/// A server whose voters speak by these rules.
pub(crate) async fn app_with(rules: &[Value]) -> TestApp {
    app_set(&[], rules).await
}

/// The same with settings of its own.
pub(crate) async fn app_set(settings: &[(&str, &str)], rules: &[Value]) -> TestApp {
    let mut app = TestApp::prepared(settings).await;
    let file = app.dir.path().join("rules.json");
    std::fs::write(&file, json!(rules).to_string()).expect("written");
    app.set("MAS_REHEARSAL__RULES", file.to_str().expect("UTF-8"));
    app.launch();
    app
}

/// The proposal, just made.
pub(crate) async fn propose(app: &TestApp, body: Value) -> Value {
    app.post("/consensus/propose", &body).await.expect(201)
}

pub(crate) fn path_of(proposal: &Value, rest: &str) -> String {
    format!("/consensus/{}{rest}", proposal["id"].as_str().expect("an id"))
}

/// The proposal, once `wanted` is true of it.
pub(crate) async fn proposal_until(app: &TestApp, proposal: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            let proposal = app.get(&path_of(proposal, "")).await.expect(200);
            if wanted(&proposal) {
                return proposal;
            }
            ticks.tick().await;
        }
    };
    let Ok(proposal) = tokio::time::timeout(PATIENCE, waiting).await else {
        panic!("the proposal never was as wanted: {}", app.get(&path_of(proposal, "")).await.text);
    };
    proposal
}

/// The proposal, once it has ended.
pub(crate) async fn decided(app: &TestApp, proposal: &Value) -> Value {
    let waiting = async {
        loop {
            let proposal = app.get(&path_of(proposal, "?wait_seconds=20")).await.expect(200);
            if proposal["status"] != "open" {
                return proposal;
            }
        }
    };
    let Ok(proposal) = tokio::time::timeout(PATIENCE, waiting).await else {
        panic!("the proposal never ended: {}", app.get(&path_of(proposal, "")).await.text);
    };
    proposal
}

/// Where, when and how each voter answered, as short words in order.
pub(crate) fn ballots(proposal: &Value) -> Vec<String> {
    let ballots = proposal["ballots"].as_array().expect("ballots").iter();
    let mut words: Vec<String> = ballots
        .map(|ballot| {
            let word = |name: &str| ballot[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} voter {} #{} {} {}",
                ballot["round"],
                word("phase"),
                ballot["voter"],
                ballot["attempt"],
                word("status"),
                word("choice")
            )
        })
        .collect();
    words.sort();
    words
}

/// Panics unless every question was put once, in a turn of its own, and every turn belongs to a question.
pub(crate) async fn assert_asked_once(app: &TestApp, proposal: &Value) {
    let list = proposal["ballots"].as_array().expect("ballots");
    let mut questions: Vec<String> = list
        .iter()
        .map(|ballot| format!("{} {} {} {}", ballot["round"], ballot["phase"], ballot["voter"], ballot["attempt"]))
        .collect();
    let mut turns: Vec<String> = list.iter().map(|ballot| ballot["task_id"].as_str().expect("a task").to_owned()).collect();
    let tasks = app.get("/tasks?limit=200").await.expect(200);
    let mut known: Vec<String> =
        tasks["tasks"].as_array().expect("tasks").iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect();
    turns.sort();
    known.sort();
    assert_eq!(turns, known, "every turn belongs to a ballot");
    let asked = questions.len();
    questions.sort();
    questions.dedup();
    assert_eq!(questions.len(), asked, "asked twice: {proposal}");
}

/// Panics unless the agents made for the proposal have ended.
pub(crate) async fn assert_voters_ended(app: &TestApp, proposal: &Value) {
    for seat in proposal["voters"].as_array().expect("voters") {
        let agent = json!({"id": seat["agent_id"]});
        app.agent_until(&agent, |agent| agent["status"] == "terminated").await;
    }
    crate::support::until("no process is left", || app.agent_processes().is_empty()).await;
}
