//! Runs of workflows by the real Claude Code CLI.

use crate::support::{PATIENCE, TestApp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A server with a workflow `gated` and answers for its reviews.
async fn with(workflow: &str, rules: &Value, settings: &[(&str, &str)]) -> TestApp {
    let mut app = TestApp::prepared(settings).await;
    let dir = app.data_dir().join("workflows");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("gated.yaml"), workflow).expect("written");
    let file = app.dir.path().join("rules.json");
    std::fs::write(&file, rules.to_string()).expect("written");
    app.set("MAS_REHEARSAL__RULES", file.to_str().expect("UTF-8"));
    app.launch();
    app
}

fn structured(pattern: &str, input: &Value) -> Value {
    json!({"match": pattern, "tool_use": {"name": "StructuredOutput", "input": input}})
}

fn verdict(pattern: &str, word: &str, issue: &str) -> Value {
    let issues: Vec<&str> = [issue].into_iter().filter(|issue| !issue.is_empty()).collect();
    structured(pattern, &json!({"verdict": word, "issues": issues}))
}

async fn begin(app: &TestApp, workflow: &str, more: Value) -> Value {
    let mut body = json!({"task": "Make a door for the shop."});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    app.post(&format!("/workflows/{workflow}/run"), &body).await.expect(201)
}

/// The run, once it stands where `wanted` says.
async fn run_until(app: &TestApp, run: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/workflow-runs/{}", run["id"].as_str().expect("an id"));
    let waiting = async {
        loop {
            let run = app.get(&format!("{path}?wait_seconds=1")).await.expect(200);
            if wanted(&run) {
                return run;
            }
        }
    };
    let Ok(run) = tokio::time::timeout(PATIENCE * 2, waiting).await else {
        panic!("the run never was as wanted: {}", app.get(&path).await.text);
    };
    run
}

fn has_ended(run: &Value) -> bool {
    ["complete", "failed", "cancelled"].contains(&run["status"].as_str().expect("a status"))
}

fn stage<'a>(run: &'a Value, path: &str) -> &'a Value {
    let stages = run["stages"].as_array().expect("stages");
    stages.iter().find(|stage| stage["path"] == path).unwrap_or_else(|| panic!("no {path} in {run}"))
}

/// Titles of the run's tasks with how often each was made.
async fn titles(app: &TestApp) -> BTreeMap<String, usize> {
    let tasks = app.get("/tasks?limit=200").await.expect(200);
    let mut titles = BTreeMap::new();
    for task in tasks["tasks"].as_array().expect("tasks") {
        *titles.entry(task["title"].as_str().expect("a title").to_owned()).or_default() += 1;
    }
    titles
}

