//! The server dies; agents and their output do not.

use crate::support::{TestApp, assert_no_hole};
use serde_json::{Value, json};

fn pids(events: &[Value]) -> Vec<&Value> {
    events
        .iter()
        .filter(|event| event["kind"] == "process")
        .map(|event| &event["data"]["pid"])
        .filter(|pid| pid.is_u64())
        .collect()
}

#[tokio::test]
async fn cli_a_killed_server_finds_its_agent_again_in_the_middle_of_a_slow_turn() {
    let mut app = TestApp::start().await;
    let words: Vec<String> = (0..40).map(|number| format!("word{number}")).collect();
    let plan = json!({"text": words.join(" "), "delay_ms": 100});
    let task = app.create(&plan, json!({})).await;
    app.events_until(&task, |event| event["data"]["text"].as_str().is_some_and(|text| text.contains("word5"))).await;
    let before = app.events(&task).await;
    app.kill();
    assert!(!app.agent_processes().is_empty(), "the agent died with the server");
    app.launch();
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!(words.join(" "))), "{ended}");
    let after = app.events(&task).await;
    assert_no_hole(&after);
    assert_eq!(after[..before.len()], before[..], "what was stored stays as it was");
    assert_eq!(pids(&after).len(), 1, "one process did it all: {after:?}");
    let written: String =
        after.iter().filter(|event| event["kind"] == "delta").filter_map(|event| event["data"]["text"].as_str()).collect();
    assert_eq!(written, words.join(" "), "the model's answer was not broken off and begun again");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_tool_that_runs_while_the_server_is_away_is_not_run_twice() {
    let mut app = TestApp::start().await;
    let gate = app.dir.path().join("gate");
    let command = format!("echo run; until ls {} 2>/dev/null; do sleep 0.05; done", gate.display());
    let settings = format!("[projects.lab]\npath = {:?}\nallowed_tools = [\"Bash\"]\n", app.dir.path());
    let config = app.dir.path().join("lab.toml");
    std::fs::write(&config, settings).expect("written");
    app.stop();
    app.set("MAS_CONFIG", config.to_str().expect("UTF-8"));
    app.launch();
    let plan = json!({"steps": [{"tool_use": {"name": "Bash", "input": {"command": command}}}, {"text": "through"}]});
    let task = app.create(&plan, json!({"project": "lab"})).await;
    app.events_until(&task, |event| event["kind"] == "tool_call").await;
    app.kill();
    std::fs::write(&gate, "").expect("opened");
    app.launch();
    let ended = app.ended(&task).await;
    assert_eq!(ended["result"], "through", "{ended}");
    let events = app.events(&task).await;
    assert_no_hole(&events);
    let results = events.iter().filter(|event| event["kind"] == "tool_result").count();
    assert_eq!(results, 1, "{events:?}");
}

#[tokio::test]
async fn cli_what_ended_while_the_server_was_away_is_found_ended() {
    let mut app = TestApp::start().await;
    let plan = json!({"text": "one two three four five", "delay_ms": 50});
    let task = app.create(&plan, json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    app.set("MAS_RUNNER__ON_SHUTDOWN", "detach");
    app.kill();
    // The CLI repeats its request until a model answers; a cancel by the next server must still reach it.
    app.launch();
    let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
    app.post(&path, &json!({"wait_seconds": 30})).await;
    let ended = app.ended(&task).await;
    assert!(ended["status"] == "cancelled" || ended["status"] == "complete", "{ended}");
    assert_no_hole(&app.events(&task).await);
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_an_agent_that_vanished_without_a_record_fails_its_task_with_that_reason() {
    let mut app = TestApp::start().await;
    let task = app.create(&json!({"hang": 600.0}), json!({"on_lost": "fail"})).await;
    let events = app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    reboot(&mut app, &events).await;
    let ended = app.ended(&task).await;
    assert_eq!(ended["failure"]["code"], "agent_lost", "{ended}");
    assert_eq!(ended["failure"]["retryable"], true);
    assert_no_hole(&app.events(&task).await);
}

/// Ends server, shim and CLI alike, and starts the server again.
async fn reboot(app: &mut TestApp, events: &[Value]) {
    let cli = pids(events).last().and_then(|pid| pid.as_u64()).expect("a pid");
    app.kill();
    for pid in shim_of(cli).into_iter().chain([cli]) {
        let _ = rustix::process::kill_process(pid_of(pid), rustix::process::Signal::KILL);
    }
    crate::support::until("the agent is gone", || app.agent_processes().is_empty()).await;
    app.launch();
}

#[tokio::test]
async fn cli_a_shim_that_hangs_does_not_keep_its_agent_from_being_stopped() {
    let app = TestApp::with(&[("MAS_RUNNER__EXIT_TIMEOUT_SECONDS", "1")]).await;
    let task = app.create(&json!({"hang": 600.0}), json!({})).await;
    let events = app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    let shim = shim_of(pids(&events)[0].as_u64().expect("a pid")).expect("a shim");
    rustix::process::kill_process(pid_of(shim), rustix::process::Signal::STOP).expect("stopped");
    let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
    let cancelled = app.post(&path, &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

fn states(events: &[Value]) -> Vec<&str> {
    let processes = events.iter().filter(|event| event["kind"] == "process");
    processes.map(|event| event["data"]["state"].as_str().expect("a state")).collect()
}

#[tokio::test]
async fn cli_after_a_reboot_the_interrupted_turn_is_resumed_in_its_session() {
    let mut app = TestApp::start().await;
    // The first step's tool result is in the session; the second step is cut off.
    let plan = json!({"steps": [
        {"text": "First I look.", "tool_use": {"name": "Bash", "input": {"command": "echo once >> ran.txt; ls"}}},
        {"text": "a b c d e f g h i j k l m n o p q r s t", "delay_ms": 100},
    ]});
    let task = app.create(&plan, json!({})).await;
    let events = app.events_until(&task, |event| event["kind"] == "delta" && event["data"]["text"] == "c ").await;
    reboot(&mut app, &events).await;
    let ended = app.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("complete"), &json!("a b c d e f g h i j k l m n o p q r s t")),
        "{ended}"
    );
    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert_eq!(states(&events), ["started", "ready", "lost", "started", "ready", "exited"], "{events:?}");
    let tools = events.iter().filter(|event| event["kind"] == "tool_result").count();
    assert_eq!(tools, 1, "what was done before is not done again: {events:?}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_resumed_turn_still_owes_its_structured_answer() {
    let mut app = TestApp::start().await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let plan = json!({"steps": [
        {"text": "slowly now please wait for it a b c d e f", "delay_ms": 100, "tool_use": {"name": "StructuredOutput", "input": {"n": 5}}},
    ]});
    let task = app.create(&plan, json!({"output_schema": schema})).await;
    let events = app.events_until(&task, |event| event["kind"] == "delta").await;
    reboot(&mut app, &events).await;
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["structured_output"]), (&json!("complete"), &json!({"n": 5})), "{ended}");
}

#[tokio::test]
async fn cli_the_policy_retry_starts_again_in_the_same_workspace() {
    let mut app = TestApp::start().await;
    let plan = json!({"text": "a b c d e f g h i j k l m n", "delay_ms": 100});
    let task = app.create(&plan, json!({"on_lost": "retry"})).await;
    let events = app.events_until(&task, |event| event["kind"] == "delta").await;
    reboot(&mut app, &events).await;
    let ended = app.ended(&task).await;
    assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("a b c d e f g h i j k l m n")), "{ended}");
    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert_eq!(states(&events), ["started", "ready", "lost", "started", "ready", "exited"]);
}

