//! The provider's own limits: it refuses until a time, and nothing is begun before.

use super::stand_in::{StandIn, runs};
use crate::{
    faults::{RESULT, SAY},
    support::{assert_no_hole, path_of},
};
use serde_json::{Value, json};

/// The first turn is refused, as for a subscription whose limit is used up; the others succeed.
fn limited() -> String {
    format!(
        r#"if [ ! -e "$here/limited" ]; then
    : >"$here/limited"
    {SAY}
    echo '{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":'$(($(date +%s) + 4))',"rateLimitType":"five_hour"}}}}'
    fail rate_limit "You have hit your session limit"
    [ ! -e "$here/lingers" ] || {{ cat >/dev/null; wait_for exits; }}
else
    {RESULT}
fi"#
    )
}

/// When the limit resets, as the CLI said; without the zone, so that a time with a fraction of that second sorts behind.
fn reset(events: &[Value]) -> &str {
    let event = events.iter().find(|event| event["kind"] == "rate_limit").expect("told");
    assert_eq!((&event["data"]["status"], &event["data"]["limit"]), (&json!("rejected"), &json!("five_hour")), "{event}");
    event["data"]["resets_at"].as_str().expect("a time").trim_end_matches('Z')
}

/// Makes a task that is refused, and waits until it waits.
async fn refuse(it: &StandIn) -> (Value, Vec<Value>) {
    let task = it.app.create(&json!({}), json!({})).await;
    let events = it.app.events_until(&task, |event| event["data"]["state"] == "retrying").await;
    (task, events)
}

/// A task made during the pause says why it waits, and until when.
async fn is_told_to_wait(it: &StandIn) -> Value {
    let task = it.app.create(&json!({}), json!({})).await;
    let told = it.task_until(&task, |task| task["progress"] != "queued").await;
    let progress = told["progress"].as_str().expect("words");
    assert!(progress.starts_with("queued; no turn is begun until ") && progress.contains("the provider's limit"), "{progress}");
    let runner = it.runner().await;
    assert!(runner.starts_with("running; no turn is begun until "), "{runner}");
    task
}

/// Both end well, none began before the reset, and the refused one went on in its session.
async fn goes_on(it: &StandIn, refused: &Value, waiting: &Value, reset: &str) {
    let task = it.app.ended(refused).await;
    assert_eq!((&task["status"], &task["result"], &task["retries"]), (&json!("complete"), &json!("done"), &json!(1)), "{task}");
    let events = it.app.events(&task).await;
    assert_no_hole(&events);
    let started: Vec<_> = events.iter().filter(|event| event["data"]["state"] == "started").collect();
    assert_eq!(started.len(), 2, "{events:?}");
    assert!(started[1]["at"].as_str() >= Some(reset), "{} {reset}", started[1]);
    let waiting = it.app.ended(waiting).await;
    assert_eq!(waiting["status"], "complete", "{waiting}");
    assert!(waiting["started_at"].as_str() >= Some(reset), "{waiting} {reset}");
    let agent = it.app.get(&path_of(&json!({"id": task["agent_id"]}), "")).await.expect(200);
    let session = agent["session_id"].as_str().expect("an id");
    let starts = it.starts();
    assert_eq!(starts.iter().filter(|start| start.contains(&format!("--session-id={session}"))).count(), 1, "{starts:?}");
    assert_eq!(starts.iter().filter(|start| start.contains(&format!("--resume={session}"))).count(), 1, "{starts:?}");
    assert_eq!(it.runner().await, "running");
}

#[tokio::test]
async fn nothing_begins_until_the_limit_resets_and_the_same_session_goes_on() {
    let it = StandIn::new(&limited(), &[]).await;
    let idle = it.app.agent(json!({})).await;
    let (task, events) = refuse(&it).await;
    let told = it.app.get(&format!("/tasks/{}", task["id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(told["status"], "in_progress");
    let progress = told["progress"].as_str().expect("words");
    assert!(progress.starts_with("waiting until ") && progress.contains("(1 of 3): You have hit your session limit"), "{told}");
    let agent = json!({"id": told["agent_id"]});
    let waits = it.app.agent_until(&agent, |agent| agent["status"] == "starting").await;
    assert_eq!((&waits["progress"], waits.get("process")), (&told["progress"], None), "{waits}");

    let waiting = is_told_to_wait(&it).await;
    let messages =
        [it.app.tell(&agent, &json!("and then"), json!({})).await, it.app.tell(&idle, &json!("you too"), json!({})).await];
    for (agent, message) in [&agent, &idle].into_iter().zip(&messages) {
        let queued = it.app.get(&path_of(agent, "")).await.expect(200);
        assert_eq!((&queued["queued"], &queued["queue"][0]["task_id"]), (&json!(1), &message["id"]), "{queued}");
    }
    goes_on(&it, &task, &waiting, reset(&events)).await;
    for message in &messages {
        let message = it.app.ended(message).await;
        assert_eq!(message["status"], "complete", "{message}");
        assert!(message["started_at"].as_str() >= Some(reset(&events)), "{message}");
    }
}

#[tokio::test]
async fn a_server_killed_during_the_wait_waits_on() {
    let mut it = StandIn::new(&limited(), &[]).await;
    let (task, events) = refuse(&it).await;
    crate::support::until("the CLI is gone", || it.app.agent_processes().is_empty()).await;
    it.app.kill();
    it.app.launch();
    let waiting = is_told_to_wait(&it).await;
    goes_on(&it, &task, &waiting, reset(&events)).await;
}

#[tokio::test]
async fn a_server_killed_before_the_refused_cli_has_exited_waits_on() {
    let mut it = StandIn::new(&limited(), &[]).await;
    it.touch("lingers");
    let (task, events) = refuse(&it).await;
    it.app.kill();
    it.touch("exits");
    crate::support::until("the CLI is gone", || it.app.agent_processes().is_empty()).await;
    it.app.launch();
    let waiting = is_told_to_wait(&it).await;
    goes_on(&it, &task, &waiting, reset(&events)).await;
}

#[tokio::test]
async fn what_waits_for_the_reset_can_be_stopped_at_once() {
    let mut it = StandIn::new(&limited().replace("+ 4", "+ 3600"), &[]).await;
    let agent = it.app.agent(json!({})).await;
    let refused = it.app.tell(&agent, &json!("first"), json!({})).await;
    it.app.events_until(&refused, |event| event["data"]["state"] == "retrying").await;
    let queued = it.app.tell(&agent, &json!("second"), json!({})).await;
    it.app.agent_until(&agent, |agent| agent["status"] == "starting").await;
    it.app.kill();
    it.app.launch();
    let asked = std::time::Instant::now();
    let stopped = it.app.post(&path_of(&agent, "/interrupt"), &json!({"wait_seconds": 40})).await.expect(200);
    assert!(asked.elapsed().as_secs() < 2, "{:?}", asked.elapsed());
    assert_eq!((&stopped["status"], &stopped["queued"]), (&json!("parked"), &json!(1)), "{stopped}");
    let refused = it.app.ended(&refused).await;
    assert_eq!((&refused["status"], &refused["result"]), (&json!("cancelled"), &json!("half done")), "{refused}");
    assert!(!runs(&it.app.get(&format!("/tasks/{}", queued["id"].as_str().expect("an id"))).await.expect(200)));
    let ended = it.app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(ended["status"], "terminated");
    assert_eq!(it.app.ended(&queued).await["status"], "cancelled");
    assert_eq!((it.starts().len(), it.app.agent_processes()), (1, vec![]));
}
