//! claude-flow beside the gateway: as a backend, and the MCP servers that agents are given. The real claude-flow, the real
//! Claude Code, the rehearsal model.

mod mirror;

use crate::support::{TestApp, assert_no_hole};
use mas_gateway::model::mcp::McpServers;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The CLI installed by `agents/install.sh`.
pub(crate) fn claude_flow() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/claude-flow/claude-flow")
}

/// A server with the backend, before its first start.
async fn prepared(settings: &[(&str, &str)]) -> TestApp {
    let command = claude_flow().to_string_lossy().into_owned();
    TestApp::prepared(&[&[("MAS_CLAUDE_FLOW__COMMAND", command.as_str())], settings].concat()).await
}

/// Agents of the backend get no tools of claude-flow's, whose server takes half a second to start.
const NO_TOOLS: [(&str, &str); 1] = [("MAS_CLAUDE_FLOW__TOOLS", "")];

fn notes(events: &[Value]) -> Vec<&str> {
    let notes = events.iter().filter(|event| event["data"]["state"] == "claude_flow");
    notes.filter_map(|event| event["data"]["detail"].as_str()).collect()
}

#[tokio::test]
async fn cli_a_hive_does_a_task_and_its_agent_keeps_its_session() {
    let mut app = prepared(&[]).await;
    let repository = app.repository("shop");
    app.launch();
    let plan = json!({"steps": [
        {"text": "I write.", "tool_use": {"name": "Write", "input": {"file_path": "made.txt", "content": "by the hive\n"}}},
        {"text": "I note it.", "tool_use": {"name": "mcp__ruflo__task_create", "input": {"type": "custom", "description": "noted"}}},
        {"text": "The hive is done."},
    ]});
    let more =
        json!({"backend": "claude-flow", "project": "shop", "agent_type": "tester", "budget_usd": 5.0, "wait_seconds": 40});
    let task = app.ended(&app.create(&plan, more).await).await;
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("The hive is done.")), "{task}");
    assert_eq!((&task["backend"], &task["changes"]["files_changed"]), (&json!("claude-flow"), &json!(1)), "{task}");
    assert!(task["cost_usd"].as_f64() > Some(0.0), "{task}");

    let events = app.events(&task).await;
    assert_no_hole(&events);
    for kind in ["status", "process", "delta", "message", "tool_call", "tool_result", "usage", "result"] {
        assert!(events.iter().any(|event| event["kind"] == kind), "no {kind} in {events:?}");
    }
    assert!(!events.iter().any(|event| event["kind"] == "raw"), "a line was not understood: {events:?}");
    let results: Vec<_> = events.iter().filter(|event| event["kind"] == "tool_result").collect();
    assert!(results.iter().all(|result| result["data"]["is_error"] == false), "{results:?}");
    assert!(results[1]["data"]["text"].as_str().expect("text").contains("noted"), "the hive's own tools work: {results:?}");
    let notes = notes(&events);
    assert!(notes.iter().any(|note| note.contains("Hive Mind initialized")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("Claude Code launched with Hive Mind coordination")), "{notes:?}");

    // claude-flow's words and the role are both in the system prompt; the user's are a message.
    let (system, messages) = app.last_conversation().await;
    assert!(system.contains("HIVE MIND COLLECTIVE INTELLIGENCE") && system.contains("You are the tester"), "{system}");
    assert!(!messages.contains("HIVE MIND") && messages.contains("Do it."), "{messages}");
    // Nothing of claude-flow's is in the project.
    let branch = task["changes"]["branch"].as_str().expect("a branch");
    let tree = ["ls-tree", "-r", "--name-only", branch];
    let files = std::process::Command::new("git").args(tree).current_dir(&repository).output().expect("git");
    assert_eq!(String::from_utf8_lossy(&files.stdout), "made.txt\n");

    let path = format!("/agents/{}/message", task["agent_id"].as_str().expect("an agent"));
    let again = json!({"text": "REHEARSE:{\"text\":\"Once more.\"}", "wait_seconds": 40});
    let message = app.ended(&app.post(&path, &again).await.json()).await;
    assert_eq!((&message["result"], &message["backend"]), (&json!("Once more."), &json!("claude-flow")), "{message}");
    let (system, messages) = app.last_conversation().await;
    assert!(messages.contains("The hive is done."), "the conversation goes on: {messages}");
    assert!(system.contains("HIVE MIND COLLECTIVE") && system.contains("You are the tester"), "{system}");
}

