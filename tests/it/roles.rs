//! Roles: what the catalogue shows, what becomes of files with flaws, and that agents know and keep their persona and its limits.

use crate::support::{PATIENCE, TestApp, path_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Words that only the persona of [`with_gardener`] has.
const PERSONA: &str = "You tend the KINGFISHER garden.";

fn write_role(app: &TestApp, file: &str, text: &str) {
    let dir = app.data_dir().join("roles");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join(file), text).expect("written");
}

fn gardener(settings: &str) -> String {
    format!("---\ndescription: Tends the garden.\n{settings}---\n\n{PERSONA}\n")
}

/// A server with a role of the user's own.
async fn with_gardener(settings: &str, env: &[(&str, &str)]) -> TestApp {
    let mut app = TestApp::prepared(env).await;
    write_role(&app, "gardener.md", &gardener(settings));
    app.launch();
    app
}

/// What the model was told about itself in the last request of a turn, and how often the persona was in it.
async fn persona_count(app: &TestApp) -> usize {
    let (system, _) = app.last_conversation().await;
    system.matches(PERSONA).count()
}

fn names(page: &Value) -> Vec<&str> {
    page["roles"].as_array().expect("roles").iter().map(|role| role["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn the_catalogue_shows_shipped_and_own_roles_and_files_with_flaws() {
    let mut app =
        TestApp::prepared(&[("MAS_CLAUDE_CODE__DEFAULT_MODEL", "sonnet"), ("MAS_CLAUDE_CODE__MODELS", "sonnet,opus")]).await;
    write_role(&app, "gardener.md", &gardener("model: opus\nallowed_tools: [Read]\n"));
    write_role(&app, "tester.md", "---\ndescription: Ours.\ncolour: red\n---\nx\n");
    app.launch();
    let page = app.get("/roles").await.expect(200);
    let expected = [
        "analyst",
        "architect",
        "coder",
        "coordinator",
        "documenter",
        "gardener",
        "optimizer",
        "planner",
        "researcher",
        "reviewer",
    ];
    assert_eq!(names(&page), expected, "{page}");
    let problem = &page["problems"][0];
    assert_eq!(problem["file"], "tester.md", "{page}");
    assert!(problem["problem"].as_str().is_some_and(|words| words.starts_with("line 3: ") && words.contains("colour")), "{page}");

    let own = app.get("/roles/gardener").await.expect(200);
    assert_eq!((&own["source"], &own["persona"], &own["model"]), (&json!("user"), &json!(PERSONA), &json!("opus")), "{own}");
    assert_eq!((&own["allowed_tools"], &own["problems"]), (&json!(["Read"]), &json!([])), "{own}");
    // haiku is not allowed here.
    let documenter = app.get("/roles/documenter").await.expect(200);
    assert_eq!((&documenter["source"], &documenter["model"]), (&json!("shipped"), &json!("sonnet")), "{documenter}");
    assert!(documenter["problems"][0].as_str().is_some_and(|words| words.contains("haiku")), "{documenter}");
    let missing = app.get("/roles/tester").await.problem(404, "not_found");
    assert!(missing["detail"].as_str().is_some_and(|words| words.contains("line 3")), "{missing}");
    for odd in ["No%20Name", "%FF", "all", "..%2Fcoder"] {
        app.get(&format!("/roles/{odd}")).await.problem(404, "not_found");
    }

    let doctor = app.mas(&["doctor", "--rehearsal"]).output().expect("runs");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && text.contains("roles/tester.md: line 3: "), "{text}");
}

/// Asks until the answer is as wanted.
async fn comes_to(app: &TestApp, path: &str, wanted: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let asking = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            ticks.tick().await;
            last = app.get(path).await.json();
            if wanted(&last) {
                return;
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, asking).await.is_ok();
    assert!(came, "{path} stayed {last}");
}

#[tokio::test]
async fn files_of_roles_and_workflows_are_followed_while_the_server_runs() {
    let app = TestApp::start().await;
    let workflows = app.data_dir().join("workflows");
    std::fs::create_dir(&workflows).expect("made");
    let write_workflow = |role: &str| {
        let text = format!("name: tend\ndescription: d\nstages:\n  - {{name: a, role: {role}, prompt: x}}\n");
        std::fs::write(workflows.join("tend.yaml"), text).expect("written");
    };
    let has_tend = |list: &Value| list["workflows"].as_array().expect("workflows").iter().any(|it| it["name"] == "tend");

    // The workflow is first, and is not sound without its role.
    write_workflow("gardener");
    comes_to(&app, "/workflows", |list| !has_tend(list) && list["problems"][0]["file"] == "tend.yaml").await;
    write_role(&app, "gardener.md", &gardener(""));
    comes_to(&app, "/roles/gardener", |role| role["persona"] == PERSONA).await;
    comes_to(&app, "/workflows", |list| has_tend(list) && list["problems"] == json!([])).await;

    write_role(&app, "gardener.md", &gardener("").replace(PERSONA, "You tend nothing."));
    comes_to(&app, "/roles/gardener", |role| role["persona"] == "You tend nothing.").await;
    write_workflow("coder");
    std::fs::remove_file(app.data_dir().join("roles/gardener.md")).expect("removed");
    comes_to(&app, "/roles/gardener", |answer| answer["code"] == "not_found").await;
    comes_to(&app, "/workflows", |list| has_tend(list)).await;
    app.post("/tasks", &json!({"description": "x", "agent_type": "gardener"})).await.problem(422, "validation_failed");
}

#[tokio::test]
async fn an_unknown_role_is_refused_with_those_there_are_and_nothing_is_made() {
    let app = with_gardener("", &[]).await;
    for (path, body) in [
        ("/tasks", json!({"description": "x", "agent_type": "wizard"})),
        ("/tasks", json!({"description": "x", "agent_type": "../coder"})),
        ("/agents", json!({"agent_type": "wizard"})),
    ] {
        let problem = app.post(path, &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "agent_type", "{problem}");
        if body["agent_type"] == "wizard" {
            let words = problem["errors"][0]["message"].as_str().expect("words");
            assert!(words.contains("coder") && words.contains("gardener"), "{words}");
        }
    }
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
    assert_eq!(app.get("/agents").await.expect(200)["agents"], json!([]));
}

#[tokio::test]
async fn a_role_whose_cli_is_not_set_up_is_refused_before_anything_is_made() {
    let mut app = with_gardener("backend: claude-flow\n", &[]).await;
    app.stop();
    let workflows = app.data_dir().join("workflows");
    std::fs::create_dir_all(&workflows).expect("made");
    for (name, stage) in [("hive", "role: coder, backend: claude-flow"), ("garden", "role: gardener")] {
        let text = format!("name: {name}\ndescription: d\nstages:\n  - {{name: a, {stage}, prompt: x}}\n");
        std::fs::write(workflows.join(format!("{name}.yaml")), text).expect("written");
    }
    app.launch();
    for (path, body) in [
        ("/tasks", json!({"description": "x", "agent_type": "gardener"})),
        ("/agents", json!({"agent_type": "gardener"})),
        ("/swarm/spawn", json!({"topology": "star", "project": "default", "agents": [{"type": "gardener", "count": 2}]})),
        ("/swarm/spawn", json!({"agents": [{"type": "coder", "backend": "claude-flow"}]})),
        ("/workflows/hive/run", json!({"task": "x"})),
        ("/workflows/garden/run", json!({"task": "x"})),
    ] {
        let problem = app.post(path, &body).await.problem(422, "validation_failed");
        let field = if path == "/swarm/spawn" { "agents[0].backend" } else { "backend" };
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
    }
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
    assert_eq!(app.get("/agents").await.expect(200)["agents"], json!([]));
    // What the request names goes before what the role names.
    let body = json!({"agent_type": "gardener", "backend": "claude-code"});
    assert_eq!(app.post("/agents", &body).await.expect(201)["backend"], "claude-code");
}

#[tokio::test]
async fn cli_a_task_has_the_role_of_a_file_with_its_model_and_schema() {
    let schema = "output_schema: {type: object, properties: {n: {type: integer, minimum: 7}}, required: [n]}\n";
    let app = with_gardener(&format!("model: opus\n{schema}"), &[]).await;
    let body = json!({"description": "Water the roses.", "agent_type": "gardener", "wait_seconds": 40});
    let task = app.ended(&app.post("/tasks", &body).await.expect(201)).await;
    assert_eq!(
        (&task["status"], &task["agent_type"], &task["model"]),
        (&json!("complete"), &json!("gardener"), &json!("opus")),
        "{task}"
    );
    assert_eq!(task["structured_output"], json!({"n": 7}), "{task}");
    assert_eq!(persona_count(&app).await, 1);
    let listed = app.get("/tasks?agent_type=gardener").await.expect(200);
    assert_eq!(listed["tasks"][0]["id"], task["id"], "{listed}");
    // What the request says goes before what the role says.
    let own = json!({"description": "x", "agent_type": "gardener", "model": "haiku"});
    assert_eq!(app.post("/tasks", &own).await.expect(201)["model"], "haiku");
}

#[tokio::test]
async fn cli_the_persona_is_there_after_parking_and_after_the_death_of_the_process() {
    let app = with_gardener("", &[("MAS_RUNNER__PARK_AFTER_SECONDS", "1")]).await;
    let agent = app.agent(json!({"agent_type": "gardener", "system_prompt": "Prefer roses."})).await;
    app.tell(&agent, &json!({"text": "one"}), json!({"wait_seconds": 40})).await;
    assert_eq!(persona_count(&app).await, 1, "in a new session");

    app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    app.tell(&agent, &json!({"text": "two"}), json!({"wait_seconds": 40})).await;
    assert_eq!(persona_count(&app).await, 1, "after parking");
    let (system, messages) = app.last_conversation().await;
    assert!(system.contains("You are the gardener.") && system.contains("Prefer roses."), "{system}");
    assert!(messages.contains("one"), "{messages}");

    let words = "a b c d e f g h i j k l m n o p";
    let task = app.tell(&agent, &json!({"text": words, "delay_ms": 100}), json!({})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    let before = app.model_requests().await.len();
    let busy = app.get(&path_of(&agent, "")).await.expect(200);
    let pid = busy["process"]["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("killed");
    assert_eq!(app.ended(&task).await["result"], words);
    assert!(app.model_requests().await.len() > before, "the turn was taken up by another process");
    assert_eq!(persona_count(&app).await, 1, "after kill -9");
}

#[tokio::test]
async fn cli_an_agent_whose_role_is_gone_stays_readable_and_works_again_when_it_is_back() {
    let mut app = with_gardener("", &[]).await;
    let agent = app.agent(json!({"agent_type": "gardener"})).await;
    app.tell(&agent, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    app.stop();
    std::fs::remove_file(app.data_dir().join("roles/gardener.md")).expect("removed");
    app.launch();
    let rests = app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    assert_eq!(rests["agent_type"], "gardener");
    let task = app.ended(&app.tell(&agent, &json!({"text": "never"}), json!({})).await).await;
    assert_eq!((&task["status"], &task["failure"]["code"]), (&json!("failed"), &json!("agent_unavailable")), "{task}");
    assert!(task["failure"]["detail"].as_str().is_some_and(|words| words.contains("no role `gardener`")), "{task}");
    app.post(&path_of(&agent, "/fork"), &json!({})).await.problem(422, "validation_failed");

    app.stop();
    write_role(&app, "gardener.md", &gardener(""));
    app.launch();
    app.post(&path_of(&agent, "/resume"), &json!({})).await.expect(200);
    let task = app.tell(&agent, &json!("What do you know?"), json!({"wait_seconds": 40})).await;
    assert_eq!(app.ended(&task).await["status"], "complete", "{task}");
    assert!(app.last_conversation().await.1.contains("I know HERON.") && persona_count(&app).await == 1);
}

#[tokio::test]
async fn a_swarm_says_whose_role_is_gone_and_can_let_them_go() {
    let app = with_gardener("mcp_servers: [nope]\n", &[]).await;
    let role = app.get("/roles/gardener").await.expect(200);
    let listed = app.get("/roles").await.expect(200);
    assert!(listed.to_string().contains("its MCP server `nope` is not in mcp.servers_file"), "{listed}");
    assert!(role["problems"][0].as_str().is_some_and(|words| words.contains("nope")), "{role}");
    let doctor = app.mas(&["doctor", "--rehearsal"]).output().expect("runs");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && text.contains("role `gardener`: its MCP server `nope`"), "{text}");

    let body = json!({"topology": "star", "agents": [{"type": "coordinator"}, {"type": "gardener", "count": 2}]});
    let swarm = app.post("/swarm/spawn", &body).await.expect(201);
    let id = swarm["id"].as_str().expect("an id").to_owned();
    std::fs::remove_file(app.data_dir().join("roles/gardener.md")).expect("removed");
    let status = format!("/swarm/status?swarm_id={id}");
    comes_to(&app, &status, |status| status["swarms"][0]["health"] == "degraded").await;
    let report = app.get(&status).await.expect(200);
    let reason = &report["swarms"][0]["health_reasons"][0];
    let wanted = "gardener-1, gardener-2 cannot be started: there is no role `gardener`";
    assert!(reason.as_str().is_some_and(|words| words.starts_with(wanted)), "{report}");
    let refused = app.post(&format!("/swarm/{id}/run"), &json!({"objective": "Dig."})).await.problem(422, "validation_failed");
    assert!(refused.to_string().contains(wanted), "{refused}");
    let scale = format!("/swarm/{id}/scale");
    app.post(&scale, &json!({"agents": [{"type": "gardener", "count": 1}]})).await.problem(422, "validation_failed");
    app.post(&scale, &json!({"agents": [{"type": "gardener", "count": 0}]})).await.expect(200);
    comes_to(&app, &status, |status| status["swarms"][0]["health"] == "healthy").await;
}

#[tokio::test]
async fn cli_a_role_narrows_what_its_project_allows() {
    let mut app = TestApp::prepared(&[]).await;
    write_role(&app, "gardener.md", &gardener("allowed_tools: [Read, \"Bash(touch roses*)\"]\n"));
    let lab = app.dir.path().join("lab");
    std::fs::create_dir(&lab).expect("made");
    let config = app.dir.path().join("lab.toml");
    let text =
        format!("[projects.lab]\npath = '{}'\npermission_mode = \"acceptEdits\"\nallowed_tools = [\"Bash\"]\n", lab.display());
    std::fs::write(&config, text).expect("written");
    app.set("MAS_CONFIG", config.to_str().expect("UTF-8"));
    app.launch();
    let bash = |command: &str| json!({"tool_use": {"name": "Bash", "input": {"command": command, "description": "x"}}});
    let write = json!({"tool_use": {"name": "Write", "input": {"file_path": lab.join("written"), "content": "x"}}});
    let plan = json!({"steps": [bash("touch roses"), bash("touch weeds"), write, {"text": "done"}]});
    for (role, expected) in [("gardener", [true, false, false]), ("coder", [true, true, true])] {
        for file in ["roses", "weeds", "written"] {
            let _ = std::fs::remove_file(lab.join(file));
        }
        let task = app.create(&plan, json!({"agent_type": role, "project": "lab"})).await;
        let ended = tokio::time::timeout(PATIENCE, app.ended(&task)).await.expect("ends");
        assert_eq!(ended["status"], "complete", "{ended}");
        assert_eq!(["roses", "weeds", "written"].map(|file| lab.join(file).exists()), expected, "{role}");
    }
}
