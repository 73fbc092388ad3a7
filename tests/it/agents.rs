//! Agents that stay: messages, steering, interrupts, parking, ends and forks, with the real Claude Code CLI.

mod chaos;
mod crowd;
mod moments;
mod recovery;

use crate::support::{TestApp, path_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A tool that ignores what would end it.
pub(crate) fn stubborn_tool() -> Value {
    json!({"steps": [
        {"text": "I begin the long job.", "tool_use": {"name": "Bash", "input": {"command": "trap '' TERM INT HUP; touch began; sleep 600"}}},
        {"text": "never reached"},
    ]})
}

/// Waits until the task's turn runs a tool.
pub(crate) async fn until_tool_runs(app: &TestApp, task: &Value) {
    app.events_until(task, |event| event["kind"] == "tool_call").await;
}

#[tokio::test]
async fn cli_an_agent_takes_turns_and_keeps_its_context() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({"agent_type": "tester", "name": "tess", "system_prompt": "Your word is KINGFISHER."})).await;
    assert_eq!((&agent["status"], &agent["name"], &agent["turns"]), (&json!("idle"), &json!("tess"), &json!(0)), "{agent}");
    assert!(agent["process"]["rss_bytes"].as_u64() > Some(50_000_000) && agent["process"]["pid"].is_u64(), "{agent}");
    let first = app.tell(&agent, &json!({"text": "The first answer."}), json!({"wait_seconds": 40})).await;
    assert_eq!((&first["status"], &first["result"]), (&json!("complete"), &json!("The first answer.")), "{first}");
    let second = app.tell(&agent, &json!({"text": "The second answer."}), json!({"wait_seconds": 40})).await;
    assert_eq!((&second["result"], &second["agent_id"]), (&json!("The second answer."), &agent["id"]), "{second}");
    let (system, messages) = app.last_conversation().await;
    assert!(messages.contains("The first answer."), "the second request holds the first turn: {messages}");
    assert!(system.contains("KINGFISHER") && system.contains("You are the tester"), "{system}");
    let after = app.get(&path_of(&agent, "")).await.expect(200);
    assert_eq!((&after["turns"], &after["process"]["pid"]), (&json!(2), &agent["process"]["pid"]), "{after}");
    let costs = [&first, &second].map(|task| task["cost_usd"].as_f64().expect("a cost"));
    assert!((after["cost_usd"].as_f64().expect("a cost") - costs.iter().sum::<f64>()).abs() < 1e-9, "{after} {costs:?}");
    // One log for the agent, one for each turn.
    for task in [&first, &second] {
        let events = app.events(task).await;
        assert!(events.iter().enumerate().all(|(index, event)| event["seq"] == index + 1), "{events:?}");
    }
    let log = app.get(&format!("/events?agent_id={}&limit=200", agent["id"].as_str().expect("an id"))).await.expect(200);
    let seqs: Vec<_> = log["events"].as_array().expect("events").iter().map(|event| event["agent_seq"].as_i64()).collect();
    assert!(seqs.iter().enumerate().all(|(index, seq)| *seq == i64::try_from(index + 1).ok()), "{seqs:?}");
}