const GATED: &str = "
name: gated
description: A draft that is judged, parts worked on side by side, and an end.
stages:
  - name: draft
    role: coder
    prompt: Write the draft.
    review: {max_revisions: 2, on_rejected: revise}
  - name: parts
    role: tester
    prompt: \"Look at part {{ part }}.\"
    for_each: {items: \"['hinge', 'lock']\", as: part}
  - name: end
    role: coordinator
    prompt: \"Put together {{ stages.parts.items | length }} parts.\"
";

#[tokio::test]
async fn cli_a_review_asks_for_a_revision_and_gets_it_from_the_same_agent() {
    let rules = json!([
        verdict("Review of stage: draft, revision 0", "REJECTED", "the hinge is missing"),
        verdict("Review of stage: draft, revision 1", "APPROVED", ""),
        {"match": "the hinge is missing", "text": "Now with a hinge."},
        {"match": "Stage: end", "text": "The door stands."},
    ]);
    let app = with(GATED, &rules, &[]).await;
    let run = begin(&app, "gated", json!({"idempotency_key": "door"})).await;
    let again = app.post("/workflows/gated/run", &json!({"task": "Make a door for the shop.", "idempotency_key": "door"})).await;
    assert_eq!(again.expect(200)["id"], run["id"], "the same key is the same run");

    let run = run_until(&app, &run, has_ended).await;
    assert_eq!((&run["status"], &run["result"]), (&json!("complete"), &json!("The door stands.")), "{run}");
    let draft = stage(&run, "draft");
    assert_eq!(
        (&draft["verdict"], &draft["revisions"], &draft["output"]),
        (&json!("APPROVED"), &json!(1), &json!("Now with a hinge."))
    );
    assert_eq!(stage(&run, "parts[1]")["status"], "complete");
    assert!(run["cost_usd"].as_f64() > Some(0.0) && run["turns"] == 7, "{run}");

    // Work and revision are turns of one conversation; review is another's.
    let mut agents = vec![];
    for id in draft["task_ids"].as_array().expect("tasks") {
        let task = app.get(&format!("/tasks/{}", id.as_str().expect("an id"))).await.expect(200);
        assert_eq!(task["status"], "complete", "{task}");
        agents.push(task["agent_id"].clone());
    }
    assert_eq!((agents.len(), &agents[0], &agents[1]), (4, &agents[2], &agents[3]));
    assert_ne!(agents[0], agents[1]);
    for agent in &agents {
        let agent = app.agent_until(&json!({"id": agent}), |agent| agent["status"] == "terminated").await;
        assert_eq!(agent["status"], "terminated", "the run's own agents end with it");
    }

    let file = |name: &str| format!("/workflow-runs/{}/file?name={name}", run["id"].as_str().expect("an id"));
    let summary = app.get(&file("summary.md")).await.expect(200);
    let text = summary["file"]["text"].as_str().expect("text");
    assert!(text.contains("The door stands.") && text.contains("draft: complete, APPROVED, revised 1 times"), "{text}");
    assert_eq!(app.get(&file("draft-revision-1.md")).await.expect(200)["file"]["text"], "Now with a hinge.");
    app.get(&file("..%2F..%2Fadmin-key")).await.problem(422, "validation_failed");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_the_task_of_a_judged_stage_shows_review_and_revision() {
    let rules = json!([
        {"match": "Review of stage: draft, revision 0", "first_delay_ms": 1500,
         "tool_use": {"name": "StructuredOutput", "input": {"verdict": "NEEDS_REVISION", "issues": ["mend it"]}}},
        {"match": "mend it", "text": "Mended.", "first_delay_ms": 1500},
        verdict("Review of stage: draft, revision 1", "APPROVED", ""),
    ]);
    let app = with(GATED, &rules, &[]).await;
    let run = begin(&app, "gated", json!({})).await;
    let run = run_until(&app, &run, |run| stage(run, "draft")["status"] == "review").await;
    let id = stage(&run, "draft")["task_ids"][0].as_str().expect("an id").to_owned();
    let task = app.get(&format!("/tasks/{id}")).await.expect(200);
    assert_eq!(task["status"], "review", "{task}");
    let run = run_until(&app, &run, |run| stage(run, "draft")["status"] == "revision").await;
    let task = app.get(&format!("/tasks/{id}")).await.expect(200);
    assert_eq!(task["status"], "revision", "{task}");
    let run = run_until(&app, &run, has_ended).await;
    assert_eq!(run["status"], "complete", "{run}");
}

#[tokio::test]
async fn cli_a_run_goes_on_exactly_once_wherever_the_server_is_killed() {
    let rules = json!([
        verdict("Review of stage: draft, revision 0", "NEEDS_REVISION", "mend it"),
        verdict("Review of stage: draft, revision 1", "APPROVED", ""),
    ]);
    let mut app = with(GATED, &rules, &[("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    let run = begin(&app, "gated", json!({})).await;
    // A kill at every step that shows: each time more turns are on record than before.
    let mut seen = 0;
    loop {
        let now = run_until(&app, &run, |now| has_ended(now) || now["turns"].as_u64() > Some(seen)).await;
        seen = now["turns"].as_u64().expect("turns");
        if has_ended(&now) {
            assert_eq!(now["status"], "complete", "{now}");
            break;
        }
        app.kill();
        app.launch();
    }
    assert_eq!(seen, 7);
    let titles = titles(&app).await;
    assert!(titles.len() == 7 && titles.values().all(|times| *times == 1), "each turn once: {titles:?}");
}

#[tokio::test]
async fn cli_each_phase_of_sparc_can_be_rejected_and_revised() {
    let phases = ["specification", "pseudocode", "architecture", "refinement/code", "completion"];
    let mut rules = vec![];
    for phase in phases {
        rules.push(verdict(&format!("Review of stage: {phase}, revision 0"), "REJECTED", &format!("redo {phase}")));
        rules.push(verdict(&format!("Review of stage: {phase}, revision 1"), "APPROVED", ""));
    }
    let app = with(GATED, &Value::Array(rules), &[]).await;
    let body = json!({"task": "A checkout with two payment methods.", "mode": "api"});
    let begun = app.post("/sparc/run", &body).await.expect(201);
    let run = run_until(&app, &begun, has_ended).await;
    assert_eq!(run["status"], "complete", "{run}");
    for phase in phases {
        let stage = stage(&run, phase);
        assert_eq!((&stage["revisions"], &stage["verdict"]), (&json!(1), &json!("APPROVED")), "{stage}");
    }
    let same = app.get(&format!("/sparc/{}", run["id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(same["id"], run["id"]);

    let one_phase = app.post("/sparc/run", &json!({"task": "x", "phases": ["specification"]})).await.expect(201);
    let one_phase = run_until(&app, &one_phase, |run| has_ended(run) || stage(run, "pseudocode")["status"] == "skipped").await;
    app.post(&format!("/workflow-runs/{}/cancel", one_phase["id"].as_str().expect("an id")), &json!({})).await;
    let unknown = app.post("/sparc/run", &json!({"task": "x", "phases": ["dreaming"]})).await;
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    assert!(unknown.text.contains("specification"), "{}", unknown.text);
}

const ASKING: &str = "
name: gated
description: Somebody has to decide.
stages:
  - name: draft
    role: coder
    prompt: Write the draft.
    review: {max_revisions: 0, on_exhausted: ask}
  - {name: end, role: coder, prompt: Finish.}
";

#[tokio::test]
async fn cli_a_run_waits_for_an_answer_and_goes_on_with_it() {
    let rules = json!([verdict("Review of stage: draft, revision 0", "NEEDS_REVISION", "mend it")]);
    let mut app = with(ASKING, &rules, &[]).await;
    let run = begin(&app, "gated", json!({})).await;
    let run = run_until(&app, &run, |run| run["status"] == "waiting").await;
    let question = &run["waits_for"][0];
    assert_eq!((&question["id"], &question["options"]), (&json!("draft:review-0"), &json!(["revise", "accept", "fail"])));
    assert!(run["next_step"].as_str().expect("words").contains("answer_workflow_run"), "{run}");
    // The question is still there after a restart.
    app.kill();
    app.launch();
    let path = format!("/workflow-runs/{}/answer", run["id"].as_str().expect("an id"));
    let wrong = app.post(&path, &json!({"question": "draft:review-0", "answer": "retry"})).await;
    assert!(wrong.problem(422, "validation_failed").to_string().contains("revise, accept, fail"));
    let wrong = app.post(&path, &json!({"question": "nothing", "answer": "accept"})).await;
    assert!(wrong.problem(422, "validation_failed").to_string().contains("draft:review-0"));
    app.post(&path, &json!({"question": "draft:review-0", "answer": "accept"})).await.expect(200);
    let run = run_until(&app, &run, has_ended).await;
    assert_eq!((&run["status"], &stage(&run, "draft")["status"]), (&json!("complete"), &json!("unverified")), "{run}");
    // What was not approved is not reported as if it were.
    let words = run["next_step"].as_str().expect("words");
    assert!(words.contains("not verified: stage `draft` its review said NEEDS_REVISION: mend it"), "{run}");
    let file = format!("/workflow-runs/{}/file?name=summary.md", run["id"].as_str().expect("an id"));
    let summary = app.get(&file).await.expect(200)["file"]["text"].as_str().expect("text").to_owned();
    let (doubt, result) = (summary.find("## Not verified"), summary.find("## Result"));
    assert!(doubt.is_some() && doubt < result, "{summary}");
    let listed = app.get("/workflow-runs").await.expect(200)["runs"][0].clone();
    assert!(listed["next_step"].as_str().is_some_and(|words| words.contains("get_workflow_run")), "{listed}");
    app.post(&path, &json!({"question": "draft:review-0", "answer": "accept"})).await.expect(200);
    app.post(&path, &json!({"question": "draft:review-0", "answer": "fail"})).await.problem(409, "run_ended");
}

#[tokio::test]
async fn cli_a_cancelled_run_leaves_nothing_at_work() {
    let rules = json!([{"match": "Write the draft", "text": "slow", "hang": 60}]);
    let app = with(GATED, &rules, &[]).await;
    let run = begin(&app, "gated", json!({})).await;
    let run = run_until(&app, &run, |run| stage(run, "draft")["task_ids"][0].is_string()).await;
    let id = stage(&run, "draft")["task_ids"][0].clone();
    let path = format!("/workflow-runs/{}/cancel", run["id"].as_str().expect("an id"));
    let run = app.post(&path, &json!({"wait_seconds": 30})).await.expect(200);
    assert_eq!(run["status"], "cancelled", "{run}");
    let states = ["draft", "parts", "end"].map(|path| stage(&run, path)["status"].clone());
    assert_eq!(states, ["cancelled", "skipped", "skipped"], "{run}");
    let task = app.ended(&json!({"id": id})).await;
    assert_eq!(task["status"], "cancelled", "{task}");
    app.agent_until(&json!({"id": task["agent_id"]}), |agent| agent["status"] == "terminated").await;
    assert_eq!(app.agent_processes(), Vec::<String>::new());
    app.post(&path, &json!({})).await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_what_can() {
    let app = with(GATED, &json!([]), &[]).await;
    let unknown = app.post("/workflows/dream/run", &json!({"task": "x"})).await.problem(404, "not_found");
    assert!(unknown["detail"].as_str().expect("words").contains("code_development"), "{unknown}");
    for (body, field, words) in [
        (json!({"task": " "}), "task", "blank"),
        (json!({"task": "x", "title": "bell\u{7}"}), "title", "control characters"),
        (json!({"task": "x", "project": "moon"}), "project", "default"),
        (json!({"task": "x", "inputs_json": "[1]"}), "inputs_json", "object"),
        (json!({"task": "x", "inputs_json": "{\"a\": 1}"}), "inputs_json", "no input"),
        (json!({"task": "x", "turn_budget_usd": 0}), "turn_budget_usd", "more than 0"),
        (json!({"task": "x", "wait_seconds": 41}), "wait_seconds", "41"),
    ] {
        let refused = app.post("/workflows/gated/run", &body).await.problem(422, "validation_failed").to_string();
        assert!(refused.contains(field) && refused.contains(words), "{refused}");
    }
    app.get("/workflow-runs/wfrun_0193f2a87c3e7d10b5a1c2d3e4f50617").await.problem(404, "not_found");
    assert_eq!(app.get("/workflow-runs").await.expect(200)["runs"], json!([]), "nothing half-created");
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
}

/// A user's own `sparc` need not have the inputs of the shipped one.
#[tokio::test]
async fn a_sparc_of_the_users_own_is_begun_with_what_it_knows() {
    let mut app = TestApp::prepared(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let dir = app.data_dir().join("workflows");
    std::fs::create_dir_all(&dir).expect("made");
    let text = "name: sparc\ndescription: ours\nstages:\n  - {name: a, role: coder, prompt: x}\n";
    std::fs::write(dir.join("sparc.yaml"), text).expect("written");
    app.launch();
    let refused = app.post("/sparc/run", &json!({"task": "x", "phases": ["completion"]})).await.problem(422, "validation_failed");
    assert_eq!(refused["errors"][0]["field"], "phases", "{refused}");
    assert!(refused["errors"][0]["message"].as_str().is_some_and(|words| words.contains("no input of `sparc`")), "{refused}");
    app.post("/sparc/run", &json!({"task": "x"})).await.expect(201);
    // One that has inputs of its own says so, and where they can be given.
    let text = text.replace("stages:", "inputs: {wood: {description: Which wood}}\nstages:");
    std::fs::write(dir.join("sparc.yaml"), text).expect("written");
    app.stop();
    app.launch();
    let refused = app.post("/sparc/run", &json!({"task": "x"})).await.problem(422, "validation_failed");
    assert!(
        refused["errors"][0]["message"].as_str().is_some_and(|words| words.contains("wood") && words.contains("run_workflow")),
        "{refused}"
    );
}