#[tokio::test]
async fn cli_a_hive_whose_model_fails_fails_its_task_and_a_stopped_one_leaves_nothing() {
    let mut app = prepared(&NO_TOOLS).await;
    app.launch();
    let refused = json!({"error": {"status": 400, "message": "no such thing"}, "times": 99});
    let task = app.ended(&app.create(&refused, json!({"backend": "claude-flow"})).await).await;
    assert_eq!((&task["status"], &task["failure"]["code"]), (&json!("failed"), &json!("agent_error")), "{task}");

    let slow = json!({"text": "a b c d e f g h i j k l m n o p q r s t u v w x y z", "delay_ms": 1000});
    let task = app.create(&slow, json!({"backend": "claude-flow"})).await;
    app.events_until(&task, |event| event["kind"] == "delta").await;
    let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
    let cancelled = app.post(&path, &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let task = app.ended(&task).await;
    app.agent_until(&json!({"id": task["agent_id"]}), |agent| agent["status"] == "terminated").await;
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_hive_goes_on_with_its_turn_after_everything_was_killed() {
    let mut app = prepared(&NO_TOOLS).await;
    app.launch();
    let plan = json!({"steps": [
        {"text": "I begin.", "tool_use": {"name": "Bash", "input": {"command": "echo one"}}},
        {"text": "a b c d e f g h", "delay_ms": 300},
    ]});
    let task = app.create(&plan, json!({"backend": "claude-flow"})).await;
    app.events_until(&task, |event| event["kind"] == "tool_result").await;
    app.kill();
    app.kill_agents();
    app.launch();
    let task = app.ended(&task).await;
    assert_eq!(task["status"], "complete", "{task}");
    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert!(events.iter().any(|event| event["data"]["state"] == "recovering"), "{events:?}");
}

#[tokio::test]
async fn a_gateway_without_claude_flow_says_so_at_once() {
    let app = TestApp::start().await;
    for path in ["/tasks", "/agents"] {
        let mut body = json!({"backend": "claude-flow"});
        if path == "/tasks" {
            body["description"] = "x".into();
        }
        let problem = app.post(path, &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "backend", "{problem}");
        assert!(problem["errors"][0]["message"].as_str().expect("words").contains("claude-code"), "{problem}");
    }
}

#[test]
fn the_example_of_the_registry_is_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/servers.json");
    let servers = McpServers::parse(&std::fs::read_to_string(file).expect("there")).expect("a registry");
    assert_eq!(servers.0.keys().collect::<Vec<_>>(), ["docs", "files"]);
}

#[tokio::test]
async fn doctor_names_claude_flow_and_its_version() {
    let app = prepared(&[]).await;
    let output = app.mas(&["doctor"]).output().expect("runs");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("ok    claude-flow     ruflo v3.43.0"), "{words}");
    let app = prepared(&[("MAS_CLAUDE_FLOW__COMMAND", "/no/such/flow")]).await;
    let output = app.mas(&["doctor"]).output().expect("runs");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("FAIL  claude-flow") && words.contains("agents/install.sh claude-flow"), "{words}");
}

/// An MCP server in a few lines: the tool `where` answers with a variable of its environment.
const SERVER: &str = r#"
const reply = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  if (method === "initialize")
    reply(id, { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "t", version: "1" } });
  else if (method === "tools/list")
    reply(id, { tools: [{ name: "where", description: "Says where.", inputSchema: { type: "object", properties: {} } }] });
  else if (method === "tools/call") reply(id, { content: [{ type: "text", text: "in " + process.env.PLACE }] });
  else if (id !== undefined) reply(id, {});
});
"#;

