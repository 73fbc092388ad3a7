//! What each piece of news adds to the transcript.

use super::*;
use serde_json::{Value, json};

fn agent(more: Value) -> News {
    let mut agent = json!({
        "id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "name": "tess", "agent_type": "tester", "project": "lab", "status": "idle",
        "provenance": "rehearsal",
    });
    if let (Value::Object(agent), Value::Object(more)) = (&mut agent, more) {
        agent.extend(more);
    }
    News::Agent(serde_json::from_value(agent).expect("an agent"))
}

/// A session that has seen the agent.
pub(in crate::cli::attach) fn session(more: Value) -> Session {
    let mut session = Session::default();
    session.take(agent(more));
    session.take(News::Connected(true));
    session
}

fn event(cursor: i64, kind: &str, data: Value) -> News {
    let mut event = json!({"cursor": cursor, "kind": kind});
    event["data"] = data;
    News::Event(Box::new(AgentEvent::read(&event).expect("an event")))
}

fn texts(session: &mut Session, news: News) -> Vec<String> {
    session.take(news).iter().map(ToString::to_string).collect()
}

#[test]
fn it_begins_with_who_the_agent_is() {
    let mut session = Session::default();
    let first = texts(&mut session, agent(json!({})));
    assert_eq!(first, ["tess · tester in project lab, in rehearsal: scripted answers", "agent_0193f2a87c3e7d10b5a1c2d3e4f50617"]);
    assert!(texts(&mut session, agent(json!({}))).is_empty(), "once");
}

#[test]
fn an_event_that_comes_again_is_told_once() {
    let mut session = session(json!({}));
    let message = || event(7, "message", json!({"text": "hi"}));
    assert_eq!(texts(&mut session, message()), ["", "⏺ hi"]);
    assert!(texts(&mut session, message()).is_empty());
    assert!(texts(&mut session, event(6, "message", json!({"text": "earlier"}))).is_empty());
}

#[test]
fn text_is_seen_while_it_is_written_and_once_when_it_is_whole() {
    let mut session = session(json!({"status": "busy"}));
    for (cursor, piece) in [(1, "Hel"), (2, "lo")] {
        assert!(texts(&mut session, event(cursor, "delta", json!({"text": piece}))).is_empty());
    }
    assert_eq!(session.live, "Hello");
    assert_eq!(texts(&mut session, event(3, "message", json!({"text": "Hello", "model": "sonnet"}))), ["", "⏺ Hello"]);
    assert_eq!((session.live.as_str(), session.model.as_deref()), ("", Some("sonnet")));
    let result = texts(&mut session, event(4, "result", json!({"is_error": false, "subtype": "success", "text": "Hello"})));
    assert_eq!(result, ["✓ finished"]);
    session.take(event(5, "delta", json!({"text": "x".repeat(2 * LIVE_CHARS)})));
    assert_eq!(session.live.chars().count(), LIVE_CHARS);
    session.take(agent(json!({"status": "idle"})));
    assert_eq!(session.live, "", "a turn that was cut off leaves nothing");
}

#[test]
fn an_interrupt_is_told_as_such_and_only_of_its_turn() {
    let mut session = session(json!({"status": "busy"}));
    session.take(event(1, "status", json!({"state": "cancelling"})));
    let failed = json!({"is_error": true, "subtype": "error_during_execution"});
    assert_eq!(texts(&mut session, event(2, "result", failed.clone())), ["■ interrupted; the conversation is kept"]);
    assert_eq!(texts(&mut session, event(3, "result", failed)), ["✗ failed: error_during_execution"]);
    let mut told = |is_stopping, has_more| {
        session.is_interrupting = true;
        let words = texts(&mut session, News::Told(Told::Interrupted { is_stopping, has_more })).concat();
        assert!(!session.is_interrupting);
        words
    };
    assert_eq!(told(false, false), "· interrupted; the conversation is kept: type to go on");
    assert!(told(false, true).contains("what was sent meanwhile comes next"));
    assert!(told(true, true).contains("process is being ended"));
}

#[test]
fn what_the_cli_says_of_itself_is_told_when_it_changes() {
    let mut session = session(json!({}));
    let mut started = |cursor, detail: &str| {
        texts(&mut session, event(cursor, "status", json!({"state": "session_started", "detail": detail})))
    };
    assert_eq!(started(1, "model a"), ["· session started: model a"]);
    assert!(started(2, "model a").is_empty());
    assert_eq!(started(3, "model b"), ["· session started: model b"]);
}

#[test]
fn what_became_of_a_text_is_told() {
    let mut busy = session(json!({"status": "busy"}));
    assert!(texts(&mut busy, News::Told(Told::Sent))[0].contains("into the running turn"));
    busy.take(event(1, "result", json!({"is_error": false, "subtype": "success"})));
    assert!(texts(&mut busy, News::Told(Told::Sent)).is_empty(), "the turn was over already");
    busy.take(event(2, "status", json!({"state": "assigned"})));
    assert!(!texts(&mut busy, News::Told(Told::Sent)).is_empty());
    let mut idle = session(json!({}));
    assert!(texts(&mut idle, News::Told(Told::Sent)).is_empty(), "its turn shows the text");
    assert_eq!(texts(&mut idle, News::Told(Told::Refused("no\nway".into()))), ["· no way"]);
    assert_eq!(texts(&mut idle, News::Prompt { text: "do it".into(), joined: false }), ["", "› do it"]);
}

#[test]
fn a_lost_connection_and_its_return_are_told() {
    let mut session = session(json!({}));
    assert!(texts(&mut session, News::Connected(true)).is_empty());
    assert!(texts(&mut session, News::Connected(false))[0].contains("connection to the server is lost"));
    assert!(texts(&mut session, News::Connected(false)).is_empty());
    assert_eq!(texts(&mut session, News::Connected(true)), ["· connected again"]);
}

#[test]
fn the_end_says_how_it_came() {
    for (status, failure, words) in [
        ("terminated", Value::Null, "■ the agent was ended"),
        ("failed", json!({"detail": "no\nlogin"}), "■ the agent failed: no login"),
        ("lost", json!({"detail": "gone"}), "■ the agent was lost: gone"),
    ] {
        let mut session = session(json!({"status": status, "failure": failure}));
        assert_eq!(texts(&mut session, News::Ended), ["", words]);
    }
    let mut parked = session(json!({"status": "idle"}));
    assert!(texts(&mut parked, agent(json!({"status": "parked"})))[0].contains("parked"));
}
