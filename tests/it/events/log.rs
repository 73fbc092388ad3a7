//! `GET /events`: everything a caller may see, as pages, as a stream and over a WebSocket.

use crate::{
    auth::make_key,
    support::{KEY, PATIENCE, TestApp},
};
use futures::{SinkExt, Stream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use std::{os::unix::fs::PermissionsExt, pin::Pin, time::Duration};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// Events around the pieces of text: assigned, started, ready, result and exited.
const AROUND: usize = 5;

/// A stand-in for the CLI: as fast as it can, it writes so many pieces of text, then the result; or hangs instead.
fn writer(pieces: usize, ends: bool) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let cli = dir.path().join("claude");
    let result = if ends { r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"# } else { "" };
    let script = format!(
        r#"#!/bin/sh
read -r handshake
echo '{{"type":"control_response","response":{{"subtype":"success","request_id":"any","response":{{"account":{{"tokenSource":"test"}}}}}}}}'
read -r prompt
awk 'BEGIN {{ for (n = 1; n <= {pieces}; n++) printf "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"%d\"}}}}}}\n", n }}'
{result}
while read -r line; do :; done
"#
    );
    std::fs::write(&cli, script).expect("written");
    std::fs::set_permissions(&cli, PermissionsExt::from_mode(0o755)).expect("executable");
    let path = cli.to_str().expect("UTF-8").to_owned();
    (dir, path)
}

async fn task_as(app: &TestApp, key: &str) -> Value {
    let body = json!({"title": "t", "description": "write"});
    app.send(app.request_as(Some(key), Method::POST, "/tasks").json(&body)).await.expect(201)
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("never came true: {what}"))
}

/// A stream of server-sent events, read piece by piece.
struct Sse {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    text: String,
}

impl Sse {
    async fn open(app: &TestApp, key: &str, path: &str, last_event_id: Option<i64>) -> Self {
        let mut request = app.request_as(Some(key), Method::GET, path).header("Accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id.to_string());
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: Box::pin(response.bytes_stream().map(|piece| piece.map(|bytes| bytes.to_vec()))), text: String::new() }
    }

    /// The events of the next piece: the `id`, `event` and `data` of each. `None` at the end.
    async fn next(&mut self) -> Option<Vec<(Option<i64>, String, Value)>> {
        let piece = self.body.next().await?.expect("bytes");
        self.text.push_str(std::str::from_utf8(&piece).expect("UTF-8"));
        let complete = self.text.rfind("\n\n").map_or(0, |at| at + 2);
        let rest = self.text.split_off(complete);
        let blocks = std::mem::replace(&mut self.text, rest);
        let event = |block: &str| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let data = serde_json::from_str(field("data:")?).expect("JSON");
            Some((field("id:").map(|id| id.parse().expect("a number")), field("event:").expect("a kind").to_owned(), data))
        };
        Some(blocks.split("\n\n").filter_map(event).collect())
    }

    /// Reads on until so many events have come, or a few more.
    async fn read(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        let reading = async {
            while events.len() < count {
                for (id, kind, data) in self.next().await.expect("the stream does not end by itself") {
                    assert_eq!((json!(id), json!(kind)), (data["cursor"].clone(), data["kind"].clone()), "{data}");
                    events.push(data);
                }
            }
        };
        in_time("so many events", reading).await;
        events
    }

    /// Reads to the end: the last event of all.
    async fn last(mut self) -> (String, Value) {
        let mut last = None;
        while let Some(events) = in_time("the end", self.next()).await {
            last = events.into_iter().next_back().or(last);
        }
        let (id, kind, data) = last.expect("an event");
        assert_eq!(id, None, "{kind}: {data}");
        (kind, data)
    }
}

