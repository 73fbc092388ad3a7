//! US dollars in a day, of a key and of the gateway.

use super::{limit, stand_in::StandIn, step};
use crate::{
    auth::make_key,
    support::{Answer, TestApp},
};
use reqwest::Method;
use serde_json::{Value, json};

/// A turn with a name, told step by step by files: it says what it has spent, and then waits to be stopped if it is `c`.
const SPENDER: &str = r#"
name=$(expr "$line" : '.*name=\([a-z]*\)')
result() { echo '{"type":"result","subtype":"success","is_error":'$1',"result":"done","total_cost_usd":'$2'}'; }
spend() {
    echo '{"type":"stream_event","event":{"type":"message_delta","usage":{"input_tokens":1,"output_tokens":1}}}'
    while read -r line; do
        case $line in *get_usage*)
            echo '{"type":"control_response","response":{"subtype":"success","request_id":"x","response":{"session":{"total_cost_usd":'$1',"model_usage":{}}}}}'
            return;;
        esac
    done
}
echo '{"type":"assistant","message":{"model":"m","content":[{"type":"text","text":"half done"}]}}'
wait_for go-$name
spend 0.4
if [ $name = c ]; then
    while read -r line; do case $line in *interrupt*) result true 0.4; return;; esac; done
    exit
fi
wait_for end-$name
if [ -e "$here/more" ]; then spend 0.5; result false 0.5; else result false 0.4; fi
"#;

async fn create(app: &TestApp, key: &str, name: &str) -> Answer {
    let body = json!({"title": name, "description": format!("name={name}")});
    app.send(app.request_as(Some(key), Method::POST, "/tasks").json(&body)).await
}

#[tokio::test]
async fn turns_side_by_side_share_what_their_key_may_spend() {
    let it = StandIn::new(SPENDER, &[]).await;
    let (app, ann) = (&it.app, make_key(&it.app, &["--user", "ann", "--usd-per-day", "1"]));
    let bob = make_key(app, &["--user", "bob", "--usd-per-day", "1"]);
    let mut tasks = Vec::new();
    for name in ["a", "b", "c"] {
        tasks.push(create(app, &ann, name).await.expect(201));
    }
    for task in &tasks {
        it.task_until(task, |task| task["latest_output"] == "half done").await;
    }
    for (task, name) in tasks.iter().zip(["a", "b"]) {
        it.touch(&format!("go-{name}"));
        it.task_until(task, |task| task["cost_usd"] == 0.4).await;
    }
    it.touch("go-c");
    let crossing = app.ended(&tasks[2]).await;
    assert_eq!(
        (&crossing["failure"]["code"], &crossing["result"]),
        (&json!("budget_exceeded"), &json!("half done")),
        "{crossing}"
    );
    assert_eq!(crossing["failure"]["limit"], limit("usd_per_day", "key", 1.0), "{crossing}");
    assert_eq!(crossing["cost_usd"], 0.4);
    let refused = create(app, &ann, "d").await.problem(409, "limit_reached");
    let detail = refused["detail"].as_str().expect("words");
    assert!(detail.contains("usd_per_day = 1 of your key") && detail.contains("midnight UTC"), "{detail}");
    for (task, name) in tasks.iter().zip(["a", "b"]) {
        it.touch(&format!("end-{name}"));
        assert_eq!(app.ended(task).await["status"], "complete", "those that spend nothing more go on");
    }
    let other = create(app, &bob, "a").await.expect(201);
    assert_eq!(app.ended(&other).await["status"], "complete", "another key is not affected");
}

