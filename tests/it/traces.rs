//! Traces: a listener of the test stands in for the collector.

use crate::{
    faults::{self, GREET, RESULT, SAY},
    support::{KEY, PATIENCE, TestApp, until},
    tunnel::service::{Mode, Service},
};
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const URL: &str = "MAS_TELEMETRY__OTLP_URL";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A span, and the resource it came with.
#[derive(Debug, Clone)]
struct Seen {
    span: Span,
    resource: Vec<KeyValue>,
}

/// What was received: bodies as they came, headers, spans.
#[derive(Default)]
struct Received {
    bodies: Vec<u8>,
    headers: Vec<HeaderMap>,
    spans: Vec<Seen>,
}

struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    async fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let shared = received.clone();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(&body[..]).expect("protobuf");
            let mut received = shared.lock().expect("unpoisoned");
            received.bodies.extend(&body);
            received.headers.push(headers);
            for group in request.resource_spans {
                let resource = group.resource.expect("a resource").attributes;
                let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
                received.spans.extend(spans.map(|span| Seen { span, resource: resource.clone() }));
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(axum::serve(listener, Router::new().route("/v1/traces", post(take))).into_future());
        Self { url, received }
    }

    fn spans(&self) -> Vec<Seen> {
        self.received.lock().expect("unpoisoned").spans.clone()
    }

    /// The one span of this name about the task, once it is there.
    async fn about(&self, name: &str, task: &Value) -> Seen {
        let find = || {
            let is_wanted = |seen: &Seen| seen.span.name == name && seen.text("mas.task.id") == task["id"].as_str();
            let mut found: Vec<_> = self.spans().into_iter().filter(is_wanted).collect();
            assert!(found.len() < 2, "{found:?}");
            found.pop()
        };
        until(name, || find().is_some()).await;
        find().expect("there")
    }

    /// The span with this id, once it is there.
    async fn with_id(&self, id: &[u8]) -> Seen {
        let find = || self.spans().into_iter().find(|seen| seen.span.span_id == id);
        until("a parent", || find().is_some()).await;
        find().expect("there")
    }
}

impl Seen {
    fn attribute(&self, key: &str) -> Option<&Any> {
        value(&self.span.attributes, key)
    }

    fn text(&self, key: &str) -> Option<&str> {
        text(&self.span.attributes, key)
    }

    fn is_error(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == 2)
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Any> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("to a string");
        text
    })
}

/// Creates a task within the caller's trace.
async fn create_in(app: &TestApp, traceparent: &str, description: &str) -> Value {
    let body = json!({"description": description, "agent_type": "reviewer", "model": "haiku"});
    let request = app.request(Method::POST, "/tasks").header("traceparent", traceparent).json(&body);
    app.send(request).await.expect(201)
}

async fn instance(app: &TestApp) -> String {
    app.get("/health").await.expect(200)["instance"].as_str().expect("an instance").to_owned()
}

