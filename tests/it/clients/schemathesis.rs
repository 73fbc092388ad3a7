//! Requests that schemathesis makes from the served document: no 5xx, and no status, content type, header or shape of
//! an answer that is not documented. `make fuzz-api` does the same for longer, with a new seed each time.

use super::{run, tool};
use crate::support::{KEY, PATIENCE, TestApp};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::Command};

/// A stand-in for the agents' CLI: it is installed, and nothing works with it.
const NO_AGENTS: &str = "#!/bin/sh\n[ \"$1\" = --version ] && exec echo '2.1.0 (Claude Code)'\nexit 1\n";

/// Operations that need an agent at work, a session, a question or a file, and here no agent comes to that.
const UNREACHED: [&str; 4] = ["answer_workflow_run", "fork_agent", "interrupt_agent", "read_task_file"];

async fn fuzz(key: Option<&str>) {
    let mut app = TestApp::prepared(&[
        ("MAS_LIMITS__REQUESTS_PER_MINUTE", "1000000"),
        ("MAS_LIMITS__FAILED_AUTH_PER_MINUTE", "1000000"),
        ("MAS_SERVER__LOG_FILTER", "warn,mas_gateway=info"),
    ])
    .await;
    app.script(NO_AGENTS);
    app.launch();
    let mut schemathesis = Command::new(tool("python/venv/bin/schemathesis"));
    schemathesis.arg("--config-file").arg(tool("python/schemathesis.toml"));
    schemathesis.arg("run").arg(format!("http://{}/openapi.json", app.address)).args([
        "--continue-on-failure",
        "--warnings=off",
        "--request-timeout=45",
    ]);
    match std::env::var("MAS_FUZZ_SECONDS") {
        Ok(seconds) => schemathesis.args(["--max-examples=1000", "--max-time", &seconds]),
        Err(_) => schemathesis.args(["--max-examples=10", "--seed=1", "--generation-database=none"]),
    };
    let answered = app.dir.path().join("answered.json");
    schemathesis.env("MAS_REAL_IDS", real_ids(&app).await).env("MAS_ANSWERED", &answered);
    if let Some(key) = key {
        schemathesis.args(["--header", &format!("X-MAS-Key: {key}")]);
    }
    // Its caches and reports stay with the test.
    let said = run(schemathesis
        .current_dir(app.dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", tool("python/hooks.py")));
    eprintln!("{said}");
    let document = app.fetch(&format!("http://{}/openapi.json", app.address)).await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let operations: usize = paths.values().map(|item| item.as_object().map_or(0, serde_json::Map::len)).sum();
    assert!(said.contains(&format!("Tested: {operations}\n")), "{operations} operations: {said}");
    if key.is_some() {
        let answered: BTreeMap<String, BTreeMap<u16, u64>> =
            serde_json::from_slice(&std::fs::read(answered).expect("written")).expect("JSON");
        eprintln!("{answered:?}");
        let missed = answered.iter().filter(|(_, statuses)| !statuses.keys().any(|status| (200..300).contains(status)));
        let missed: Vec<&str> = missed.map(|(operation, _)| operation.as_str()).collect();
        assert!(missed.iter().all(|operation| UNREACHED.contains(operation)), "never done: {missed:?}");
    }
}

/// Things to work on, each with its type in its id. An operation that works once, or only on what no other operation has
/// ended, has one of its own, so that no order and no speed of the requests decides whether it is ever done.
async fn real_ids(app: &TestApp) -> String {
    let make = async |path: &str, body: Value| app.post(path, &body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let swarm = json!({"agents": [{"type": "coder", "count": 2}]});
    let proposal = json!({"question": "Which?", "voters": [{"type": "coder", "count": 2}]});
    let mut ids = vec![
        make("/tasks", json!({"description": "To be looked at."})).await,
        make("/agents", json!({"name": "to be used"})).await,
        make("/swarm/spawn", swarm.clone()).await,
        make("/sparc/run", json!({"task": "To be looked at."})).await,
        make("/consensus/propose", proposal.clone()).await,
        format!("send_message={}", make("/agents", json!({"name": "to be written to"})).await),
    ];
    for operation in ["run_swarm", "scale_swarm", "stop_swarm"] {
        ids.push(format!("{operation}={}", make("/swarm/spawn", swarm.clone()).await));
    }
    // Cancelled before their turns have failed: cancelling them again is done, too.
    for (operation, begin, path, body) in [
        ("cancel_workflow_run", "/sparc/run", "/workflow-runs", json!({"task": "To be stopped."})),
        ("cancel_proposal", "/consensus/propose", "/consensus", proposal),
        ("cancel_task", "/tasks", "/tasks", json!({"description": "To be stopped."})),
        ("update_task", "/tasks", "/tasks", json!({"description": "To be changed."})),
    ] {
        let cancelled = async {
            loop {
                let id = make(begin, body.clone()).await;
                if app.post(&format!("{path}/{id}/cancel"), &json!({})).await.status == 200 {
                    return id;
                }
            }
        };
        ids.push(format!("{operation}={}", tokio::time::timeout(PATIENCE, cancelled).await.expect("never in time")));
    }
    ids.join(" ")
}

#[tokio::test]
async fn with_a_key_every_answer_is_as_documented() {
    fuzz(Some(KEY)).await;
}

#[tokio::test]
async fn without_a_key_every_answer_is_as_documented() {
    fuzz(None).await;
}