#[tokio::test]
async fn cli_messages_wait_for_their_turns_and_a_repeated_one_is_one() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let slow = app.tell(&agent, &json!({"text": "a b c d e f", "delay_ms": 100}), json!({})).await;
    app.events_until(&slow, |event| event["kind"] == "delta").await;
    let request = json!({"text": "REHEARSE:{\"text\":\"two\"}", "idempotency_key": "two"});
    let path = path_of(&agent, "/message");
    let (second, again) = tokio::join!(app.post(&path, &request), app.post(&path, &request));
    let mut statuses = [second.status.as_u16(), again.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!((statuses, &second.json()["id"]), ([200, 201], &again.json()["id"]));
    let other = json!({"text": "something else", "idempotency_key": "two"});
    app.post(&path_of(&agent, "/message"), &other).await.problem(409, "idempotency_conflict");
    let urgent = app.tell(&agent, &json!({"text": "urgent"}), json!({"priority": "high"})).await;
    let waiting = app.get(&path_of(&agent, "")).await.expect(200);
    let queue: Vec<_> = waiting["queue"].as_array().expect("a queue").iter().map(|message| &message["task_id"]).collect();
    assert_eq!((&waiting["queued"], queue), (&json!(2), vec![&urgent["id"], &second.json()["id"]]), "{waiting}");
    let done = app.get(&format!("{}?wait_seconds=40", path_of(&agent, ""))).await.expect(200);
    assert_eq!((&done["status"], &done["queued"], &done["turns"]), (&json!("idle"), &json!(0), &json!(3)), "{done}");
    assert_eq!(app.ended(&second.json()).await["result"], "two");
    let [slow, urgent, second] = [app.ended(&slow).await, app.ended(&urgent).await, app.ended(&second.json()).await];
    let began = |task: &Value| task["started_at"].as_str().expect("a time").to_owned();
    assert!(began(&slow) < began(&urgent) && began(&urgent) < began(&second));
}

#[tokio::test]
async fn cli_an_interrupt_stops_a_stubborn_tool_within_two_seconds_and_keeps_the_context() {
    let app = TestApp::with_lab(&[]).await;
    let agent = app.agent(json!({"project": "lab"})).await;
    let task = app.tell(&agent, &stubborn_tool(), json!({})).await;
    let began = app.dir.path().join("lab/began");
    crate::support::until("the tool runs", || began.exists()).await;
    let asked = Instant::now();
    let idle = app.post(&path_of(&agent, "/interrupt"), &json!({"wait_seconds": 40})).await.expect(200);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!((&idle["status"], &idle["process"]["pid"]), (&json!("idle"), &agent["process"]["pid"]), "{idle}");
    let stopped = app.ended(&task).await;
    assert_eq!((&stopped["status"], &stopped["result"]), (&json!("cancelled"), &json!("I begin the long job.")), "{stopped}");
    let is_gone = || !app.agent_processes().iter().any(|command| command.contains("sleep 600"));
    crate::support::until("the tool is gone", is_gone).await;
    eprintln!("tool gone after {:?}", asked.elapsed());
    app.post(&path_of(&agent, "/interrupt"), &json!({})).await.problem(409, "agent_idle");

    let answer = app.tell(&agent, &json!("What were you doing?"), json!({"wait_seconds": 40})).await;
    assert_eq!(answer["status"], "complete", "{answer}");
    let (_, messages) = app.last_conversation().await;
    assert!(messages.contains("I begin the long job.") && messages.contains("What were you doing?"), "{messages}");
}

#[tokio::test]
async fn cli_several_agents_are_interrupted_at_once() {
    let app = TestApp::with_lab(&[]).await;
    let hang = json!({"steps": [{"text": "on it", "tool_use": {"name": "Bash", "input": {"command": "sleep 600"}}}]});
    let (one, two, idle) =
        (app.agent(json!({"project": "lab"})).await, app.agent(json!({"project": "lab"})).await, app.agent(json!({})).await);
    let (first, second) = (app.tell(&one, &hang, json!({})).await, app.tell(&two, &hang, json!({})).await);
    until_tool_runs(&app, &first).await;
    until_tool_runs(&app, &second).await;
    let unknown = json!({"agent_ids": [one["id"], "agent_0193f2a87c3e7d10b5a1c2d3e4f50617"]});
    app.post("/agents/interrupt", &unknown).await.problem(404, "not_found");
    assert_eq!(app.get(&path_of(&one, "")).await.expect(200)["status"], "busy", "an unknown agent changes nothing");
    for bad in [json!({}), json!({"agent_ids": []}), json!({"agent_ids": [one["id"]], "all": true})] {
        app.post("/agents/interrupt", &bad).await.problem(422, "validation_failed");
    }
    let some = app.post("/agents/interrupt", &json!({"agent_ids": [one["id"], idle["id"]]})).await.expect(200);
    assert_eq!(
        (&some["interrupted"], &some["still_stopping"], &some["were_idle"]),
        (&json!([one["id"]]), &json!([]), &json!([idle["id"]]))
    );
    assert!(some["next_step"].as_str().is_some_and(|step| step.contains("send_message")), "{some}");
    let all = app.post("/agents/interrupt", &json!({"all": true})).await.expect(200);
    assert_eq!(all["interrupted"], json!([two["id"]]), "{all}");
    assert_eq!(app.ended(&second).await["status"], "cancelled");
}

