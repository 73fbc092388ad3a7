//! `mas stop`, `kill` and `clean`, with the real CLI.

use super::{id, mas};
use crate::support::{PATIENCE, TestApp, path_of};
use serde_json::{Value, json};
use std::path::PathBuf;

const HANG: &str = "REHEARSE:{\"hang\":600.0}";

/// A swarm, a run of a workflow, a proposal, a task and an agent's message, all at work.
async fn busy(app: &TestApp) -> Vec<String> {
    let begin = |arguments: &[&str]| id(&mas(app, arguments).good());
    let things = vec![
        begin(&["swarm", "spawn", "--topology", "ring", "--agent", "coder", "--objective", HANG]),
        begin(&["start", "research", HANG, "--detach"]),
        begin(&["consensus", "propose", HANG, "--option", "a", "--option", "b", "--voter", "coder:2"]),
        begin(&["task", "create", HANG]),
    ];
    let agent = app.agent(json!({"name": "bob"})).await;
    app.tell(&agent, &json!({"hang": 600.0}), json!({})).await;
    app.agent_until(&agent, |agent| agent["status"] == "busy").await;
    things
}

async fn statuses(app: &TestApp, name: &str, path: &str) -> Vec<Value> {
    let page = app.get(path).await.expect(200);
    page[name].as_array().expect("items").iter().map(|item| item["status"].clone()).collect()
}

#[tokio::test]
async fn cli_stop_ends_all_work_and_leaves_agents_to_talk_to() {
    let app = TestApp::start().await;
    let things = busy(&app).await;
    let stopped = mas(&app, &["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    for thing in &things {
        assert!(stopped.out.contains(thing), "{thing} in {stopped:?}");
    }
    let status = mas(&app, &["status"]).good();
    for nothing in ["0 swarms", "0 workflow runs", "0 proposals", "0 tasks"] {
        assert!(status.contains(nothing), "{nothing} in {status}");
    }
    let agents = app.get("/agents").await.expect(200);
    let bob = agents["agents"].as_array().expect("agents").iter().find(|agent| agent["name"] == "bob").expect("bob").clone();
    app.agent_until(&bob, |agent| agent["status"] == "idle" || agent["status"] == "parked").await;
    let again = mas(&app, &["stop"]);
    assert!(again.code == Some(0) && again.err.contains("nothing runs"), "{again:?}");
    assert_eq!(app.tell(&bob, &json!({"text": "Here."}), json!({"wait_seconds": 40})).await["result"], "Here.");
}

#[tokio::test]
async fn cli_kill_ends_the_agents_as_well() {
    let app = TestApp::start().await;
    busy(&app).await;
    let killed = mas(&app, &["kill", "--yes", "--json"]);
    assert!(killed.code == Some(0) && killed.json()["ended"].as_array().is_some_and(|all| all.len() >= 5), "{killed:?}");
    for (name, path) in [("agents", "/agents?limit=200"), ("tasks", "/tasks?limit=200"), ("runs", "/workflow-runs")] {
        let ended = ["terminated", "failed", "lost", "cancelled", "complete"];
        let all = statuses(&app, name, path).await;
        assert!(all.iter().all(|status| ended.contains(&status.as_str().expect("a word"))), "{name}: {all:?}");
    }
    let gone = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        while !app.agent_processes().is_empty() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("no process is left");
}

#[tokio::test]
async fn cli_clean_ends_agents_at_rest_and_keeps_what_is_not_saved() {
    let mut app = TestApp::prepared(&[]).await;
    app.repository("shop");
    app.launch();
    let work = async || {
        let task = app.create(&json!({"text": "Done."}), json!({"project": "shop"})).await;
        app.ended(&task).await
    };
    let (tidy, unsaved) = (work().await, work().await);
    let place = |task: &Value| -> PathBuf { app.data_dir().join("workspaces").join(task["agent_id"].as_str().expect("an id")) };
    assert!(place(&tidy).is_dir() && place(&unsaved).is_dir());
    std::fs::write(place(&unsaved).join("note.txt"), "unsaved").expect("written");
    let resting = app.agent(json!({"name": "bob"})).await;
    app.agent_until(&resting, |agent| agent["status"] == "idle").await;
    let swarm = id(&mas(&app, &["swarm", "spawn", "--topology", "ring", "--agent", "coder:2"]).good());

    let cleaned = mas(&app, &["clean"]);
    assert_eq!(cleaned.code, Some(0), "{cleaned:?}");
    assert!(!place(&tidy).exists(), "{cleaned:?}");
    assert_eq!(std::fs::read_to_string(place(&unsaved).join("note.txt")).expect("there"), "unsaved");
    assert!(cleaned.out.contains("it has uncommitted work"), "{cleaned:?}");
    assert!(cleaned.out.lines().filter(|line| line.contains("keep: ")).count() < 8, "{cleaned:?}");
    assert_eq!(app.get(&path_of(&resting, "")).await.expect(200)["status"], "terminated");
    let members = app.get(&format!("/swarm/status?swarm_id={swarm}")).await.expect(200);
    let members = members["swarms"][0]["agents"].as_array().expect("agents").clone();
    assert!(members.len() == 2 && members.iter().all(|agent| agent["status"] != "terminated"), "{members:?}");
    let run = mas(&app, &["swarm", "run", &swarm, "Go on.", "--wait"]);
    assert_eq!(run.code, Some(0), "the swarm still works: {run:?}");
    let url = format!("http://{}", app.address);
    let elsewhere = mas(&app, &["clean", "--url", &url]);
    assert!(elsewhere.err.contains("on the server's machine"), "{elsewhere:?}");
}
