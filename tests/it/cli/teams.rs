//! Swarms, proposals, workflows and `mas start` by the command line, with the real CLI.

use super::{id, mas};
use crate::support::TestApp;
use serde_json::json;

#[tokio::test]
async fn cli_a_swarm_is_spawned_set_to_work_looked_at_and_stopped() {
    let app = TestApp::start().await;
    let spawn = ["swarm", "spawn", "--topology", "star", "--agent", "coordinator", "--agent", "coder:2"];
    let swarm = id(&mas(&app, &[&spawn[..], &["--name", "doors"]].concat()).good());
    let list = mas(&app, &["swarm", "status"]).good();
    assert!(list.contains(&swarm) && list.contains("active") && list.contains("doors"), "{list}");

    let run = mas(&app, &["swarm", "run", &swarm, "Make a door.", "--wait"]);
    assert!(run.code == Some(0) && run.out.contains("Rehearsal (coordinator)"), "{run:?}");
    for line in ["split  complete", "coder_1  complete", "merge  complete"] {
        assert!(run.err.lines().any(|told| told == line), "{line} in {run:?}");
    }
    let sent = mas(&app, &["swarm", "send", &swarm, "all", "Size", "The door is two metres high.", "--priority", "high"]).good();
    for arguments in [&["messages"][..], &["swarm", "messages", &swarm]] {
        let messages = mas(&app, arguments).good();
        assert!(messages.contains(sent.trim()) && messages.contains("two metres") && messages.contains("high"), "{messages}");
    }
    let whole = mas(&app, &["swarm", "status", &swarm]).good();
    assert!(whole.contains("coordinator-0") && whole.contains("healthy") && whole.contains("4 complete"), "{whole}");
    let status = mas(&app, &["status"]).good();
    assert!(status.contains("1 swarm\n") && status.contains("3 agents\n") && status.contains(&app.address), "{status}");
    let json = mas(&app, &["status", "--json"]).json();
    assert_eq!((&json["swarms"][0]["id"], &json["health"]["status"]), (&json!(swarm), &json!("ok")));

    assert!(mas(&app, &["swarm", "scale", &swarm, "--agent", "coder:3"]).good().contains("coder-3"));
    assert_eq!(mas(&app, &["swarm", "stop", &swarm]).good(), format!("{swarm} stopped\n"));
    let late = mas(&app, &["swarm", "run", &swarm, "Another."]);
    assert!(late.code == Some(1) && late.err.contains("stopped"), "{late:?}");
    let none = mas(&app, &["messages"]);
    assert!(none.code == Some(1) && none.err.contains("no swarm is active"), "{none:?}");
    assert!(mas(&app, &["messages", &swarm]).good().contains("two metres"), "what was said stays");
    let waited = mas(&app, &[&spawn[..], &["--objective", "Paint it.", "--wait", "--json"]].concat());
    assert_eq!((waited.code, &waited.json()["status"]), (Some(0), &json!("complete")), "{waited:?}");
}

#[tokio::test]
async fn cli_a_proposal_is_decided() {
    let app = TestApp::start().await;
    let question = ["consensus", "propose", "Which wood?", "--option", "oak", "--option", "ash", "--voter", "coder:3"];
    let decided = mas(&app, &[&question[..], &["--wait"]].concat());
    assert_eq!((decided.code, decided.out.as_str()), (Some(0), "oak\n"), "{decided:?}");
    assert!(decided.err.contains("3 of 3 votes"), "{decided:?}");
    let list = mas(&app, &["consensus", "status", "--status", "decided"]).good();
    let proposal = list.split_whitespace().find(|word| word.starts_with("proposal_")).expect("an id").to_owned();
    let ballots = mas(&app, &["consensus", "get", &proposal]).good();
    assert_eq!(ballots.matches("cast").count(), 3, "{ballots}");
    let late = mas(&app, &["consensus", "cancel", &proposal]);
    assert!(late.code == Some(1) && late.err.contains("decided"), "{late:?}");
    let few = mas(&app, &["consensus", "propose", "Which?", "--voter", "coder:2", "--protocol", "byzantine"]);
    assert!(few.code == Some(1) && few.err.contains("voters"), "{few:?}");
}

