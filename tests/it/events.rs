//! Event streams: from any cursor, without loss, to the end.

mod log;

use crate::support::{TestApp, assert_no_hole};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

/// Reads a stream to its end, or until so many events have come: `(id, event, data)`.
async fn read_stream(
    app: &TestApp,
    task: &Value,
    last_event_id: Option<i64>,
    at_most: usize,
) -> Vec<(Option<i64>, String, Value)> {
    let path = format!("/tasks/{}/events", task["id"].as_str().expect("an id"));
    let mut request = app.request(Method::GET, &path).header("Accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id.to_string());
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut body, mut text, mut events) = (response.bytes_stream(), String::new(), vec![]);
    while let Some(piece) = body.next().await {
        text.push_str(std::str::from_utf8(&piece.expect("bytes")).expect("UTF-8"));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let Some(data) = field("data:") {
                let id = field("id:").map(|id| id.parse().expect("a number"));
                events.push((id, field("event:").expect("a kind").to_owned(), serde_json::from_str(data).expect("JSON")));
            }
            text = rest.to_owned();
            if events.len() == at_most {
                return events;
            }
        }
    }
    events
}

#[tokio::test]
async fn cli_a_stream_is_live_resumes_where_it_was_cut_and_ends_with_the_task() {
    let app = TestApp::start().await;
    let words: Vec<String> = (0..30).map(|number| format!("w{number}")).collect();
    let task = app.create(&json!({"text": words.join(" "), "delay_ms": 50}), json!({})).await;
    let first = read_stream(&app, &task, None, 8).await;
    let cut = first.last().and_then(|(id, ..)| *id).expect("an id");
    let rest = read_stream(&app, &task, Some(cut), usize::MAX).await;
    let (end, rest) = rest.split_last().expect("an end");
    assert_eq!((end.0, end.1.as_str(), &end.2["status"]), (None, "end", &json!("complete")));

    let all: Vec<Value> = first.iter().chain(rest).map(|(_, _, data)| data.clone()).collect();
    assert_no_hole(&all);
    assert_eq!(all, app.events(&task).await, "the stream and the pages tell the same");
    let streamed: String =
        all.iter().filter(|event| event["kind"] == "delta").filter_map(|event| event["data"]["text"].as_str()).collect();
    assert_eq!(streamed, words.join(" "), "partial messages came live");
    for (id, kind, data) in first.iter().chain(rest) {
        assert_eq!((json!(id), json!(kind)), (data["seq"].clone(), data["kind"].clone()));
    }
}

#[tokio::test]
async fn cli_a_finished_task_streams_everything_and_ends() {
    let app = TestApp::start().await;
    let task = app.ended(&app.create(&json!({"text": "short"}), json!({})).await).await;
    let events = read_stream(&app, &task, None, usize::MAX).await;
    assert_eq!(events.last().expect("an end").1, "end");
    assert_eq!(events.len() - 1, app.events(&task).await.len());
}

#[tokio::test]
async fn cli_shutting_down_ends_open_streams() {
    let mut app = TestApp::start().await;
    let task = app.create(&json!({"hang": 600.0}), json!({})).await;
    app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    let path = format!("/tasks/{}/events", task["id"].as_str().expect("an id"));
    let response = app.request(Method::GET, &path).header("Accept", "text/event-stream").send().await.expect("an answer");
    let mut stream = response.bytes_stream();
    assert!(stream.next().await.expect("not ended").is_ok());
    assert!(app.stop().success());
    let rest = stream.collect::<Vec<_>>().await;
    assert!(rest.iter().all(Result::is_ok), "ended in order: {rest:?}");
    assert_eq!(app.agent_processes(), Vec::<String>::new(), "runner.on_shutdown = stop");
}

#[tokio::test]
async fn cli_output_of_three_megabytes_on_one_line_is_kept_whole_and_answers_stay_small() {
    let app = TestApp::start().await;
    let long = "lorem ipsum ".repeat(250_000);
    // The directive would be too long for a prompt: a rule gives the answer.
    let rules = app.dir.path().join("rules.json");
    std::fs::write(&rules, json!([{"match": "long answer", "steps": [{"text": long, "chunks": 4}]}]).to_string())
        .expect("written");
    let app = TestApp::with(&[("MAS_REHEARSAL__RULES", rules.to_str().expect("UTF-8"))]).await;
    let body = json!({"title": "long", "description": "Give a long answer."});
    let task = app.ended(&app.post("/tasks", &body).await.json()).await;
    assert_eq!(task["status"], "complete", "{}", task["failure"]);
    assert!(task["truncated"].is_array(), "shortened fields are named");
    let streamed = read_stream(&app, &task, None, usize::MAX).await;
    let message = streamed.iter().find(|(_, kind, _)| kind == "message").expect("a message");
    assert_eq!(message.2["data"]["text"].as_str().map(str::len), Some(long.len()), "the stream has it whole");
    let page = app.get(&format!("/tasks/{}/events?limit=200", task["id"].as_str().expect("an id"))).await;
    assert!(page.text.chars().count() < 100_000);
}
