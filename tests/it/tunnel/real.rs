//! The real localtunnel client and a localtunnel server on loopback (`tests/tools/tunnel`).

use super::{directories, living, says, server_entry, tunnel, tunnel_until};
use crate::support::{KEY, TestApp};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/tunnel")
}

/// The tunnel server; killed when dropped.
struct TunnelServer {
    process: Child,
    port: u16,
}

impl TunnelServer {
    fn start(port: u16) -> Self {
        let mut process = Command::new("node")
            .arg(tools().join("server.cjs"))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
        let port = line.trim().strip_prefix("listening on ").and_then(|port| port.parse().ok());
        let Some(port) = port else { panic!("run tests/tools/tunnel/install.sh; the tunnel server said {line:?}") };
        Self { process, port }
    }
}

impl Drop for TunnelServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that knows nothing but the public URL, as ChatGPT does.
struct Outside {
    client: reqwest::Client,
    url: String,
}

impl Outside {
    fn new(url: &str) -> Self {
        let host = url.trim_start_matches("http://").split(':').next().expect("a host");
        let client = reqwest::Client::builder().no_proxy().resolve(host, SocketAddr::from(([127, 0, 0, 1], 0)));
        Self { client: client.build().expect("a client"), url: url.to_owned() }
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).header("X-MAS-Key", KEY);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.url)).header("X-MAS-Key", KEY).json(body);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// A whole task: create, wait, result.
    async fn task(&self, text: &str) -> Value {
        let plan = json!({ "text": text });
        let body = json!({"title": "through the tunnel", "description": format!("Say it. REHEARSE:{plan}"), "wait_seconds": 20});
        let mut task = self.post("/tasks", &body).await;
        let id = task["id"].as_str().unwrap_or_else(|| panic!("no task: {task}")).to_owned();
        while !["complete", "failed", "cancelled"].contains(&task["status"].as_str().expect("a status")) {
            task = self.get(&format!("/tasks/{id}?wait_seconds=20")).await;
        }
        task
    }
}

#[tokio::test]
async fn cli_a_whole_task_goes_through_a_real_tunnel_which_comes_back_by_itself() {
    let server = TunnelServer::start(0);
    let port = server.port;
    let mut app = TestApp::prepared(&[
        ("MAS_TUNNEL__CLIENT", "localtunnel"),
        ("MAS_TUNNEL__HOST", &format!("http://127.0.0.1:{port}")),
        ("MAS_TUNNEL__CHECK_INTERVAL_SECONDS", "1"),
    ])
    .await;
    let path = std::env::var("PATH").expect("PATH");
    app.set("PATH", &format!("{}:{path}", tools().join("node_modules/.bin").display()));
    app.launch();
    let up = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    let url = up["url"].as_str().expect("a URL").to_owned();
    assert!(url.starts_with("http://mas-") && url.ends_with(&format!(".tunnel.localhost:{port}")), "{url}");

    let outside = Outside::new(&url);
    let schema = outside.get("/openapi-actions.json").await;
    assert_eq!(schema["servers"], json!([{ "url": url }]));
    let task = outside.task("out and back").await;
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("out and back")), "{task}");

    drop(server);
    tunnel_until(&app, |tunnel| tunnel["state"] != "up" && tunnel["failure"].is_string()).await;
    app.get("/health").await.expect(200);
    let server = TunnelServer::start(port);
    let again = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!(again["url"], url, "the same name was asked for and granted: {again}");
    assert_eq!(server_entry(&app).await, url);
    assert!(!says(&again, "next_step", "revoke"), "{again}");
    let task = outside.task("once more").await;
    assert_eq!(task["result"], "once more", "{task}");
    assert_eq!(tunnel(&app).await["state"], "up");

    // A restart keeps the name, although the service holds it for a moment after the old client's end.
    app.stop();
    app.launch();
    let restarted = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!((&restarted["url"], &restarted["next_step"]), (&json!(url), &Value::Null), "{restarted}");

    assert!(app.stop().success());
    assert_eq!(living(&app), Vec::<u32>::new(), "{:?}", directories(&app));
    drop(server);
}
