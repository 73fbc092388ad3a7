//! `/metrics` and `/performance/report` of a running server, and what stands in `deploy/` for them.

use crate::support::{KEY, TestApp};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, process::Command, process::Stdio};

async fn scrape(app: &TestApp) -> String {
    let answer = app.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// The value of the sample that is written so.
fn value(text: &str, sample: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in:\n{text}")).parse().expect("a whole number")
}

/// Names of families, from their TYPE lines.
fn families(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// Metrics of ours in a text, without the endings histograms add.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("mas_") || word.starts_with("process_"));
    names
        .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned())
        .collect()
}

fn deploy(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).expect(name)
}

/// The expressions of a dashboard's panels.
fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = dashboard["panels"].as_array().expect("panels").iter().filter_map(|panel| panel["targets"].as_array());
    targets.flatten().map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

#[tokio::test]
async fn cli_scripted_tasks_are_counted_exactly() {
    let app = TestApp::start().await;
    let before = scrape(&app).await;
    assert_eq!(value(&before, r#"mas_tasks_ended_total{status="complete",code=""}"#), 0);
    for n in 0..2 {
        let plan = json!({"steps": [{"text": format!("Done {n}."), "usage": {"input_tokens": 1000, "output_tokens": 500}}]});
        let task = app.ended(&app.create(&plan, json!({"wait_seconds": 40})).await).await;
        assert_eq!(task["status"], "complete", "{task}");
    }
    let text = scrape(&app).await;
    for (sample, wanted) in [
        (r#"mas_tasks_ended_total{status="complete",code=""}"#, 2),
        (r#"mas_tasks_ended_total{status="failed",code="timeout"}"#, 0),
        (r#"mas_task_duration_seconds_count{status="complete"}"#, 2),
        ("mas_task_queue_seconds_count", 2),
        ("mas_process_starts_total", 2),
        (r#"mas_http_requests_total{method="POST",route="/tasks",status="2xx"}"#, 2),
        (r#"mas_tasks{status="created"}"#, 0),
        (r#"mas_ready{check="store"}"#, 1),
        ("mas_rehearsal", 1),
        ("mas_scrape_complete", 1),
        ("mas_tunnel_wanted", 0),
    ] {
        assert_eq!(value(&text, sample), wanted, "{sample} in:\n{text}");
    }
    let events = app.get("/events?limit=200").await.expect(200)["events"].as_array().expect("events").len();
    assert_eq!(value(&text, "mas_events_appended_total"), events as u64);
    assert!(!text.contains("task_0") && !text.contains("agent_0"), "an id is a label:\n{text}");

    let report = app.get("/performance/report").await.expect(200);
    assert_eq!((&report["tasks_complete"]["value"], &report["models"]["items"][0]["runs"]), (&json!(2.0), &json!(2)));
    assert!(report.get("cost_usd").is_none(), "a rehearsal costs nothing: {report}");
    check_with_promtool(&text);
}

#[tokio::test]
async fn cli_teams_are_counted_and_the_dashboard_shows_what_there_is() {
    let rules = [crate::consensus::says("You are voter", &crate::consensus::choice("tea"))];
    let app = crate::consensus::app_with(&rules).await;
    let before = scrape(&app).await;
    assert_eq!(value(&before, r#"mas_workflow_runs_ended_total{status="failed"}"#), 0);
    let spawn = json!({"agents": [{"type": "coder"}], "objective": "Make a door."});
    let swarm = app.post("/swarm/spawn", &spawn).await.expect(201);
    let run = crate::swarms::run_ended(&app, swarm["active_runs"][0].as_str().expect("a run")).await;
    assert_eq!(run["status"], "complete", "{run}");
    let body = json!({"question": "Tea or coffee?", "options": ["tea", "coffee"], "protocol": "quorum", "voters": [{"type": "analyst", "count": 2}]});
    let proposal = crate::consensus::propose(&app, body).await;
    crate::consensus::proposal_until(&app, &proposal, |proposal| proposal["status"] == "decided").await;
    let text = scrape(&app).await;
    for (sample, wanted) in [
        (r#"mas_workflow_runs_ended_total{status="complete"}"#, 1),
        (r#"mas_workflow_run_duration_seconds_count{status="complete"}"#, 1),
        (r#"mas_workflow_runs{status="running"}"#, 0),
        (r#"mas_workflow_runs{status="waiting"}"#, 0),
        (r#"mas_proposals_ended_total{status="decided"}"#, 1),
        (r#"mas_proposals_ended_total{status="timed_out"}"#, 0),
        (r#"mas_proposal_duration_seconds_count{status="decided"}"#, 1),
        (r#"mas_proposals{status="open"}"#, 0),
    ] {
        assert_eq!(value(&text, sample), wanted, "{sample} in:\n{text}");
    }
    let known = families(&text);
    let dashboard: Value = serde_json::from_str(&deploy("grafana-dashboard.json")).expect("JSON");
    let used = named(&(expressions(&dashboard).join("\n") + &deploy("alerts.yml")));
    assert!(used.len() > 20, "{used:?}");
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} in the dashboard or the alerts, not in:\n{text}");

    let report = app.get("/performance/report").await.expect(200);
    let health = json!([{"name": "healthy", "value": 1}, {"name": "degraded", "value": 0}, {"name": "down", "value": 0}]);
    assert_eq!((&report["swarms"]["items"], &report["swarms"]["unit"]), (&health, &json!("swarms")), "{report}");
    check_with_promtool(&text);
}

#[tokio::test]
async fn metrics_need_a_key_that_may_come_as_a_bearer_token() {
    let app = TestApp::start().await;
    let anonymous = app.send(app.request_as(None, Method::GET, "/metrics")).await;
    anonymous.problem(403, "invalid_key");
    let bearer = |key: &str| app.request_as(None, Method::GET, "/metrics").header("Authorization", format!("Bearer {key}"));
    app.send(bearer("mas_wrong")).await.problem(403, "invalid_key");
    let good = app.send(bearer(KEY)).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert!(value(&good.text, r#"mas_http_refused_total{reason="key"}"#) >= 2);
    let elsewhere = app.request_as(None, Method::GET, "/tasks").header("Authorization", format!("Bearer {KEY}"));
    app.send(elsewhere).await.problem(403, "invalid_key");
}

/// The system's, else what `tools/test-deps.sh promtool` unpacked.
fn promtool() -> Command {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../prometheus/usr/bin/promtool");
    Command::new(if unpacked.exists() { unpacked } else { "promtool".into() })
}

fn check_with_promtool(text: &str) {
    let mut promtool = promtool();
    let child = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("promtool is there: make test-sqlite installs it");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text.as_bytes()).expect("written");
    let found = child.wait_with_output().expect("ended");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
}

#[test]
fn the_rules_pass_promtool() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let found = promtool()
        .args(["test", "rules", "alerts.test.yml"])
        .current_dir(&deploy)
        .output()
        .expect("promtool is there: make test-sqlite installs it");
    assert!(found.status.success(), "{}{}", String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
}