#[tokio::test]
async fn cli_steering_joins_the_running_turn_between_two_steps() {
    let app = TestApp::with_lab(&[]).await;
    let agent = app.agent(json!({"project": "lab"})).await;
    let gate = app.dir.path().join("gate");
    let command = format!("until ls {} 2>/dev/null; do sleep 0.05; done", gate.display());
    let plan =
        json!({"steps": [{"text": "I wait.", "tool_use": {"name": "Bash", "input": {"command": command}}}, {"text": "through"}]});
    let task = app.tell(&agent, &plan, json!({})).await;
    until_tool_runs(&app, &task).await;
    let steer = app.tell(&agent, &json!("Use HERON as the name."), json!({"mode": "steer"})).await;
    app.agent_until(&agent, |agent| agent["queued"] == 0).await;
    std::fs::write(&gate, "").expect("opened");
    let joined = app.ended(&steer).await;
    assert_eq!((&joined["status"], &joined["joined_task_id"]), (&json!("complete"), &task["id"]), "{joined}");
    let done = app.ended(&task).await;
    assert_eq!(done["result"], "through", "{done}");
    let (_, messages) = app.last_conversation().await;
    assert!(messages.contains("HERON"), "{messages}");
    let events = app.events(&task).await;
    assert!(events.iter().any(|event| event["data"]["state"] == "steered"), "{events:?}");
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200)["turns"], 1, "no turn of its own");
}

#[tokio::test]
async fn cli_steering_that_comes_too_late_is_a_turn_of_its_own() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let slow = app.tell(&agent, &json!({"text": "a b c d e f g h", "delay_ms": 100}), json!({})).await;
    app.events_until(&slow, |event| event["kind"] == "delta").await;
    let late = app.tell(&agent, &json!({"text": "late"}), json!({"mode": "steer", "wait_seconds": 40})).await;
    assert_eq!((&late["status"], &late["result"]), (&json!("complete"), &json!("late")), "{late}");
    assert_eq!(late.get("joined_task_id"), None);
    assert_eq!(app.ended(&slow).await["result"], "a b c d e f g h");
    let idle = app.tell(&agent, &json!({"text": "none ran"}), json!({"mode": "steer", "wait_seconds": 40})).await;
    assert_eq!(idle["result"], "none ran", "{idle}");
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200)["turns"], 3);
}

#[tokio::test]
async fn cli_idle_agents_are_parked_and_go_on_with_their_next_message() {
    let app = TestApp::with(&[("MAS_RUNNER__PARK_AFTER_SECONDS", "1")]).await;
    let agent = app.agent(json!({"system_prompt": "Your word is KINGFISHER."})).await;
    app.tell(&agent, &json!({"text": "before the rest"}), json!({"wait_seconds": 40})).await;
    let parked = app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    assert_eq!((parked.get("process"), app.agent_processes()), (None, vec![]), "{parked}");
    let after = app.tell(&agent, &json!({"text": "after the rest"}), json!({"wait_seconds": 40})).await;
    assert_eq!(after["result"], "after the rest", "{after}");
    let (system, messages) = app.last_conversation().await;
    assert!(messages.contains("before the rest") && system.contains("KINGFISHER"), "{system} {messages}");
}

