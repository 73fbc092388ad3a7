//! Ten pieces of work done by a caller that behaves like ChatGPT: imported document, declared arguments, `next_step`.

mod caller;
mod weather;

use crate::support::TestApp;
use axum::{Router, routing::get};
use caller::ChatGpt;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use weather::{Door, Trouble};

/// A prompt that makes the rehearsal model follow the plan.
fn prompt(plan: &Value) -> String {
    format!("Please do it. REHEARSE:{plan}")
}

/// A plan that runs a tool until the file exists, then says `through`.
fn until_exists(file: &std::path::Path) -> Value {
    let command = format!("until ls {} 2>/dev/null; do sleep 0.05; done", file.display());
    json!({"steps": [{"text": "I wait.", "tool_use": {"name": "Bash", "input": {"command": command}}}, {"text": "through"}]})
}

#[tokio::test]
async fn what_the_document_does_not_list_is_never_sent() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let gpt = ChatGpt::import(&app.address).await;
    for (operation, arguments, words) in [
        ("create_task", json!({"description": "x", "metadata": {}}), "UnrecognizedKwargsError: metadata"),
        ("create_task", json!({"title": "x"}), "description"),
        ("create_task", json!({"description": "x", "output_schema": {"type": "object"}}), "/output_schema"),
        ("get_task", json!({"id": "1"}), "/id"),
        ("get_task", json!({"wait_seconds": 40}), "\"id\""),
        ("list_tasks", json!({"owner": "me"}), "UnrecognizedKwargsError: owner"),
        ("get_health", json!({"deep": true}), "UnrecognizedKwargsError: deep"),
    ] {
        let refusal = gpt.refusal(operation, &arguments).unwrap_or_else(|| panic!("{operation} takes {arguments}"));
        assert!(refusal.contains(words), "{refusal}");
    }
    assert_eq!(gpt.succeed("get_health", json!({})).await["status"], "ok");
    let (status, problem) = gpt.call("get_task", json!({"id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617"})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
}

#[tokio::test]
async fn cli_tasks_end_well_slowly_badly_and_in_the_shape_asked_for() {
    let app = TestApp::with_lab(&[]).await;
    let mut gpt = ChatGpt::import(&app.address).await;
    // One that is done within the first call or shortly after.
    let plan = json!({"text": "The answer is 42."});
    let quick =
        gpt.succeed("create_task", json!({"description": prompt(&plan), "idempotency_key": "quick", "wait_seconds": 30})).await;
    let (quick, _) = gpt.finish(quick).await;
    assert_eq!((&quick["result"], &quick["provenance"]), (&json!("The answer is 42."), &json!("rehearsal")), "{quick}");

    // One that takes several waits: it ends when the file is there, which is after the third.
    gpt.wait_seconds = 1;
    let gate = app.dir.path().join("gate");
    let body =
        json!({"description": prompt(&until_exists(&gate)), "project": "lab", "idempotency_key": "slow", "wait_seconds": 1});
    let mut slow = gpt.succeed("create_task", body).await;
    for _ in 0..3 {
        slow = gpt.succeed("get_task", json!({"id": slow["id"], "wait_seconds": 1})).await;
        assert!(slow["next_step"].as_str().is_some_and(|words| words.contains("get_task")), "{slow}");
    }
    std::fs::write(&gate, "").expect("opened");
    let (slow, calls) = gpt.finish(slow).await;
    assert_eq!(slow["result"], "through", "{slow}");
    assert!(calls > 0);
    gpt.wait_seconds = 40;

    // One that fails says why, and whether to try again.
    let plan = json!({"error": {"status": 400, "message": "no such thing"}});
    let (bad, _) = gpt.finish(gpt.succeed("create_task", json!({"description": prompt(&plan), "wait_seconds": 30})).await).await;
    assert_eq!(bad["status"], "failed", "{bad}");
    assert!(bad["failure"]["detail"].as_str().is_some_and(|words| words.contains("no such thing")), "{bad}");
    assert!(bad["failure"]["retryable"].is_boolean() && bad["next_step"].as_str().is_some_and(|words| words.contains("failed")));

    // The schema goes along as text, because ChatGPT sends no fields that are not listed.
    let schema =
        json!({"type": "object", "properties": {"files": {"type": "array", "items": {"type": "string"}}}, "required": ["files"]});
    let body = json!({"description": "List the files.", "output_schema": schema.to_string(), "wait_seconds": 30});
    let (shaped, _) = gpt.finish(gpt.succeed("create_task", body).await).await;
    jsonschema::validate(&schema, &shaped["structured_output"]).unwrap_or_else(|error| panic!("{error}: {shaped}"));

    let listed = gpt.succeed("list_tasks", json!({"status": "complete"})).await;
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(3), "{listed}");
    let story = gpt.succeed("list_events", json!({"task_id": slow["id"], "kind": "message,tool_call"})).await;
    assert!(story["events"].as_array().is_some_and(|events| events.len() >= 3), "{story}");
}

