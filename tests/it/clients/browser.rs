//! Swagger UI in Debian's Chromium: the page is made whole, takes a key and sends a request that works. A picture of the
//! answer is left in `target/artifacts`.

use super::{run, tool};
use crate::support::{KEY, TestApp};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

#[tokio::test]
async fn swagger_ui_sends_a_task_and_shows_the_answer() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let key = app.dir.path().join("key");
    std::fs::write(&key, KEY).expect("written");
    // Below the target directory, wherever that is: the test's own directory there is a sibling.
    let artifacts = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("artifacts");
    std::fs::create_dir_all(&artifacts).expect("made");
    let picture = artifacts.join("swagger-ui.png");
    let _ = std::fs::remove_file(&picture);
    tool("browser/node_modules/playwright-core");
    let mut browser = Command::new("node");
    browser.arg(tool("browser/swagger.mjs")).arg(format!("http://{}", app.address)).args([&key, &picture]);
    let said = run(&mut browser);
    let seen = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_else(|| panic!("{said}"));
    assert_eq!((&seen["status"], &seen["body"]["title"]), (&json!(201), &json!("From the browser")), "{seen}");
    assert_eq!(seen["complaints"], json!([]), "the page has no errors");
    let task = app.get(&format!("/tasks/{}", seen["body"]["id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(task["description"], "Say hello to whoever reads this page.", "{task}");
    assert!(std::fs::metadata(&picture).is_ok_and(|file| file.len() > 10_000), "{}", picture.display());
}