#[tokio::test]
async fn cli_more_agents_than_places_take_turns_and_the_longest_idle_gives_way() {
    let app = TestApp::with(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "2")]).await;
    let mut agents = Vec::new();
    for number in 0..6 {
        agents.push(app.agent(json!({"name": format!("agent {number}")})).await);
    }
    for round in 0..2 {
        let told = futures::future::join_all(agents.iter().enumerate().map(async |(number, agent)| {
            app.tell(agent, &json!({"text": format!("agent {number} round {round}")}), json!({})).await
        }));
        for (number, task) in told.await.iter().enumerate() {
            assert_eq!(app.ended(task).await["result"], format!("agent {number} round {round}"));
        }
        let list = app.get("/agents").await.expect(200);
        let live = list["agents"].as_array().expect("agents").iter().filter(|agent| agent["status"] != "parked").count();
        assert!(live <= 2, "{list}");
    }
    let events = app.get("/events?kind=process&limit=200").await.expect(200);
    let (mut live, mut most) = (0, 0);
    for event in events["events"].as_array().expect("events") {
        match event["data"]["state"].as_str() {
            Some("started") => live += 1,
            Some("exited") => live -= 1,
            _ => {}
        }
        most = most.max(live);
    }
    assert!(most <= 2, "{most} at once: {events}");
}

#[tokio::test]
async fn cli_a_terminated_agent_ends_with_everything_and_can_be_brought_back() {
    let app = TestApp::with_lab(&[("MAS_RUNNER__INTERRUPT_TIMEOUT_SECONDS", "1")]).await;
    let agent = app.agent(json!({"project": "lab"})).await;
    app.tell(&agent, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    let running = app.tell(&agent, &stubborn_tool(), json!({})).await;
    until_tool_runs(&app, &running).await;
    let waiting = app.tell(&agent, &json!({"text": "never"}), json!({})).await;
    let ended = app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!((&ended["status"], ended.get("process")), (&json!("terminated"), None), "{ended}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
    assert_eq!(app.ended(&running).await["status"], "cancelled");
    assert_eq!(app.ended(&waiting).await["status"], "cancelled");
    app.post(&path_of(&agent, "/terminate"), &json!({})).await.expect(200);
    let refused = app.post(&path_of(&agent, "/message"), &json!({"text": "hello"})).await.problem(409, "agent_ended");
    assert!(refused["detail"].as_str().expect("words").contains("resume_agent"), "{refused}");
    app.post(&path_of(&agent, "/interrupt"), &json!({})).await.problem(409, "agent_idle");

    let back = app.post(&path_of(&agent, "/resume"), &json!({})).await.expect(200);
    assert_eq!(back["status"], "parked", "{back}");
    let task = app.tell(&agent, &json!("What do you know?"), json!({"wait_seconds": 40})).await;
    assert_eq!(task["status"], "complete", "{task}");
    assert!(app.last_conversation().await.1.contains("I know HERON."));
}

#[tokio::test]
async fn cli_a_fork_knows_what_the_first_knew_and_goes_its_own_way() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({"agent_type": "architect"})).await;
    app.post(&path_of(&agent, "/fork"), &json!({})).await.problem(409, "no_conversation");
    app.tell(&agent, &json!({"text": "The plan is HERON."}), json!({"wait_seconds": 40})).await;
    let request = json!({"name": "second", "idempotency_key": "f1", "wait_seconds": 40});
    let fork = app.post(&path_of(&agent, "/fork"), &request).await.expect(201);
    assert_eq!(app.post(&path_of(&agent, "/fork"), &request).await.expect(200)["id"], fork["id"]);
    assert_eq!((&fork["forked_from"], &fork["agent_type"]), (&agent["id"], &json!("architect")), "{fork}");
    assert_ne!(fork["session_id"], agent["session_id"]);
    app.tell(&agent, &json!({"text": "ONLY THE FIRST"}), json!({"wait_seconds": 40})).await;
    app.tell(&fork, &json!({"text": "ONLY THE FORK"}), json!({"wait_seconds": 40})).await;
    app.tell(&fork, &json!("Go on."), json!({"wait_seconds": 40})).await;
    let (_, messages) = app.last_conversation().await;
    assert!(messages.contains("The plan is HERON.") && messages.contains("ONLY THE FORK"), "{messages}");
    assert!(!messages.contains("ONLY THE FIRST"), "{messages}");
    let busy = app.tell(&agent, &json!({"hang": 600.0}), json!({})).await;
    app.events_until(&busy, |event| event["data"]["state"] == "requesting").await;
    app.post(&path_of(&agent, "/fork"), &json!({})).await.problem(409, "agent_busy");
}

