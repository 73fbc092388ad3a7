//! Many agents with few places: every turn is done, also when the server is killed in the middle.

use crate::support::{KEY, TestApp, path_of};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Requests at the same time.
const CLIENTS: usize = 16;

#[tokio::test]
async fn cli_a_small_crowd_survives_the_servers_death() {
    crowd(10, 3).await;
}

/// `make crowd`
#[tokio::test]
#[ignore = "takes minutes"]
async fn cli_sixty_four_agents_with_eight_places_survive_the_servers_death() {
    crowd(64, 8).await;
}

async fn crowd(count: usize, places: usize) {
    let places_setting = places.to_string();
    let mut app = TestApp::with(&[
        ("MAS_RUNNER__MAX_LIVE_AGENTS", &places_setting),
        ("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000"),
        ("MAS_SERVER__LOG_FILTER", "info,tower_http=warn"),
    ])
    .await;
    let begun = Instant::now();
    let names = futures::stream::iter(0..count).map(|number| format!("agent {number}"));
    let agents: Vec<Value> = names.map(|name| create(&app, name)).buffered(CLIENTS).collect().await;
    let mut messages: Vec<(String, Value)> = Vec::new();
    for turn in ["first", "second"] {
        let told = futures::stream::iter(agents.iter().enumerate()).map(async |(number, agent)| {
            let answer = format!("agent {number} says its {turn} words");
            let plan = json!({"text": answer, "delay_ms": 20});
            (answer, app.tell(agent, &plan, json!({})).await)
        });
        messages.extend(told.buffered(CLIENTS).collect::<Vec<_>>().await);
    }
    let (most, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let half = async {
        until_complete(&app, messages.len() / 3).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(half, watch_memory(&app, &most, &stop));
    let server = app.resident_bytes();
    app.kill();
    let down = Instant::now();
    app.launch();
    let up = down.elapsed();
    until_truthful(&app, count).await;
    let truthful = down.elapsed();
    for (answer, task) in &messages {
        let task = app.ended(task).await;
        assert_eq!((&task["status"], task["result"].as_str()), (&json!("complete"), Some(answer.as_str())), "{task}");
    }
    let all = begun.elapsed();
    for agent in &agents {
        let agent = app.get(&path_of(agent, "")).await.expect(200);
        assert_eq!((&agent["turns"], &agent["queued"]), (&json!(2), &json!(0)), "{agent}");
    }
    let live = most_at_once(&app).await;
    assert!(live <= places, "{live} processes at once");
    let megabytes = |bytes: u64| bytes / 1_000_000;
    eprintln!(
        "{count} agents, {} turns, at most {live} processes at once: {all:.1?} in all; memory of server, shims and CLIs at most {} MB, \
         of the server {} MB; after kill -9 the server answered after {up:.2?} and every status was right after {truthful:.2?}",
        messages.len(),
        megabytes(most.load(Ordering::Relaxed)),
        megabytes(server),
    );
    drop(app);
}

async fn create(app: &TestApp, name: String) -> Value {
    app.send(app.request_as(Some(KEY), Method::POST, "/agents").json(&json!({"name": name}))).await.expect(201)
}

async fn until_complete(app: &TestApp, wanted: usize) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let waiting = async {
        while app.get("/tasks?status=complete&limit=200").await.expect(200)["tasks"].as_array().map_or(0, Vec::len) < wanted {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), waiting).await.expect("the turns are done");
}

async fn list(app: &TestApp) -> Vec<Value> {
    app.get("/agents?limit=200").await.expect(200)["agents"].as_array().expect("agents").clone()
}

/// Waits until each agent on record as alive has a process, and no other process is there.
async fn until_truthful(app: &TestApp, count: usize) {
    let waiting = async {
        loop {
            let agents = list(app).await;
            assert_eq!(agents.len(), count);
            let mut pids = Vec::new();
            let mut is_right = true;
            for agent in agents.iter().filter(|agent| agent["status"] != "parked" && agent["status"] != "starting") {
                let agent = app.get(&path_of(agent, "")).await.expect(200);
                let settled = ["parked", "starting"].contains(&agent["status"].as_str().unwrap_or_default());
                is_right &= settled || agent["process"]["pid"].is_u64();
                pids.extend(agent["process"]["pid"].as_u64());
            }
            if is_right && pids.iter().all(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("every status is right");
}

async fn watch_memory(app: &TestApp, most: &AtomicU64, stop: &AtomicBool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while !stop.load(Ordering::Relaxed) {
        most.fetch_max(app.resident_bytes() + app.agents_resident_bytes(), Ordering::Relaxed);
        ticks.tick().await;
    }
}

/// The most processes that lived at the same time, by the log of all events.
async fn most_at_once(app: &TestApp) -> usize {
    let (mut live, mut most, mut after) = (std::collections::HashSet::new(), 0, 0);
    loop {
        let page = app.get(&format!("/events?kind=process&limit=200&after={after}")).await.expect(200);
        let events = page["events"].as_array().expect("events");
        let Some(last) = events.last() else { return most };
        after = last["cursor"].as_i64().expect("a cursor");
        for event in events {
            let agent = event["agent_id"].as_str().expect("an agent").to_owned();
            match event["data"]["state"].as_str() {
                Some("started" | "reattached") => _ = live.insert(agent),
                Some("exited" | "lost") => _ = live.remove(&agent),
                _ => {}
            }
            most = most.max(live.len());
        }
    }
}
