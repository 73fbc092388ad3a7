//! The servers that are measured: the gateway, the rehearsal model alone, and a bare axum handler.

use crate::ms;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const MAS: &str = env!("CARGO_BIN_EXE_mas");
pub(crate) const KEY: &str = "mas_benchmark_key";

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

/// A `mas serve --rehearsal` of its own.
pub(crate) struct Gateway {
    pub(crate) address: String,
    pub(crate) to_health: f64,
    pub(crate) to_ready: f64,
    cli: PathBuf,
    settings: Vec<(String, String)>,
    child: Child,
    dir: TempDir,
}

impl Gateway {
    pub(crate) async fn start(cli: &Path, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let began = Instant::now();
        let (child, address) = launch(dir.path(), cli, &settings);
        let mut gateway = Self { address, to_health: 0.0, to_ready: 0.0, cli: cli.to_owned(), settings, child, dir };
        gateway.time_start(began).await;
        gateway
    }

    async fn time_start(&mut self, began: Instant) {
        answered(&self.address, "/health").await;
        self.to_health = ms(began.elapsed());
        answered(&self.address, "/ready").await;
        self.to_ready = ms(began.elapsed());
    }

    /// SIGKILL, and a start on the same data after `meanwhile`. Gives the moment of the start.
    pub(crate) async fn kill_and_restart(&mut self, meanwhile: impl FnOnce()) -> Instant {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        meanwhile();
        let began = Instant::now();
        (self.child, self.address) = launch(self.dir.path(), &self.cli, &self.settings);
        self.time_start(began).await;
        began
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let request = CLIENT.post(format!("http://{}{path}", self.address)).header("x-mas-key", KEY).json(body);
        request.send().await.expect("sent").json().await.expect("JSON")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = CLIENT.get(format!("http://{}{path}", self.address)).header("x-mas-key", KEY);
        request.send().await.expect("sent").json().await.expect("JSON")
    }

    pub(crate) fn list_tasks_request(&self) -> String {
        format!("GET /tasks HTTP/1.1\r\nhost: {}\r\nx-mas-key: {KEY}\r\n\r\n", self.address)
    }

    pub(crate) async fn list_tasks_body(&self) -> String {
        let request = reqwest::Client::new().get(format!("http://{}/tasks", self.address)).header("x-mas-key", KEY);
        request.send().await.expect("an answer").text().await.expect("a body")
    }

    pub(crate) fn rss_mb(&self) -> f64 {
        rss_mb(self.child.id())
    }

    pub(crate) fn stop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the program; gives it with the address it serves on.
fn launch(dir: &Path, cli: &Path, settings: &[(String, String)]) -> (Child, String) {
    let mut child = Command::new(MAS)
        .args(["serve", "--rehearsal", "--bind", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
        .arg(dir.join("data"))
        .env_clear()
        .env("PATH", std::env::var("PATH").expect("PATH"))
        .env("HOME", dir)
        .env("MAS_BOOTSTRAP_KEY", KEY)
        .env("MAS_CLAUDE_CODE__COMMAND", cli)
        .env("MAS_RUNNER__ON_SHUTDOWN", "stop")
        .env("MAS_LIMITS__REQUESTS_PER_MINUTE", "4000000000")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .current_dir(dir)
        .stderr(Stdio::piped())
        .spawn()
        .expect("mas starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let serving = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        line["address"].as_str().map(str::to_owned)
    });
    std::thread::spawn(move || lines.for_each(drop));
    (child, serving.expect("an address"))
}

/// The rehearsal model alone.
pub(crate) struct Rehearsal {
    pub(crate) url: String,
    child: Child,
}

impl Rehearsal {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(MAS)
            .args(["rehearsal", "--bind", "127.0.0.1:0"])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mas starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        Self { url: ready["base_url"].as_str().expect("a URL").to_owned(), child }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A bare axum server in a process of its own.
pub(crate) struct Bare {
    pub(crate) address: String,
    pub(crate) to_answer: f64,
    child: Child,
}

impl Bare {
    pub(crate) async fn start(body: &str) -> Self {
        let began = Instant::now();
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program).args(["bare-server", body]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("text");
        let address = address.trim().to_owned();
        answered(&address, "/tasks").await;
        Self { to_answer: ms(began.elapsed()), address, child }
    }

    pub(crate) fn rss_mb(&self) -> f64 {
        rss_mb(self.child.id())
    }

    pub(crate) fn stop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The body of the bare server's process.
pub(crate) fn serve_bare(body: &str) {
    let body: &'static str = body.to_owned().leak();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let json = [("content-type", "application/json")];
        let router = axum::Router::new().route("/tasks", axum::routing::get(async move || (json, body)));
        axum::serve(listener, router).await.expect("serves");
    });
}

async fn answered(address: &str, path: &str) {
    let client = reqwest::Client::new();
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        loop {
            ticks.tick().await;
            let answer = client.get(format!("http://{address}{path}")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asking).await.expect("an answer in time");
}

fn rss_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
}

fn end(child: &mut Child) {
    if child.try_wait().is_ok_and(|status| status.is_none())
        && let Some(pid) = Pid::from_raw(child.id().cast_signed())
    {
        let _ = kill_process(pid, Signal::TERM);
        drop(child.wait());
    }
}
