//! Reports of a known set of tasks.

use super::*;
use crate::{
    app::{
        tasks::CreateTask,
        testing::{TestApp, message, principal},
    },
    model::{
        id::TaskId,
        key::Scope,
        run::{Failure, FailureCode, RunOutcome},
        task::Task,
    },
    store::{Inserted, Quota, TaskChange},
};
use serde_json::{Value, json};
use std::time::Duration;

const EVERYTHING: Quota = Quota {
    key_id: None,
    key: crate::model::quota::KeyLimits { max_agents: None, max_live_agents: None, max_queued_tasks: None, usd_per_day: None },
    gateway: crate::model::quota::KeyLimits {
        max_agents: None,
        max_live_agents: None,
        max_queued_tasks: None,
        usd_per_day: None,
    },
    keeps: None,
};

fn of(user: &str) -> Principal {
    principal(user, &[Scope::Operate])
}

async fn create(test: &TestApp, user: &str) -> TaskId {
    let request = CreateTask { description: "x".into(), ..CreateTask::default() };
    test.app.create_task(&of(user), request).await.expect("created").task.id
}

/// A task that waited and took so many seconds, and ended an hour ago.
async fn ended(test: &TestApp, like: &Task, waited: i64, took: i64, code: Option<FailureCode>) {
    let end = now() - TimeDelta::hours(1);
    let begin = end - TimeDelta::seconds(took);
    let made = begin - TimeDelta::seconds(waited);
    let task = Task { id: TaskId::generate(), created_at: made, idempotency_key: None, ..like.clone() };
    assert!(matches!(test.store.insert_task(&task, &EVERYTHING).await, Ok(Inserted::New)));
    let failure = code.map(|code| Failure::new(code, "a detail with a NUL: \0"));
    let last = if failure.is_some() { TaskStatus::Failed } else { TaskStatus::Complete };
    let mut generation = task.generation;
    for (status, at) in [(TaskStatus::Assigned, made), (TaskStatus::InProgress, begin), (last, end)] {
        let failure = failure.clone().filter(|_| status == last);
        let change = TaskChange { status, failure, dead_letter: false, at };
        generation = test.store.change_task(task.id, generation, &change).await.expect("changed").expect("legal").generation;
    }
}

async fn report(test: &TestApp, who: &Principal) -> Value {
    let report = test.app.get_performance_report(who, ReportQuery::default()).await.expect("a report");
    serde_json::to_value(report).expect("JSON")
}

#[tokio::test]
async fn the_figures_of_known_tasks_are_exact() {
    let test = TestApp::start().await;
    let id = create(&test, "ann").await;
    let like = test.store.get_task(id, None).await.expect("read").expect("there");
    for n in 1..=7 {
        ended(&test, &like, n, 10 * n, None).await;
    }
    ended(&test, &like, 8, 80, Some(FailureCode::Timeout)).await;
    let bobs = Task { owner: "bob".into(), ..like.clone() };
    ended(&test, &bobs, 100, 1_000, Some(FailureCode::AgentLost)).await;
    test.app.add_response(Duration::from_millis(250));

    let found = report(&test, &of("ann")).await;
    let value = |name: &str| found[name]["value"].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
    assert!((value("task_completion_rate") - 0.875).abs() < 1e-12);
    assert_eq!((value("tasks_complete"), value("tasks_failed"), value("tasks_cancelled")), (7.0, 1.0, 0.0));
    assert_eq!((value("tasks_open"), value("agents_live")), (1.0, 0.0));
    let spread = |name: &str| ["p50", "p90", "p99", "max", "mean", "count"].map(|part| found[name][part].to_string());
    assert_eq!(spread("task_duration"), ["40.0", "80.0", "80.0", "80.0", "45.0", "8"]);
    assert_eq!(spread("queue_wait"), ["4.0", "8.0", "8.0", "8.0", "4.5", "8"]);
    assert_eq!(spread("response_time"), ["0.25", "0.25", "0.25", "0.25", "0.25", "1"]);
    assert_eq!(found["failures"]["items"][0]["value"], 1);

    let all = report(&test, &principal("root", &[Scope::Admin])).await;
    assert_eq!((&all["tasks_failed"]["value"], &all["queue_wait"]["max"]), (&json!(2.0), &json!(100.0)));
}

#[tokio::test]
async fn cost_is_of_real_models_and_utilisation_of_the_present() {
    let test = TestApp::start().await;
    for (user, cost, failure) in
        [("ann", Some(0.1), None), ("ann", Some(0.2), Some(FailureCode::Timeout)), ("bob", Some(4.0), None)]
    {
        create(&test, user).await;
        let mut work = test.claim().await;
        let outcome = RunOutcome { cost_usd: cost, tokens: Some(100), model: Some("claude-x".into()), ..RunOutcome::default() };
        let status = if failure.is_some() { None } else { Some(TaskStatus::Complete) };
        test.emit(&mut work, vec![message("m")], status, outcome).await;
    }
    let found = report(&test, &of("ann")).await;
    assert_eq!((&found["cost_usd"]["value"], &found["tokens"]["value"]), (&json!(0.3), &json!(200.0)));
    assert_eq!(
        found["models"]["items"],
        json!([{"name": "claude-x", "provenance": "live", "runs": 2, "cost_usd": 0.3, "tokens": 200}])
    );
    // The pretended runner leaves its agents at work.
    assert_eq!((&found["agent_utilisation"]["value"], &found["agents_live"]["value"]), (&json!(1.0), &json!(2.0)));
    assert_eq!(report(&test, &principal("root", &[Scope::Admin])).await["cost_usd"]["value"], 4.3);
}

#[tokio::test]
async fn what_was_not_measured_is_absent() {
    let test = TestApp::start().await;
    create(&test, "bob").await;
    let found = report(&test, &of("ann")).await;
    let names: Vec<&str> = found.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["tasks_complete", "tasks_failed", "tasks_cancelled", "tasks_open", "agents_live"]);
    assert_eq!(found["tasks_open"]["value"], 0.0);
}

#[tokio::test]
async fn a_failure_without_an_unreadable_detail_has_its_code() {
    let test = TestApp::start().await;
    let id = create(&test, "ann").await;
    let task = test.store.get_task(id, None).await.expect("read").expect("there");
    let failure = Some(Failure::new(FailureCode::WorkspaceFailed, "no room"));
    let change = TaskChange { status: TaskStatus::Failed, failure, dead_letter: false, at: now() };
    test.store.change_task(id, task.generation, &change).await.expect("changed").expect("legal");
    let found = report(&test, &of("ann")).await;
    assert_eq!(found["failures"]["items"], json!([{"name": "workspace_failed", "value": 1}]));
    assert_eq!(found["task_completion_rate"]["value"], 0.0);
    assert!(found.get("queue_wait").is_none(), "no agent had begun");
}

#[tokio::test]
async fn the_window_is_bounded() {
    let test = TestApp::start().await;
    for hours in [0, -1, 721, i64::MAX] {
        let query = ReportQuery { window_hours: Some(hours) };
        let refused = test.app.get_performance_report(&of("ann"), query).await;
        assert!(matches!(refused, Err(AppError::Validation(_))), "{hours}: {refused:?}");
    }
    let query = ReportQuery { window_hours: Some(720) };
    let found = test.app.get_performance_report(&of("ann"), query).await.expect("a report");
    assert_eq!(found.tasks_complete.window.to - found.tasks_complete.window.from, TimeDelta::hours(720));
}
