//! Turns that the provider spoils: repeated with growing pauses, given up visibly, and stopped altogether when one after
//! another fails.

use super::stand_in::{StandIn, runs};
use crate::{
    faults::{RESULT, SAY},
    support::{TestApp, assert_no_hole, path_of},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// Fails as long as the file `down` is there.
fn unreliable() -> String {
    format!(
        r#"if [ -e "$here/down" ]; then
    {SAY}
    fail server_error "API Error: Unable to connect to API (ConnectionRefused)"
else
    if [ -e "$here/slow" ]; then
        wait_for answers
        echo '{{"type":"stream_event","event":{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"well"}}}}}}'
        wait_for open
    fi
    {RESULT}
fi"#
    )
}

async fn down(settings: &[(&str, &str)]) -> StandIn {
    let it = StandIn::new(&unreliable(), settings).await;
    it.touch("down");
    it
}

fn time(text: &Value) -> DateTime<Utc> {
    text.as_str().expect("a time").parse().expect("a time")
}

fn at(event: &Value) -> DateTime<Utc> {
    time(&event["at"])
}

fn states<'a>(events: &'a [Value], state: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["data"]["state"] == state).collect()
}

async fn dead_letters(app: &TestApp, wanted: bool) -> Vec<Value> {
    let page = app.get(&format!("/tasks?dead_letter={wanted}")).await.expect(200);
    page["tasks"].as_array().expect("tasks").iter().map(|task| task["id"].clone()).collect()
}

#[tokio::test]
async fn a_turn_is_repeated_with_growing_pauses_and_then_a_dead_letter() {
    let settings =
        [("MAS_RUNNER__RETRY_DELAY_SECONDS", "1"), ("MAS_RUNNER__MAX_TASK_RETRIES", "2"), ("MAS_RUNNER__CIRCUIT_FAILURES", "9")];
    let it = down(&settings).await;
    let task = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
    assert_eq!((&task["status"], &task["failure"]["code"]), (&json!("failed"), &json!("provider_unavailable")), "{task}");
    assert_eq!((&task["retries"], &task["dead_letter"]), (&json!(2), &json!(true)), "{task}");
    assert_eq!(task["result"], "half done", "the partial result is kept");
    assert!(task["failure"]["detail"].as_str().is_some_and(|detail| detail.contains("ConnectionRefused")), "{task}");
    assert!(task["next_step"].as_str().is_some_and(|words| words.contains("as often as it may")), "{task}");

    let events = it.app.events(&task).await;
    assert_no_hole(&events);
    let (retries, starts) = (states(&events, "retrying"), states(&events, "started"));
    assert_eq!((retries.len(), starts.len()), (2, 3), "{events:?}");
    for (number, retry) in retries.iter().enumerate() {
        let words = retry["data"]["detail"].as_str().expect("words");
        assert!(words.contains(&format!("({} of 2): API Error: Unable to connect", number + 1)), "{words}");
        // Half of the delay up to one and a half of it; the start takes a moment.
        let (pause, delay) = ((at(starts[number + 1]) - at(retry)).num_milliseconds(), 1_000 << number);
        assert!((delay / 2..delay * 3 / 2 + 1_000).contains(&pause), "{pause} ms before repetition {}", number + 1);
    }
    it.remove("down");
    let good = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
    assert_eq!((&good["status"], good.get("dead_letter"), good.get("retries")), (&json!("complete"), None, None), "{good}");
    assert_eq!(
        (dead_letters(&it.app, true).await, dead_letters(&it.app, false).await),
        (vec![task["id"].clone()], vec![good["id"].clone()])
    );
}

#[tokio::test]
async fn cli_a_turn_is_repeated_in_its_session_after_an_overload_and_a_rate_limit() {
    let settings = [("MAS_CLAUDE_CODE__MAX_RETRIES", "0"), ("MAS_RUNNER__RETRY_DELAY_SECONDS", "0")];
    let app = TestApp::with(&settings).await;
    let agent = app.agent(json!({})).await;
    app.tell(&agent, &json!({"text": "I know HERON."}), json!({"wait_seconds": 40})).await;
    for (status, message) in [(529, "Overloaded"), (429, "limited"), (500, "broken")] {
        let plan = json!({"error": {"status": status, "message": message}, "times": 1, "text": format!("after {status}")});
        let task = app.ended(&app.tell(&agent, &plan, json!({"wait_seconds": 40})).await).await;
        assert_eq!((&task["result"], &task["retries"]), (&json!(format!("after {status}")), &json!(1)), "{task}");
        let (_, messages) = app.last_conversation().await;
        assert!(messages.contains("I know HERON."), "{messages}");
        assert_eq!(
            messages.matches("REHEARSE:").count(),
            messages.matches("\"role\":\"user\"").count(),
            "asked once: {messages}"
        );
        let events = app.events(&task).await;
        assert_eq!(states(&events, "retrying").len(), 1, "{events:?}");
    }
    let shown = app.agent_until(&agent, |agent| agent["status"] == "idle").await;
    assert_eq!((&shown["turns"], &shown["session_id"]), (&json!(4), &agent["session_id"]), "{shown}");
}

