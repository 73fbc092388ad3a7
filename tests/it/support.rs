//! `TestApp`: one `mas serve --rehearsal` on a free port with its own data directory and database.

use mas_gateway::{model::id::ProcessId, process::ProcessDir};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const KEY: &str = "mas_integration_test_admin_key";
const MAS: &str = env!("CARGO_BIN_EXE_mas");
/// Longest wait for any state; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The CLI installed by `agents/install.sh`.
pub(crate) fn claude() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/claude")
}

pub(crate) struct TestApp {
    pub(crate) dir: TempDir,
    data_dir: PathBuf,
    pub(crate) address: String,
    env: BTreeMap<String, String>,
    server: Option<Child>,
    client: reqwest::Client,
    _database: Option<Database>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body, when the status is the expected one.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The body of a problem with this status and code; it must tell what to do.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{}", self.text);
        assert!(problem["retryable"].is_boolean(), "{}", self.text);
        problem
    }
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with some settings of its own.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::with_data_dir(settings, None).await
    }

    /// A server with its data in a certain place.
    pub(crate) async fn with_data_dir(settings: &[(&str, &str)], data_dir: Option<PathBuf>) -> Self {
        let mut app = Self::prepared_in(settings, data_dir).await;
        app.launch();
        app
    }

    /// [`TestApp::with`] before its first start: no data directory, an empty database.
    pub(crate) async fn prepared(settings: &[(&str, &str)]) -> Self {
        Self::prepared_in(settings, None).await
    }

    /// The script for the agents' CLI of a server that is about to be launched.
    pub(crate) fn script(&mut self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let cli = self.dir.path().join("scripted-cli");
        std::fs::write(&cli, text).expect("written");
        std::fs::set_permissions(&cli, PermissionsExt::from_mode(0o755)).expect("executable");
        self.set("MAS_CLAUDE_CODE__COMMAND", cli.to_str().expect("UTF-8"));
    }

    async fn prepared_in(settings: &[(&str, &str)], data_dir: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut env: BTreeMap<String, String> = [
            ("PATH", std::env::var("PATH").expect("PATH")),
            ("HOME", dir.path().to_string_lossy().into_owned()),
            ("MAS_BOOTSTRAP_KEY", KEY.to_owned()),
            ("MAS_CLAUDE_CODE__COMMAND", claude().to_string_lossy().into_owned()),
            ("MAS_RUNNER__ON_SHUTDOWN", "stop".to_owned()),
            ("MAS_SERVER__LOG_FILTER", "info,mas_gateway=debug".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let database = Database::create().await;
        if let Some(database) = &database {
            env.insert("MAS_STORE__URL".into(), database.url.clone());
        }
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let data_dir = data_dir.unwrap_or_else(|| dir.path().join("data"));
        Self { dir, data_dir, address: String::new(), env, server: None, client, _database: database }
    }

    /// Where the store is, as `Store::connect` takes it.
    pub(crate) fn store_url(&self) -> String {
        let sqlite = || format!("sqlite://{}", self.data_dir().join("mas.db").display());
        self.env.get("MAS_STORE__URL").cloned().unwrap_or_else(sqlite)
    }

    /// Changes the store behind the server's back.
    pub(crate) async fn sql(&self, statement: &str) {
        use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
        let (url, statement) = (self.store_url(), sqlx::AssertSqlSafe(statement.to_owned()));
        if url.starts_with("sqlite://") {
            let mut connection = SqliteConnection::connect(&url).await.expect("opens");
            connection.execute(statement).await.expect("the statement runs");
            connection.close().await.expect("closed");
        } else {
            let mut connection = PgConnection::connect(&url).await.expect("opens");
            connection.execute(statement).await.expect("the statement runs");
            connection.close().await.expect("closed");
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// `mas` with this server's settings.
    pub(crate) fn mas(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MAS);
        command
            .args(arguments)
            .args(["--data-dir"])
            .arg(self.data_dir())
            .env_clear()
            .envs(&self.env)
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Starts the server (again) on the same data directory.
    pub(crate) fn launch(&mut self) {
        let mut server = self
            .mas(&["serve", "--rehearsal", "--bind", "127.0.0.1:0", "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("mas starts");
        let mut lines = BufReader::new(server.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a log line").expect("readable");
        let first: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("not a JSON log line: {first}"));
        first["address"].as_str().unwrap_or_else(|| panic!("no address: {first}")).clone_into(&mut self.address);
        // The log goes to the test's own output, which is shown when the test fails.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        self.server = Some(server);
    }

    fn pid(&self) -> Pid {
        let server = self.server.as_ref().expect("a running server");
        Pid::from_raw(server.id().cast_signed()).expect("a pid")
    }

    /// Processor time the server has used, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_pid())).expect("a status");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Memory the server has in use.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_pid())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Memory that shims, CLIs and their tools have in use, shared pages counted each time.
    pub(crate) fn agents_resident_bytes(&self) -> u64 {
        let entries = std::fs::read_dir("/proc").expect("procfs").filter_map(Result::ok);
        let ours = |path: &Path| {
            let environ = std::fs::read(path.join("environ")).unwrap_or_default();
            let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let data = self.data_dir().to_string_lossy().into_owned();
            let marked = String::from_utf8_lossy(&environ).contains("MAS_PROCESS_MARKER=");
            (marked && String::from_utf8_lossy(&environ).contains(&data)) || String::from_utf8_lossy(&command).contains(&data)
        };
        let resident = entries.map(|entry| entry.path()).filter(|path| ours(path)).filter_map(|path| {
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.to_owned();
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        resident.sum::<u64>() * 1024
    }

    /// SIGKILL: the server ends without a chance to do anything.
    pub(crate) fn kill(&mut self) {
        kill_process(self.pid(), Signal::KILL).expect("killed");
        self.server.take().expect("a running server").wait().expect("reaped");
    }

    /// SIGTERM, and how the server ended.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("signalled");
        self.server.take().expect("a running server").wait().expect("reaped")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request_as(Some(KEY), method, path)
    }

    /// A request with another key, or none.
    pub(crate) fn request_as(&self, key: Option<&str>, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        key.into_iter().fold(request, |request, key| request.header("X-MAS-Key", key))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    /// Follows a link, without a key.
    pub(crate) async fn fetch(&self, url: &str) -> Answer {
        self.send(self.client.get(url)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// A server with the project `lab`, where every Bash command is allowed.
    pub(crate) async fn with_lab(settings: &[(&str, &str)]) -> Self {
        let mut app = Self::prepared(settings).await;
        let lab = app.dir.path().join("lab");
        std::fs::create_dir(&lab).expect("made");
        let config = app.dir.path().join("lab.toml");
        let text = format!("[projects.lab]\npath = '{}'\nallowed_tools = [\"Bash\"]\n", lab.display());
        std::fs::write(&config, text).expect("written");
        app.set("MAS_CONFIG", config.to_str().expect("UTF-8"));
        app.launch();
        app
    }

    /// Creates an agent and waits until it stands somewhere.
    pub(crate) async fn agent(&self, more: Value) -> Value {
        let mut body = json!({"wait_seconds": 40});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.post("/agents", &body).await.expect(201)
    }

    /// Sends an agent a prompt that is a rehearsal plan, or words; the message's task.
    pub(crate) async fn tell(&self, agent: &Value, plan: &Value, more: Value) -> Value {
        let text = plan.as_str().map_or_else(|| format!("REHEARSE:{plan}"), str::to_owned);
        let mut body = json!({"text": text});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let answer = self.post(&path_of(agent, "/message"), &body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        answer.json()
    }

    /// What a path answers, once `wanted` is true of it.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(30));
            loop {
                let answer = self.get(path).await.expect(200);
                if wanted(&answer) {
                    return answer;
                }
                ticks.tick().await;
            }
        };
        let Ok(answer) = tokio::time::timeout(PATIENCE, waiting).await else {
            panic!("{path} never was as wanted: {}", self.get(path).await.text);
        };
        answer
    }

    /// The agent, once `wanted` is true of it.
    pub(crate) async fn agent_until(&self, agent: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        self.get_until(&path_of(agent, ""), wanted).await
    }

    /// The status of a swarm, once `wanted` is true of it.
    pub(crate) async fn swarm_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/swarm/status?swarm_id={id}");
        self.get_until(&path, |page| wanted(&page["swarms"][0])).await["swarms"][0].clone()
    }

    /// The last requests the rehearsal model got, newest last.
    pub(crate) async fn model_requests(&self) -> Vec<Value> {
        let address = std::fs::read_to_string(self.data_dir().join("rehearsal-address")).expect("a rehearsal model");
        let request = self.client.get(format!("http://{}/rehearsal/requests", address.trim()));
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// What the rehearsal model was last asked: the texts of the conversation, in order.
    pub(crate) async fn last_conversation(&self) -> (String, String) {
        let last = self.model_requests().await.pop().expect("a request");
        (last["system"].to_string(), last["messages"].to_string())
    }

    /// Creates a task whose prompt is `words` and a rehearsal plan.
    pub(crate) async fn create(&self, plan: &Value, more: Value) -> Value {
        let mut body = json!({"title": "a test", "description": format!("Do it. REHEARSE:{plan}")});
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let answer = self.post("/tasks", &body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        answer.json()
    }

    /// The task, once it has ended.
    pub(crate) async fn ended(&self, task: &Value) -> Value {
        let id = task["id"].as_str().expect("an id");
        let waiting = async {
            loop {
                let task = self.get(&format!("/tasks/{id}?wait_seconds=20")).await.expect(200);
                if ["complete", "failed", "cancelled"].contains(&task["status"].as_str().expect("a status")) {
                    return task;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("task {id} did not end"))
    }

    /// All events of a task so far, page by page.
    pub(crate) async fn events(&self, task: &Value) -> Vec<Value> {
        let id = task["id"].as_str().expect("an id");
        let (mut events, mut after) = (vec![], 0);
        loop {
            let page = self.get(&format!("/tasks/{id}/events?after={after}&limit=200")).await.expect(200);
            let items = page["events"].as_array().expect("events").clone();
            let Some(last) = items.last() else { return events };
            after = last["seq"].as_i64().expect("a sequence number");
            events.extend(items);
        }
    }

    /// The events up to and including the first that satisfies `wanted`.
    pub(crate) async fn events_until(&self, task: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let id = task["id"].as_str().expect("an id");
        let waiting = async {
            let (mut events, mut after) = (vec![], 0);
            loop {
                let page = self.get(&format!("/tasks/{id}/events?after={after}&wait_seconds=20")).await.expect(200);
                for event in page["events"].as_array().expect("events") {
                    after = event["seq"].as_i64().expect("a sequence number");
                    events.push(event.clone());
                    if wanted(event) {
                        return events;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("task {id} has no such event"))
    }

    /// Shim and CLI of every agent process that runs.
    pub(crate) fn running(&self) -> Vec<[Pid; 2]> {
        let dirs = self.process_ids().into_iter().map(|id| ProcessDir::new(&self.data_dir().join("processes"), id));
        dirs.filter_map(|dir| match dir.inspect() {
            Ok(mas_gateway::process::Liveness::Running(Some(started))) => {
                Some([started.shim_pid, started.pid].map(|pid| Pid::from_raw(pid.cast_signed()).expect("a pid")))
            }
            _ => None,
        })
        .collect()
    }

    /// SIGKILL for every shim and CLI, as in a power failure.
    pub(crate) fn kill_agents(&self) {
        for pid in self.running().into_iter().flatten() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// A git repository with one commit, as the project `name` of the server about to be launched.
    pub(crate) fn repository(&mut self, name: &str) -> PathBuf {
        let place = self.dir.path().join(name);
        std::fs::create_dir(&place).expect("made");
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--allow-empty", "-m", "first"],
        ] {
            assert!(Command::new("git").args(arguments).current_dir(&place).status().expect("git").success());
        }
        let config = self.dir.path().join(format!("{name}.toml"));
        std::fs::write(&config, format!("[projects.{name}]\npath = '{}'\n", place.display())).expect("written");
        self.set("MAS_CONFIG", config.to_str().expect("UTF-8"));
        place
    }

    fn process_ids(&self) -> Vec<ProcessId> {
        let entries = std::fs::read_dir(self.data_dir().join("processes")).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// Processes of this server's agents that are alive, found by the marker every one of them inherits.
    pub(crate) fn agent_processes(&self) -> Vec<String> {
        let markers: Vec<String> = self.process_ids().iter().map(|id| format!("MAS_PROCESS_MARKER={id}")).collect();
        let entries = std::fs::read_dir("/proc").expect("procfs").filter_map(Result::ok);
        entries
            .filter_map(|entry| {
                let environ = std::fs::read(entry.path().join("environ")).ok()?;
                let environ = String::from_utf8_lossy(&environ).into_owned();
                let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
                markers.iter().any(|marker| environ.contains(marker)).then_some(command)
            })
            .collect()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            if let Some(pid) = Pid::from_raw(server.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            drop(server.wait());
        }
        // Agents of a server that was killed: their shims end everything on SIGTERM.
        for id in self.process_ids() {
            let dir = ProcessDir::new(&self.data_dir().join("processes"), id);
            let Ok(mas_gateway::process::Liveness::Running(Some(started))) = dir.inspect() else { continue };
            if let Some(pid) = Pid::from_raw(started.shim_pid.cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

/// A PostgreSQL database of its own, dropped with the test.
struct Database {
    url: String,
    server: String,
    name: String,
}

impl Database {
    async fn create() -> Option<Self> {
        let server = std::env::var("MAS_TEST_POSTGRES_URL").ok()?;
        let name = format!("mas_it_{}", uuid::Uuid::new_v4().simple());
        execute(&server, format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').expect("a database in MAS_TEST_POSTGRES_URL");
        Some(Self { url: format!("{base}/{name}"), server, name })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(execute(&server, statement));
        });
        drop(dropping.join());
    }
}

async fn execute(server: &str, statement: String) {
    use sqlx::{Connection, Executor, PgConnection};
    let mut connection = PgConnection::connect(server).await.expect("the PostgreSQL test server answers");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("the statement runs");
    connection.close().await.expect("closed");
}

/// `/agents/{id}` and what follows.
pub(crate) fn path_of(agent: &Value, rest: &str) -> String {
    format!("/agents/{}{rest}", agent["id"].as_str().expect("an id"))
}

/// Panics unless the events are numbered 1, 2, 3, … both for their agent and for their task.
pub(crate) fn assert_no_hole(events: &[Value]) {
    for (index, event) in events.iter().enumerate() {
        assert_eq!((&event["agent_seq"], &event["seq"]), (&json!(index + 1), &json!(index + 1)), "{event}");
    }
}

/// The kinds of the events, in order.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect()
}

/// Waits for a state of the outside world.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !reached() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}
