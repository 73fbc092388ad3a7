//! Swarms that grow and shrink with the tasks that wait for their members.

use super::{id, leaves, run_ended, spawn};
use crate::{auth::make_key, support::TestApp};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

async fn status(app: &TestApp, swarm: &Value) -> Value {
    app.get(&format!("/swarm/status?swarm_id={}", id(swarm))).await.expect(200)["swarms"][0].clone()
}

/// A task for a coder of the swarm that takes a while.
async fn give(app: &TestApp, swarm: &Value, name: &str, ms: u64) -> Value {
    let description = format!("REHEARSE:{}", json!({"text": name, "first_delay_ms": ms}));
    app.post("/tasks", &json!({"description": description, "swarm_id": id(swarm), "idempotency_key": name})).await.expect(201)
}

async fn all_complete(app: &TestApp, tasks: &[Value]) -> Vec<Value> {
    let mut ended = vec![];
    for task in tasks {
        let task = app.ended(task).await;
        assert_eq!(task["status"], "complete", "{task}");
        ended.push(task);
    }
    ended
}

fn agents_of(tasks: &[Value]) -> BTreeSet<&str> {
    tasks.iter().map(|task| task["agent_id"].as_str().expect("an agent")).collect()
}

fn with_status<'a>(swarm: &'a Value, wanted: &str) -> Vec<&'a Value> {
    swarm["agents"].as_array().expect("agents").iter().filter(|agent| agent["status"] == wanted).collect()
}

#[tokio::test]
async fn cli_a_swarm_grows_for_tasks_and_shrinks_when_there_are_none() {
    let app = TestApp::with(&[("MAS_RUNNER__PARK_AFTER_SECONDS", "1"), ("MAS_RUNNER__SCALE_DOWN_AFTER_SECONDS", "4")]).await;
    let swarm = spawn(&app, json!({"agents": [{"type": "coder"}], "max_agents": 3, "auto_scale": true})).await;
    assert_eq!((&swarm["auto_scale"], &swarm["agent_count"]), (&json!(true), &json!(1)), "{swarm}");
    let mut tasks = vec![];
    for name in ["one", "two", "three", "four"] {
        tasks.push(give(&app, &swarm, name, 6_000).await);
    }
    let last = app.get(&format!("/tasks/{}", id(&tasks[3]))).await.expect(200);
    assert!(last["swarm_id"] == swarm["id"] && last["next_step"].as_str().expect("words").contains("its swarm"), "{last}");
    let grown = app.swarm_until(id(&swarm), |status| with_status(status, "busy").len() == 3).await;
    assert_eq!((&grown["agent_count"], &grown["tasks"]["waiting"], &grown["health"]), (&json!(3), &json!(1), &json!("healthy")));
    assert_eq!(grown["agents"].as_array().expect("agents").iter().filter(|agent| agent["scaled"] == true).count(), 2, "{grown}");
    let records = grown["scaling"].as_array().expect("records");
    assert!(records.iter().all(|record| record["kind"] == "added" && record["task_id"].is_string()) && records.len() == 2);

    let ended = all_complete(&app, &tasks).await;
    assert_eq!(agents_of(&ended).len(), 3, "the fourth was done by one that was free again: {ended:?}");
    assert!(ended.iter().all(|task| task["backend"] == "claude-code" && task["mode"] == "queue"), "{ended:?}");
    let shrunk =
        app.swarm_until(id(&swarm), |status| status["agent_count"] == 1 && with_status(status, "parked").len() == 1).await;
    let stays = &with_status(&shrunk, "parked")[0];
    assert_eq!((&stays["name"], stays.get("scaled")), (&json!("coder-0"), None), "{shrunk}");
    let kinds: Vec<&Value> = shrunk["scaling"].as_array().expect("records").iter().map(|record| &record["kind"]).collect();
    assert_eq!(kinds, ["ended", "ended", "added", "added"], "{shrunk}");
    assert_eq!((&shrunk["turns"], &shrunk["tasks"]["complete"]), (&json!(4), &json!(4)), "{shrunk}");
    let repeat = json!({"description": tasks[0]["description"], "swarm_id": id(&swarm), "idempotency_key": "one"});
    let repeat = app.post("/tasks", &repeat).await.expect(200);
    assert_eq!(repeat["id"], tasks[0]["id"], "an exact repeat is the same task");
}