#[tokio::test]
async fn what_waits_for_its_repetition_can_be_stopped_at_once() {
    let it = down(&[("MAS_RUNNER__RETRY_DELAY_SECONDS", "600")]).await;
    let task = it.app.create(&json!({}), json!({})).await;
    let agent = it.app.agent(json!({})).await;
    let message = it.app.tell(&agent, &json!("hello"), json!({})).await;
    for task in [&task, &message] {
        it.app.events_until(task, |event| event["data"]["state"] == "retrying").await;
        let asked = std::time::Instant::now();
        let path = format!("/tasks/{}/cancel", task["id"].as_str().expect("an id"));
        let stopped = it.app.post(&path, &json!({"wait_seconds": 40})).await.expect(200);
        assert!(asked.elapsed().as_secs() < 2, "{:?}", asked.elapsed());
        assert_eq!((&stopped["status"], &stopped["result"]), (&json!("cancelled"), &json!("half done")), "{stopped}");
        assert_eq!(stopped.get("dead_letter"), None);
    }
    it.app.agent_until(&agent, |agent| agent["status"] == "parked").await;
    assert_eq!(it.app.agent_processes(), Vec::<String>::new());
    it.remove("down");
    let next = it.app.ended(&it.app.tell(&agent, &json!("again"), json!({})).await).await;
    assert_eq!(next["status"], "complete", "the agent can be used again: {next}");
    let ended = it.app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!(ended["status"], "terminated");
}

#[tokio::test]
async fn after_some_failures_in_a_row_one_trial_at_a_time_is_made() {
    let settings = [
        ("MAS_RUNNER__MAX_TASK_RETRIES", "0"),
        ("MAS_RUNNER__CIRCUIT_FAILURES", "3"),
        ("MAS_RUNNER__CIRCUIT_PAUSE_SECONDS", "1"),
    ];
    let it = down(&settings).await;
    let mut last = Value::Null;
    for number in 0..3 {
        assert_eq!(it.runner().await, "running", "after {number} failures");
        let task = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
        assert_eq!((&task["failure"]["code"], task.get("dead_letter")), (&json!("provider_unavailable"), None), "{task}");
        last = task;
    }
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(it.app.create(&json!({}), json!({})).await);
    }
    let told = it.task_until(&waiting[3], |task| task["progress"] != "queued").await;
    let progress = told["progress"].as_str().expect("words");
    assert!(progress.contains("too many failures in a row, the last one `provider_unavailable`: API Error"), "{progress}");
    assert!(it.runner().await.starts_with("running; no turn is begun until "));

    // The first trial fails, so the pause doubles.
    let first = it.app.ended(&waiting[0]).await;
    assert_eq!((&first["failure"]["code"], it.starts().len()), (&json!("provider_unavailable"), 4), "{first}");
    it.remove("down");
    it.touch("slow");
    it.task_until(&waiting[1], runs).await;
    let second = it.app.get(&path(&waiting[1])).await.expect(200);
    let between = |earlier: &Value, later: &Value| (time(&later["started_at"]) - time(&earlier["ended_at"])).num_milliseconds();
    let pauses = (between(&last, &first), between(&first, &second));
    assert!((1_000..3_000).contains(&pauses.0) && (2_000..4_500).contains(&pauses.1), "{pauses:?}");
    // The second is under way, and nobody else begins.
    assert_eq!(it.starts().len(), 5);
    for task in &waiting[2..] {
        assert_eq!(it.app.get(&path(task)).await.expect(200)["status"], "created");
    }
    // Once the model answers it, its end is not waited for.
    it.touch("answers");
    for task in &waiting[2..] {
        it.task_until(task, runs).await;
    }
    assert!(runs(&it.app.get(&path(&waiting[1])).await.expect(200)));
    it.touch("open");
    for task in &waiting[1..] {
        assert_eq!(it.app.ended(task).await["status"], "complete");
    }
    assert_eq!(it.runner().await, "running");
}

fn path(task: &Value) -> String {
    format!("/tasks/{}", task["id"].as_str().expect("an id"))
}
