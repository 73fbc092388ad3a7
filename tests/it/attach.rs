//! `mas attach` in a real terminal and without one, with the real Claude Code CLI.

mod pty;

use crate::support::{KEY, PATIENCE, TestApp, path_of};
use pty::Pty;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

fn id(agent: &Value) -> &str {
    agent["id"].as_str().expect("an id")
}

/// A lab with an agent at rest.
async fn lab() -> (TestApp, Value) {
    let app = TestApp::with_lab(&[]).await;
    let agent = app.agent(json!({"project": "lab", "name": "tess", "agent_type": "tester"})).await;
    (app, agent)
}

/// `mas attach` with a key.
fn mas_attach(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = app.mas(&[&["attach"], arguments].concat());
    command.env("MAS_API_KEY", KEY);
    command
}

async fn attach(app: &TestApp, agent: &Value) -> Pty {
    let pty = Pty::start(&mas_attach(app, &[id(agent)]), 60, 100);
    pty.until("it is attached", |screen| screen.contains("○ idle") || screen.contains("● busy")).await;
    pty
}

/// How often a text is on the screen.
fn count(screen: &str, text: &str) -> usize {
    screen.matches(text).count()
}

#[tokio::test]
async fn cli_attach_shows_sends_interrupts_and_leaves_the_agent_alone() {
    let (app, agent) = lab().await;
    let hostile = json!({"text": "I made a **plan**:\n- \u{1b}]0;pwned\u{7}\u{1b}[2Jone\u{202e}"});
    app.tell(&agent, &hostile, json!({"wait_seconds": 40})).await;
    let mut pty = attach(&app, &agent).await;
    pty.until("the history is shown", |screen| screen.contains("⏺ I made a plan:\n  • one") && screen.contains("✓ finished"))
        .await;

    pty.send("REHEARSE:{\"text\":\"The first answer.\"}\r");
    let is_answered = |screen: &str| screen.contains("⏺ The first answer.") && screen.contains("○ idle · tess · tester · turn 2");
    pty.until("an answer", is_answered).await;
    let screen = pty.screen();
    assert_eq!((count(&screen, "› REHEARSE:{\"text\":\"The first"), count(&screen, "⏺ The first answer.")), (1, 1), "{screen}");

    pty.send("REHEARSE:{\"tool_use\":{\"name\":\"Bash\",\"input\":{\"command\":\"sleep 600\"}}}\r");
    pty.until("the tool runs", |screen| screen.contains("⏺ Bash sleep 600") && screen.contains("● busy")).await;
    pty.send("\u{1b}");
    pty.until("it was interrupted", |screen| screen.contains("· interrupted; the conversation is kept: type to go on")).await;
    assert_eq!(app.agent_until(&agent, |agent| agent["status"] == "idle").await["turns"], 3);
    pty.send("\u{1b}");
    pty.until("there is nothing left to interrupt", |screen| screen.contains("· nothing runs that could be interrupted")).await;

    pty.resize(60, 40);
    pty.until("it fits the narrow terminal", |screen| screen.contains("○ idle · tess · ") && screen.contains("Ctrl…")).await;
    pty.resize(60, 100);
    // The terminal library does not see keys that come together with a change of size before the next one.
    pty.until("it fits the wide terminal", |screen| screen.contains("Ctrl-D leaves · /help")).await;
    pty.send("two lines\u{1b}\r\u{1b}[200~REHEARSE:{\"text\":\n\t\"The second answer.\"}\u{1b}[201~");
    pty.until("what is typed", |screen| screen.contains("› two lines\n  REHEARSE:{\"text\":\n      \"The second")).await;
    pty.send("\r");
    pty.until("another answer", |screen| screen.contains("⏺ The second answer.") && screen.contains("turn 4")).await;
    let (_, messages) = app.last_conversation().await;
    assert!(messages.contains("The first answer.") && messages.contains("two lines\\n"), "one conversation: {messages}");

    pty.send("\u{4}");
    assert_eq!(pty.ended().await, 0);
    let screen = pty.screen();
    assert!(screen.contains(&format!("detached; the agent goes on. `mas attach {}` comes back.", id(&agent))), "{screen}");
    assert!(!screen.contains("○ idle") && !screen.contains("type to send"), "the frame is gone: {screen}");
    assert!(pty.is_given_back(), "the terminal is as it was");
    assert!(!pty.output().contains("\u{1b}]"), "what the agent wrote reached the terminal");
    app.agent_until(&agent, |agent| agent["status"] == "idle" && agent["turns"] == 4).await;
}

