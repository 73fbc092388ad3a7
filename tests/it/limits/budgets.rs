//! Budgets of money and tokens, by the CLI's own count.

use super::{kill_cli, limit, step, turn};
use crate::{
    faults::{self, GREET, RESULT, SAY},
    support::{TestApp, path_of},
};
use serde_json::{Value, json};

#[tokio::test]
async fn cli_a_token_budget_stops_a_turn_in_its_middle() {
    let app = TestApp::start().await;
    let steps: Vec<_> =
        (1..=6).map(|number| step(&format!("part {number}"), 10_000)).chain([json!({"text": "the end"})]).collect();
    let task = app.ended(&app.create(&json!({"steps": steps}), json!({"budget_tokens": 25_000})).await).await;
    assert_eq!(task["failure"]["code"], "budget_exceeded", "{task}");
    assert_eq!(task["failure"]["limit"], limit("budget_tokens", "task", 25_000.0));
    assert!(task["result"].as_str().is_some_and(|text| text.starts_with("part ") && text < "part 6"), "{task}");
    let tokens = task["tokens"].as_u64().expect("counted");
    assert!((25_000..60_000).contains(&tokens), "{task}");
    assert!(task["cost_usd"].as_f64() > Some(0.0), "{task}");
    assert_eq!(task["budget_tokens"], 25_000);
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

/// By the CLI's price table 10,000 tokens cost 0.05.
const BUDGETS: [(&str, f64); 2] = [("budget_tokens", 30_000.0), ("budget_usd", 0.15)];

fn of(name: &str, value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
    let tokens = json!({ name: value as i64 });
    if name == "budget_tokens" { tokens } else { json!({ name: value }) }
}

#[tokio::test]
async fn cli_an_agents_budget_counts_over_all_its_messages() {
    let app = TestApp::start().await;
    for (name, value) in BUDGETS {
        let agent = app.agent(of(name, value)).await;
        let first = turn(&app, &agent, &json!({"text": "first", "usage": {"input_tokens": 20_000}})).await;
        assert_eq!(first["status"], "complete", "{first}");
        let steps = [step("some", 10_000), step("more", 10_000), step("still more", 10_000), json!({"text": "never"})];
        let second = turn(&app, &agent, &json!({"steps": steps})).await;
        assert_eq!(second["failure"]["code"], "budget_exceeded", "{second}");
        assert_eq!(second["failure"]["limit"], limit(name, "agent", value), "{second}");
        assert!(["some", "more"].contains(&second["result"].as_str().expect("a partial result")), "{second}");

        let third = turn(&app, &agent, &json!({"text": "never"})).await;
        assert_eq!(third["failure"]["limit"], second["failure"]["limit"], "{third}");
        assert!(third.get("started_at").is_none(), "nothing was begun: {third}");
        assert_eq!(third["progress"], "failed: budget_exceeded");
        let detail = third["failure"]["detail"].as_str().expect("words");
        assert!(detail.contains("new agent") && !detail.contains("partial"), "{detail}");

        let shown = app.get(&path_of(&agent, "")).await.expect(200);
        assert_eq!((&shown["status"], &shown["turns"]), (&json!("parked"), &json!(2)), "{shown}");
        assert_eq!(shown[name].as_f64(), Some(value), "{shown}");
        let cost = |of: &Value| of["cost_usd"].as_f64().expect("a cost");
        // But for the digits that a sum of binary fractions has too many.
        assert!((cost(&shown) - cost(&first) - cost(&second)).abs() < 1e-9, "{shown}");
        assert!(shown["tokens"].as_u64() >= Some(30_000), "{shown}");
    }
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cli_a_message_has_a_budget_of_its_own_and_the_next_one_is_free_of_it() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    let plan = json!({"steps": [step("some", 10_000), step("more", 10_000), {"text": "never"}]});
    let body = json!({"text": format!("REHEARSE:{plan}"), "budget_usd": 0.03, "wait_seconds": 40});
    let first = app.ended(&app.post(&path_of(&agent, "/message"), &body).await.json()).await;
    assert_eq!(first["failure"]["limit"], limit("budget_usd", "task", 0.03), "{first}");
    let second = turn(&app, &agent, &json!({"steps": [step("some", 10_000), {"text": "done"}]})).await;
    assert_eq!(second["result"], "done", "{second}");
}

#[tokio::test]
async fn cli_a_process_that_takes_over_gets_only_what_is_left() {
    let app = TestApp::start().await;
    let slow = json!({"text": "a b c d e f g h", "delay_ms": 100, "usage": {"input_tokens": 20_000},
        "tool_use": {"name": "Bash", "input": {"command": "echo on"}}});
    // The last answer takes its time, so that what the third has cost is known before.
    let never = json!({"text": "never", "first_delay_ms": 10_000});
    let plan = json!({"steps": [step("first", 20_000), slow, step("third", 20_000), never]});
    for (name, value) in [("budget_tokens", 50_000.0), ("budget_usd", 0.25)] {
        let task = app.create(&plan, of(name, value)).await;
        let events = app.events_until(&task, |event| event["kind"] == "delta" && event["data"]["text"] == "c ").await;
        kill_cli(&events);
        let ended = app.ended(&task).await;
        assert_eq!(ended["failure"]["limit"], limit(name, "task", value), "{ended}");
        assert_eq!(ended["result"], "third", "{ended}");
        assert!(ended["tokens"].as_u64() >= Some(60_000) && ended["cost_usd"].as_f64() >= Some(0.3), "{ended}");
        let events = app.events(&task).await;
        assert!(events.iter().any(|event| event["data"]["state"] == "recovering"), "{events:?}");
    }
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cli_that_does_not_say_what_it_used_fails_a_task_that_has_a_budget() {
    let silent = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;
    let (app, _dir) = faults::app(&format!("{GREET}{SAY}{silent}\n"), &[]).await;
    for (name, value) in BUDGETS {
        let task = app.ended(&app.create(&json!({"text": "unused"}), of(name, value)).await).await;
        assert_eq!((&task["failure"]["code"], &task["result"]), (&json!("usage_unknown"), &json!("done")), "{task}");
        assert_eq!(task["failure"]["limit"], limit(name, "task", value), "{task}");
    }
    let free = app.ended(&app.create(&json!({"text": "unused"}), json!({})).await).await;
    assert_eq!(free["status"], "complete", "{free}");
    // Money is told here, tokens are not.
    let (app, _dir) = faults::app(&format!("{GREET}{SAY}{RESULT}"), &[]).await;
    let told = app.ended(&app.create(&json!({"text": "unused"}), json!({"budget_usd": 1})).await).await;
    assert_eq!(told["status"], "complete", "{told}");
    let task = app.ended(&app.create(&json!({"text": "unused"}), json!({"budget_tokens": 1000})).await).await;
    assert_eq!(task["failure"]["code"], "usage_unknown", "{task}");
}
