//! Proposals that make no sense: refused with what would be accepted, and nothing is made.

use crate::support::{TestApp, path_of};
use serde_json::{Value, json};

fn with(more: Value) -> Value {
    let mut body = json!({"question": "Which?", "options": ["a", "b"], "voters": [{"type": "coder", "count": 3}]});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

#[tokio::test]
async fn what_cannot_be_decided_is_refused_and_nothing_is_made() {
    let app = TestApp::start().await;
    let unknown = "agent_0193f2a87c3e7d10b5a1c2d3e4f50617";
    let bad = [
        (json!({"question": " "}), "question", "blank"),
        (json!({"options": ["a"]}), "options", "2 to 50"),
        (json!({"options": []}), "options", "leave it out"),
        (json!({"options": ["a", "A."]}), "options[1]", "there already"),
        (json!({"protocol": "paxos"}), "protocol", "byzantine"),
        (json!({"voters": []}), "voters", "2 to 64"),
        (json!({"voters": [{"type": "coder"}]}), "voters", "2 to 64"),
        (json!({"voters": [{"type": "coder", "count": 64}, {"type": "tester"}]}), "voters", "are 65"),
        (json!({"voters": [{"type": "coder", "count": 1000}]}), "voters[0].count", "1..=64"),
        (json!({"voters": [{"type": "coder", "count": 2}], "protocol": "raft"}), "voters", "3 to 64"),
        (json!({"protocol": "byzantine"}), "voters", "4 to 64"),
        (json!({"voters": [{"type": "wizard", "count": 3}]}), "voters[0].type", "planner"),
        (json!({"voters": [{"count": 3}]}), "voters[0]", "either"),
        (json!({"voters": [{"agent_id": unknown}, {"type": "coder"}]}), "voters[0].agent_id", "no such agent"),
        (json!({"voters": [{"agent_id": unknown}, {"agent_id": unknown}]}), "voters[1].agent_id", "once"),
        (json!({"voters": [{"type": "coder", "count": 3, "weight": 0}]}), "voters[0].weight", "more than 0"),
        (json!({"voters": [{"type": "coder", "count": 3, "weight": -1}]}), "voters[0].weight", "more than 0"),
        (json!({"protocol": "raft", "voters": [{"type": "coder", "count": 3, "weight": 2}]}), "voters[0].weight", "quorum"),
        (json!({"protocol": "crdt", "voters": [{"type": "coder", "count": 3, "veto": true}]}), "voters[0].veto", "quorum"),
        (json!({"threshold": "most"}), "threshold", "two_thirds"),
        (json!({"threshold": 0.5}), "threshold", "above 0.5"),
        (json!({"threshold": "1.1"}), "threshold", "above 0.5"),
        (json!({"threshold": "majority", "protocol": "crdt"}), "threshold", "leave it out"),
        (json!({"rounds": 2}), "rounds", "one round"),
        (json!({"rounds": 0}), "rounds", "1..=20"),
        (json!({"fanout": 2}), "fanout", "gossip"),
        (json!({"project": "nowhere"}), "project", "default"),
        (json!({"timeout_seconds": 0}), "timeout_seconds", "1..=86400"),
        (json!({"wait_seconds": 41}), "wait_seconds", "0..=40"),
        (json!({"surprise": 1}), "surprise", "question"),
    ];
    for (more, field, word) in bad {
        let body = with(more);
        let problem = app.post("/consensus/propose", &body).await.problem(422, "validation_failed");
        let named = problem["errors"].as_array().expect("errors").iter().find(|error| error["field"] == field);
        let message =
            named.and_then(|error| error["message"].as_str()).unwrap_or_else(|| panic!("{field} is not named: {problem}"));
        assert!(message.contains(word), "{body}: {message}");
    }
    assert_eq!(app.get("/consensus/status").await.expect(200)["proposals"], json!([]));
    assert_eq!(app.get("/agents").await.expect(200)["agents"], json!([]));
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
    app.get("/consensus/proposal_0193f2a87c3e7d10b5a1c2d3e4f50617").await.problem(404, "not_found");
    app.post("/consensus/proposal_0193f2a87c3e7d10b5a1c2d3e4f50617/cancel", &json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn cli_an_agent_that_has_ended_is_no_voter() {
    let app = TestApp::start().await;
    let agent = app.agent(json!({})).await;
    app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    let body = with(json!({"voters": [{"agent_id": agent["id"]}, {"type": "coder"}]}));
    let problem = app.post("/consensus/propose", &body).await.problem(422, "validation_failed");
    assert!(problem["errors"][0]["message"].as_str().is_some_and(|words| words.contains("resume_agent")), "{problem}");
    assert_eq!(app.get("/consensus/status").await.expect(200)["counts"]["open"], 0);
}

/// Voters are counted as agents of their key: the whole proposal fits, or none of it is made.
#[tokio::test]
async fn voters_keep_within_the_limit_on_agents() {
    let app = TestApp::with(&[("MAS_LIMITS__MAX_AGENTS", "3")]).await;
    let body = with(json!({"protocol": "byzantine", "voters": [{"type": "coder", "count": 4}]}));
    app.post("/consensus/propose", &body).await.problem(409, "limit_reached");
    assert_eq!(app.get("/agents").await.expect(200)["agents"], json!([]));
    assert_eq!(app.get("/consensus/status").await.expect(200)["proposals"], json!([]));
}
