//! Tasks done by the real Claude Code CLI.

use crate::support::{TestApp, assert_no_hole, kinds};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

#[tokio::test]
async fn cli_a_task_is_done_and_everything_about_it_is_on_record() {
    let app = TestApp::start().await;
    let plan = json!({"steps": [
        {"text": "I look.", "tool_use": {"name": "Bash", "input": {"command": "echo seen-by-tool"}}},
        {"text": "All is done.", "usage": {"input_tokens": 1000, "output_tokens": 500}},
    ]});
    let created = app.create(&plan, json!({"agent_type": "tester", "wait_seconds": 40})).await;
    let task = app.ended(&created).await;

    assert_eq!(task["status"], "complete", "{task}");
    assert_eq!(task["result"], "All is done.");
    assert_eq!(task["provenance"], "rehearsal");
    assert!(task["usage"]["output_tokens"].as_u64() >= Some(500), "{task}");
    assert!(task["cost_usd"].as_f64() > Some(0.0), "{task}");

    let events = app.events(&task).await;
    assert_no_hole(&events);
    assert!(events.iter().all(|event| event["provenance"] == "rehearsal"));
    let kinds = kinds(&events);
    for kind in ["status", "process", "delta", "message", "tool_call", "tool_result", "usage", "result"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    assert!(!kinds.contains(&"raw"), "a line was not understood: {events:?}");
    let tool_result = events.iter().find(|event| event["kind"] == "tool_result").expect("there");
    assert!(tool_result["data"]["text"].as_str().expect("text").contains("seen-by-tool"));

    let agent = app.get(&format!("/agents/{}", task["agent_id"].as_str().expect("an agent"))).await.expect(200);
    assert_eq!(
        (&agent["status"], &agent["agent_type"], &agent["backend"]),
        (&json!("parked"), &json!("tester"), &json!("claude-code"))
    );
    let output = app.get(&format!("/agents/{}/output", agent["id"].as_str().expect("an id"))).await.expect(200);
    assert!(output.to_string().contains("All is done."), "{output}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_schema_gets_an_answer_that_satisfies_it() {
    let app = TestApp::start().await;
    let schema = json!({
        "type": "object",
        "properties": {"files": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "ok": {"type": "boolean"}},
        "required": ["files", "ok"],
    });
    let body = json!({"title": "list", "description": "List the files.", "output_schema": schema});
    let task = app.ended(&app.post("/tasks", &body).await.json()).await;
    assert_eq!(task["status"], "complete", "{task}");
    assert!(task["structured_output"]["files"][0].is_string() && task["structured_output"]["ok"].is_boolean(), "{task}");
}

#[tokio::test]
async fn cli_an_agent_in_a_repository_works_on_a_branch_of_its_own() {
    let repository = tempfile::tempdir().expect("a directory");
    let path = repository.path();
    for arguments in [
        &["init", "--quiet", "-b", "main"][..],
        &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--allow-empty", "-m", "start"],
    ] {
        assert!(Command::new("git").args(arguments).current_dir(path).status().expect("git").success());
    }
    let app = TestApp::with(&[("MAS_PROJECTS__SHOP__PATH", path.to_str().expect("UTF-8"))]).await;
    let plan = json!({"steps": [
        {"text": "I make it.", "tool_use": {"name": "Bash", "input": {"command": "touch made.txt && mkdir -p sub && cp made.txt sub/copy.txt"}}},
        {"text": "Made."},
    ]});
    let task = app.ended(&app.create(&plan, json!({"project": "shop", "title": "make a file"})).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    let changes = &task["changes"];
    assert_eq!(changes["files_changed"], 2, "{task}");
    assert!(changes["diff"].as_str().expect("a diff").contains("made.txt"));
    assert!(!path.join("made.txt").exists(), "the project's own files stay as they are");
    let branch = changes["branch"].as_str().expect("a branch");
    let shown = Command::new("git").args(["log", "-1", "--format=%s", branch]).current_dir(path).output().expect("git");
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "make a file");
}

#[tokio::test]
async fn cli_a_repository_around_the_data_directory_is_none_of_our_business() {
    let outer = tempfile::tempdir().expect("a directory");
    assert!(Command::new("git").args(["init", "--quiet"]).current_dir(outer.path()).status().expect("git").success());
    let home = outer.path().join("home");
    std::fs::create_dir(&home).expect("made");
    let data = home.join("data");
    let app = TestApp::with_data_dir(&[], Some(data.clone())).await;
    let task = app.ended(&app.create(&json!({"text": "done"}), json!({})).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    assert!(task.get("changes").is_none(), "{task}");
}

#[tokio::test]
async fn cli_a_repository_that_git_does_not_open_is_not_worked_in() {
    let repository = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(repository.path().join(".git")).expect("a broken repository");
    let app = TestApp::with(&[("MAS_PROJECTS__SHOP__PATH", repository.path().to_str().expect("UTF-8"))]).await;
    let task = app.ended(&app.create(&json!({"text": "never"}), json!({"project": "shop"})).await).await;
    assert_eq!(task["failure"]["code"], "workspace_failed", "{task}");
    assert!(task["failure"]["detail"].as_str().expect("words").contains("safe.directory"), "{task}");
}

#[tokio::test]
async fn cli_what_git_starts_for_an_agent_ends_with_it() {
    let project = tempfile::tempdir().expect("a directory");
    let path = project.path();
    for arguments in [
        &["init", "--quiet", "-b", "main"][..],
        &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--allow-empty", "-m", "start"],
    ] {
        assert!(Command::new("git").args(arguments).current_dir(path).status().expect("git").success());
    }
    // A filter in the repository's configuration: git runs it when the agent's files are added.
    let filter = "setsid sh -c 'sleep 1000' >/dev/null 2>&1 & cat";
    assert!(Command::new("git").args(["config", "filter.evil.clean", filter]).current_dir(path).status().expect("git").success());
    std::fs::write(path.join(".git/info/attributes"), "* filter=evil\n").expect("written");
    let app = TestApp::with(&[("MAS_PROJECTS__SHOP__PATH", path.to_str().expect("UTF-8"))]).await;
    let plan = json!({"steps": [{"tool_use": {"name": "Bash", "input": {"command": "touch made.txt"}}}, {"text": "Made."}]});
    let task = app.ended(&app.create(&plan, json!({"project": "shop"})).await).await;
    assert_eq!((&task["status"], &task["changes"]["files_changed"]), (&json!("complete"), &json!(1)), "{task}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_what_the_project_does_not_allow_is_denied_and_recorded() {
    let app = TestApp::start().await;
    let plan = json!({"steps": [
        {"text": "I try.", "tool_use": {"name": "Bash", "input": {"command": "python3 -c 'open(\"denied\",\"w\")'"}}},
        {"text": "I was not allowed."},
    ]});
    let task = app.ended(&app.create(&plan, json!({})).await).await;
    assert_eq!(task["result"], "I was not allowed.", "{task}");
    let events = app.events(&task).await;
    let denial = events.iter().find(|event| event["data"]["state"] == "permission_denied").expect("on record");
    assert!(denial["data"]["detail"].as_str().expect("words").contains("allowed_tools"));
    assert!(!app.data_dir().join("projects/default/denied").exists());
}

#[tokio::test]
async fn cli_allowed_tools_of_a_project_run_without_asking() {
    let project = tempfile::tempdir().expect("a directory");
    let config = project.path().join("mas.toml");
    let settings = format!("[projects.lab]\npath = {:?}\nallowed_tools = [\"Bash(python3 *)\"]\n", project.path());
    std::fs::write(&config, settings).expect("written");
    let app = TestApp::with(&[("MAS_CONFIG", config.to_str().expect("UTF-8"))]).await;
    let plan = json!({"steps": [
        {"tool_use": {"name": "Bash", "input": {"command": "python3 -c 'open(\"allowed\",\"w\")'"}}},
        {"text": "Done."},
    ]});
    let task = app.ended(&app.create(&plan, json!({"project": "lab"})).await).await;
    assert_eq!(task["result"], "Done.", "{task}");
    assert!(project.path().join("allowed").exists(), "{:?}", app.events(&task).await);
}

/// A tool command that leaves a process which left its session, its parent and its signals behind.
fn double_forking(pid_file: &Path) -> String {
    format!(
        "setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & echo $! > {}; wait' >/dev/null 2>&1 & sleep 600",
        pid_file.display()
    )
}

#[tokio::test]
async fn cli_cancelling_leaves_no_process_even_of_a_tool_that_double_forks() {
    let project = tempfile::tempdir().expect("a directory");
    let config = project.path().join("mas.toml");
    let settings = format!("[projects.lab]\npath = {:?}\nallowed_tools = [\"Bash\"]\n", project.path());
    std::fs::write(&config, settings).expect("written");
    let app = TestApp::with(&[("MAS_CONFIG", config.to_str().expect("UTF-8"))]).await;
    let pid_file = project.path().join("pid");
    let plan = json!({"steps": [
        {"text": "I fork.", "tool_use": {"name": "Bash", "input": {"command": double_forking(&pid_file), "timeout": 600_000}}},
        {"text": "never said"},
    ]});
    let task = app.create(&plan, json!({"project": "lab"})).await;
    app.events_until(&task, |event| event["kind"] == "tool_call").await;
    crate::support::until("the tool has forked", || std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')))
        .await;
    assert!(!app.agent_processes().is_empty());

    let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
    let cancelled = app.post(&path, &json!({"wait_seconds": 20})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
    let pid = std::fs::read_to_string(&pid_file).expect("a pid");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the forked process lives");
    // Cancelling once more changes nothing.
    assert_eq!(app.post(&path, &json!({})).await.expect(200)["status"], "cancelled");
}

#[tokio::test]
async fn cli_a_queued_task_is_cancelled_at_once_and_the_more_urgent_one_starts_first() {
    let app = TestApp::with(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "1")]).await;
    let slow = app.create(&json!({"text": "a b c d e f g h i j k l m n o p", "delay_ms": 200}), json!({})).await;
    app.events_until(&slow, |event| event["kind"] == "delta").await;
    let low = app.create(&json!({"text": "low"}), json!({"priority": "low"})).await;
    let unwanted = app.create(&json!({"text": "unwanted"}), json!({})).await;
    let urgent = app.create(&json!({"text": "urgent"}), json!({"priority": "critical"})).await;
    let path = format!("/tasks/{}", unwanted["id"].as_str().expect("an id"));
    assert_eq!(app.patch(&path, &json!({"status": "cancelled"})).await.expect(200)["status"], "cancelled");
    let (urgent, low) = (app.ended(&urgent).await, app.ended(&low).await);
    assert!(urgent["started_at"].as_str() < low["started_at"].as_str(), "{urgent} {low}");
    assert!(app.get(&path).await.expect(200).get("agent_id").is_none(), "never given to an agent");
}

#[tokio::test]
async fn cli_fifty_tasks_at_once_all_complete_and_starts_are_held_to_the_cores() {
    let app = TestApp::with(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "12")]).await;
    let mut tasks = vec![];
    for number in 0..50 {
        tasks.push(app.create(&json!({"text": format!("answer {number}")}), json!({})).await);
    }
    let mut starts = vec![];
    for (number, task) in tasks.iter().enumerate() {
        let task = app.ended(task).await;
        assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!(format!("answer {number}"))), "{task}");
        let events = app.events(&task).await;
        assert_no_hole(&events);
        let at = |state: &str| {
            let is_it = |event: &&Value| event["kind"] == "process" && event["data"]["state"] == state;
            let event = events.iter().find(is_it).unwrap_or_else(|| panic!("not {state}"));
            event["at"].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>().expect("RFC 3339")
        };
        starts.push((at("started"), at("ready")));
    }
    let cores = std::thread::available_parallelism().expect("known").get();
    for (start, _) in &starts {
        let together = starts.iter().filter(|(from, to)| from <= start && start < to).count();
        assert!(together <= cores, "{together} agents were starting at once on {cores} cores");
    }
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}
