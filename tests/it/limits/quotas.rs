//! How much a key, and the gateway, may have in use at once.

use super::stand_in::{StandIn, runs};
use crate::{
    auth::make_key,
    support::{Answer, TestApp, path_of},
};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const BURST: usize = 30;

/// So many requests at once; what was made, after a look at each refusal.
async fn burst(app: &TestApp, key: &str, path: &str, body: &Value, limit: &str, whose: &str) -> Vec<Value> {
    let send = async || app.send(app.request_as(Some(key), Method::POST, path).json(body)).await;
    let answers = join_all((0..BURST).map(|_| send())).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    for answer in &refused {
        refusal(answer, limit, whose);
    }
    made.iter().map(Answer::json).collect()
}

/// The refusal names the limit, its value and who set it, and cannot be repeated with success.
fn refusal(answer: &Answer, limit: &str, whose: &str) {
    let problem = answer.problem(409, "limit_reached");
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains(&format!("the limit {limit}")), "{detail}");
    assert!(detail.contains(&format!("of {whose}")) && detail.contains("nothing was changed"), "{detail}");
    assert_eq!(problem["retryable"], false);
}

/// How many of `what` the key can see.
async fn count(app: &TestApp, key: &str, what: &str) -> usize {
    let page = app.send(app.request_as(Some(key), Method::GET, &format!("/{what}?limit=200")).json(&json!({}))).await.expect(200);
    page[what].as_array().map(Vec::len).expect("a list")
}

#[tokio::test]
async fn agents_are_counted_in_a_burst_for_a_key_and_for_the_gateway() {
    let it = StandIn::patient(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "1"), ("MAS_LIMITS__MAX_AGENTS", "8")]).await;
    let app = &it.app;
    let ann = make_key(app, &["--user", "ann", "--max-agents", "5"]);
    let bob = make_key(app, &["--user", "bob"]);
    let made = burst(app, &ann, "/agents", &json!({}), "max_agents = 5", "your key").await;
    assert_eq!((made.len(), count(app, &ann, "agents").await), (5, 5));
    // Somebody else has the rest of what the gateway allows.
    let of_bob = burst(app, &bob, "/agents", &json!({}), "max_agents = 8", "the gateway").await;
    assert_eq!((of_bob.len(), count(app, &bob, "agents").await), (3, 3));

    let again = json!({"idempotency_key": "again"});
    let ended = app.post(&path_of(&of_bob[0], "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(ended["status"], "terminated", "{ended}");
    let send = async || app.send(app.request_as(Some(&bob), Method::POST, "/agents").json(&again)).await;
    let made_again = send().await.expect(201);
    assert_eq!(burst(app, &bob, "/agents", &json!({}), "max_agents = 8", "the gateway").await.len(), 0);
    assert_eq!(send().await.expect(200)["id"], made_again["id"], "a repeated request is no new agent");
    // Coming back counts as well.
    let back = path_of(&of_bob[0], "/resume");
    refusal(&app.post(&back, &json!({})).await, "max_agents = 8", "the gateway");
    assert_eq!(app.get(&path_of(&of_bob[0], "")).await.expect(200)["status"], "terminated");
    app.post(&path_of(&made[0], "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(app.post(&back, &json!({})).await.expect(200)["status"], "parked");
}

#[tokio::test]
async fn agents_of_finished_tasks_leave_room_for_others() {
    let it = StandIn::patient(&[("MAS_LIMITS__MAX_AGENTS", "2")]).await;
    it.touch("open");
    for _ in 0..3 {
        let task = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
        assert_eq!(task["status"], "complete", "{task}");
    }
    let task = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
    it.app.agent(json!({})).await;
    it.app.agent(json!({})).await;
    refusal(&it.app.post("/agents", &json!({})).await, "max_agents = 2", "the gateway");
    // To talk to the agent of a task is to keep it.
    let path = path_of(&json!({"id": task["agent_id"]}), "");
    let before = it.app.get(&path).await.expect(200);
    refusal(&it.app.post(&format!("{path}/message"), &json!({"text": "more"})).await, "max_agents = 2", "the gateway");
    assert_eq!(it.app.get(&path).await.expect(200), before);
}

#[tokio::test]
async fn waiting_tasks_are_counted_in_a_burst_for_a_key_and_for_the_gateway() {
    let it = StandIn::patient(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "1"), ("MAS_LIMITS__MAX_QUEUED_TASKS", "6")]).await;
    let app = &it.app;
    let ann = make_key(app, &["--user", "ann", "--max-queued-tasks", "4"]);
    let bob = make_key(app, &["--user", "bob"]);
    let agent = app.send(app.request_as(Some(&ann), Method::POST, "/agents").json(&json!({}))).await.expect(201);
    app.agent_until(&agent, |agent| agent["status"] == "idle").await;
    // Somebody works, and nobody else can.
    let working = app.create(&json!({}), json!({})).await;
    it.task_until(&working, runs).await;
    app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    let body = json!({"title": "t", "description": "d"});
    let made = burst(app, &ann, "/tasks", &body, "max_queued_tasks = 4", "your key").await;
    assert_eq!((made.len(), count(app, &ann, "tasks").await), (4, 4));
    let before = app.get(&path_of(&agent, "")).await.expect(200);
    let message = app.request_as(Some(&ann), Method::POST, &path_of(&agent, "/message")).json(&json!({"text": "hello"}));
    refusal(&app.send(message).await, "max_queued_tasks = 4", "your key");
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200), before, "nothing is written of a refused message");
    let of_bob = burst(app, &bob, "/tasks", &body, "max_queued_tasks = 6", "the gateway").await;
    assert_eq!((of_bob.len(), count(app, &bob, "tasks").await), (2, 2));

    let cancel = format!("/tasks/{}/cancel", made[0]["id"].as_str().expect("an id"));
    app.post(&cancel, &json!({})).await.expect(200);
    let made_again = burst(app, &ann, "/tasks", &body, "max_queued_tasks = 4", "your key").await;
    assert_eq!((made_again.len(), count(app, &ann, "tasks").await), (1, 5), "the place of a cancelled task is free");
}

