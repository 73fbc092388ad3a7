//! Many agents: how long they take to start, to be found again and to be heard, and what they cost in memory.

use crate::{
    memory::{Memory, clis, pss_mb},
    ms, row,
    servers::Gateway,
    stand_in,
};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const CROWDS: [usize; 4] = [1, 10, 50, 200];
const RECOVERED: usize = 64;
const EVENTS: usize = 50_000;
const WRITERS: usize = 8;
const SUPERVISED: usize = 16;
const REAL: usize = 4;
const PARKED: usize = 60;
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) async fn measure(claude: &Path) {
    let dir = tempfile::tempdir().expect("a directory");
    let script = stand_in::script(dir.path());
    let many = [("MAS_RUNNER__MAX_LIVE_AGENTS", "200")];
    spawn(&script, &many).await;
    capture(&script, &many).await;
    recovery(&script, &many).await;
    supervision(&script, claude, &many).await;
    parked(claude).await;
}

/// A task with this prompt; its answer, when `wait` is set after its end.
async fn task(gateway: &Gateway, prompt: String, on_lost: &str, wait: u32) -> Value {
    let task = gateway.post("/tasks", &json!({"description": prompt, "on_lost": on_lost, "wait_seconds": wait})).await;
    if wait == 0 { task } else { ended(gateway, task).await }
}

async fn ended(gateway: &Gateway, mut task: Value) -> Value {
    let id = task["id"].as_str().expect("an id").to_owned();
    let waiting = async {
        while task["ended_at"].is_null() {
            task = gateway.get(&format!("/tasks/{id}?wait_seconds=40")).await;
        }
        task
    };
    let task = tokio::time::timeout(PATIENCE, waiting).await.expect("the task ends");
    assert_eq!(task["status"], "complete", "{task}");
    task
}

/// From the first request until all have answered, and the same with bare processes, all at once.
async fn spawn(script: &Path, settings: &[(&str, &str)]) {
    for count in CROWDS {
        let gateway = Gateway::start(script, settings).await;
        let began = Instant::now();
        join_all((0..count).map(|number| task(&gateway, format!("answer {number}"), "resume", 40))).await;
        let ours = ms(began.elapsed());
        let began = Instant::now();
        join_all((0..count).map(|number| stand_in::turn(format!("answer {number}")))).await;
        row(&format!("{count} scripted agents started and heard, bare spawn"), "ms", ours, ms(began.elapsed()));
    }
}

/// Lines written as fast as they are taken, until each is an event in the store.
#[expect(clippy::cast_precision_loss, reason = "thousands of events")]
async fn capture(script: &Path, settings: &[(&str, &str)]) {
    for writers in [1, WRITERS] {
        let gateway = Gateway::start(script, settings).await;
        let lines = EVENTS / writers;
        let began = Instant::now();
        let tasks = join_all((0..writers).map(|_| task(&gateway, format!("flood {lines}"), "resume", 40))).await;
        let ours = EVENTS as f64 / began.elapsed().as_secs_f64();
        for task in tasks {
            let path = format!("/tasks/{}/events?after={lines}", task["id"].as_str().expect("an id"));
            assert!(gateway.get(&path).await["events"][0]["seq"].as_u64() > Some(lines as u64), "all are stored");
        }
        let began = Instant::now();
        let heard: usize = join_all((0..writers).map(|_| stand_in::turn(format!("flood {lines}")))).await.into_iter().sum();
        assert!(heard >= EVENTS);
        row(
            &format!("events captured, {writers} writing, pipe and parser"),
            "1/s",
            ours,
            EVENTS as f64 / began.elapsed().as_secs_f64(),
        );
    }
}

/// The server is killed with agents at work, half of the agents while it is away. Until every status is right again.
async fn recovery(script: &Path, settings: &[(&str, &str)]) {
    let mut gateway = Gateway::start(script, settings).await;
    let empty = gateway.to_ready;
    join_all((0..RECOVERED).map(|number| task(&gateway, format!("hold {number}"), "fail", 0))).await;
    count_reaches(&gateway, "in_progress", RECOVERED).await;
    let mut agents = clis(&gateway.data_dir());
    assert_eq!(agents.len(), RECOVERED);
    agents.truncate(RECOVERED / 2);
    let began = gateway
        .kill_and_restart(|| {
            for pid in agents {
                let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
                kill_process(pid, Signal::KILL).expect("killed");
            }
        })
        .await;
    count_reaches(&gateway, "failed", RECOVERED / 2).await;
    let right = ms(began.elapsed());
    assert_eq!(
        gateway.get("/tasks?status=in_progress&limit=200").await["tasks"].as_array().expect("a list").len(),
        RECOVERED / 2
    );
    row("kill -9 with 64 agents: to ready, empty start", "ms", gateway.to_ready, empty);
    row("  until every status is right, half of them dead", "ms", right, empty);
}

async fn count_reaches(gateway: &Gateway, status: &str, count: usize) {
    let path = format!("/tasks?status={status}&limit=200");
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while gateway.get(&path).await["tasks"].as_array().map(Vec::len) != Some(count) {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {count} tasks {status}"));
}

/// Agents that stay, each after a turn.
async fn crowd(gateway: &Gateway, count: usize) {
    join_all((0..count).map(async |number| {
        let agent = gateway.post("/agents", &json!({"wait_seconds": 40})).await;
        let path = format!("/agents/{}/message", agent["id"].as_str().expect("an id"));
        let text = format!("answer {number} REHEARSE:{{\"text\":\"here\"}}");
        let message = gateway.post(&path, &json!({"text": text, "wait_seconds": 40})).await;
        ended(gateway, message).await;
    }))
    .await;
}

/// What an agent costs beside its CLI: its shim and its part of the server.
#[expect(clippy::cast_precision_loss, reason = "few agents")]
async fn supervision(script: &Path, claude: &Path, settings: &[(&str, &str)]) {
    for (name, cli, count) in [("a scripted CLI", script, SUPERVISED), ("Claude Code", claude, REAL)] {
        let gateway = Gateway::start(cli, settings).await;
        let idle = pss_mb(gateway.pid());
        crowd(&gateway, count).await;
        let memory = Memory::of(gateway.pid(), &gateway.data_dir());
        assert_eq!(memory.count, count);
        let ours = (memory.server - idle).max(0.0) + memory.shims;
        row(&format!("memory to supervise one, {name} itself"), "MB", ours / count as f64, memory.agents / count as f64);
    }
}

/// Real agents with four places: four agents, then sixty more.
async fn parked(claude: &Path) {
    let gateway = Gateway::start(claude, &[("MAS_RUNNER__MAX_LIVE_AGENTS", "4")]).await;
    crowd(&gateway, REAL).await;
    let four = Memory::of(gateway.pid(), &gateway.data_dir());
    crowd(&gateway, PARKED).await;
    let all = Memory::of(gateway.pid(), &gateway.data_dir());
    assert!(all.count <= REAL, "{} are live", all.count);
    row("memory of all, 64 agents 4 live, 4 agents 4 live", "MB", all.total(), four.total());
}
