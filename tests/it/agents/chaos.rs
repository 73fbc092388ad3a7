//! Many agents with few places, and at each step something happens to one of them: a message, an interrupt, an end, a kill
//! of a CLI, a shim, the server or all at once. Whatever the order, every message comes to an end that can be explained, none
//! reaches the CLI twice, no session has two processes, and nothing is left.

use crate::support::{TestApp, path_of, until};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

const AGENTS: usize = 10;
const PLACES: usize = 3;
/// How long an agent on record as alive may have no process after a start of the server.
const TRUTH: Duration = Duration::from_secs(2);

#[tokio::test]
async fn every_message_comes_to_an_end_whatever_is_killed() {
    chaos(7, 60).await;
}

/// `MAS_CHAOS_SEEDS=100..120 cargo nextest run --run-ignored only chaos`
#[tokio::test]
#[ignore = "takes as long as one likes"]
async fn every_message_comes_to_an_end_with_each_of_many_seeds() {
    let seeds = std::env::var("MAS_CHAOS_SEEDS").unwrap_or_else(|_| "1..11".to_owned());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    for seed in from.parse::<u64>().expect("a number")..to.parse().expect("a number") {
        eprintln!("seed {seed}");
        chaos(seed, 150).await;
    }
}

/// A generator that gives the same numbers for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).expect("small")
    }
}

/// A message that was sent, and whether something was done that may cancel it.
struct Sent {
    token: String,
    agent: usize,
    task: Value,
    may_be_cancelled: bool,
}

struct Chaos {
    app: TestApp,
    dice: Dice,
    agents: Vec<Value>,
    forks: Vec<Value>,
    sent: Vec<Sent>,
    log: Vec<String>,
}

async fn chaos(seed: u64, steps: usize) {
    let places = PLACES.to_string();
    let mut app = TestApp::prepared(&[
        ("MAS_RUNNER__MAX_LIVE_AGENTS", &places),
        ("MAS_RUNNER__MAX_RECOVERIES", "1000"),
        ("MAS_RUNNER__PARK_AFTER_SECONDS", "1"),
        ("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000"),
        ("MAS_SERVER__LOG_FILTER", "warn,mas_gateway=info,tower_http=error"),
    ])
    .await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/agents/standin.mjs");
    app.script(&format!("#!/bin/sh\nexec node '{script}' \"$@\"\n"));
    app.launch();
    let mut chaos = Chaos { app, dice: Dice(seed * 2_654_435_761 + 1), agents: vec![], forks: vec![], sent: vec![], log: vec![] };
    for number in 0..AGENTS {
        let agent = chaos.app.post("/agents", &json!({"name": format!("agent {number}")})).await.expect(201);
        chaos.agents.push(agent);
    }
    for step in 0..steps {
        chaos.step(step).await;
        chaos.check_sessions();
        // Other work in between, more or less of it, so that steps meet agents in any phase.
        for _ in 0..chaos.dice.below(20) {
            chaos.app.get("/agents?limit=10").await.expect(200);
        }
    }
    if let Err(what) = chaos.settle().await {
        panic!("seed {seed}: {what}\n{}", chaos.log.join("\n"));
    }
}

impl Chaos {
    async fn step(&mut self, step: usize) {
        let agent = self.dice.below(AGENTS);
        let what = match self.dice.below(100) {
            0..48 => self.tell(step, agent, "queue").await,
            48..63 => self.tell(step, agent, "steer").await,
            63..65 => self.fork(step, agent).await,
            65..75 => self.interrupt(agent).await,
            75..79 => self.cancel().await,
            79..82 => self.end(agent).await,
            82..86 => self.burst(step, agent).await,
            86..88 => self.kill_one(1),
            88..92 => self.kill_one(0),
            92..97 => {
                self.app.kill();
                self.app.launch();
                "killed the server".to_owned()
            }
            97..98 => {
                self.app.kill();
                self.app.kill_agents();
                self.app.launch();
                "killed everything".to_owned()
            }
            _ => {
                self.app.stop();
                self.sent.iter_mut().for_each(|sent| sent.may_be_cancelled = true);
                self.app.launch();
                "stopped the server with its agents".to_owned()
            }
        };
        self.log.push(format!("{step}: {what}"));
        if what.contains("killed the server") || what.contains("killed everything") {
            self.check_truth().await;
        }
    }

    async fn tell(&mut self, step: usize, agent: usize, mode: &str) -> String {
        let token = format!("t{step}");
        let text = format!("work {} {} {token}", 1 + self.dice.below(4), 10 + self.dice.below(120));
        let body = json!({"text": text, "mode": mode, "idempotency_key": token});
        let answer = self.app.post(&path_of(&self.agents[agent], "/message"), &body).await;
        if answer.status.as_u16() == 409 {
            return format!("agent {agent} takes no message: {}", answer.text);
        }
        let task = answer.expect(201);
        let words = format!("told agent {agent} ({mode}) {text}: {}", task["id"]);
        self.sent.push(Sent { token, agent, task, may_be_cancelled: false });
        words
    }