/// A WebSocket.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn try_open(app: &TestApp, key: &str, query: &str) -> Result<Self, Error> {
        let mut request = format!("ws://{}/events{query}", app.address).into_client_request().expect("a request");
        request.headers_mut().insert("X-MAS-Key", key.parse().expect("a header"));
        connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    async fn open(app: &TestApp, key: &str, query: &str) -> Self {
        Self::try_open(app, key, query).await.expect("a WebSocket")
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }

    /// The next frame that is not a ping.
    async fn next(&mut self) -> Message {
        loop {
            match self.0.next().await.expect("goes on").expect("a frame") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    async fn read(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        let reading = async {
            while events.len() < count {
                let message = self.next().await;
                let mut frame: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
                assert_eq!(frame["cursor"], frame["event"]["cursor"]);
                events.push(frame["event"].take());
            }
        };
        in_time("so many frames", reading).await;
        events
    }

    /// Reads to the end: the last frame of text, and why the connection was closed.
    async fn last(mut self) -> (Option<Value>, u16) {
        let mut last = None;
        loop {
            match in_time("the end", self.next()).await {
                Message::Close(frame) => return (last, frame.expect("a reason").code.into()),
                message => last = Some(serde_json::from_str(message.to_text().expect("text")).expect("JSON")),
            }
        }
    }
}

fn cursors(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["cursor"].as_i64().expect("a cursor")).collect()
}

/// Panics unless the events are all of one task, in order: each once, and every piece of text.
fn assert_whole(who: &str, events: &[Value], pieces: usize) {
    assert!(cursors(events).is_sorted_by(|one, next| one < next), "{who}: not in order");
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], json!(index + 1), "{who}: {event}");
    }
    let texts = events.iter().filter(|event| event["kind"] == "delta").map(|event| event["data"]["text"].as_str());
    let mut count = 0;
    for text in texts {
        count += 1;
        assert_eq!(text, Some(count.to_string().as_str()), "{who}");
    }
    assert_eq!(count, pieces, "{who}");
}

/// Waits until the event with this place in the task's log is stored, as another request sees it.
async fn stored(app: &TestApp, task: &Value, seq: usize) {
    let path = format!("/tasks/{}/events?limit=1&wait_seconds=20&after={}", task["id"].as_str().expect("an id"), seq - 1);
    let waiting = async { while app.get(&path).await.expect(200)["events"] == json!([]) {} };
    in_time("a stored event", waiting).await;
}

