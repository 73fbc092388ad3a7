//! Limits: what work may use, and what happens when it uses more. What a user sees over HTTP.

mod budgets;
mod money;
mod provider;
mod quotas;
mod refusals;
mod resources;
mod retries;
pub(crate) mod stand_in;

use crate::support::TestApp;
use serde_json::{Value, json};

/// A step that uses a harmless tool and that many tokens.
fn step(text: &str, input_tokens: u64) -> Value {
    json!({"text": text, "tool_use": {"name": "Bash", "input": {"command": "echo on"}}, "usage": {"input_tokens": input_tokens}})
}

fn limit(name: &str, set_by: &str, value: impl Into<Value>) -> Value {
    json!({"name": name, "set_by": set_by, "value": value.into()})
}

/// Sends the agent a message whose text is the plan, and waits for the end of its turn.
async fn turn(app: &TestApp, agent: &Value, plan: &Value) -> Value {
    app.ended(&app.tell(agent, plan, json!({"wait_seconds": 40})).await).await
}

/// SIGKILL for the CLI that was started last.
fn kill_cli(events: &[Value]) {
    let pid = events.iter().rev().find_map(|event| event["data"]["pid"].as_i64()).expect("a pid");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}
