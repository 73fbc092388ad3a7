//! Requests that schemathesis makes from the served document: no 5xx, and no status, content type, header or shape of
//! an answer that is not documented. `make fuzz-api` does the same for longer, with a new seed each time.

use super::{run, tool};
use crate::support::{KEY, TestApp};
use serde_json::json;
use std::process::Command;

/// A stand-in for the agents' CLI: it is installed, and nothing works with it.
const NO_AGENTS: &str = "#!/bin/sh\n[ \"$1\" = --version ] && exec echo '2.1.0 (Claude Code)'\nexit 1\n";

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
    let task = app.post("/tasks", &json!({"description": "To be looked at."})).await.expect(201);
    let agent = app.post("/agents", &json!({"name": "to be used"})).await.expect(201);
    for (name, thing) in [("MAS_TASK_ID", &task), ("MAS_AGENT_ID", &agent)] {
        schemathesis.env(name, thing["id"].as_str().expect("an id"));
    }
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
}

#[tokio::test]
async fn with_a_key_every_answer_is_as_documented() {
    fuzz(Some(KEY)).await;
}

#[tokio::test]
async fn without_a_key_every_answer_is_as_documented() {
    fuzz(None).await;
}
