//! Tasks and agents by the command line, with the real CLI.

use super::{Said, command, id, mas};
use crate::support::TestApp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

#[tokio::test]
async fn cli_waiting_prints_the_result_and_tells_success_from_failure() {
    let app = TestApp::start().await;
    let done = mas(&app, &["task", "create", "Make a door. REHEARSE:{\"text\":\"Made.\"}", "--wait"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "Made.\n"), "{done:?}");
    assert!(done.err.contains(" complete after ") && done.err.contains("paid by nobody"), "{done:?}");
    let failing = "REHEARSE:{\"error\":{\"status\":400,\"type\":\"invalid_request_error\",\"message\":\"no doors today\"}}";
    let failed = mas(&app, &["task", "create", failing, "--wait"]);
    assert!(failed.code == Some(1) && failed.err.contains("no doors today"), "{failed:?}");
    let failed = mas(&app, &["task", "create", failing, "--wait", "--json"]);
    assert_eq!((failed.code, &failed.json()["status"]), (Some(1), &json!("failed")), "{failed:?}");

    // From standard input, and not waited for: the id is all that is printed.
    let mut child =
        command(&app, &["task", "create", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"REHEARSE:{\"text\":\"Read.\"}").expect("written");
    let task = id(&Said::from(child.wait_with_output().expect("ran")).good());
    let got = mas(&app, &["task", "get", &task, "--wait"]);
    assert_eq!((got.code, got.out.as_str()), (Some(0), "Read.\n"), "{got:?}");
    let record = mas(&app, &["task", "get", &task]).good();
    assert!(record.contains("status") && record.contains("complete") && record.contains(&task), "{record}");
    assert_eq!(mas(&app, &["task", "file", &task, "result.md"]).good(), "Read.\n");

    let events = mas(&app, &["task", "events", &task]).good();
    let followed = mas(&app, &["task", "events", &task, "--follow"]);
    assert_eq!(followed.out, events, "the stream has the same events");
    assert!(followed.err.contains("complete") && events.contains("message      Read."), "{followed:?}");
}

#[tokio::test]
async fn cli_what_an_agent_writes_does_not_drive_the_terminal() {
    let app = TestApp::start().await;
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{9b}5n\r\u{202e}end";
    let plan = json!({"steps": [{"tool_use": {"name": "Read", "input": {"file_path": evil}}}, {"text": evil}]});
    let waited = mas(&app, &["task", "create", &format!("REHEARSE:{plan}"), "--wait"]);
    assert!(waited.code == Some(0) && waited.out.contains("red") && waited.out.contains("end"), "{waited:?}");
    let task = mas(&app, &["task", "list", "--json"]).json()["tasks"][0].clone();
    let (task, agent) = (task["id"].as_str().expect("an id").to_owned(), task["agent_id"].as_str().expect("an id").to_owned());
    let harmless = |said: &Said| {
        let bad = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!said.out.contains(bad) && !said.err.contains(bad), "{said:?}");
    };
    harmless(&waited);
    for arguments in [
        &["task", "get", &task][..],
        &["task", "get", &task, "--json"],
        &["task", "events", &task],
        &["task", "events", &task, "--follow"],
        &["task", "file", &task, "result.md"],
        &["task", "list"],
        &["agent", "get", &agent],
        &["agent", "output", &agent],
        &["agent", "output", &agent, "--json"],
        &["logs", "coder"],
        &["status"],
    ] {
        let said = mas(&app, arguments);
        assert_eq!(said.code, Some(0), "{arguments:?} {said:?}");
        harmless(&said);
    }
    let json = mas(&app, &["task", "get", &task, "--json"]).json();
    assert_eq!(json["result"], app.get(&format!("/tasks/{task}")).await.expect(200)["result"], "JSON loses nothing");
}

#[tokio::test]
async fn cli_an_agent_is_made_told_read_forked_and_ended() {
    let app = TestApp::start().await;
    let agent = id(&mas(&app, &["agent", "create", "coder", "--name", "bob"]).good());
    let told = mas(&app, &["agent", "message", &agent, "REHEARSE:{\"text\":\"Hello, Ann.\"}", "--wait"]);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "Hello, Ann.\n"), "{told:?}");
    for arguments in [&["agent", "output", &agent][..], &["logs", &agent], &["logs", "coder"]] {
        assert!(mas(&app, arguments).good().contains("Hello, Ann."), "{arguments:?}");
    }
    let list = mas(&app, &["agent", "list", "--type", "coder"]).good();
    assert!(list.contains(&agent) && list.contains("bob"), "{list}");
    let fork = id(&mas(&app, &["agent", "fork", &agent, "--name", "ben"]).good());
    assert!(mas(&app, &["agent", "get", &fork]).good().contains(&agent), "forked from the first");
    let idle = mas(&app, &["agent", "interrupt", &agent]);
    assert!(idle.code == Some(1) && idle.err.contains("no turn runs"), "{idle:?}");
    assert_eq!(mas(&app, &["agent", "terminate", &agent]).good(), format!("{agent} terminated\n"));
    let followed = mas(&app, &["logs", &agent, "--follow"]);
    assert!(followed.err.contains("terminated") && followed.out.contains("Hello, Ann."), "it ends with its agent: {followed:?}");
    assert!(mas(&app, &["agent", "resume", &agent]).good().starts_with(&agent));
    let none = mas(&app, &["logs", "documenter"]);
    assert!(none.code == Some(1) && none.err.contains("no agent of type documenter"), "{none:?}");
}

#[tokio::test]
async fn cli_ctrl_c_ends_the_waiting_and_not_the_work() {
    let app = TestApp::start().await;
    let mut waiting = command(&app, &["task", "create", "REHEARSE:{\"hang\":600.0}", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(waiting.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let begun = lines.find(|line| line.ends_with("in_progress")).expect("it begins");
    let task = begun.split_whitespace().next().expect("an id").to_owned();
    kill_process(Pid::from_raw(waiting.id().cast_signed()).expect("a pid"), Signal::INT).expect("signalled");
    let words: Vec<String> = lines.collect();
    assert_eq!(waiting.wait().expect("ended").code(), Some(130), "{words:?}");
    assert!(words.iter().any(|line| line.contains(&format!("mas task get {task} --wait"))), "{words:?}");
    assert_eq!(app.get(&format!("/tasks/{task}")).await.expect(200)["status"], "in_progress");
    assert_eq!(mas(&app, &["task", "cancel", &task]).good(), format!("{task} cancelled\n"));
    assert_eq!(mas(&app, &["task", "get", &task, "--wait"]).code, Some(1), "a cancelled task is not done");
}