    fn may_be_cancelled(&mut self, agent: usize) {
        self.sent.iter_mut().filter(|sent| sent.agent == agent).for_each(|sent| sent.may_be_cancelled = true);
    }

    async fn interrupt(&mut self, agent: usize) -> String {
        self.may_be_cancelled(agent);
        let wait = self.dice.below(2) * 5;
        let asked = Instant::now();
        let answer = self.app.post(&path_of(&self.agents[agent], "/interrupt"), &json!({"wait_seconds": wait})).await;
        assert!(answer.status.is_success() || answer.status.as_u16() == 409, "{}", answer.text);
        format!("interrupted agent {agent}: {} after {:?}", answer.status, asked.elapsed())
    }

    async fn cancel(&mut self) -> String {
        if self.sent.is_empty() {
            return "nothing to cancel".to_owned();
        }
        let recent = self.sent.len() - 1 - self.dice.below(self.sent.len().min(8));
        let sent = &mut self.sent[recent];
        sent.may_be_cancelled = true;
        let path = format!("/tasks/{}/cancel", sent.task["id"].as_str().expect("an id"));
        let answer = self.app.post(&path, &json!({"wait_seconds": 0})).await;
        format!("cancelled {}: {}", sent.token, answer.status)
    }

    /// Several things at the same moment.
    async fn burst(&mut self, step: usize, agent: usize) -> String {
        let path = |rest| path_of(&self.agents[agent], rest);
        let message = |word: &str, mode| {
            let token = format!("{word}{step}");
            json!({"text": format!("work 2 30 {token}"), "mode": mode, "idempotency_key": token})
        };
        let none = json!({"wait_seconds": 0});
        let (queued, steered, twice) = (message("q", "queue"), message("s", "steer"), message("q", "queue"));
        let empty = json!({});
        let requests = [
            (path("/message"), &queued),
            (path("/message"), &steered),
            (path("/message"), &twice),
            (path("/interrupt"), &none),
            (path("/terminate"), &none),
            (path("/resume"), &empty),
            ("/agents/interrupt".to_owned(), &json!({"all": true, "wait_seconds": 0})),
        ];
        let without = [self.dice.below(9), self.dice.below(9), 3 + self.dice.below(4), 3 + self.dice.below(4)];
        let chosen = requests.iter().enumerate().filter(|(index, _)| !without.contains(index));
        let is_for_all = !without.contains(&6);
        let answers =
            futures::future::join_all(chosen.map(async |(index, (path, body))| (index, self.app.post(path, body).await)));
        let answers = answers.await;
        for (index, answer) in &answers {
            assert!(answer.status.is_success() || answer.status.as_u16() == 409, "{}", answer.text);
            if *index < 3 && answer.status.is_success() {
                let token = format!("{}{step}", ["q", "s", "q"][*index]);
                self.sent.push(Sent { token, agent, task: answer.json(), may_be_cancelled: true });
            }
        }
        self.may_be_cancelled(agent);
        if is_for_all {
            self.sent.iter_mut().for_each(|sent| sent.may_be_cancelled = true);
        }
        self.app.post(&path_of(&self.agents[agent], "/resume"), &json!({})).await.expect(200);
        format!(
            "burst of {:?} at agent {agent}",
            answers.iter().map(|(index, answer)| (index, answer.status.as_u16())).collect::<Vec<_>>()
        )
    }

    /// A fork, which only has to come to rest.
    async fn fork(&mut self, step: usize, agent: usize) -> String {
        let body = json!({"name": format!("fork {step}")});
        let answer = self.app.post(&path_of(&self.agents[agent], "/fork"), &body).await;
        if answer.status.as_u16() == 409 {
            return format!("agent {agent} cannot be forked: {}", answer.json()["code"]);
        }
        self.forks.push(answer.expect(201));
        format!("forked agent {agent}")
    }

    /// Ends an agent, and brings it back when it has ended.
    async fn end(&mut self, agent: usize) -> String {
        self.may_be_cancelled(agent);
        let wait = self.dice.below(2) * 20;
        let ended = self.app.post(&path_of(&self.agents[agent], "/terminate"), &json!({"wait_seconds": wait})).await.expect(200);
        if wait > 0 {
            assert_eq!(ended["status"], "terminated", "{ended} {}", self.log.join("\n"));
        }
        let back = self.app.post(&path_of(&self.agents[agent], "/resume"), &json!({})).await.expect(200);
        format!("ended agent {agent} ({}) and brought it back ({})", ended["status"], back["status"])
    }