#[tokio::test]
async fn cli_killed_in_any_phase_the_cli_comes_back_and_finishes() {
    type Reached = fn(&Value) -> bool;
    let app = TestApp::start().await;
    let plan = json!({"steps": [
        {"text": "one two three four five", "delay_ms": 100, "tool_use": {"name": "Bash", "input": {"command": "sleep 1; ls"}}},
        {"text": "The end."},
    ]});
    let phases: [(&str, Reached); 3] = [
        ("starting", |event| event["data"]["state"] == "started"),
        ("streaming", |event| event["kind"] == "delta"),
        ("tool running", |event| event["kind"] == "tool_call"),
    ];
    for (phase, reached) in phases {
        let task = app.create(&plan, json!({})).await;
        let events = app.events_until(&task, reached).await;
        let cli = pids(&events)[0].as_u64().expect("a pid");
        let _ = rustix::process::kill_process(pid_of(cli), rustix::process::Signal::KILL);
        let ended = app.ended(&task).await;
        assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("The end.")), "{phase}: {ended}");
        assert_no_hole(&app.events(&task).await);
    }
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

fn pid_of(pid: u64) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid")
}

fn shim_of(cli: u64) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{cli}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_server() {
    let app = TestApp::start().await;
    let second = app.mas(&["serve", "--bind", "127.0.0.1:0"]).output().expect("ran");
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("server.data_dir") && words.contains("running server"), "{words}");
}

#[tokio::test]
async fn a_postgres_database_belongs_to_one_server() {
    let app = TestApp::start().await;
    let url = app.store_url();
    if url.starts_with("sqlite:") {
        return;
    }
    app.get("/tasks").await.expect(200);
    let other = TestApp::prepared(&[("MAS_STORE__URL", &url)]).await;
    let second = other.mas(&["serve", "--bind", "127.0.0.1:0"]).output().expect("ran");
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("store.url") && words.contains("another server"), "{words}");
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_ends_with_open_streams() {
    let mut app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let task = app.create(&json!({"text": "x"}), json!({})).await;
    app.ended(&task).await;
    let waiting = app.request(reqwest::Method::GET, "/tasks?limit=1").send().await.expect("an answer");
    assert!(app.stop().success());
    drop(waiting);
}

#[tokio::test]
async fn cli_other_rules_of_the_rehearsal_are_in_force_after_a_crash() {
    let mut app = TestApp::prepared(&[]).await;
    let file = app.dir.path().join("rules.json");
    let write = |text: &str| std::fs::write(&file, json!([{"match": "Which", "text": text}]).to_string()).expect("written");
    write("the first");
    app.set("MAS_REHEARSAL__RULES", file.to_str().expect("UTF-8"));
    app.launch();
    let answer = async |app: &TestApp| {
        let task = app.post("/tasks", &json!({"description": "Which rules?", "wait_seconds": 40})).await.expect(201);
        app.ended(&task).await["result"].clone()
    };
    assert_eq!(answer(&app).await, "the first");
    app.kill();
    write("the second");
    app.launch();
    assert_eq!(answer(&app).await, "the second");
}
