//! The server as a client sees it: scripts, streams, faults and the answers without a script.

use super::{routes::Stage, rules::parse_rules, *};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
    response::Response,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

fn app() -> (Router, CancellationToken) {
    with_rules("[]")
}

fn with_rules(rules: &str) -> (Router, CancellationToken) {
    let stop = CancellationToken::new();
    (routes::router(Arc::new(Stage::new(parse_rules(rules).unwrap(), stop.clone()))), stop)
}

async fn post(app: &Router, body: impl Into<Body>) -> Response {
    let request = Request::post("/v1/messages?beta=true").header("x-claude-code-session-id", "s");
    app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

async fn ask(app: &Router, body: &Value) -> (StatusCode, Value) {
    let response = post(app, body.to_string()).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn prompt(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

fn streaming(text: &str) -> String {
    json!({"stream": true, "messages": [{"role": "user", "content": text}]}).to_string()
}

/// The events of a stream, and whether it ended as it should.
async fn events(response: Response) -> (Vec<Value>, bool) {
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let chunks: Vec<_> = response.into_body().into_data_stream().collect().await;
    let whole = chunks.iter().all(Result::is_ok);
    let bytes = chunks.into_iter().filter_map(Result::ok).flatten().collect();
    let text = String::from_utf8(bytes).unwrap();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    (text.split_terminator("\n\n").map(event).collect(), whole)
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn steps_follow_the_conversation() {
    let (app, _) = app();
    let script = r#"REHEARSE:{"steps":[{"text":"go","tool_use":{"name":"Bash","input":{"command":"ls"}}},{"text":"done"}]}"#;
    let mut request = prompt(script);
    let (_, first) = ask(&app, &request).await;
    assert_eq!((&first["stop_reason"], &first["model"]), (&json!("tool_use"), &json!("m")));
    assert_eq!(first["usage"]["input_tokens"], 10);
    assert_eq!(first["content"][1]["input"], json!({"command": "ls"}));
    let result =
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "x"}]});
    let messages = request["messages"].as_array_mut().unwrap();
    messages.extend([json!({"role": "assistant", "content": first["content"]}), result]);
    for _retry in 0..2 {
        let (_, second) = ask(&app, &request).await;
        assert_eq!((&second["content"][0]["text"], &second["stop_reason"]), (&json!("done"), &json!("end_turn")));
    }
    request["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "and now?"}));
    let (_, third) = ask(&app, &request).await;
    assert!(third["content"][0]["text"].as_str().unwrap().starts_with("Rehearsal"));
}

#[tokio::test]
async fn errors_end_after_their_times() {
    let (app, _) = app();
    let request =
        prompt(r#"REHEARSE:{"error":{"status":529,"message":"busy","headers":{"retry-after":1}},"times":2,"text":"ok"}"#);
    for _ in 0..2 {
        let response = post(&app, request.to_string()).await;
        assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (529, "1"));
    }
    assert_eq!(ask(&app, &request).await.1["content"][0]["text"], "ok");
    let always = prompt(r#"REHEARSE:{"error":{"status":401}}"#);
    for _ in 0..3 {
        let (status, body) = ask(&app, &always).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (401, &json!("authentication_error")));
    }
}

#[tokio::test]
async fn streams_come_in_the_order_of_the_api() {
    let (app, _) = app();
    let script = r#"REHEARSE:{"thinking":"hm","text":"two words","usage":{"output_tokens":9},
        "tool_use":{"name":"Bash","input":{"command":"ls"}}}"#;
    let (events, whole) = events(post(&app, streaming(script)).await).await;
    assert!(whole);
    let [start, delta, stop] = ["content_block_start", "content_block_delta", "content_block_stop"];
    assert_eq!(
        names(&events),
        [
            "message_start",
            start,
            delta,
            delta,
            stop,
            start,
            delta,
            delta,
            stop,
            start,
            delta,
            delta,
            stop,
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[3]["delta"]["type"], "signature_delta");
    assert_eq!((&events[6]["delta"]["text"], &events[7]["delta"]["text"]), (&json!("two "), &json!("words")));
    let input: String = [10, 11].iter().map(|i: &usize| events[*i]["delta"]["partial_json"].as_str().unwrap()).collect();
    assert_eq!(input, r#"{"command":"ls"}"#);
    assert_eq!((&events[13]["delta"]["stop_reason"], &events[13]["usage"]["output_tokens"]), (&json!("tool_use"), &json!(9)));
}

#[tokio::test]
async fn streams_break_and_fail_as_scripted() {
    let (app, _) = app();
    let (broken, whole) = events(post(&app, streaming(r#"REHEARSE:{"text":"a b c","drop_after":3}"#)).await).await;
    assert_eq!((names(&broken).len(), whole), (5, false));
    let (failed, whole) =
        events(post(&app, streaming(r#"REHEARSE:{"text":"a","stream_error":{"type":"overloaded_error","message":"x"}}"#)).await)
            .await;
    assert_eq!((names(&failed).last(), whole), (Some(&"error"), true));
    let pinged = r#"REHEARSE:{"text":"a","first_delay_ms":2,"ping_ms":1,"delay_ms":1,"hang":0.001}"#;
    let (pinged, whole) = events(post(&app, streaming(pinged)).await).await;
    assert_eq!((names(&pinged), whole), (vec!["ping", "ping", "message_start", "ping"], true));
}

#[tokio::test]
async fn a_break_reaches_the_client_after_what_was_sent() {
    let (address, stop, server) = live().await;
    let response = reqwest::Client::new().post(format!("http://{address}/v1/messages"));
    let response = response.body(streaming(r#"REHEARSE:{"text":"a b c","drop_after":2}"#)).send().await.unwrap();
    let chunks: Vec<_> = response.bytes_stream().collect().await;
    assert!(chunks.last().unwrap().is_err());
    let bytes = chunks.into_iter().filter_map(Result::ok).flatten().collect();
    assert_eq!(String::from_utf8(bytes).unwrap().matches("content_block_delta\n").count(), 2);
    stop.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn stop_ends_hanging_streams_and_the_server() {
    let (address, stop, server) = live().await;
    let client = reqwest::Client::new().post(format!("http://{address}/v1/messages"));
    let response = client.body(streaming(r#"REHEARSE:{"hang":3600}"#)).send().await.unwrap();
    let mut body = response.bytes_stream();
    assert!(body.next().await.unwrap().is_ok());
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), server).await;
    ended.expect("serve returns although a stream is open").unwrap().unwrap();
    while let Some(Ok(_)) = body.next().await {}
    assert!(TcpListener::bind(address).await.is_ok(), "the port is free again");
}

async fn live() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    (address, stop.clone(), tokio::spawn(serve(listener, Vec::new(), stop)))
}

#[tokio::test]
async fn structured_output_is_given_once() {
    let (app, _) = app();
    let mut request = prompt("count");
    request["tools"] = json!([{"name": "Bash"}, {"name": "StructuredOutput", "input_schema":
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]}}]);
    let (_, answer) = ask(&app, &request).await;
    assert_eq!((&answer["content"][0]["name"], &answer["content"][0]["input"]), (&json!("StructuredOutput"), &json!({"n": 5})));
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": answer["content"]}));
    assert_eq!(ask(&app, &request).await.1["content"][0]["type"], "text");
}

#[tokio::test]
async fn answers_without_a_script_fit_the_role() {
    let (app, _) = app();
    let mut request = prompt("check the parser");
    request["system"] = json!([{"type": "text", "text": "You are the reviewer.\n\nYou judge."}]);
    let (_, answer) = ask(&app, &request).await;
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("Rehearsal (reviewer)") && text.contains("\"check the parser\""), "{text}");
    assert_eq!(answer["usage"]["input_tokens"], request.to_string().len() / 4);
    assert_eq!(answer["usage"]["output_tokens"], text.chars().count() / 4);
}

#[tokio::test]
async fn rules_answer_what_they_match() {
    let (app, _) = with_rules(r#"[{"match": "par.er", "text": "ruled"}]"#);
    assert_eq!(ask(&app, &prompt("check the parser")).await.1["content"][0]["text"], "ruled");
    assert_eq!(ask(&app, &prompt(r#"parser REHEARSE:{"text":"x"}"#)).await.1["content"][0]["text"], "x");
}

#[tokio::test]
async fn mistakes_are_answered_with_400() {
    let (app, _) = app();
    let (status, body) = ask(&app, &prompt(r#"REHEARSE:{"steps":[{"delay":3}]}"#)).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(body["error"]["message"].as_str().unwrap().contains("steps[0]: unknown field `delay`"));
    for odd in ["", "{", "[]", "5"] {
        assert_eq!(post(&app, odd).await.status(), 400);
    }
    for odd in ["{}", r#"{"messages":{},"tools":7,"system":1}"#, r#"{"tools":[{"name":"StructuredOutput"}]}"#] {
        assert_eq!(post(&app, odd).await.status(), 200);
    }
}

#[tokio::test]
async fn everything_else_is_answered() {
    let (app, _) = app();
    let big = " ".repeat(3 << 20);
    let calls = [
        (Method::HEAD, "/"),
        (Method::GET, "/"),
        (Method::GET, "/v1/messages"),
        (Method::GET, "/v1/models"),
        (Method::POST, "/x/y"),
        (Method::POST, "/v1/messages/count_tokens"),
    ];
    for (method, path) in calls {
        let request = Request::builder().method(method).uri(path).body(Body::from(big.clone())).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key("request-id"));
    }
}