#[tokio::test]
async fn cli_the_short_verbs_run_the_workflows_of_their_names() {
    let app = TestApp::start().await;
    let research = mas(&app, &["start", "research", "how", "doors", "close"]);
    assert_eq!(research.code, Some(0), "{research:?}");
    assert!(research.out.contains("how doors close") && research.out.contains("Workflow `deep_research`"), "{research:?}");
    assert!(research.err.contains("summary.md") && research.err.contains("synthesis  complete"), "{research:?}");
    let run = research.out.split_whitespace().find(|word| word.starts_with("wfrun_")).expect("an id");
    let run = run.trim_end_matches(':').to_owned();
    let dir = app.data_dir().join("outputs").join(&run);
    assert!(research.err.contains(dir.to_str().expect("UTF-8")) && dir.join("summary.md").is_file(), "{research:?}");
    assert_eq!(mas(&app, &["workflow", "file", &run]).good(), research.out);
    assert!(mas(&app, &["workflow", "get", &run]).good().contains("APPROVED"));

    let spec = app.dir.path().join("spec.md");
    std::fs::write(&spec, "Build a door with a lock.").expect("written");
    let spec = spec.to_str().expect("UTF-8");
    for (arguments, workflow, task) in [
        (&["develop", "a", "lock"][..], "code_development", "a lock"),
        (&["architect", "a house"], "system_planning", "a house"),
        (&["autonomous", spec], "autonomous_development", "Build a door with a lock."),
        (&["autonomous", "--spec", "A window."], "autonomous_development", "A window."),
    ] {
        let run = id(&mas(&app, &[&["start"], arguments, &["--detach"]].concat()).good());
        let run = app.get(&format!("/workflow-runs/{run}")).await.expect(200);
        assert_eq!((&run["workflow"], &run["task"]), (&json!(workflow), &json!(task)), "{run}");
    }
    assert_eq!(mas(&app, &["start", "autonomous"]).code, Some(2));
    assert_eq!(mas(&app, &["start", "autonomous", "/nonexistent/spec.md"]).code, Some(1));
    let runs = mas(&app, &["workflow", "runs", "--workflow", "code_development"]).good();
    assert!(runs.contains("a lock") && !runs.contains("a house"), "{runs}");
    let stopped = mas(&app, &["stop", "--yes"]);
    assert!(stopped.code == Some(0), "{stopped:?}");
}

#[tokio::test]
async fn cli_a_run_that_waits_for_an_answer_says_so_and_goes_on_with_one() {
    let mut app = TestApp::prepared(&[]).await;
    let dir = app.data_dir().join("workflows");
    std::fs::create_dir_all(&dir).expect("made");
    let workflow = "name: asking\ndescription: d\ninputs:\n  wood: {description: w}\nstages:\n  - name: build\n    role: coder\n    on_failure: ask\n    prompt: 'Use {{ input.wood }}.'\n";
    std::fs::write(dir.join("asking.yaml"), workflow).expect("written");
    app.launch();
    let plan = json!({"error": {"status": 400, "type": "invalid_request_error", "message": "no wood"}});
    let task = format!("Make a door. REHEARSE:{plan}");
    let without = mas(&app, &["workflow", "run", "asking", &task]);
    assert!(without.code == Some(1) && without.err.contains("wood"), "{without:?}");
    let asked = mas(&app, &["workflow", "run", "asking", &task, "--input", "wood=oak", "--wait"]);
    assert!(asked.code == Some(1) && asked.err.contains("mas workflow answer wfrun_"), "{asked:?}");
    let hint = asked.err.split("mas workflow answer ").nth(1).expect("a hint");
    let words: Vec<&str> = hint.split_whitespace().collect();
    let wrong = mas(&app, &["workflow", "answer", words[0], words[1], "revise"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let skipped = mas(&app, &["workflow", "answer", words[0], words[1], "skip", "--wait"]);
    assert!(skipped.err.contains(words[0]) && !skipped.err.contains("waiting"), "{skipped:?}");
}