#[tokio::test]
async fn cli_the_agent_of_a_task_can_be_talked_to_afterwards() {
    let app = TestApp::start().await;
    let task = app.ended(&app.create(&json!({"text": "I built HERON."}), json!({})).await).await;
    let agent = json!({"id": task["agent_id"]});
    let answer = app.tell(&agent, &json!("What did you build?"), json!({"wait_seconds": 40})).await;
    assert_eq!(answer["status"], "complete", "{answer}");
    assert!(app.last_conversation().await.1.contains("I built HERON."));
}

#[tokio::test]
async fn an_agent_that_cannot_start_says_why_and_ends_what_waits() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let agent = app.agent(json!({})).await;
    assert_eq!((&agent["status"], &agent["failure"]["code"]), (&json!("failed"), &json!("agent_unavailable")), "{agent}");
    app.post(&path_of(&agent, "/message"), &json!({"text": "hello"})).await.problem(409, "agent_ended");
    let back = app.post(&path_of(&agent, "/resume"), &json!({})).await.expect(200);
    assert_eq!((&back["status"], back.get("failure")), (&json!("parked"), None), "{back}");
    let task = app.ended(&app.tell(&agent, &json!("hello"), json!({})).await).await;
    assert_eq!(task["failure"]["code"], "agent_unavailable", "{task}");
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200)["status"], "failed");
}

#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let missing = "/agents/agent_0193f2a87c3e7d10b5a1c2d3e4f50617";
    for rest in ["/message", "/interrupt", "/terminate", "/resume", "/fork"] {
        let body = if rest == "/message" { json!({"text": "x"}) } else { json!({}) };
        app.post(&format!("{missing}{rest}"), &body).await.problem(404, "not_found");
    }
    let agent = app.agent(json!({})).await;
    for (body, field) in [
        (json!({"text": "x".repeat(60_001)}), "text"),
        (json!({"text": " "}), "text"),
        (json!({"text": "x", "mode": "shout"}), "mode"),
        (json!({"text": "x", "budget_usd": 0}), "budget_usd"),
        (json!({"text": "x", "budget_usd": -1}), "budget_usd"),
        (json!({"text": "x", "timeout_seconds": 0}), "timeout_seconds"),
        (json!({"text": "x", "wait_seconds": 41}), "wait_seconds"),
        (json!({"text": "x", "surprise": 1}), "surprise"),
    ] {
        let problem = app.post(&path_of(&agent, "/message"), &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    for (body, field) in [
        (json!({"agent_type": "boss"}), "agent_type"),
        (json!({"name": "two\nlines"}), "name"),
        (json!({"model": "gpt-9"}), "model"),
        (json!({"project": "nowhere"}), "project"),
        (json!({"backend": "emacs"}), "backend"),
        (json!({"system_prompt": "x".repeat(20_001)}), "system_prompt"),
        (json!({"budget_usd": 0}), "budget_usd"),
        (json!({"budget_tokens": -5}), "budget_tokens"),
        (json!({"max_memory_bytes": 1}), "max_memory_bytes"),
        (json!({"max_processes": 1}), "max_processes"),
    ] {
        let problem = app.post("/agents", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    assert_eq!(app.get("/agents").await.expect(200)["agents"].as_array().map(Vec::len), Some(1));
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
}
