//! What strangers try: requests for swarms, runs and proposals that make no sense, come too late, or are somebody else's.

use crate::{
    auth::make_key,
    support::{TestApp, path_of},
};
use chrono::{SubsecRound, Utc};
use mas_gateway::{
    model::{
        agent::AgentStatus,
        id::{SwarmId, WorkflowRunId},
        run::Provenance,
        workflow::{
            Workflow,
            run::{RunInput, WorkflowRun, WorkflowRunStatus},
        },
    },
    store::{Inserted, Quota, Store},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const NONE: [&str; 3] = [
    "/swarm/swarm_0193f2a87c3e7d10b5a1c2d3e4f50617",
    "/workflow-runs/wfrun_0193f2a87c3e7d10b5a1c2d3e4f50617",
    "/consensus/proposal_0193f2a87c3e7d10b5a1c2d3e4f50617",
];

/// A server whose agents cannot start: turns fail at once, which is enough here.
async fn app() -> TestApp {
    TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await
}

/// A server whose agents start, and never come to an end of that.
pub(super) async fn busy(settings: &[(&str, &str)]) -> TestApp {
    let mut app = TestApp::prepared(settings).await;
    app.script("#!/bin/sh\n[ \"$1\" = --version ] && exec echo '2.1.0 (Claude Code)'\nexec sleep 600\n");
    app.launch();
    app
}

pub(super) fn id(thing: &Value) -> String {
    thing["id"].as_str().expect("an id").to_owned()
}

/// Panics unless the body is refused because of this field, with these words.
async fn refused(app: &TestApp, path: &str, body: &Value, field: &str, words: &str) {
    let answer = app.post(path, body).await;
    let problem = answer.problem(422, "validation_failed");
    let errors = problem["errors"].as_array().expect("errors");
    let is_meant = |error: &Value| error["field"] == field && error["message"].as_str().is_some_and(|text| text.contains(words));
    assert!(errors.iter().any(is_meant), "{field}, {words}: {problem}");
}

async fn assert_nothing_made(app: &TestApp) {
    for (path, list) in [
        ("/swarm/status", "swarms"),
        ("/workflow-runs", "runs"),
        ("/consensus/status", "proposals"),
        ("/agents", "agents"),
        ("/tasks", "tasks"),
    ] {
        assert_eq!(app.get(path).await.expect(200)[list], json!([]), "{path}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_with_its_field_and_nothing_is_made() {
    let app = app().await;
    let many: Vec<Value> = (0..21).map(|_| json!({"type": "coder"})).collect();
    for (body, field, words) in [
        (json!({"topology": "blob"}), "topology", "`mesh`, `hierarchical`, `star`, `ring`"),
        (json!({"agents": [{"type": "coder"}, {"type": "wizard"}]}), "agents[1].type", "planner"),
        (json!({"agents": [{"type": "x".repeat(5000)}]}), "agents[0].type", ""),
        (json!({"agents": [{"type": "coder", "count": 0}]}), "agents[0].count", "1..=64"),
        (json!({"agents": [{"type": "coder", "count": 1000}]}), "agents[0].count", "1..=64"),
        (json!({"agents": [{"type": "coder", "count": -1}]}), "agents[0].count", "1..=64"),
        (json!({"agents": [{"type": "coder", "count": 1.5}]}), "agents[0].count", "whole number"),
        (json!({"agents": [{"type": "coder", "model": "gpt-9"}]}), "agents[0].model", "sonnet"),
        (json!({"agents": [{"type": "coder"}, {"type": "coder"}]}), "agents[1].type", "twice"),
        (json!({"agents": []}), "agents", "at least one type"),
        (json!({"agents": many}), "agents", "at most 20"),
        (json!({"max_agents": 0}), "max_agents", "1..=64"),
        (json!({"max_agents": 65}), "max_agents", "1..=64"),
        (json!({"name": "two\nlines"}), "name", "one line"),
        (json!({"name": "nul\u{0}"}), "name", "NUL"),
        (json!({"name": "esc\u{1b}[2J"}), "name", "control characters"),
        (json!({"objective": "x".repeat(12_001)}), "objective", "at most 12000"),
        (json!({"wait_seconds": 41}), "wait_seconds", "0..=40"),
        (json!({"idempotency_key": "k".repeat(201)}), "idempotency_key", "at most 200"),
        (json!({"surprise": 1}), "surprise", "topology"),
    ] {
        refused(&app, "/swarm/spawn", &body, field, words).await;
    }
    for (workflow, inputs, words) in [
        ("aggregation_pipeline", "{\"max_parts\": \"many\"}", "`max_parts` takes a whole number, 1 to 100"),
        ("aggregation_pipeline", "{\"max_parts\": [1]}", "`max_parts` takes a whole number, 1 to 100"),
        ("aggregation_pipeline", "{\"max_parts\": 100000000000000000000}", "`max_parts` takes a whole number, 1 to 100"),
        ("aggregation_pipeline", "{\"parts\": 2}", "it has: max_parts"),
        ("aggregation_pipeline", "{", "is not JSON"),
        ("aggregation_pipeline", "[]", "JSON object"),
        ("deep_research", "{\"max_followups\": 2.5}", "`max_followups` takes a whole number, 0 to 100"),
        ("deep_research", "{\"max_followups\": -5}", "`max_followups` takes a whole number, 0 to 100"),
        ("sparc", "{\"phases\": [\"nope\"]}", "one of: specification, pseudocode"),
        ("sparc", "{\"phases\": []}", "a list of at least 1"),
        ("sparc", "{\"phases\": [\"completion\", \"completion\"]}", "each once"),
        ("sparc", "{\"mode\": \" \"}", "`mode` takes text"),
    ] {
        let body = json!({"task": "x", "inputs_json": inputs});
        refused(&app, &format!("/workflows/{workflow}/run"), &body, "inputs_json", words).await;
    }
    let unknown =
        app.post(&format!("/workflows/{}/run", "w".repeat(5000)), &json!({"task": "x"})).await.problem(404, "not_found");
    let words = unknown["detail"].as_str().expect("words");
    assert!(words.contains("code_development") && words.len() < 500, "{unknown}");
    for (body, field, words) in [
        (json!({"phases": []}), "phases", "specification"),
        (json!({"phases": ["dreaming"]}), "phases[0]", "`specification`"),
        (json!({"phases": ["completion", "completion"]}), "phases", "twice"),
        (json!({"mode": "two\nlines"}), "mode", "one line"),
        (json!({"mode": "m".repeat(101)}), "mode", "at most 100"),
        (json!({"task": "nul\u{0}"}), "task", "NUL"),
    ] {
        let mut whole = json!({"task": "x"});
        whole.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
        refused(&app, "/sparc/run", &whole, field, words).await;
    }
    for (more, field, words) in [
        (json!({"options": vec!["o"; 1000]}), "options", "2 to 50"),
        (json!({"options": ["a", "a"]}), "options[1]", "there already"),
        (json!({"options": ["a", "b".repeat(201)]}), "options[1]", "at most 200"),
        (json!({"threshold": 0}), "threshold", "above 0.5"),
        (json!({"threshold": 1.1}), "threshold", "above 0.5"),
        (json!({"threshold": -1}), "threshold", "above 0.5"),
        (json!({"threshold": "NaN"}), "threshold", "above 0.5"),
        (json!({"threshold": "inf"}), "threshold", "above 0.5"),
        (json!({"threshold": true}), "threshold", "majority"),
        (json!({"timeout_seconds": -1}), "timeout_seconds", "1..=86400"),
        (json!({"timeout_seconds": 86_401}), "timeout_seconds", "1..=86400"),
        (json!({"timeout_seconds": 1e20}), "timeout_seconds", "whole number"),
        (json!({"question": "ß".repeat(20_001)}), "question", "at most 20000"),
        (json!({"question": "nul\u{0}"}), "question", "NUL"),
        (json!({"voters": [{"type": "coder", "count": 2, "model": "gpt-9"}]}), "voters[0].model", "sonnet"),
    ] {
        let mut whole = json!({"question": "Which?", "voters": [{"type": "coder", "count": 2}]});
        whole.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        refused(&app, "/consensus/propose", &whole, field, words).await;
    }
    // Numbers that JSON does not have, and texts that are none.
    for text in ["{\"question\": \"q\", \"threshold\": NaN}", "{\"question\": \"\\ud800\"}", "{\"question\": "] {
        let request = app.request(Method::POST, "/consensus/propose").header("content-type", "application/json").body(text);
        app.send(request).await.problem(400, "invalid_json");
    }
    // A count that is none is all that is said of the number of voters.
    let many = json!({"question": "Which?", "voters": [{"type": "coder", "count": 65}]});
    let refused = app.post("/consensus/propose", &many).await.problem(422, "validation_failed");
    assert_eq!(
        (refused["errors"].as_array().map(Vec::len), &refused["errors"][0]["field"]),
        (Some(1), &json!("voters[0].count"))
    );
    assert_nothing_made(&app).await;
}

#[tokio::test]
async fn a_swarm_that_is_stopped_takes_nothing_and_repeated_requests_get_what_they_got() {
    let app = busy(&[]).await;
    let spawn = json!({"topology": "star", "agents": [{"type": "coordinator"}, {"type": "coder"}], "objective": "Tür 🚪 \u{202e}", "idempotency_key": "door"});
    let swarm = app.post("/swarm/spawn", &spawn).await.expect(201);
    let mut other = spawn.clone();
    other["topology"] = json!("ring");
    app.post("/swarm/spawn", &other).await.problem(409, "idempotency_conflict");
    let path = |rest: &str| format!("/swarm/{}/{rest}", id(&swarm));

    // Templates in an objective are words; objectives may be given while another is worked on.
    let second = json!({"objective": "{{ 1/0 }} {% for %}", "idempotency_key": "second"});
    let run = app.post(&path("run"), &second).await.expect(201);
    assert_eq!(app.post(&path("run"), &second).await.expect(200)["id"], run["id"]);
    let third = json!({"objective": "Another.", "idempotency_key": "second"});
    app.post(&path("run"), &third).await.problem(409, "idempotency_conflict");
    for (body, field, words) in [
        (json!({"agents": []}), "agents", "at least one type"),
        (json!({"agents": [{"type": "coder", "count": 65}]}), "agents[0].count", "0..=64"),
        (json!({"agents": [{"type": "coder", "count": 64}]}), "agents", "max_agents, 64"),
        (json!({"agents": [{"type": "wizard", "count": 1}]}), "agents[0].type", "planner"),
        (json!({"agents": [{"type": "coordinator", "count": 0}, {"type": "coder", "count": 0}]}), "agents", "stop_swarm"),
    ] {
        refused(&app, &path("scale"), &body, field, words).await;
    }
    for (body, field, words) in [
        (json!({"objective": " "}), "objective", "blank"),
        (json!({"objective": "x", "turn_timeout_seconds": 0}), "turn_timeout_seconds", "1..=86400"),
        (json!({"objective": "x".repeat(12_001)}), "objective", "at most 12000"),
    ] {
        refused(&app, &path("run"), &body, field, words).await;
    }

    let stopped = app.post(&path("stop"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!((&stopped["status"], &stopped["agent_count"]), (&json!("stopped"), &json!(0)), "{stopped}");
    let again = app.post(&path("stop"), &json!({})).await.expect(200);
    assert_eq!((&again["status"], &again["stopped_at"]), (&json!("stopped"), &stopped["stopped_at"]));
    app.post(&path("run"), &json!({"objective": "x"})).await.problem(409, "swarm_ended");
    app.post(&path("scale"), &json!({"agents": [{"type": "coder", "count": 3}]})).await.problem(409, "swarm_ended");
    let message = json!({"to": "all", "subject": "x", "body": "x"});
    app.post(&path("messages"), &message).await.problem(409, "swarm_ended");
    let agent = swarm["agents"][0].clone();
    let ended = app.post(&path_of(&agent, "/message"), &json!({"text": "x"})).await.problem(409, "swarm_ended");
    assert!(!ended.to_string().contains("resume_agent"), "{ended}");
    app.post(&path_of(&agent, "/resume"), &json!({})).await.problem(409, "swarm_ended");
    let proposal = json!({"question": "Which?", "voters": [{"agent_id": agent["id"]}, {"type": "coder"}]});
    refused(&app, "/consensus/propose", &proposal, "voters[0].agent_id", "has ended with its swarm").await;

    let same = app.post("/swarm/spawn", &spawn).await.expect(200);
    assert_eq!((&same["id"], &same["status"]), (&swarm["id"], &json!("stopped")));
    assert_eq!(app.post(&path("run"), &second).await.expect(200)["id"], run["id"]);
    app.post(&path("run"), &third).await.problem(409, "idempotency_conflict");
    assert_eq!(app.get("/workflow-runs").await.expect(200)["runs"].as_array().map(Vec::len), Some(2));
    let status = app.get(&format!("/swarm/status?swarm_id={}", id(&swarm))).await.expect(200);
    assert_eq!(status["swarms"][0]["status"], "stopped");
}

#[tokio::test]
async fn what_belongs_to_others_is_not_there_and_a_key_without_the_scope_changes_nothing() {
    let app = app().await;
    let swarm = app.post("/swarm/spawn", &json!({"agents": [{"type": "coder"}]})).await.expect(201);
    let run = app.post("/workflows/sparc/run", &json!({"task": "x"})).await.expect(201);
    let proposal = json!({"question": "Which?", "voters": [{"type": "coder", "count": 2}], "protocol": "gossip"});
    let proposal = app.post("/consensus/propose", &proposal).await.expect(201);
    let theirs =
        [format!("/swarm/{}", id(&swarm)), format!("/workflow-runs/{}", id(&run)), format!("/consensus/{}", id(&proposal))];
    let bob = make_key(&app, &["--user", "bob"]);
    let reader = make_key(&app, &["--scopes", "read"]);
    for [swarm, run, proposal] in [theirs.each_ref().map(String::as_str), NONE] {
        let (swarm_id, run_id) = (swarm.trim_start_matches("/swarm/"), run.trim_start_matches("/workflow-runs/"));
        let posts = [
            (format!("{swarm}/run"), json!({"objective": "x"})),
            (format!("{swarm}/scale"), json!({"agents": [{"type": "coder", "count": 2}]})),
            (format!("{swarm}/stop"), json!({})),
            (format!("{swarm}/messages"), json!({"to": "all", "subject": "x", "body": "x"})),
            (format!("{run}/cancel"), json!({})),
            (format!("{run}/answer"), json!({"question": "x", "answer": "accept"})),
            (format!("{proposal}/cancel"), json!({})),
        ];
        for (path, body) in &posts {
            let request = |key: &str| app.request_as(Some(key), Method::POST, path).json(body);
            app.send(request(&bob)).await.problem(404, "not_found");
            app.send(request(&reader)).await.problem(403, "insufficient_scope");
        }
        let gets = [
            format!("/swarm/status?swarm_id={swarm_id}"),
            format!("{swarm}/messages"),
            format!("{swarm}/memory"),
            run.to_owned(),
            format!("/sparc/{run_id}"),
            format!("{run}/file?name=summary.md"),
            proposal.to_owned(),
        ];
        for path in &gets {
            app.send(app.request_as(Some(&bob), Method::GET, path)).await.problem(404, "not_found");
        }
    }
    for (path, body) in [
        ("/swarm/spawn", json!({"agents": [{"type": "coder"}]})),
        ("/swarm/init", json!({"agents": [{"type": "coder"}]})),
        ("/workflows/sparc/run", json!({"task": "x"})),
        ("/sparc/run", json!({"task": "x"})),
        ("/consensus/propose", json!({"question": "Which?", "voters": [{"type": "coder", "count": 2}]})),
    ] {
        let request = app.request_as(Some(&reader), Method::POST, path).json(&body);
        app.send(request).await.problem(403, "insufficient_scope");
    }
    let own = app.send(app.request_as(Some(&bob), Method::GET, "/swarm/status")).await.expect(200);
    assert_eq!(own["swarms"], json!([]));
    let status = app.get(&format!("/swarm/status?swarm_id={}", id(&swarm))).await.expect(200);
    assert_eq!((&status["swarms"][0]["status"], &status["swarms"][0]["agent_count"]), (&json!("active"), &json!(1)));
}

/// A swarm whose objective may not be begun is not made either.
#[tokio::test]
async fn a_swarm_comes_with_its_objective_or_not_at_all() {
    let settings = [("MAS_LIMITS__MAX_QUEUED_TASKS", "1"), ("MAS_RUNNER__MAX_LIVE_AGENTS", "1")];
    let app = busy(&settings).await;
    let first = app.post("/tasks", &json!({"description": "Takes the place."})).await.expect(201);
    crate::support::until("the place is taken", || !app.running().is_empty()).await;
    let second = app.post("/tasks", &json!({"description": "Waits."})).await.expect(201);
    let body = json!({"agents": [{"type": "coder"}], "objective": "Too much."});
    app.post("/swarm/spawn", &body).await.problem(409, "limit_reached");
    assert_eq!(app.get("/swarm/status").await.expect(200)["swarms"], json!([]));
    app.post("/swarm/spawn", &json!({"agents": [{"type": "coder"}]})).await.expect(201);
    for task in [&second, &first] {
        let path = format!("/tasks/{}/cancel", id(task));
        app.post(&path, &json!({"wait_seconds": 30})).await.expect(200);
    }
}

/// The server may die right after any transaction: what belongs to a stop is one.
#[tokio::test]
async fn a_stop_is_one_step_and_nothing_is_begun_after_it() {
    let app = app().await;
    let swarm = app.post("/swarm/spawn", &json!({"agents": [{"type": "coder", "count": 3}]})).await.expect(201);
    let swarm: SwarmId = id(&swarm).parse().expect("an id");
    let store = Store::connect(&app.store_url()).await.expect("opens");
    let now = Utc::now().trunc_subsecs(6);
    let agents = store.stop_swarm(swarm, now).await.expect("stopped").agents;
    assert_eq!(agents.len(), 3);
    for agent in store.list_members(swarm).await.expect("members") {
        assert_eq!(agent.status, AgentStatus::Terminated, "{agent:?}");
    }
    let definition = Workflow {
        name: "late".into(),
        description: "Comes between a look at the swarm and its stop.".into(),
        inputs: BTreeMap::new(),
        max_turns: 1,
        stages: vec![],
        result: None,
    };
    let late = WorkflowRun {
        id: WorkflowRunId::generate(),
        owner: "admin".into(),
        key_id: None,
        workflow: definition.name.clone(),
        title: "late".into(),
        definition,
        input: RunInput::default(),
        project: "default".into(),
        swarm_id: Some(swarm),
        status: WorkflowRunStatus::Running,
        generation: 0,
        cancel_requested: false,
        result: None,
        failure: None,
        idempotency_key: None,
        request_hash: String::new(),
        provenance: Provenance::Rehearsal,
        traceparent: None,
        created_at: now,
        updated_at: now,
        ended_at: None,
    };
    let refused = store.insert_workflow_run(&late, &Quota::default()).await.expect("an answer");
    assert!(matches!(refused, Inserted::AgentEnded), "{refused:?}");
    store.close().await;
    assert_eq!(app.get("/workflow-runs").await.expect(200)["runs"], json!([]));
}
