//! Agents that delegate in a circle, with the real Claude Code CLI.

use super::{Team, answers, call};
use crate::support::{TestApp, path_of};
use mas_gateway::model::{agent::AgentType, swarm::Topology};
use serde_json::{Value, json};

/// A request to somebody to do the work.
fn delegate(to: &str) -> Value {
    let subject = format!("Build the door, {to}");
    call("send_message", &json!({"to": to, "subject": subject, "body": "x", "kind": "task", "requires_response": true}))
}

/// A turn of whoever is asked with these words: it reads, and has somebody else do it.
fn passes_on(words: &str, to: &str) -> Value {
    json!({"match": words, "steps": [call("read_messages", &json!({})), delegate(to), {"text": "passed on"}]})
}

async fn status(app: &TestApp, team: &Team) -> Value {
    app.get(&format!("/swarm/status?swarm_id={}", team.swarm)).await.expect(200)["swarms"][0].clone()
}

/// Waits until no turn of the team waits or runs.
async fn at_rest(app: &TestApp, team: &Team) -> Value {
    let rest = |status: &Value| status["tasks"]["waiting"] == 0 && status["tasks"]["active"] == 0;
    app.swarm_until(&team.swarm, rest).await
}

async fn broken(app: &TestApp, agent: &Value) -> Vec<Value> {
    let id = agent["id"].as_str().expect("an id");
    let page = app.get(&format!("/events?kind=delegation_broken&agent_id={id}")).await.expect(200);
    page["events"].as_array().expect("events").clone()
}

#[tokio::test]
async fn cli_a_circle_of_delegation_is_broken_and_everybody_ends() {
    let mut app = TestApp::prepared(&[]).await;
    let rules = app.dir.path().join("rules.json");
    let rule = json!([
        passes_on("Build the door, tester", "reviewer"),
        passes_on("Build the door, reviewer", "coder"),
        passes_on("Build the door, coder", "tester"),
        {"match": "delegate in a circle", "steps": [call("read_messages", &json!({})), {"text": "I decide"}]},
    ]);
    std::fs::write(&rules, rule.to_string()).expect("written");
    app.set("MAS_REHEARSAL__RULES", rules.to_str().expect("UTF-8"));
    app.launch();
    let ring = [AgentType::CODER, AgentType::TESTER, AgentType::REVIEWER];
    for (topology, roles) in [(Topology::Mesh, [&ring[..], &[AgentType::COORDINATOR]].concat()), (Topology::Ring, ring.to_vec())]
    {
        let team = Team::on(&app, topology, &roles).await;
        let on_it = &team.agents[..3];
        let begin = json!({"steps": [delegate("tester"), {"text": "passed on"}]});
        let first = app.tell(&on_it[0], &begin, json!({"wait_seconds": 40})).await;
        assert_eq!(app.ended(&first).await["status"], "complete");
        let rested = at_rest(&app, &team).await;

        let messages = team.messages(&app).await;
        assert_eq!(messages.len(), roles.len(), "{topology}: one each, and one to the coordinator if there is one: {messages:?}");
        let last = &messages[2];
        let circle: Vec<&Value> = on_it.iter().map(|agent| &agent["id"]).collect();
        assert_eq!(last["recipients"][0]["agent_id"], on_it[0]["id"], "delivered to the first: {last}");
        assert_eq!(last["recipients"][0]["circle"], json!(circle), "{last}");
        assert_eq!((last["recipients"][0].get("task_id"), &last["overdue"]), (None, &json!(false)), "and nobody woken: {last}");
        let events = broken(&app, &on_it[2]).await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((&events[0]["data"]["circle"], &events[0]["data"]["message_id"]), (&json!(circle), &last["id"]), "{events:?}");
        assert!(broken(&app, &on_it[0]).await.is_empty() && broken(&app, &on_it[1]).await.is_empty());
        let woken = json!({"id": messages[1]["recipients"][0]["task_id"]});
        let said = answers(&app, &woken).await;
        assert!(!said[1].0 && said[1].1.contains("circles_broken") && said[1].1.contains("in_reply_to"), "{said:?}");

        assert_eq!((&rested["circles_broken"], &rested["health"]), (&json!(1), &json!("degraded")), "{rested}");
        assert!(rested["health_reasons"].to_string().contains("circle"), "{rested}");
        assert_eq!(rested["tasks"]["failed"], 0, "{rested}");
        if let Some(coordinator) = team.agents.get(3) {
            let alert = &messages[3];
            assert_eq!((&alert["from_gateway"], alert.get("from_agent_id")), (&json!(true), None), "{alert}");
            assert_eq!(alert["recipients"][0]["agent_id"], coordinator["id"], "{alert}");
            let decided = app.ended(&json!({"id": alert["recipients"][0]["task_id"]})).await;
            assert_eq!(decided["result"], "I decide", "{decided}");
            let read = answers(&app, &decided).await;
            assert!(
                read[0].1.contains("\"gateway\"") && read[0].1.contains("coder-0 waits for an answer of tester-1"),
                "{read:?}"
            );
        }
        // Whoever was asked last answers with what it has: then nothing is open.
        let reply = json!({"to": "tester", "subject": "A door", "body": "without a lock", "in_reply_to": messages[1]["id"]});
        let answer = json!({"steps": [call("send_message", &reply), {"text": "answered"}]});
        let task = app.tell(&on_it[2], &answer, json!({"wait_seconds": 40})).await;
        assert_eq!(app.ended(&task).await["status"], "complete");
        let healed = status(&app, &team).await;
        assert_eq!((&healed["circles_broken"], &healed["health"]), (&json!(1), &json!("healthy")), "{healed}");
        // The message was not lost.
        let inbox = app.get(&path_of(&on_it[0], "/inbox")).await.expect(200);
        assert_eq!((&inbox["unread"], &inbox["messages"][0]["id"]), (&json!(1), &last["id"]), "{inbox}");
    }
}
