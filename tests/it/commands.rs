//! The command line.

mod log;

use crate::support::TestApp;

async fn app() -> TestApp {
    TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await
}

#[tokio::test]
async fn the_address_is_in_the_log_and_in_a_file() {
    let app = app().await;
    assert_eq!(std::fs::read_to_string(app.data_dir().join("address")).expect("written").trim(), app.address);
}

#[tokio::test]
async fn config_prints_what_is_in_force_without_secrets() {
    let mut app = app().await;
    app.set("MAS_STORE__URL", "postgres://mas:hunter2@127.0.0.1/mas");
    let output = app.mas(&["config"]).output().expect("ran");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && printed.contains("on_shutdown = \"stop\""), "{printed}");
    assert!(!printed.contains("hunter2") && !printed.contains(crate::support::KEY), "{printed}");
    app.set("MAS_RUNNER__MAX_LIVE_AGENTS", "many");
    let output = app.mas(&["config"]).output().expect("ran");
    let words = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && words.contains("max_live_agents"), "{words}");
}

#[tokio::test]
async fn doctor_says_what_is_missing_and_how_to_get_it() {
    let mut app = app().await;
    let output = app.mas(&["doctor"]).output().expect("ran");
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(!output.status.success());
    assert!(report.contains("FAIL  claude") && report.contains("npm install"), "{report}");
    assert!(report.contains("ok    git"), "{report}");
    app.set("MAS_CLAUDE_CODE__COMMAND", crate::support::claude().to_str().expect("UTF-8"));
    let output = app.mas(&["doctor"]).output().expect("ran");
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(report.contains("2.1.197") && report.contains("FAIL  claude login"), "{report}");
}

#[test]
fn the_committed_openapi_documents_are_up_to_date() {
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_mas"))
        .args(["openapi", "check", "--dir", concat!(env!("CARGO_MANIFEST_DIR"), "/openapi")])
        .output()
        .expect("ran");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn workflow_files_are_checked_with_line_numbers() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a directory");
    let check = |file: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mas"));
        let command = command.env_clear().args(["workflow", "--data-dir"]).arg(dir.path().join("data")).arg("check").arg(file);
        let output = command.current_dir(dir.path()).output().expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    for entry in std::fs::read_dir(root.join("workflows")).expect("readable") {
        let (code, words) = check(&entry.expect("an entry").path());
        assert_eq!(code, Some(0), "{words}");
    }
    let bad = dir.path().join("bad.yaml");
    let text = "name: bad\ndescription: d\nstages:\n  - name: a\n    role: wizard\n    prompt: x\n  - name: b\n    role: coder\n    prompt: \"{{ x\"\n    inputs: [c]\n";
    std::fs::write(&bad, text).expect("written");
    let (code, words) = check(&bad);
    assert_eq!(code, Some(1), "{words}");
    for wanted in [
        "bad.yaml: line 5: stage `a`, role: there is no agent type `wizard`",
        "line 9: stage `b`, prompt",
        "`c` is no earlier stage",
    ] {
        assert!(words.contains(wanted), "{wanted} in {words}");
    }
    assert_eq!(check(&dir.path().join("none.yaml")).0, Some(1));

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mas"));
    let command = command.env_clear().args(["workflow", "--json", "--data-dir"]).arg(dir.path().join("data"));
    let output = command.arg("check").arg(root.join("workflows/sparc.yaml")).arg(&bad).output().expect("ran");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((output.status.code(), &told["files"][0]["workflow"]), (Some(1), &serde_json::json!("sparc")), "{told}");
    assert_eq!((&told["files"][1]["sound"], &told["files"][1]["problems"][0]["line"]), (&false.into(), &5.into()), "{told}");
}