#[tokio::test]
async fn cli_a_request_and_its_run_are_one_trace() {
    let collector = Collector::start().await;
    let settings = [(URL, collector.url.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collectors")];
    let app = TestApp::with(&settings).await;
    let unwanted = create_in(&app, &format!("00-{}-{CALLER}-00", "1".repeat(32)), "Unsampled. REHEARSE:{\"text\": \"no\"}").await;
    app.ended(&unwanted).await;
    let prompt = format!("Passw0rd-in-the-prompt. REHEARSE:{}", json!({"text": "Passw0rd-in-the-answer"}));
    let task = create_in(&app, &format!("00-{TRACE}-{CALLER}-01"), &prompt).await;
    let ended = app.ended(&task).await;
    assert_eq!(ended["status"], "complete", "{ended}");

    let run = collector.about("run_task", &task).await;
    let claim = collector.about("claim_task", &task).await;
    let making = collector.about("create_task", &task).await;
    let request = collector.with_id(&making.span.parent_span_id).await;
    for seen in [&run, &claim, &making, &request] {
        assert_eq!(hex(&seen.span.trace_id), TRACE, "{seen:?}");
        assert!(!seen.is_error() && seen.span.start_time_unix_nano <= seen.span.end_time_unix_nano, "{seen:?}");
        assert_eq!(text(&seen.resource, "service.name"), Some("mas-gateway"));
        assert_eq!(text(&seen.resource, "service.version"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(text(&seen.resource, "service.instance.id"), Some(instance(&app).await.as_str()));
    }
    assert_eq!(hex(&request.span.parent_span_id), CALLER);
    assert_eq!([&run, &claim].map(|seen| &seen.span.parent_span_id), [&making.span.span_id; 2]);

    assert_eq!((request.span.name.as_str(), request.span.kind), ("POST /tasks", 2), "a server's");
    for (key, wanted) in [("http.request.method", "POST"), ("http.route", "/tasks"), ("mas.operation", "create_task")] {
        assert_eq!(request.text(key), Some(wanted), "{request:?}");
    }
    assert_eq!(request.attribute("http.response.status_code"), Some(&Any::IntValue(201)));
    assert!(request.text("mas.request.id").is_some_and(|id| id.len() == 36), "{request:?}");
    for (seen, outcome) in [(&making, "created"), (&claim, "begun"), (&run, "complete")] {
        for (key, wanted) in [
            ("mas.outcome", outcome),
            ("mas.agent.type", "reviewer"),
            ("mas.model.requested", "haiku"),
            ("mas.provenance", "rehearsal"),
        ] {
            assert_eq!(seen.text(key), Some(wanted), "{key} of {seen:?}");
        }
    }
    assert_eq!([&claim, &run].map(|seen| seen.text("mas.agent.id")), [ended["agent_id"].as_str(); 2]);
    assert!(run.text("mas.model").is_some_and(|model| model.starts_with("claude-haiku-")), "as the CLI named it: {run:?}");

    let received = collector.received.lock().expect("unpoisoned");
    let all = String::from_utf8_lossy(&received.bodies);
    for secret in ["Passw0rd", "REHEARSE", KEY, "X-MAS-Key", "x-mas-key"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(received.spans.iter().all(|seen| hex(&seen.span.trace_id) != "1".repeat(32)), "its caller wanted no trace");
    assert!(received.headers.iter().all(|headers| headers["authorization"] == "Bearer collectors"));
}

/// Sends a request within a caller's trace.
async fn post_in(app: &TestApp, trace: char, path: &str, body: &Value) -> Value {
    let traceparent = format!("00-{}-{CALLER}-01", trace.to_string().repeat(32));
    let answer = app.send(app.request(Method::POST, path).header("traceparent", traceparent).json(body)).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    answer.json()
}

/// Panics unless the turn is part of the caller's trace, as a child of a request to this route, or of the making of a task.
async fn assert_child_of(collector: &Collector, task: &Value, trace: char, parent: &str) {
    for name in ["claim_task", "run_task"] {
        let seen = collector.about(name, task).await;
        assert_eq!(hex(&seen.span.trace_id), trace.to_string().repeat(32), "{seen:?}");
        assert_eq!(collector.with_id(&seen.span.parent_span_id).await.span.name, parent, "{seen:?}");
    }
}

/// The task whose title begins so, once it has ended.
async fn titled(app: &TestApp, title: &str) -> Value {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let page = app.get("/tasks?limit=200").await.expect(200);
            let tasks = page["tasks"].as_array().expect("tasks").clone();
            if let Some(task) =
                tasks.into_iter().find(|task| task["title"].as_str().is_some_and(|words| words.starts_with(title)))
            {
                return app.ended(&task).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no task `{title}`"))
}

#[tokio::test]
async fn cli_what_teams_do_is_in_the_trace_of_the_request_it_came_from() {
    let collector = Collector::start().await;
    let mut app = TestApp::with(&[(URL, &collector.url), ("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    let agents = json!([{"type": "coordinator"}, {"type": "coder"}]);
    let body = json!({"topology": "star", "agents": agents, "objective": "Make a door."});
    let swarm = post_in(&app, '1', "/swarm/spawn", &body).await;
    // The place in the trace is kept with the run: another server makes its turns, once this one has told of the request.
    until("the request", || collector.spans().iter().any(|seen| seen.span.name == "POST /swarm/spawn")).await;
    app.kill();
    app.launch();
    let run = crate::swarms::run_ended(&app, swarm["active_runs"][0].as_str().expect("a run")).await;
    assert_eq!(run["status"], "complete", "{run}");
    for stage in run["stages"].as_array().expect("stages") {
        assert_child_of(&collector, &json!({"id": stage["task_ids"][0]}), '1', "POST /swarm/spawn").await;
    }

    let body =
        json!({"question": "Which?", "options": ["a", "b"], "voters": [{"type": "coder", "count": 2}], "wait_seconds": 40});
    let proposal = post_in(&app, '2', "/consensus/propose", &body).await;
    for ballot in proposal["ballots"].as_array().expect("ballots") {
        let task = app.ended(&json!({"id": ballot["task_id"]})).await;
        assert_child_of(&collector, &task, '2', "POST /consensus/propose").await;
    }

    let path = format!("/swarm/{}/messages", swarm["id"].as_str().expect("an id"));
    let body = json!({"to": "coder", "subject": "From you", "body": "x", "requires_response": true});
    post_in(&app, '3', &path, &body).await;
    assert_child_of(&collector, &titled(&app, "Answer: From you").await, '3', "POST /swarm/{id}/messages").await;

    // What an agent writes in its turn belongs to the trace of that turn.
    let input = json!({"to": "coder-1", "subject": "From an agent", "body": "x", "requires_response": true});
    let steps = json!({"steps": [{"tool_use": {"name": "mcp__team__send_message", "input": input}}, {"text": "sent"}]});
    let path = crate::support::path_of(&swarm["agents"][0], "/message");
    post_in(&app, '4', &path, &json!({"text": format!("REHEARSE:{steps}")})).await;
    assert_child_of(&collector, &titled(&app, "Answer: From an agent").await, '4', "create_task").await;
}

#[tokio::test]
async fn a_run_that_outlives_the_server_stays_in_its_trace() {
    let (collector, place) = (Collector::start().await, tempfile::tempdir().expect("a directory"));
    let gate = place.path().join("gate");
    let script = format!("{GREET}{SAY}until [ -e '{}' ]; do sleep 0.05; done\n{RESULT}", gate.display());
    let (mut app, _dir) = faults::app(&script, &[(URL, &collector.url)]).await;
    let task = create_in(&app, &format!("00-{TRACE}-{CALLER}-01"), "Wait.").await;
    app.events_until(&task, |event| event["kind"] == "delta" || event["kind"] == "message").await;
    let making = collector.about("create_task", &task).await;
    let (before, killed_at) = (instance(&app).await, SystemTime::now());
    app.kill();
    app.launch();
    std::fs::write(&gate, "").expect("opened");
    assert_eq!(app.ended(&task).await["status"], "complete");
    let run = collector.about("run_task", &task).await;
    assert_eq!((hex(&run.span.trace_id).as_str(), &run.span.parent_span_id), (TRACE, &making.span.span_id));
    assert_eq!(text(&run.resource, "service.instance.id"), Some(instance(&app).await.as_str()));
    assert_eq!(text(&making.resource, "service.instance.id"), Some(before.as_str()));
    let killed_at = killed_at.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    assert!(u128::from(run.span.start_time_unix_nano) < killed_at, "it began under the first server");
    assert!(u128::from(run.span.end_time_unix_nano) > killed_at, "and ended under the second");
}

#[tokio::test]
async fn messages_repetitions_and_failures_are_told_as_what_they_are() {
    let collector = Collector::start().await;
    let (app, _dir) =
        faults::app(&format!("{GREET}while :; do {RESULT}read -r more || exit 0; done\n"), &[(URL, &collector.url)]).await;
    let agent = app.agent(json!({})).await;
    let mut places = vec![];
    for words in ["first", "second"] {
        let message = app.tell(&agent, &json!(words), json!({"wait_seconds": 40})).await;
        let [run, claim] = [collector.about("run_task", &message).await, collector.about("claim_task", &message).await];
        let making = collector.about("create_task", &message).await;
        let request = collector.with_id(&making.span.parent_span_id).await;
        assert_eq!([&run, &claim].map(|seen| &seen.span.parent_span_id), [&making.span.span_id; 2]);
        assert_eq!(request.text("http.route"), Some("/agents/{id}/message"), "{request:?}");
        assert!(request.span.parent_span_id.is_empty(), "nobody sent a traceparent");
        assert_eq!(run.text("mas.agent.id"), agent["id"].as_str());
        places.push(run.span.trace_id);
    }
    assert_ne!(places[0], places[1]);

    let keyed = json!({"description": "Once.", "idempotency_key": "once"});
    let first = app.post("/tasks", &keyed).await.expect(201);
    app.ended(&first).await;
    app.post("/tasks", &keyed).await.expect(200);
    let of_first = |seen: &Seen| seen.span.name == "create_task" && seen.text("mas.task.id") == first["id"].as_str();
    until("both requests are told", || collector.spans().iter().filter(|seen| of_first(seen)).count() == 2).await;
    let outcomes: Vec<_> = collector.spans().into_iter().filter(of_first).collect();
    assert_eq!(
        outcomes.iter().map(|seen| seen.text("mas.outcome").expect("a word")).collect::<Vec<_>>(),
        ["created", "repeated"]
    );

    let app = TestApp::with(&[(URL, &collector.url), ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let task = app.post("/tasks", &json!({"description": "In vain."})).await.expect(201);
    let claim = collector.about("claim_task", &task).await;
    assert!(claim.is_error() && claim.text("mas.outcome") == Some("agent_unavailable"), "{claim:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let mut app = TestApp::with(&[(URL, &collector.url), ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    app.get("/agents").await.expect(200);
    assert!(app.stop().success());
    assert!(collector.spans().iter().any(|seen| seen.text("mas.operation") == Some("list_agents")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_or_hangs_changes_nothing_for_the_caller() {
    let hanging = Service::start().await;
    hanging.set(Mode::Hang);
    // Port 1: nothing listens there.
    for url in ["http://127.0.0.1:1".to_owned(), hanging.url("collector")] {
        let (mut app, _dir) = faults::app(&format!("{GREET}{RESULT}"), &[(URL, &url)]).await;
        let begun = Instant::now();
        for _ in 0..3 {
            let task = create_in(&app, &format!("00-{TRACE}-{CALLER}-01"), "Go.").await;
            assert_eq!(app.ended(&task).await["status"], "complete");
        }
        // More than the queue holds.
        let asking = (0..50).map(|_| async {
            for _ in 0..100 {
                assert_eq!(app.get("/health").await.status, 200);
            }
        });
        futures::future::join_all(asking).await;
        assert!(begun.elapsed() < PATIENCE, "{url}");
        let begun = Instant::now();
        assert!(app.stop().success(), "{url}");
        assert!(begun.elapsed() < Duration::from_secs(12), "{url}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_starts() {
    let mut app = TestApp::prepared(&[]).await;
    for (url, words) in [("localhost:4318", "absolute"), ("grpc://localhost:4317", "neither http nor https")] {
        app.set(URL, url);
        let output = app.mas(&["serve"]).output().expect("ran");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("telemetry.otlp_url") && error.contains(words), "{error}");
    }
}
