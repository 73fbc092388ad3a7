//! What those are told whose request cannot be done: the way to what can.

use super::awkward::{NONE, busy, id};
use crate::support::{TestApp, path_of};
use serde_json::{Value, json};

/// What is not there is told with a way to what is, by operations that ChatGPT has.
#[tokio::test]
async fn who_asks_for_what_is_not_there_is_told_where_to_look() {
    let mut app = TestApp::prepared(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let dir = app.data_dir().join("workflows");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("mine.yaml"), "name: mine\ndescription: d\nstages: []\n").expect("written");
    app.launch();
    let [swarm, run, proposal] = NONE;
    let swarm_id = swarm.trim_start_matches("/swarm/");
    let looks = [
        (format!("/swarm/status?swarm_id={swarm_id}"), "get_swarm_status"),
        (run.to_owned(), "run_workflow"),
        (run.replace("wfrun_", "run_"), "run_workflow"),
        (proposal.to_owned(), "propose"),
        ("/tasks/task_0193f2a87c3e7d10b5a1c2d3e4f50617".to_owned(), "list_tasks"),
        ("/agents/agent_0193f2a87c3e7d10b5a1c2d3e4f50617".to_owned(), "list_agents"),
        ("/roles/wizard".to_owned(), "roles that detail names"),
    ];
    let actions = app.get("/openapi-actions.json").await.expect(200).to_string();
    for (path, words) in looks {
        let problem = app.get(&path).await.problem(404, "not_found");
        let next = problem["next_step"].as_str().expect("words");
        assert!(next.contains(words), "{path}: {problem}");
        let operations = next.split(|char: char| !(char.is_ascii_lowercase() || char == '_')).filter(|word| word.contains('_'));
        for operation in operations.filter(|word| *word != "swarm_id") {
            assert!(actions.contains(&format!("\"{operation}\"")), "{operation} of {next}");
        }
    }
    let broken = app.post("/workflows/mine/run", &json!({"task": "x"})).await.problem(404, "not_found");
    let words = broken["detail"].as_str().expect("words");
    assert!(words.contains("workflows/mine.yaml has a flaw (line 3: stages: there is none)"), "{broken}");
    assert!(broken["next_step"].as_str().is_some_and(|words| words.contains("list_workflows")), "{broken}");
}

/// What stands in the way for now is a conflict, and what nobody can read is not sent.
#[tokio::test]
async fn a_swarm_says_what_stands_in_the_way() {
    let app = busy(&[]).await;
    let small = app.post("/swarm/init", &json!({"topology": "mesh", "max_agents": 3})).await.expect(201);
    let types: Vec<&Value> = small["agents"].as_array().expect("agents").iter().map(|agent| &agent["type"]).collect();
    assert_eq!(types, ["coordinator", "coder", "reviewer"], "the usual team, as far as it fits");

    let body = json!({"topology": "ring", "agents": [{"type": "coder", "count": 2}], "objective": "Work."});
    let swarm = app.post("/swarm/spawn", &body).await.expect(201);
    let path = |rest: &str| format!("/swarm/{}/{rest}", id(&swarm));
    crate::support::until("somebody works", || !app.running().is_empty()).await;
    let fewer = json!({"agents": [{"type": "coder", "count": 0}, {"type": "tester", "count": 1}]});
    let refused = app.post(&path("scale"), &fewer).await.problem(409, "swarm_busy");
    assert!(refused["next_step"].as_str().is_some_and(|words| words.contains("interrupt_agents")), "{refused}");

    let alone = app.post("/swarm/spawn", &json!({"agents": [{"type": "coder"}]})).await.expect(201);
    let path = format!("/swarm/{}/messages", id(&alone));
    app.post(&path_of(&alone["agents"][0], "/terminate"), &json!({})).await.expect(200);
    let nobody =
        app.post(&path, &json!({"to": "all", "subject": "x", "body": "x"})).await.problem(422, "validation_failed").to_string();
    assert!(nobody.contains("no agent any more") && !nobody.contains("`user`"), "{nobody}");
}
