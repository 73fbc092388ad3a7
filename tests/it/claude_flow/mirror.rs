//! The mirror: what claude-flow's own commands show of our swarms, agents and tasks.

use super::claude_flow;
use crate::support::{PATIENCE, TestApp};
use chrono::{SubsecRound, Utc};
use mas_gateway::{
    model::{
        id::{ProcessId, SwarmId},
        run::Provenance,
        swarm::{Swarm, SwarmStatus, Topology},
    },
    process::{Liveness, ProcessDir},
    store::{Inserted, Quota, Store},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{path::Path, process::Command, time::Duration};

/// What a command of claude-flow's shows in the project, as anybody would call it there.
fn shown(project: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(claude_flow())
        .args(arguments)
        .args(["--format", "json"])
        .env("RUFLO_DAEMON_AUTOSTART", "0")
        .env("CLAUDE_FLOW_AUTO_UPDATE", "false")
        .env("HOME", project)
        .current_dir(project)
        .output()
        .expect("claude-flow runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stdout)))
}

async fn until(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while !wanted().await {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never so: {what}");
}

/// How the project is mirrored; null while the server is about to begin with that.
async fn status(app: &TestApp) -> Value {
    let status = app.get("/claude-flow").await.expect(200);
    let projects = status["projects"].as_array().cloned().unwrap_or_default();
    projects.into_iter().find(|project| project["project"] == "lab").unwrap_or_default()
}

/// The server that runs for the project.
fn server(app: &TestApp) -> Option<Pid> {
    let root = app.data_dir().join("claude-flow/mirror/lab");
    let names = std::fs::read_dir(&root).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<ProcessId>().ok());
    names.map(|id| ProcessDir::new(&root, id)).find_map(|dir| match dir.inspect() {
        Ok(Liveness::Running(Some(started))) => Pid::from_raw(started.pid.cast_signed()),
        _ => None,
    })
}

fn swarm() -> Swarm {
    let now = Utc::now().trunc_subsecs(6);
    Swarm {
        id: SwarmId::generate(),
        owner: "ann".into(),
        key_id: None,
        name: "makers".into(),
        topology: Topology::Star,
        project: "lab".into(),
        objective: Some("make things".into()),
        max_agents: 4,
        auto_scale: false,
        status: SwarmStatus::Active,
        generation: 0,
        idempotency_key: None,
        request_hash: String::new(),
        provenance: Provenance::Rehearsal,
        created_at: now,
        updated_at: now,
        stopped_at: None,
    }
}

#[tokio::test]
async fn cli_claude_flow_shows_what_happens_here_and_comes_back_after_its_end() {
    let command = claude_flow().to_string_lossy().into_owned();
    let mut app = TestApp::with_lab(&[("MAS_CLAUDE_FLOW__COMMAND", &command), ("MAS_CLAUDE_FLOW__MIRROR", "true")]).await;
    let lab = app.dir.path().join("lab");
    assert!(server(&app).is_none(), "nothing is to be told yet");

    let task = app.ended(&app.create(&json!({"text": "Done."}), json!({"project": "lab", "title": "make it"})).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    let store = Store::connect(&app.store_url()).await.expect("opens");
    let swarm = swarm();
    let stored = store.insert_swarm(&swarm, vec![], &Quota::default()).await.expect("stored");
    assert!(matches!(stored, Inserted::New));
    until("task, agent and swarm were told", async || status(&app).await["mirrored"] == 3).await;

    // claude-flow empties a file before it writes it anew, so it may be read in between.
    let records = |file: &str| -> Value {
        let begun = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(lab.join(".claude-flow").join(file)).expect("records");
            match serde_json::from_str(&text) {
                Ok(records) => return records,
                Err(error) => assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{error}: {text}"),
            }
        }
    };
    let agents = shown(&lab, &["agent", "list"]);
    assert_eq!(agents["agents"][0]["agentId"], task["agent_id"], "{agents}");
    let swarms = shown(&lab, &["swarm", "status"]);
    assert_eq!((&swarms["hasActiveSwarm"], &swarms["topology"]), (&json!(true), &json!("star")), "{swarms}");
    assert_eq!((&swarms["objective"], &swarms["agents"]["total"]), (&json!("make things"), &json!(1)), "{swarms}");
    assert!(records("swarm/swarm-state.json")["swarms"][swarms["id"].as_str().expect("an id")].is_object(), "{swarms}");
    let one = |file: &str| records(file)["tasks"].as_object().expect("records").values().next().expect("one").clone();
    let record = one("tasks/store.json");
    assert_eq!((&record["status"], &record["description"]), (&json!("completed"), &json!("make it")), "{record}");
    assert_eq!((&record["tags"], &record["assignedTo"]), (&json!([task["id"]]), &json!([task["agent_id"]])), "{record}");
    assert_eq!(std::fs::read_to_string(lab.join(".claude-flow/.gitignore")).expect("there"), "*\n");

    // Its server is killed: that is seen, and another one takes over.
    let first = server(&app).expect("a server");
    kill_process(first, Signal::KILL).expect("killed");
    until("another server", async || server(&app).is_some_and(|pid| pid != first)).await;
    until("connected again", async || status(&app).await["connected"] == true).await;
    assert!(status(&app).await["last_error"].as_str().expect("an error").contains("has ended"));
    let failed = json!({"error": {"status": 400, "message": "no"}, "times": 99});
    app.ended(&app.create(&failed, json!({"project": "lab"})).await).await;
    until("a failed task", async || records("tasks/store.json").to_string().contains("\"failed\"")).await;

    // The gateway is killed: its server ends, and the next start repeats nothing.
    until("all is told", async || status(&app).await["mirrored"] == 5).await;
    let last = server(&app).expect("a server");
    app.kill();
    until("the server ends", async || !Path::new(&format!("/proc/{}", last.as_raw_pid())).exists()).await;
    app.launch();
    app.ended(&app.create(&json!({"text": "More."}), json!({"project": "lab"})).await).await;
    until("the next one is told", async || status(&app).await["mirrored"] == 7).await;
    assert_eq!(records("tasks/store.json")["tasks"].as_object().expect("records").len(), 3);
    assert_eq!(records("swarm/swarm-state.json")["swarms"].as_object().expect("records").len(), 1);

    let question = json!({"question": "Left or right?", "options": ["left", "right"], "protocol": "quorum", "project": "lab",
        "voters": [{"type": "reviewer", "count": 3}]});
    let proposal = app.post("/consensus/propose", &question).await.expect(201);
    let shown_as = |status: &str| {
        let tasks = records("tasks/store.json")["tasks"].clone();
        let mut records = tasks.as_object().expect("records").values();
        records.any(|record| record["tags"] == json!([proposal["id"], "quorum"]) && record["status"] == status)
    };
    until("the proposal is shown", async || shown_as("in_progress") || shown_as("completed")).await;
    store.close().await;
    app.stop();
    assert!(server(&app).is_none(), "nothing of it stays");
}

/// The record of one of ours in claude-flow's file.
fn record_of(records: &Value, ours: &Value) -> Vec<Value> {
    let records = records.as_object().expect("records").values();
    records.filter(|record| record["tags"][0] == *ours || record["agentId"] == *ours).cloned().collect()
}

#[tokio::test]
async fn cli_a_swarm_is_shown_with_its_agents_and_a_crash_while_telling_makes_no_second_record() {
    let command = claude_flow().to_string_lossy().into_owned();
    let settings = [("MAS_CLAUDE_FLOW__COMMAND", command.as_str()), ("MAS_CLAUDE_FLOW__MIRROR", "true")];
    let mut app = TestApp::with_lab(&settings).await;
    let lab = app.dir.path().join("lab");
    let agents = json!([{"type": "coordinator"}, {"type": "coder", "count": 2}]);
    let body = json!({"topology": "star", "agents": agents, "project": "lab", "objective": "Make a door."});
    let swarm = app.post("/swarm/spawn", &body).await.expect(201);
    let run = crate::swarms::run_ended(&app, swarm["active_runs"][0].as_str().expect("a run")).await;
    assert_eq!(run["status"], "complete", "{run}");
    let question = json!({"question": "Left or right?", "options": ["left", "right"], "project": "lab",
        "voters": [{"agent_id": swarm["agents"][0]["id"]}, {"agent_id": swarm["agents"][1]["id"]}], "wait_seconds": 40});
    let proposal = app.post("/consensus/propose", &question).await.expect(201);
    assert_eq!(proposal["status"], "decided", "{proposal}");
    // The swarm, its agents, their turns and ballots, and the proposal.
    let things = 1 + 3 + 4 + 2 + 1;
    until("all is told", async || status(&app).await["mirrored"] == things).await;

    let seen = shown(&lab, &["swarm", "status"]);
    assert_eq!((&seen["hasActiveSwarm"], &seen["topology"]), (&json!(true), &json!("star")), "{seen}");
    assert_eq!((&seen["objective"], &seen["agents"]["total"]), (&json!("Make a door."), &json!(3)), "{seen}");
    let listed = shown(&lab, &["agent", "list"]);
    let records = |file: &str| -> Value {
        let text = std::fs::read_to_string(lab.join(".claude-flow").join(file)).expect("records");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let in_swarm = records("swarm/swarm-state.json")["swarms"][seen["id"].as_str().expect("an id")].clone();
    for agent in swarm["agents"].as_array().expect("agents") {
        let of_list = listed["agents"].as_array().expect("agents").iter().find(|record| record["agentId"] == agent["id"]);
        assert_eq!(of_list.expect("listed")["agentType"], agent["type"], "{listed}");
        assert!(in_swarm["agents"].as_array().expect("agents").contains(&agent["id"]), "{in_swarm}");
    }
    let tasks = records("tasks/store.json")["tasks"].clone();
    for stage in run["stages"].as_array().expect("stages") {
        let [record] = record_of(&tasks, &stage["task_ids"][0]).try_into().expect("one record");
        assert_eq!(record["status"], "completed", "{record}");
    }
    let [record] = record_of(&tasks, &proposal["id"]).try_into().expect("one record");
    assert_eq!((&record["type"], &record["result"]["choice"]), (&json!("consensus"), &proposal["decision"]), "{record}");

    // A crash after a call and before its record: claude-flow has it, we do not know. One of each kind is found again, none is made twice.
    app.kill();
    let unrecorded = [&swarm["id"], &proposal["id"], &swarm["agents"][2]["id"], &run["stages"][0]["task_ids"][0]];
    let unrecorded = unrecorded.map(|id| format!("'{}'", id.as_str().expect("an id"))).join(", ");
    // The place up to which all is told goes on after the records only.
    app.sql(&format!("DELETE FROM mirrored WHERE our_id IN ('', {unrecorded})")).await;
    app.launch();
    until("all is known again", async || status(&app).await["mirrored"] == things).await;
    assert_eq!(records("swarm/swarm-state.json")["swarms"].as_object().expect("records").len(), 1);
    assert_eq!(records("tasks/store.json")["tasks"].as_object().expect("records").len(), 4 + 2 + 1);
    assert_eq!(records("agents/store.json")["agents"].as_object().expect("records").len(), 3);
}