/// A proposal counts with all its voters, from the moment it is made.
#[tokio::test]
async fn voters_are_counted_in_a_burst_as_waiting_turns_and_as_agents() {
    let it = StandIn::patient(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "1")]).await;
    let app = &it.app;
    // Somebody works, and nobody else can.
    let working = app.create(&json!({}), json!({})).await;
    it.task_until(&working, runs).await;
    let ann = make_key(app, &["--user", "ann", "--max-queued-tasks", "5"]);
    let proposal = |voters: usize| json!({"question": "Which?", "voters": [{"type": "coder", "count": voters}]});
    let made = burst(app, &ann, "/consensus/propose", &proposal(2), "max_queued_tasks = 5", "your key").await;
    assert_eq!(made.len(), 2);
    let body = json!({"title": "t", "description": "d"});
    assert_eq!(burst(app, &ann, "/tasks", &body, "max_queued_tasks = 5", "your key").await.len(), 1, "one is left");
    let cancel = format!("/consensus/{}/cancel", made[0]["id"].as_str().expect("an id"));
    app.send(app.request_as(Some(&ann), Method::POST, &cancel).json(&json!({}))).await.expect(200);
    let three = app.send(app.request_as(Some(&ann), Method::POST, "/consensus/propose").json(&proposal(3))).await;
    refusal(&three, "max_queued_tasks = 5", "your key");
    let made = burst(app, &ann, "/consensus/propose", &proposal(2), "max_queued_tasks = 5", "your key").await;
    assert_eq!(made.len(), 1, "the places of a cancelled proposal are free");

    let bob = make_key(app, &["--user", "bob", "--max-agents", "5"]);
    let made = burst(app, &bob, "/consensus/propose", &proposal(2), "max_agents = 5", "your key").await;
    assert_eq!(made.len(), 2, "each voter of a quorum is an agent for its turn");
    let raft = json!({"question": "Which?", "protocol": "raft", "voters": [{"type": "coder", "count": 3}]});
    let raft = app.send(app.request_as(Some(&bob), Method::POST, "/consensus/propose").json(&raft)).await;
    refusal(&raft, "max_agents = 5", "your key");
    assert_eq!(count(app, &bob, "agents").await, 0);
}

#[tokio::test]
async fn a_key_never_has_more_processes_than_it_may_and_holds_up_nobody_else() {
    let it = StandIn::patient(&[]).await;
    let app = &it.app;
    let ann = make_key(app, &["--user", "ann", "--max-live-agents", "2"]);
    let bob = make_key(app, &["--user", "bob"]);
    let tasks = join_all((0..10).map(|_| it.create_as(&ann))).await;
    let tasks: Vec<_> = tasks.iter().map(|task| task.expect(201)).collect();
    let other = it.create_as(&bob).await.expect(201);
    it.task_until(&other, runs).await;
    let agent =
        app.send(app.request_as(Some(&ann), Method::POST, "/agents").json(&json!({"wait_seconds": 40}))).await.expect(201);
    assert_eq!(agent["status"], "parked", "no place for it: {agent}");
    let message = app.tell(&agent, &json!("from somebody without limits"), json!({})).await;
    it.touch("open");
    for task in tasks.iter().chain([&other, &message]) {
        assert_eq!(app.ended(task).await["status"], "complete");
    }
    let events = app.send(app.request_as(Some(&ann), Method::GET, "/events?kind=process&limit=200")).await.expect(200);
    let (mut live, mut most, mut started) = (0_u32, 0, 0);
    for event in events["events"].as_array().expect("events") {
        match event["data"]["state"].as_str() {
            Some("started") => (live, started) = (live + 1, started + 1),
            Some("exited") => live -= 1,
            _ => {}
        }
        most = most.max(live);
    }
    assert_eq!((most, started), (2, 11), "{events}");
}

#[tokio::test]
async fn an_idle_agent_of_the_same_key_gives_up_its_place() {
    let it = StandIn::patient(&[]).await;
    let app = &it.app;
    let ann = make_key(app, &["--user", "ann", "--max-live-agents", "1"]);
    let bob = make_key(app, &["--user", "bob"]);
    let agent = async |key: &str| {
        let body = json!({"wait_seconds": 40});
        app.send(app.request_as(Some(key), Method::POST, "/agents").json(&body)).await.expect(201)
    };
    let (of_bob, of_ann) = (agent(&bob).await, agent(&ann).await);
    assert_eq!((&of_ann["status"], &of_bob["status"]), (&json!("idle"), &json!("idle")));
    it.touch("open");
    let task = it.create_as(&ann).await.expect(201);
    assert_eq!(app.ended(&task).await["status"], "complete");
    assert_eq!(app.get(&path_of(&of_ann, "")).await.expect(200)["status"], "parked");
    assert_eq!(app.get(&path_of(&of_bob, "")).await.expect(200)["status"], "idle", "longer idle, but not of the key");
    let message = app.tell(&of_ann, &json!("hello"), json!({})).await;
    assert_eq!(app.ended(&message).await["status"], "complete");
}