#[tokio::test]
async fn cli_the_next_step_of_a_swarm_is_true_while_it_works_on_tasks_and_when_nobody_is_left() {
    let app = TestApp::start().await;
    let swarm = spawn(&app, json!({"agents": [{"type": "coder"}]})).await;
    assert!(swarm["next_step"].as_str().expect("words").contains("It is free"), "{swarm}");
    let tasks = [give(&app, &swarm, "one", 1_500).await, give(&app, &swarm, "two", 1_500).await];
    let busy = status(&app, &swarm).await;
    let words = busy["next_step"].as_str().expect("words");
    assert!(words.contains("works on tasks") && words.contains("get_swarm_status") && !words.contains("stop"), "{busy}");
    let path = format!("/swarm/status?wait_seconds=40&swarm_id={}", id(&swarm));
    let free = loop {
        let waited = app.get(&path).await.expect(200)["swarms"][0].clone();
        if waited["tasks"]["complete"] == 2 {
            break waited;
        }
        assert!(waited["next_step"].as_str().expect("words").contains("works on tasks"), "{waited}");
    };
    assert!(free["next_step"].as_str().expect("words").contains("It is free"), "{free}");
    all_complete(&app, &tasks).await;

    let agent = free["agents"][0]["id"].as_str().expect("an id");
    app.post(&format!("/agents/{agent}/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    let down = status(&app, &swarm).await;
    assert_eq!(down["health"], "down", "{down}");
    let words = down["next_step"].as_str().expect("words");
    assert!(words.contains("None of its agents can work") && words.contains("resume_agent"), "{down}");
}

#[tokio::test]
async fn cli_members_that_were_added_work_on_no_objective_until_they_are_asked_to_stay() {
    let app = TestApp::start().await;
    let swarm = spawn(&app, json!({"agents": [{"type": "coder"}], "topology": "ring", "auto_scale": true})).await;
    let tasks = [give(&app, &swarm, "one", 1_500).await, give(&app, &swarm, "two", 1_500).await];
    let grown = app.swarm_until(id(&swarm), |status| status["agent_count"] == 2).await;
    let path = |rest: &str| format!("/swarm/{}/{rest}", id(&swarm));
    let stages = async || {
        let run = app.post(&path("run"), &json!({"objective": "Make a door."})).await.expect(201);
        let run = run_ended(&app, id(&run)).await;
        assert_eq!(run["status"], "complete", "{run}");
        leaves(&run)
    };
    assert_eq!(stages().await, ["coder_0"]);
    assert_eq!(agents_of(&all_complete(&app, &tasks).await).len(), 2);
    let kept = app.post(&path("scale"), &json!({"agents": [{"type": "coder", "count": 2}]})).await.expect(200);
    assert_eq!((&kept["agents"][1]["id"], &kept["agent_count"]), (&grown["agents"][1]["id"], &json!(2)), "{kept}");
    assert!(grown["agents"][1]["scaled"] == true && kept["agents"][1].get("scaled").is_none(), "{kept}");
    assert_eq!(stages().await, ["coder_0", "coder_1"]);
}

#[tokio::test]
async fn cli_without_scaling_tasks_run_one_after_another_on_the_agent_there_is() {
    let app = TestApp::start().await;
    let swarm = spawn(&app, json!({"agents": [{"type": "coder"}, {"type": "tester"}]})).await;
    assert_eq!(swarm["auto_scale"], false);
    let mut tasks = vec![];
    for name in ["one", "two", "three"] {
        tasks.push(give(&app, &swarm, name, 300).await);
    }
    let ended = all_complete(&app, &tasks).await;
    assert_eq!(agents_of(&ended), BTreeSet::from([swarm["agents"][0]["id"].as_str().expect("an id")]), "only it is a coder");
    let time = |task: &Value, field: &str| task[field].as_str().expect("a time").to_owned();
    assert!(ended.windows(2).all(|pair| time(&pair[0], "ended_at") <= time(&pair[1], "started_at")), "{ended:?}");
    let status = status(&app, &swarm).await;
    assert_eq!((&status["agent_count"], status.get("scaling")), (&json!(2), None), "{status}");
}

#[tokio::test]
async fn cli_tasks_of_a_swarm_are_done_once_however_often_the_server_is_killed() {
    let mut app = TestApp::with(&[("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    let swarm = spawn(&app, json!({"agents": [{"type": "coder"}], "max_agents": 3, "auto_scale": true})).await;
    let mut tasks = vec![];
    for (name, pause) in [("one", 0_u64), ("two", 60), ("three", 5), ("four", 250), ("five", 20), ("six", 110)] {
        tasks.push(give(&app, &swarm, name, 400).await);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        app.kill();
        app.launch();
    }
    let ended = all_complete(&app, &tasks).await;
    assert!(agents_of(&ended).len() <= 3, "{ended:?}");
    for (task, name) in ended.iter().zip(["one", "two", "three", "four", "five", "six"]) {
        assert_eq!(task["result"], name, "{task}");
    }
    let status = status(&app, &swarm).await;
    assert_eq!((&status["turns"], &status["tasks"]["complete"]), (&json!(6), &json!(6)), "each once: {status}");
    let added = status["scaling"].as_array().expect("records").len();
    assert!((1..=2).contains(&added) && status["agent_count"].as_u64() == Some(1 + added as u64), "{status}");
}

#[tokio::test]
async fn tasks_that_no_member_can_do_are_refused_and_waiting_ones_end_with_their_swarm() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let fixed = spawn(&app, json!({"agents": [{"type": "coder"}]})).await;
    let full = spawn(&app, json!({"agents": [{"type": "coder"}], "max_agents": 1, "auto_scale": true})).await;
    let roomy = spawn(&app, json!({"agents": [{"type": "coder"}], "auto_scale": true})).await;
    let task = |more: Value| {
        let mut body = json!({"description": "Look.", "swarm_id": id(&fixed)});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    for (body, words) in [
        (task(json!({"agent_type": "tester"})), "has no tester, and it does not scale itself (auto_scale); it has: coder"),
        (task(json!({"agent_type": "tester", "swarm_id": id(&full)})), "as many agents as it may"),
        (task(json!({"swarm_id": "swarm_0193f2a87c3e7d10b5a1c2d3e4f50617"})), "get_swarm_status"),
        (task(json!({"swarm_id": "7"})), "swarm_id"),
        (task(json!({"model": "haiku"})), "leave it out"),
        (task(json!({"backend": "claude-code"})), "leave it out"),
        (task(json!({"project": "moon"})), "the swarm works in `default`"),
        (task(json!({"agent_type": "wizard", "swarm_id": id(&roomy)})), "planner"),
    ] {
        let refused = app.post("/tasks", &body).await;
        assert!(refused.status == 422 && refused.text.contains(words), "{body}: {}", refused.text);
    }
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]), "nothing was made");
    let bob = make_key(&app, &["--user", "bob"]);
    let stranger = app.request_as(Some(&bob), Method::POST, "/tasks").json(&task(json!({})));
    assert!(app.send(stranger).await.problem(422, "validation_failed").to_string().contains("get_swarm_status"));

    // Its only member has work already, and the gateway no place for more.
    app.sql("UPDATE agent SET status = 'busy'").await;
    let waiting = app.post("/tasks", &task(json!({}))).await.expect(201);
    assert_eq!((&waiting["status"], waiting.get("agent_id")), (&json!("created"), None), "{waiting}");
    assert_eq!(status(&app, &fixed).await["tasks"]["waiting"], 1);
    app.sql("UPDATE agent SET status = 'terminated'").await;
    let orphaned = status(&app, &fixed).await;
    assert!(orphaned["health_reasons"].to_string().contains("wait for a coder"), "{orphaned}");
    app.post(&format!("/swarm/{}/stop", id(&fixed)), &json!({})).await.expect(200);
    assert_eq!(app.get(&format!("/tasks/{}", id(&waiting))).await.expect(200)["status"], "cancelled");
    app.post("/tasks", &task(json!({}))).await.problem(409, "swarm_ended");
}

#[tokio::test]
async fn a_member_is_added_only_as_far_as_the_key_may_and_the_task_waits() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let ann = make_key(&app, &["--user", "ann", "--max-agents", "1"]);
    let post = async |path: &str, body: Value| app.send(app.request_as(Some(&ann), Method::POST, path).json(&body)).await;
    let swarm = post("/swarm/spawn", json!({"agents": [{"type": "coder"}], "auto_scale": true})).await.expect(201);
    app.sql("UPDATE agent SET status = 'busy'").await;
    let waiting = post("/tasks", json!({"description": "Look.", "swarm_id": id(&swarm)})).await.expect(201);
    let held = app.swarm_until(id(&swarm), |status| status["tasks"]["waiting"] == 1).await;
    assert_eq!((&held["agent_count"], held.get("scaling")), (&json!(1), None), "{held}");
    // Once there is room, somebody is added; what becomes of its task is the runner's business.
    app.sql("UPDATE api_key SET limits = NULL WHERE user_name = 'ann'").await;
    let grown = app.swarm_until(id(&swarm), |status| status["scaling"].is_array()).await;
    assert_eq!(grown["scaling"][0]["task_id"], waiting["id"], "{grown}");
}