/// How far the log goes; the admin sees all of it.
async fn last_cursor(app: &TestApp) -> usize {
    let mut after = 0;
    loop {
        let page = app.get(&format!("/events?limit=200&kind=process,result,status&after={after}")).await.expect(200);
        after = page["next_cursor"].as_u64().expect("a cursor");
        if page["has_more"] == false {
            return after.try_into().expect("small");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_events_reach_slow_stalled_and_late_readers() {
    const PIECES: usize = 50_000;
    let (_cli, path) = writer(PIECES, true);
    let mut app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", &path)]).await;
    let mut stalled = Socket::open(&app, KEY, "").await;
    let mut slow = Sse::open(&app, KEY, "/events", None).await;
    let before = app.resident_bytes();
    let begun = std::time::Instant::now();
    let task = task_as(&app, KEY).await;

    // Reads a little, then waits until the server has stored 5,000 events more, and so on.
    let (mut seen, mut ahead) = (Vec::new(), 0);
    while ahead < PIECES {
        ahead += 5_000;
        stored(&app, &task, ahead).await;
        seen.extend(slow.read(1_000).await);
    }
    let ended = app.ended(&task).await;
    assert_eq!(ended["status"], "complete", "{ended}");
    let written = begun.elapsed();
    let total = last_cursor(&app).await;
    assert_eq!(total, PIECES + AROUND);
    let behind = total - seen.len();
    assert!(behind > PIECES / 2, "the slow reader was not slow");
    seen.extend(slow.read(behind).await);
    assert_whole("slow", &seen, PIECES);
    let late = Sse::open(&app, KEY, "/events", None).await.read(total).await;
    assert_whole("late", &late, PIECES);
    let after = app.resident_bytes();

    let held = stalled.read(total).await;
    assert_whole("stalled", &held, PIECES);
    stalled.say(r#"{"after": 0}"#).await;
    let again = stalled.read(total).await;
    assert_whole("from the beginning again", &again, PIECES);
    assert!(seen == late && late == held && held == again, "all readers saw the same");
    let grown = after.saturating_sub(before) >> 20;
    eprintln!("{total} events written in {written:?}; the slow reader was {behind} behind; the server grew by {grown} MiB");
    assert!(grown < 100, "the server grew by {grown} MiB with a stalled reader connected");

    // Nobody reads on here: the server's sends are stuck when it is told to stop.
    stalled.say(r#"{"after": 0}"#).await;
    stalled.read(1).await;
    let begun = std::time::Instant::now();
    assert!(app.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "a stalled reader held up the end for {:?}", begun.elapsed());
}

#[tokio::test]
async fn users_see_their_own_events_and_filters_hold() {
    let (_cli, path) = writer(300, true);
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", &path)]).await;
    let (ann, bob) = (make_key(&app, &["--user", "ann"]), make_key(&app, &["--user", "bob"]));
    let (of_ann, of_bob) = (task_as(&app, &ann).await, task_as(&app, &bob).await);
    let (of_ann, of_bob) = (app.ended(&of_ann).await, app.ended(&of_bob).await);
    let total = last_cursor(&app).await;
    assert_eq!(total, 2 * (300 + AROUND));
    let everything = Sse::open(&app, KEY, "/events", None).await.read(total).await;
    assert_eq!(cursors(&everything), (1..=i64::try_from(total).expect("small")).collect::<Vec<_>>());
    for (key, task) in [(&ann, &of_ann), (&bob, &of_bob)] {
        let own: Vec<Value> = everything.iter().filter(|event| event["task_id"] == task["id"]).cloned().collect();
        assert_whole("own", &own, 300);
        let mut paged = Vec::new();
        let mut after = 0;
        loop {
            let page = app.send(app.request_as(Some(key), Method::GET, &format!("/events?limit=200&after={after}"))).await;
            assert!(page.text.chars().count() < 100_000);
            let page = page.expect(200);
            paged.extend(page["events"].as_array().expect("events").clone());
            after = page["next_cursor"].as_i64().expect("a cursor");
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(paged, own, "pages");
        assert_eq!(Sse::open(&app, key, "/events", None).await.read(own.len()).await, own, "SSE");
        assert_eq!(Socket::open(&app, key, "").await.read(own.len()).await, own, "WebSocket");

        let agent = task["agent_id"].as_str().expect("an agent");
        let told: Vec<Value> = own.iter().filter(|event| event["kind"] != "delta").cloned().collect();
        let kinds: Vec<&str> = told.iter().filter_map(|event| event["kind"].as_str()).collect();
        let query = format!("?agent_id={agent}&kind={}", kinds.join(","));
        assert_eq!(Socket::open(&app, KEY, &query).await.read(told.len()).await, told, "by agent and kind");
        let query = format!("/events?task_id={}&kind=result", task["id"].as_str().expect("an id"));
        assert_eq!(app.get(&query).await.expect(200)["events"], json!([own[300 + AROUND - 2]]), "by task and kind");
    }
    let foreign = format!("/events?task_id={}", of_ann["id"].as_str().expect("an id"));
    app.send(app.request_as(Some(&bob), Method::GET, &foreign)).await.problem(404, "not_found");
    let refused = Socket::try_open(&app, &bob, foreign.trim_start_matches("/events")).await.err().expect("refused");
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 404), "{refused}");
    let refused = Socket::try_open(&app, "mas_wrong", "").await.err().expect("refused");
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 403), "{refused}");
}

#[tokio::test]
async fn streams_go_on_from_any_cursor_and_nonsense_ends_a_socket() {
    let (_cli, path) = writer(200, true);
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", &path)]).await;
    app.ended(&task_as(&app, KEY).await).await;
    let all = Sse::open(&app, KEY, "/events", None).await.read(200 + AROUND).await;
    let cut = cursors(&all)[119];
    assert_eq!(Sse::open(&app, KEY, "/events", Some(cut)).await.read(60).await[..60], all[120..180]);
    assert_eq!(Sse::open(&app, KEY, &format!("/events?after={cut}"), None).await.read(60).await[..60], all[120..180]);
    let mut socket = Socket::open(&app, KEY, &format!("?after={cut}")).await;
    assert_eq!(socket.read(60).await, all[120..180]);
    // What was under way still comes; then it goes on where it was told to.
    socket.say(r#"{"after": 0}"#).await;
    while socket.read(1).await[0] != all[0] {}
    assert_eq!(socket.read(50).await, all[1..51]);

    let waiting = app.request(Method::GET, "/events?wait_seconds=1&after=1000000");
    let waiting = async { app.send(waiting).await };
    let second = async { app.ended(&task_as(&app, KEY).await).await };
    let (page, _) = futures::join!(in_time("a bounded wait", waiting), second);
    assert_eq!(page.expect(200)["events"], json!([]), "a cursor of the future gives nothing old");

    for nonsense in [r#"{"after": -1}"#, r#"{"after": "x"}"#, r#"{"before": 1}"#, "hello", "[1]"] {
        let mut socket = Socket::open(&app, KEY, "?after=1000000").await;
        socket.say(nonsense).await;
        let (last, code) = socket.last().await;
        let error = &last.expect("an error frame")["error"];
        assert_eq!((&error["code"], code), (&json!("validation_failed"), 1008), "{nonsense}: {error}");
        assert!(error["detail"].as_str().is_some_and(|detail| detail.contains("after")), "{error}");
    }
    let mut socket = Socket::open(&app, KEY, "?after=1000000").await;
    socket.0.send(Message::Ping(b"there?".to_vec().into())).await.expect("sent");
    assert_eq!(socket.next().await, Message::Pong(b"there?".to_vec().into()));
    let plain = app.request(Method::GET, "/events").header("Upgrade", "websocket");
    app.send(plain).await.problem(400, "bad_request");
}

#[tokio::test]
async fn shutting_down_ends_all_kinds_of_streams_in_order() {
    let (_cli, path) = writer(10, false);
    let mut app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", &path)]).await;
    let task = task_as(&app, KEY).await;
    app.events_until(&task, |event| event["data"]["text"] == "10").await;
    let (mut sse, mut socket) = (Sse::open(&app, KEY, "/events", None).await, Socket::open(&app, KEY, "").await);
    sse.read(10).await;
    socket.read(10).await;
    assert!(app.stop().success());
    while sse.next().await.is_some() {}
    assert_eq!(socket.last().await.1, 1001);
}

#[tokio::test]
async fn open_streams_end_with_their_key() {
    let (_cli, path) = writer(10, false);
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", &path)]).await;
    let key = make_key(&app, &["--user", "ann", "--name", "short"]);
    let task = task_as(&app, &key).await;
    app.events_until(&task, |event| event["data"]["text"] == "10").await;
    let of_task = format!("/tasks/{}/events", task["id"].as_str().expect("an id"));
    let one = Sse::open(&app, &key, "/events", None).await;
    let two = Sse::open(&app, &key, &of_task, None).await;
    let three = Socket::open(&app, &key, "").await;
    let mut other = Socket::open(&app, KEY, "?after=1000000").await;
    let list = app.mas(&["key", "list"]).output().expect("ran");
    let list = String::from_utf8(list.stdout).expect("text");
    let id = list.lines().find(|line| line.contains("short")).and_then(|line| line.split_whitespace().next()).expect("listed");
    assert!(app.mas(&["key", "revoke", id]).status().expect("ran").success());
    let begun = std::time::Instant::now();
    let (one, two, three) = tokio::join!(one.last(), two.last(), three.last());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for (kind, data) in [one, two] {
        assert_eq!((kind.as_str(), &data["code"]), ("error", &json!("invalid_key")), "{data}");
    }
    assert_eq!((&three.0.expect("an error frame")["error"]["code"], three.1), (&json!("invalid_key"), 1008));
    other.0.send(Message::Ping(Vec::new().into())).await.expect("sent");
    assert!(matches!(other.next().await, Message::Pong(_)), "other keys go on");
}

#[tokio::test]
async fn cli_a_socket_follows_a_real_agent_live() {
    let app = TestApp::start().await;
    let mut socket = Socket::open(&app, KEY, "").await;
    let words: Vec<String> = (0..20).map(|number| format!("w{number}")).collect();
    let task = app.create(&json!({"text": words.join(" "), "delay_ms": 20}), json!({})).await;
    let live = socket.read(5).await;
    assert_eq!(live[0]["task_id"], task["id"]);
    app.ended(&task).await;
    let events = app.events(&task).await;
    let rest = socket.read(events.len() - 5).await;
    for (logged, event) in live.iter().chain(&rest).zip(&events) {
        let mut logged = logged.clone();
        let fields = logged.as_object_mut().expect("an object");
        assert!(fields.remove("cursor").is_some() && fields.remove("task_id") == Some(task["id"].clone()));
        assert_eq!(&logged, event, "the same as in the task's own log");
    }
}