#[tokio::test]
async fn what_waits_when_the_money_is_spent_fails_at_once() {
    for whose in ["key", "gateway"] {
        let gateway = if whose == "gateway" { "0.3" } else { "0" };
        let settings = [("MAS_RUNNER__MAX_LIVE_AGENTS", "1"), ("MAS_LIMITS__USD_PER_DAY", gateway)];
        let it = StandIn::new(SPENDER, &settings).await;
        let key = if whose == "key" { &["--usd-per-day", "0.3"][..] } else { &[] };
        let (app, ann) = (&it.app, make_key(&it.app, key));
        let (first, second) = (create(app, &ann, "c").await.expect(201), create(app, &ann, "a").await.expect(201));
        it.touch("go-c");
        let first = app.ended(&first).await;
        assert_eq!(first["failure"]["limit"], limit("usd_per_day", whose, 0.3), "{first}");
        assert_eq!(first["result"], "half done");
        let second = app.ended(&second).await;
        assert_eq!(second["failure"]["limit"], limit("usd_per_day", whose, 0.3), "{second}");
        assert!(second.get("started_at").is_none() && second.get("agent_id").is_none(), "nothing was begun: {second}");
        let detail = second["failure"]["detail"].as_str().expect("words");
        assert!(detail.contains(&format!("set by the {whose}")) && detail.contains("midnight UTC"), "{detail}");
        create(app, &ann, "d").await.problem(409, "limit_reached");
        assert_eq!(app.get("/tasks").await.expect(200)["tasks"].as_array().map(Vec::len), Some(2));
        assert_eq!(app.agent_processes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_restart_counts_nothing_twice() {
    let mut it = StandIn::new(SPENDER, &[("MAS_LIMITS__USD_PER_DAY", "0.7")]).await;
    let task = create(&it.app, crate::support::KEY, "a").await.expect(201);
    it.touch("go-a");
    it.touch("more");
    it.task_until(&task, |task| task["cost_usd"] == 0.4).await;
    it.app.kill();
    it.app.launch();
    it.touch("end-a");
    let task = it.app.ended(&task).await;
    assert_eq!((&task["status"], &task["cost_usd"]), (&json!("complete"), &json!(0.5)), "{task}");
    // 0.2 are left.
    let last = create(&it.app, crate::support::KEY, "c").await.expect(201);
    it.touch("go-c");
    assert_eq!(it.app.ended(&last).await["failure"]["limit"], limit("usd_per_day", "gateway", 0.7));
}

#[tokio::test]
async fn a_cli_that_does_not_say_what_it_spent_fails_while_a_day_is_limited() {
    let silent = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;
    let it = StandIn::new(silent, &[]).await;
    let ann = make_key(&it.app, &["--usd-per-day", "5"]);
    let task = it.app.ended(&it.create_as(&ann).await.expect(201)).await;
    assert_eq!((&task["failure"]["code"], &task["result"]), (&json!("usage_unknown"), &json!("done")), "{task}");
    assert_eq!(task["failure"]["limit"], limit("usd_per_day", "key", 5.0));
    let free = it.app.ended(&it.app.create(&json!({}), json!({})).await).await;
    assert_eq!(free["status"], "complete", "{free}");
}

#[tokio::test]
async fn a_key_that_may_spend_nothing_begins_nothing() {
    let it = StandIn::patient(&[]).await;
    let ann = make_key(&it.app, &["--usd-per-day", "0"]);
    it.create_as(&ann).await.problem(409, "limit_reached");
    assert_eq!(it.app.get("/tasks").await.expect(200)["tasks"], json!([]));
}

#[tokio::test]
async fn cli_the_turn_that_crosses_a_days_limit_is_stopped_and_the_next_is_refused() {
    let app = TestApp::start().await;
    let ann = make_key(&app, &["--user", "ann", "--usd-per-day", "0.12"]);
    let send = async |plan: Value| {
        let body = json!({"title": "t", "description": format!("REHEARSE:{plan}"), "wait_seconds": 40});
        app.send(app.request_as(Some(&ann), Method::POST, "/tasks").json(&body)).await
    };
    let first = send(json!({"text": "first", "usage": {"input_tokens": 20_000}})).await.expect(201);
    assert_eq!((&first["status"], &first["result"]), (&json!("complete"), &json!("first")), "{first}");
    let steps = [step("some", 10_000), step("more", 10_000), step("still more", 10_000), json!({"text": "never"})];
    let second = send(json!({"steps": steps})).await.expect(201);
    assert_eq!(second["failure"]["code"], "budget_exceeded", "{second}");
    assert_eq!(second["failure"]["limit"], limit("usd_per_day", "key", 0.12), "{second}");
    assert!(["some", "more"].contains(&second["result"].as_str().expect("a partial result")), "{second}");
    send(json!({"text": "never"})).await.problem(409, "limit_reached");
    let free = app.ended(&app.create(&json!({"text": "free"}), json!({})).await).await;
    assert_eq!(free["result"], "free", "another key is not affected");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
}