#[tokio::test]
async fn cli_a_call_repeated_in_bad_weather_is_one_task() {
    let app = TestApp::start().await;
    let door = Door::open(app.address.clone()).await;
    let gpt = ChatGpt::import(&door.address).await;
    let body = json!({"description": prompt(&json!({"text": "once"})), "idempotency_key": "only-once", "wait_seconds": 0});
    door.expect(&[Trouble::AnswerLost, Trouble::Broken, Trouble::Status(503), Trouble::Status(429)]);
    let (status, task) = gpt.call("create_task", body.clone()).await;
    assert_eq!(status, 200, "the first attempt arrived: {task}");
    door.expect(&[Trouble::Broken, Trouble::Status(502)]);
    let (same, again) = gpt.call("create_task", body).await;
    assert_eq!((same, &again["id"]), (200, &task["id"]));
    let (done, _) = gpt.finish(again).await;
    assert_eq!(done["result"], "once", "{done}");
    let listed = gpt.succeed("list_tasks", json!({})).await;
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1), "{listed}");
    assert!(door.is_clear());
    let other = json!({"description": "something else", "idempotency_key": "only-once"});
    let (status, problem) = gpt.call("create_task", other).await;
    assert_eq!((status, &problem["code"]), (409, &json!("idempotency_conflict")), "{problem}");
}

#[tokio::test]
async fn cli_an_agent_that_stays_is_told_corrected_and_stopped() {
    let app = TestApp::with_lab(&[]).await;
    let gpt = ChatGpt::import(&app.address).await;
    let body = json!({"agent_type": "coder", "name": "shop", "project": "lab", "idempotency_key": "agent", "wait_seconds": 40});
    let agent = gpt.succeed("create_agent", body).await;
    assert!(agent["next_step"].as_str().is_some_and(|words| words.contains("send_message")), "{agent}");
    let tell = async |plan: &Value, key: &str| {
        gpt.succeed("send_message", json!({"id": agent["id"], "text": prompt(plan), "idempotency_key": key})).await
    };
    let (first, _) = gpt.finish(tell(&json!({"text": "first turn"}), "first").await).await;
    assert_eq!((&first["result"], &first["agent_id"]), (&json!("first turn"), &agent["id"]), "{first}");

    // A word into the running turn.
    let gate = app.dir.path().join("gate");
    let turn = tell(&until_exists(&gate), "second").await;
    crate::agents::until_tool_runs(&app, &turn).await;
    let steer = json!({"id": agent["id"], "text": "Use HERON.", "mode": "steer", "idempotency_key": "steer"});
    let steer = gpt.succeed("send_message", steer).await;
    app.agent_until(&agent, |agent| agent["queued"] == 0).await;
    std::fs::write(&gate, "").expect("opened");
    let (steer, _) = gpt.finish(steer).await;
    assert_eq!(steer["joined_task_id"], turn["id"], "{steer}");
    let (joined, _) = gpt.finish(gpt.succeed("get_task", json!({"id": steer["joined_task_id"]})).await).await;
    assert_eq!(joined["result"], "through", "{joined}");

    // Stop it, and go on.
    let never = tell(&until_exists(&app.dir.path().join("never")), "third").await;
    crate::agents::until_tool_runs(&app, &never).await;
    let stopped = gpt.succeed("interrupt_agents", json!({"agent_ids": [agent["id"]], "wait_seconds": 40})).await;
    assert_eq!(stopped["interrupted"], json!([agent["id"]]), "{stopped}");
    assert_eq!(gpt.finish(never).await.0["status"], "cancelled");
    let (last, _) = gpt.finish(tell(&json!({"text": "still here"}), "fourth").await).await;
    assert_eq!(last["result"], "still here", "{last}");
    let seen = gpt.succeed("get_agent_output", json!({"id": agent["id"]})).await;
    assert!(seen["output"].to_string().contains("still here"), "{seen}");
    let ended = gpt.succeed("terminate_agent", json!({"id": agent["id"], "wait_seconds": 40})).await;
    assert_eq!(ended["status"], "terminated", "{ended}");
}