    /// `whom` 0: a shim, 1: a CLI.
    fn kill_one(&mut self, whom: usize) -> String {
        let running = self.app.running();
        if running.is_empty() {
            return "nothing to kill".to_owned();
        }
        let pid = running[self.dice.below(running.len())][whom];
        let _ = kill_process(pid, Signal::KILL);
        format!("killed the {} {pid:?}", ["shim", "CLI"][whom])
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.app.data_dir().join("claude").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn check_sessions(&self) {
        let violations = self.file("violations");
        assert_eq!(violations, "", "{}", self.log.join("\n"));
        let running = self.app.running().len();
        assert!(running <= PLACES, "{running} processes: {}", self.log.join("\n"));
    }

    /// After a start every agent said to be alive has a process or is about to get one.
    async fn check_truth(&self) {
        let begun = Instant::now();
        loop {
            let mut wrong = Vec::new();
            for agent in &self.agents {
                let agent = self.app.get(&path_of(agent, "")).await.expect(200);
                let is_live = ["idle", "busy", "interrupting"].contains(&agent["status"].as_str().expect("a status"));
                if is_live && !agent["process"]["pid"].is_u64() {
                    wrong.push(agent);
                }
            }
            if wrong.is_empty() {
                return;
            }
            assert!(begun.elapsed() < TRUTH, "{wrong:?} {}", self.log.join("\n"));
            tokio::task::yield_now().await;
        }
    }

    /// Waits until all is done and looks at what came of it.
    async fn settle(&mut self) -> Result<(), String> {
        let mut outcomes = BTreeMap::new();
        for sent in &self.sent {
            outcomes.insert(sent.token.clone(), self.outcome_of(sent).await?);
        }
        let answers = outcomes.values().filter(|outcome| **outcome == "complete").count();
        for agent in self.agents.iter().chain(&self.forks) {
            let rests = |agent: &Value| {
                ["idle", "parked", "terminated", "failed"].contains(&agent["status"].as_str().unwrap_or_default())
            };
            let agent = self.app.agent_until(agent, |agent| rests(agent) && agent["queued"] == 0).await;
            self.check_log(&agent).await?;
        }
        self.check_sessions();
        let mut taken = BTreeSet::new();
        for token in self.file("ledger").lines() {
            if !taken.insert(token.to_owned()) {
                return Err(format!("{token} reached the CLI twice"));
            }
        }
        if let Some((token, _)) = outcomes.iter().find(|(token, outcome)| **outcome == "complete" && !taken.contains(*token)) {
            return Err(format!("{token} never reached the CLI"));
        }
        eprintln!("{} messages, {answers} answered", self.sent.len());
        self.app.stop();
        let app = &self.app;
        until("nothing is left", || app.agent_processes().is_empty()).await;
        Ok(())
    }

    async fn outcome_of(&self, sent: &Sent) -> Result<&'static str, String> {
        let path = format!("/tasks/{}?wait_seconds=20", sent.task["id"].as_str().expect("an id"));
        let begun = Instant::now();
        let task = loop {
            let task = self.app.get(&path).await.expect(200);
            if ["complete", "failed", "cancelled"].contains(&task["status"].as_str().expect("a status")) {
                break task;
            }
            if begun.elapsed() > Duration::from_mins(1) {
                let agent = self.app.get(&path_of(&self.agents[sent.agent], "")).await.text;
                return Err(format!("{} of agent {} never ends: {task}\n{agent}", sent.token, sent.agent));
            }
        };
        let events = self.app.events(&task).await;
        if let Some((index, event)) = events.iter().enumerate().find(|(index, event)| event["seq"] != *index + 1) {
            return Err(format!("a hole before {index} in the log of {}: {event}", sent.token));
        }
        let answered = events.iter().filter(|event| event["kind"] == "result" && event["data"]["is_error"] == false).count();
        match task["status"].as_str() {
            Some("complete") if task["joined_task_id"].is_string() => Ok("joined"),
            Some("complete") => {
                let words = task["result"].as_str().unwrap_or_default();
                let is_own = words.starts_with(&format!("answers {}", sent.token)) && answered == 1;
                if is_own { Ok("complete") } else { Err(format!("{}: {words:?}, {answered} answers", sent.token)) }
            }
            Some("cancelled") if sent.may_be_cancelled => Ok("cancelled"),
            Some("failed") if sent.may_be_cancelled && task["failure"]["code"] == "agent_exited" => Ok("stopped"),
            _ => Err(format!("{} ended without a reason: {task}\n{events:?}", sent.token)),
        }
    }

    /// The agent's own log has no hole.
    async fn check_log(&self, agent: &Value) -> Result<(), String> {
        let (id, mut after, mut seen) = (agent["id"].as_str().expect("an id"), 0, 0);
        loop {
            let page = self.app.get(&format!("/events?agent_id={id}&limit=200&after={after}")).await.expect(200);
            let events = page["events"].as_array().expect("events");
            let Some(last) = events.last() else { return Ok(()) };
            after = last["cursor"].as_i64().expect("a cursor");
            for event in events {
                seen += 1;
                if event["agent_seq"] != seen {
                    return Err(format!("a hole in the log of {id} before {event}, expected {seen}"));
                }
            }
        }
    }
}
