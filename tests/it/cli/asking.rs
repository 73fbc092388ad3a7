//! Finding the server, refusals, exit codes, lists. No agent is needed for these.

use super::{Said, command, mas};
use crate::support::{KEY, TestApp};
use serde_json::{Value, json};

/// A server whose agents cannot start.
async fn app(settings: &[(&str, &str)]) -> TestApp {
    let mut all = vec![("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")];
    all.extend(settings);
    TestApp::with(&all).await
}

#[tokio::test]
async fn the_exit_code_tells_what_kind_of_end_it_was() {
    let mut app = app(&[]).await;
    assert_eq!(mas(&app, &["task", "list"]).code, Some(0));

    let refused = mas(&app, &["task", "create", "Make a door", "--project", "nowhere"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in ["project: there is no such project; use one of: default", "next: Correct what"] {
        assert!(refused.err.contains(words), "{refused:?}");
    }
    assert_eq!((refused.out.as_str(), refused.err.matches("no such project").count()), ("", 1), "said once: {refused:?}");
    let refused = mas(&app, &["task", "create", "Make a door", "--project", "nowhere", "--json"]);
    assert_eq!((refused.code, &refused.json()["code"]), (Some(1), &json!("validation_failed")));

    let unknown = mas(&app, &["task", "get", "task_0193f2a87c3e7d10b5a1c2d3e4f50617"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("list_tasks"), "{unknown:?}");
    for odd in ["..", "", "a/b"] {
        assert_eq!(mas(&app, &["agent", "get", odd]).code, Some(1), "{odd:?} is no other path");
    }
    for wrong in [&["task"][..], &["task", "create"], &["swarm", "spawn", "--agent", "coder:many"], &["swarm", "spawn", "--wait"]]
    {
        assert_eq!(mas(&app, wrong).code, Some(2), "{wrong:?}");
    }
    let help = mas(&app, &["swarm", "--help"]).good();
    assert!(help.contains("3 no server answers") && help.contains("spawn"), "{help}");

    let address = format!("http://{}", app.address);
    app.stop();
    for arguments in [&["task", "list"][..], &["status"], &["task", "list", "--url", &address]] {
        let silent = mas(&app, arguments);
        assert!(silent.code == Some(3) && silent.err.contains("start one with `mas serve`"), "{silent:?}");
    }
}

#[tokio::test]
async fn the_server_and_the_key_come_from_where_they_are_told() {
    let app = app(&[]).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let data = elsewhere.path().to_str().expect("UTF-8").to_owned();
    let url = format!("http://{}", app.address);
    let run = |url: Option<&str>, variables: &[(&str, &str)], data: &str| -> Said {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mas"));
        command.env_clear().env("HOME", data).current_dir(data).args(["role", "list", "--data-dir", data]);
        if let Some(url) = url {
            command.args(["--url", url]);
        }
        command.envs(variables.iter().copied()).output().expect("ran").into()
    };
    assert!(run(Some(&url), &[("MAS_API_KEY", KEY)], &data).good().contains("coder"));
    assert!(run(None, &[("MAS_URL", &url), ("MAS_API_KEY", KEY)], &data).good().contains("coder"));
    // What a proxy would make of it does not matter: the server is on this machine.
    let proxied = [("MAS_API_KEY", KEY), ("HTTP_PROXY", "http://127.0.0.1:9"), ("http_proxy", "http://127.0.0.1:9")];
    assert!(run(Some(&url), &proxied, &data).good().contains("coder"));

    let keyless = run(Some(&url), &[], &data);
    assert!(keyless.code == Some(1) && keyless.err.contains("there is no") && keyless.err.contains("admin-key"), "{keyless:?}");
    let wrong = run(Some(&url), &[("MAS_API_KEY", "mas_wrong")], &data);
    assert!(wrong.code == Some(1) && wrong.err.contains("taken from the variable MAS_API_KEY"), "{wrong:?}");
    std::fs::write(elsewhere.path().join("admin-key"), format!("{KEY}\n")).expect("written");
    assert!(run(Some(&url), &[], &data).good().contains("coder"), "the key of the data directory");
    // Nothing answers there; the warning comes first, and the key of the data directory is not for strangers.
    let far = run(Some("http://mas.invalid"), &[("MAS_API_KEY", KEY)], &data);
    assert!(far.code == Some(3) && far.err.contains("in the clear"), "{far:?}");
    let far = run(Some("http://mas.invalid"), &[], &data);
    assert!(far.code == Some(3) && !far.err.contains("in the clear"), "{far:?}");
    assert_eq!(run(Some("mas.example"), &[("MAS_API_KEY", KEY)], &data).code, Some(2));
}

#[tokio::test]
async fn json_is_what_the_api_answers_and_lists_go_on_over_pages() {
    let app = app(&[("MAS_LIMITS__RESPONSE_CHARS", "20000")]).await;
    let mut ids = vec![];
    for number in 0..60 {
        let body = json!({"title": format!("door {number} {}", "x".repeat(150)), "description": "x".repeat(2000)});
        let task = app.post("/tasks", &body).await.expect(201);
        ids.insert(0, task["id"].as_str().expect("an id").to_owned());
    }
    for task in &ids {
        app.ended(&json!({"id": task})).await;
    }
    for (arguments, path) in [
        (vec!["task", "get", &ids[0]], format!("/tasks/{}", ids[0])),
        (vec!["task", "list", "--limit", "7"], "/tasks?limit=7".to_owned()),
        (vec!["role", "get", "coder"], "/roles/coder".to_owned()),
        (vec!["workflow", "list"], "/workflows".to_owned()),
        (vec!["consensus", "status"], "/consensus/status?limit=50".to_owned()),
        (vec!["swarm", "status"], "/swarm/status?limit=50".to_owned()),
    ] {
        let printed = mas(&app, &[arguments.as_slice(), &["--json"]].concat()).json();
        assert_eq!(printed, app.get(&path).await.expect(200), "{path}");
    }
    // One page does not hold them all.
    let first = app.get("/tasks?limit=60").await.expect(200);
    assert!(first["tasks"].as_array().expect("tasks").len() < 60, "{first}");
    let all = mas(&app, &["task", "list", "--limit", "60", "--json"]).json();
    let listed: Vec<&Value> = all["tasks"].as_array().expect("tasks").iter().map(|task| &task["id"]).collect();
    assert_eq!(listed, ids.iter().collect::<Vec<_>>());

    let some = mas(&app, &["task", "list", "--limit", "59"]);
    assert!(some.err.contains("there is more"), "{some:?}");
    let table = some.good();
    assert!(ids[..59].iter().all(|id| table.contains(id)) && !table.contains(&ids[59]), "ids stay whole: {table}");
    assert_eq!(table.lines().count(), 60, "a header and a line for each: {table}");
    assert!(!table.contains('\u{1b}') && table.contains(&"x".repeat(150)), "nothing is cut where nobody looks");
    let whole = mas(&app, &["task", "list", "--limit", "60"]);
    assert!(!whole.err.contains("there is more"), "{whole:?}");
}

#[tokio::test]
async fn what_is_checked_offline_needs_no_server() {
    let mut app = app(&[]).await;
    app.stop();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/sparc.yaml");
    let said: Said = command(&app, &["workflow", "check", file]).output().expect("ran").into();
    assert!(said.good().contains("is sound"));
}