#[tokio::test]
async fn cli_an_agent_uses_a_server_of_the_registry_and_its_secrets_are_shown_to_nobody() {
    let mut app = TestApp::prepared(&[]).await;
    let place = app.dir.path().to_owned();
    std::fs::write(place.join("server.js"), SERVER).expect("written");
    let servers = json!({"mcpServers": {
        "places": {"command": "node", "args": [place.join("server.js")], "env": {"PLACE": "s3cret-harbour"}},
        "far": {"type": "http", "url": "https://user:pass@mcp.example.org/mcp?key=1", "headers": {"Authorization": "Bearer 1"}},
    }});
    std::fs::write(place.join("servers.json"), servers.to_string()).expect("written");
    std::fs::create_dir(place.join("port")).expect("made");
    let config = |server: &str| {
        let (file, port) = (place.join("servers.json"), place.join("port"));
        let text = format!(
            "[mcp]\nservers_file = '{}'\n[projects.port]\npath = '{}'\nmcp_servers = ['{server}']\n",
            file.display(),
            port.display()
        );
        std::fs::write(place.join("mcp.toml"), text).expect("written");
    };
    app.set("MAS_CONFIG", place.join("mcp.toml").to_str().expect("UTF-8"));
    config("harbours");
    let refused = app.mas(&["serve", "--rehearsal"]).output().expect("runs");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("projects.port.mcp_servers"), "{words}");
    assert!(words.contains("`harbours`") && words.contains("far, places"), "{words}");

    config("places");
    app.launch();
    let plan = json!({"steps": [
        {"text": "I ask.", "tool_use": {"name": "mcp__places__where", "input": {}}},
        {"text": "Now I know."},
    ]});
    let task = app.ended(&app.create(&plan, json!({"project": "port"})).await).await;
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("Now I know.")), "{task}");
    let events = app.events(&task).await;
    let result = events.iter().find(|event| event["kind"] == "tool_result").expect("a result");
    assert_eq!((&result["data"]["is_error"], &result["data"]["text"]), (&json!(false), &json!("in s3cret-harbour")), "{result}");

    let listed = app.get("/mcp-servers").await.expect(200);
    let [far, places] = [0, 1].map(|index| listed["servers"][index].clone());
    assert_eq!((&places["name"], &places["projects"], &places["env"]), (&json!("places"), &json!(["port"]), &json!(["PLACE"])));
    assert_eq!((&far["url"], &far["headers"]), (&json!("https://mcp.example.org/mcp"), &json!(["Authorization"])), "{far}");
    assert!(!["s3cret", "pass", "Bearer", "key=1"].iter().any(|secret| listed.to_string().contains(secret)), "{listed}");
    // Nor are they in what a process was started with.
    for entry in std::fs::read_dir(app.data_dir().join("processes")).expect("listed") {
        let spec = std::fs::read_to_string(entry.expect("an entry").path().join("spec.json")).expect("a spec");
        assert!(!spec.contains("s3cret"), "{spec}");
    }
}

#[tokio::test]
async fn cli_members_of_a_swarm_and_stages_of_a_workflow_may_be_hives() {
    let mut app = prepared(&NO_TOOLS).await;
    let workflows = app.data_dir().join("workflows");
    std::fs::create_dir_all(&workflows).expect("made");
    let text = "name: mixed\ndescription: d\nstages:\n  - {name: plain, role: coder, prompt: Look.}\n  - {name: hive, role: coder, backend: claude-flow, prompt: Do it.}\n";
    std::fs::write(workflows.join("mixed.yaml"), text).expect("written");
    app.launch();
    let agents = json!([{"type": "coder", "backend": "claude-flow"}, {"type": "tester"}]);
    let swarm = app.post("/swarm/spawn", &json!({"agents": agents, "topology": "ring"})).await.expect(201);
    let backends: Vec<&Value> = swarm["agents"].as_array().expect("agents").iter().map(|agent| &agent["backend"]).collect();
    assert_eq!(backends, ["claude-flow", "claude-code"], "{swarm}");
    let given = json!({"description": "REHEARSE:{\"text\":\"by the hive\"}", "swarm_id": swarm["id"], "wait_seconds": 40});
    let task = app.ended(&app.post("/tasks", &given).await.expect(201)).await;
    assert_eq!((&task["result"], &task["backend"]), (&json!("by the hive"), &json!("claude-flow")), "{task}");
    assert!(notes(&app.events(&task).await).iter().any(|note| note.contains("Hive Mind")), "{task}");
    let path = format!("/swarm/{}/run", swarm["id"].as_str().expect("an id"));
    let objective = app.post(&path, &json!({"objective": "Make a door."})).await.expect(201);
    let run = app.post("/workflows/mixed/run", &json!({"task": "Make a door."})).await.expect(201);
    for (run, wanted) in [(objective, ["claude-flow", "claude-code"]), (run, ["claude-code", "claude-flow"])] {
        let run = crate::swarms::run_ended(&app, run["id"].as_str().expect("an id")).await;
        assert_eq!(run["status"], "complete", "{run}");
        let mut backends = vec![];
        for stage in run["stages"].as_array().expect("stages") {
            let task = stage["task_ids"][0].as_str().expect("an id");
            backends.push(app.get(&format!("/tasks/{task}")).await.expect(200)["backend"].clone());
        }
        assert_eq!(backends, wanted, "{run}");
    }
}