#[tokio::test]
async fn cli_files_go_in_and_come_out() {
    let mut app = TestApp::prepared(&[("MAS_FILES__HOSTS", "127.0.0.1")]).await;
    app.repository("shop");
    app.launch();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let link = format!("http://{}/notes.txt", listener.local_addr().expect("an address"));
    let fetched = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&fetched);
    let notes = async move || {
        seen.store(true, Ordering::SeqCst);
        "the word is juniper"
    };
    let routes = Router::new().route("/notes.txt", get(notes));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut gpt = ChatGpt::import(&app.address).await;
    let sent = json!({"name": "notes.txt", "id": "file-1", "mime_type": "text/plain", "download_link": link});
    gpt.files.insert("file-1".into(), sent);

    let write = json!({"name": "Write", "input": {"file_path": "report.md", "content": "# All is well\n"}});
    let plan = json!({"steps": [{"text": "writing", "tool_use": write}, {"text": "0123456789".repeat(4_000)}]});
    let body = json!({"description": prompt(&plan), "project": "shop", "openaiFileIdRefs": ["file-1"], "wait_seconds": 30});
    let (task, _) = gpt.finish(gpt.succeed("create_task", body).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    assert!(fetched.load(Ordering::SeqCst), "the file was fetched for the agent");
    assert!(task["next_step"].as_str().is_some_and(|words| words.contains("read_task_file")), "{task}");
    let part = gpt.succeed("read_task_file", json!({"id": task["id"], "name": "result.md"})).await;
    assert_eq!(part["total_chars"], 40_000, "{}", part["total_chars"]);

    let files = gpt.succeed("list_task_files", json!({"id": task["id"], "path": "report.md"})).await;
    let links = files["openaiFileResponse"].as_array().expect("links");
    assert!(links.len() <= 10, "ChatGPT takes ten");
    let report = app.fetch(links.last().and_then(Value::as_str).expect("a link")).await;
    assert_eq!((report.status.as_u16(), report.text.as_str()), (200, "# All is well\n"));
    assert!(report.headers.contains_key("content-disposition") && report.headers.contains_key("content-type"));
}

/// Spawn, run, wait, status, propose, wait, sparc, wait, list, stop: as a conversation about a team goes.
#[tokio::test]
async fn cli_ten_calls_direct_a_team() {
    let app = TestApp::start().await;
    let gpt = ChatGpt::import(&app.address).await;
    let team = json!([{"type": "architect"}, {"type": "coder"}, {"type": "tester"}]);
    let swarm = gpt.succeed("spawn_swarm", json!({"topology": "ring", "agents": team, "idempotency_key": "team"})).await;
    let run =
        gpt.succeed("run_swarm", json!({"id": swarm["id"], "objective": "Build JWT login.", "idempotency_key": "login"})).await;
    let run = settled(&gpt, "get_workflow_run", run).await;
    assert_eq!(run["status"], "complete", "{run}");
    let status = gpt.succeed("get_swarm_status", json!({"swarm_id": swarm["id"]})).await;
    assert_eq!(status["swarms"][0]["health"], "healthy", "{status}");

    let voters = json!([{"type": "reviewer", "count": 3}]);
    let question = json!({"question": "Which token?", "options": ["JWT", "opaque"], "voters": voters, "protocol": "quorum",
        "timeout_seconds": 120, "idempotency_key": "token"});
    let proposal = settled(&gpt, "get_proposal", gpt.succeed("propose", question).await).await;
    assert_eq!((&proposal["status"], proposal["ballots"].as_array().map(Vec::len)), (&json!("decided"), Some(3)), "{proposal}");

    let sparc = json!({"task": "Build JWT login.", "phases": ["specification"], "idempotency_key": "sparc"});
    let sparc = settled(&gpt, "get_workflow_run", gpt.succeed("run_sparc", sparc).await).await;
    assert_eq!((&sparc["status"], &sparc["stages"][1]["status"]), (&json!("complete"), &json!("skipped")), "{sparc}");

    let agents = gpt.succeed("list_agents", json!({})).await;
    assert!(agents["agents"].as_array().is_some_and(|agents| agents.len() >= 3), "{agents}");
    let stopped = gpt.succeed("stop_swarm", json!({"id": swarm["id"], "wait_seconds": 40})).await;
    assert_eq!((&stopped["status"], &stopped["agent_count"]), (&json!("stopped"), &json!(0)), "{stopped}");
}

/// Waits as `next_step` says until a run or proposal is no longer open.
async fn settled(gpt: &ChatGpt, operation: &str, mut thing: Value) -> Value {
    for _ in 0..10 {
        let is_open = ["running", "open"].contains(&thing["status"].as_str().unwrap_or_default());
        if !is_open {
            return thing;
        }
        assert!(thing["next_step"].as_str().is_some_and(|words| words.contains(operation)), "{thing}");
        thing = gpt.succeed(operation, json!({"id": thing["id"], "wait_seconds": 40})).await;
    }
    panic!("still open: {thing}")
}
