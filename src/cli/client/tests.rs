//! The client against a server that breaks connections.

use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Takes connections one after the other, gives each its answer and closes it; the requests as they came.
async fn server(answers: Vec<&'static str>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        let mut requests = vec![];
        for answer in answers {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut request = String::new();
            while !is_whole(&request) {
                let mut bytes = [0; 4096];
                let count = connection.read(&mut bytes).await.expect("readable");
                request.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            requests.push(request);
            connection.write_all(answer.as_bytes()).await.expect("taken");
        }
        requests
    });
    let key = Some(header("secret").expect("a header"));
    (Client::connect(parse_url(&url).expect("a URL"), key, "here".into(), None).expect("a client"), serving)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").expect("a body").1
}

const GOOD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"id\": \"x\"}";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 46\r\nconnection: close\r\n\r\n{\"detail\": \"not you\", \"code\": \"invalid_key\"}  ";

#[tokio::test]
async fn a_change_is_sent_again_under_the_same_key() {
    let (client, serving) = server(vec!["", BUSY, GOOD]).await;
    let made = client.post(&["tasks"], json!({ "description": "d" })).await.expect("an answer");
    let requests = serving.await.expect("served");
    assert_eq!((&made["id"], requests.len()), (&json!("x"), 3));
    assert!(body_of(&requests[0]).contains("idempotency_key") && requests[0].contains("x-mas-key: secret"), "{requests:?}");
    assert!(requests.iter().all(|request| body_of(request) == body_of(&requests[0])), "{requests:?}");
}

#[tokio::test]
async fn there_is_an_end_to_trying_and_none_for_a_refusal() {
    let (client, serving) = server(vec!["", "", ""]).await;
    let error = client.get(&["tasks"], &[]).await.expect_err("no answer");
    assert!(matches!(error, ClientError::NoServer { .. }), "{error}");
    assert_eq!(serving.await.expect("served").len(), 3);

    let (client, serving) = server(vec![FORBIDDEN]).await;
    let error = client.post(&["tasks"], json!({})).await.expect_err("refused");
    assert_eq!(error.to_string(), "not you\nThe key was taken from here.");
    assert_eq!(serving.await.expect("served").len(), 1);
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_it_has_seen() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let first = format!("{HEAD}id: 1\nevent: message\ndata: {{\"text\":\"a\"}}\n\nid: 2\nevent: message\ndata: {{\"te").leak();
    let second =
        format!("{HEAD}id: 2\nevent: message\ndata: {{\"text\":\"b\"}}\n\nevent: end\ndata: {{\"status\":\"complete\"}}\n\n")
            .leak();
    let (client, serving) = server(vec![first, second]).await;
    let mut stream = client.events(&["tasks", "x", "events"], &[], Some(0)).expect("a stream");
    let mut seen = vec![];
    while let Some(event) = stream.next().await {
        let ServerEvent { id, kind, data } = event.expect("an event");
        seen.push((id, kind, data));
    }
    let message = |id, text: &str| (Some(id), "message".to_owned(), json!({ "text": text }));
    assert_eq!(seen, [message(1, "a"), message(2, "b"), (None, "end".to_owned(), json!({ "status": "complete" }))]);
    let requests = serving.await.expect("served");
    assert!(requests[0].contains("last-event-id: 0") && requests[1].contains("last-event-id: 1"), "{requests:?}");
    assert!(requests.iter().all(|request| request.contains("accept: text/event-stream")), "{requests:?}");
}

fn named(base: &str) -> Client {
    Client::connect(parse_url(base).expect("a URL"), None, String::new(), None).expect("a client")
}

#[test]
fn ids_cannot_lead_elsewhere() {
    let url = |path: &[&str]| named("http://127.0.0.1:1/mas/").url(path, &[("q", "a b&c".into())]).map(|url| url.to_string());
    assert_eq!(url(&["tasks", "../x?y"]).expect("a URL"), "http://127.0.0.1:1/mas/tasks/..%2Fx%3Fy?q=a+b%26c");
    for odd in ["", ".", ".."] {
        assert!(url(&["tasks", odd]).is_err(), "{odd:?}");
    }
}

#[test]
fn addresses_of_servers() {
    for refused in ["127.0.0.1:3456", "ftp://host", "http://u:p@host", "http://host?x=1", "nonsense"] {
        assert!(parse_url(refused).is_err(), "{refused}");
    }
    let is_near = |url: &str| is_loopback(&parse_url(url).expect("a URL"));
    assert!(is_near("http://127.0.0.1:1") && is_near("http://[::1]:1") && is_near("http://localhost"));
    assert!(!is_near("http://localhost.example") && !is_near("https://mas.example"));
}

#[test]
fn every_change_has_a_key_and_keeps_one_it_has() {
    assert!(with_key(json!({}))["idempotency_key"].as_str().is_some_and(|key| key.len() == 36));
    assert_eq!(with_key(json!({ "idempotency_key": "mine" }))["idempotency_key"], "mine");
}