#[tokio::test]
async fn cli_attach_goes_on_with_a_server_that_was_killed_and_misses_and_repeats_nothing() {
    let (mut app, agent) = lab().await;
    let words = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima";
    let mut pty = attach(&app, &agent).await;
    let slow = app.tell(&agent, &json!({"text": words, "delay_ms": 500}), json!({})).await;
    pty.until("it is being written", |screen| screen.contains("  alpha bravo")).await;
    app.kill();
    pty.until("the loss is seen", |screen| {
        screen.contains("⟳ reconnecting") && screen.contains("connection to the server is lost")
    })
    .await;
    app.launch();
    pty.until("it goes on", |screen| screen.contains("· connected again") && screen.contains("✓ finished")).await;
    assert_eq!(app.ended(&slow).await["result"], words);
    pty.send("REHEARSE:{\"text\":\"And on.\"}\r");
    pty.until("the new server hears", |screen| screen.contains("⏺ And on.") && count(screen, "✓ finished") == 2).await;
    let screen = pty.screen();
    for (text, times) in [("⏺ alpha", 1), ("› REHEARSE:", 2), ("✓ finished", 2), ("⏺ And on.", 1), ("· connected again", 1)]
    {
        assert_eq!(count(&screen, text), times, "{text} in\n{screen}");
    }
    pty.send("/terminate\r");
    assert_eq!(pty.ended().await, 0);
    assert!(pty.screen().contains("■ the agent was ended"), "{}", pty.screen());
}

#[tokio::test]
async fn attach_without_a_terminal_prints_plain_text_and_follows_to_the_end() {
    let script = r#"#!/bin/sh
read -r handshake
echo '{"type":"control_response","response":{"subtype":"success","request_id":"any","response":{"account":{"tokenSource":"test"}}}}'
read -r prompt
echo '{"type":"assistant","message":{"content":[{"type":"text","text":"**Hello** \u001b[31m\u202eyou"}]}}'
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":0.5}'
while read -r line; do :; done
"#;
    let mut app = TestApp::prepared(&[]).await;
    app.script(script);
    app.launch();
    let agent = app.agent(json!({})).await;
    app.tell(&agent, &json!("say hello"), json!({"wait_seconds": 40})).await;
    let run = |arguments: &[&str]| mas_attach(&app, arguments).output().expect("ran");
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).expect("text");

    let now = run(&["--no-follow", id(&agent)]);
    let transcript = "\n› say hello\n\n⏺ Hello you\n\n⏺ done\n✓ finished · $0.5000\n";
    assert!(now.status.success() && text(&now).ends_with(transcript), "{}", text(&now));
    let printed = text(&now);
    assert!(printed.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{printed:?}");
    let last = run(&["--no-follow", "--history", "1", id(&agent)]);
    assert!(
        text(&last).ends_with("\n· earlier events are left out; --history N shows more\n\n⏺ done\n✓ finished · $0.5000\n"),
        "{}",
        text(&last)
    );

    let following = mas_attach(&app, &[id(&agent)]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
    app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 20})).await.expect(200);
    let all = tokio::task::spawn_blocking(|| following.wait_with_output());
    let all = tokio::time::timeout(PATIENCE, all).await.expect("it ends with the agent").expect("ran").expect("waited");
    assert!(all.status.success() && text(&all).contains(transcript), "{}", text(&all));
    assert!(text(&all).ends_with("\n■ the agent was ended\n"), "{}", text(&all));
    assert_eq!(text(&run(&[id(&agent)])), text(&all), "one that has ended already");

    let unknown = run(&["agent_0193f2a87c3e7d10b5a1c2d3e4f50617"]);
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(1) && words.contains("you have no agent"), "{words}");
}
