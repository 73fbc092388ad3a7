//! Agents of a swarm write to each other and share what they know, with the real Claude Code CLI; and what callers see of it.

mod awkward;
mod circle;

use crate::{
    store::team::store_team,
    support::{TestApp, path_of},
};
use mas_gateway::{
    model::{
        agent::{Agent, AgentType},
        swarm::Topology,
    },
    store::Store,
};
use reqwest::Method;
use serde_json::{Value, json};

/// A swarm on a running server, as callers name its parts.
pub(crate) struct Team {
    pub(crate) swarm: String,
    pub(crate) agents: Vec<Value>,
}

impl Team {
    /// Stores a swarm, whose agents the server then starts.
    pub(crate) async fn on(app: &TestApp, topology: Topology, roles: &[AgentType]) -> Self {
        // Whoever answers has made the tables.
        app.get("/tasks").await.expect(200);
        let store = Store::connect(&app.store_url()).await.expect("the server's store");
        let (swarm, agents) = store_team(&store, topology, roles, "ann").await;
        store.close().await;
        let agents = agents.iter().map(|agent: &Agent| json!({"id": agent.id, "name": agent.name})).collect();
        Self { swarm: swarm.id.to_string(), agents }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/swarm/{}{rest}", self.swarm)
    }

    /// The messages of the swarm, oldest first.
    pub(crate) async fn messages(&self, app: &TestApp) -> Vec<Value> {
        let page = app.get(&self.path("/messages?limit=200")).await.expect(200);
        let mut messages = page["messages"].as_array().expect("messages").clone();
        messages.reverse();
        messages
    }

    async fn memories(&self, app: &TestApp, query: &str) -> Vec<Value> {
        let page = app.get(&self.path(&format!("/memory?{query}"))).await.expect(200);
        page["memories"].as_array().expect("memories").clone()
    }
}

/// A step in which the model calls a tool of the team.
pub(crate) fn call(tool: &str, input: &Value) -> Value {
    json!({"tool_use": {"name": format!("mcp__team__{tool}"), "input": input}})
}

/// What the tools of a turn answered: whether it was a refusal, and the text.
pub(crate) async fn answers(app: &TestApp, task: &Value) -> Vec<(bool, String)> {
    let events = app.events(task).await;
    let results = events.iter().filter(|event| event["kind"] == "tool_result");
    results
        .map(|event| {
            let data = &event["data"];
            (data["is_error"] == true, data["text"].as_str().unwrap_or_else(|| panic!("no text: {event}")).to_owned())
        })
        .collect()
}

/// Has an agent make these calls, one after the other.
async fn calls(app: &TestApp, agent: &Value, steps: Vec<Value>) -> Vec<(bool, String)> {
    let mut steps = steps;
    steps.push(json!({"text": "done"}));
    let task = app.tell(agent, &json!({"steps": steps}), json!({"wait_seconds": 40})).await;
    let task = app.ended(&task).await;
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("done")), "{task}");
    answers(app, &task).await
}

#[tokio::test]
async fn cli_members_of_a_star_write_to_its_hub_which_is_woken_to_answer() {
    let mut app = TestApp::prepared(&[]).await;
    let rules = app.dir.path().join("rules.json");
    let rule = json!([{"match": "waits for your answer", "steps": [call("read_messages", &json!({})), {"text": "read"}]}]);
    std::fs::write(&rules, rule.to_string()).expect("written");
    app.set("MAS_REHEARSAL__RULES", rules.to_str().expect("UTF-8"));
    app.launch();
    let team = Team::on(&app, Topology::Star, &[AgentType::COORDINATOR, AgentType::CODER, AgentType::TESTER]).await;
    let [hub, coder, tester] = [0, 1, 2].map(|n: usize| team.agents[n].clone());
    let ask = json!({"to": "coordinator-0", "subject": "Which port?", "body": "3000 or 8080?", "kind": "question",
                     "requires_response": true, "deadline_seconds": 3600, "priority": "high"});
    let said = calls(
        &app,
        &coder,
        vec![
            call("list_team", &json!({})),
            call("send_message", &json!({"to": "tester-2", "subject": "Hello", "body": "x"})),
            call("send_message", &json!({"to": "nobody", "subject": "Hello", "body": "x"})),
            call("send_message", &json!({"to": "tester", "subject": "", "body": "x"})),
            call("send_message", &ask),
        ],
    )
    .await;
    let listed: Value = serde_json::from_str(&said[0].1).expect("JSON");
    let may: Vec<_> = listed["members"].as_array().expect("members").iter().map(|member| &member["you_may_write"]).collect();
    assert_eq!((said[0].0, may), (false, vec![&json!(true), &json!(false), &json!(false)]), "{listed}");
    assert!(said[1].0 && said[1].1.contains("star") && said[1].1.contains("coordinator-0 (coordinator, agent_"), "{said:?}");
    assert!(said[2].0 && said[2].1.contains("Members: coordinator-0"), "{said:?}");
    assert!(said[3].0 && said[3].1.contains("`subject` must not be blank"), "{said:?}");
    assert!(!said[4].0 && said[4].1.contains("coordinator-0") && said[4].1.contains("your inbox"), "{said:?}");

    let messages = team.messages(&app).await;
    assert_eq!(messages.len(), 1, "a refused message is not sent: {messages:?}");
    let asked = &messages[0];
    assert_eq!((&asked["from_agent_id"], &asked["to"], &asked["overdue"]), (&coder["id"], &hub["id"], &json!(false)), "{asked}");
    let woken = app.ended(&json!({"id": asked["recipients"][0]["task_id"]})).await;
    assert_eq!(
        (&woken["status"], &woken["result"], &woken["agent_id"]),
        (&json!("complete"), &json!("read"), &hub["id"]),
        "{woken}"
    );
    let read = answers(&app, &woken).await;
    assert!(read[0].1.contains("3000 or 8080?") && read[0].1.contains("coder-1"), "{read:?}");
    let asked = team.messages(&app).await.remove(0);
    assert!(asked["recipients"][0]["read_at"].is_string() && asked["recipients"][0].get("answered_by").is_none(), "{asked}");

    // The hub answers; the coder hears of it in its next turn.
    let reply = json!({"to": "coder", "subject": "Port", "body": "8080", "kind": "result", "in_reply_to": asked["id"]});
    let said = calls(&app, &hub, vec![call("send_message", &reply), call("read_messages", &json!({}))]).await;
    assert!(!said[0].0 && said[1].1.contains("\"messages\":[]"), "{said:?}");
    let messages = team.messages(&app).await;
    assert_eq!(messages[0]["recipients"][0]["answered_by"], messages[1]["id"], "{messages:?}");
    assert_eq!((&messages[1]["thread_id"], &messages[1]["to"]), (&messages[0]["id"], &json!("coder")), "{messages:?}");
    let inbox = app.get(&path_of(&coder, "/inbox")).await.expect(200);
    assert_eq!((&inbox["unread"], &inbox["messages"][0]["body"]), (&json!(1), &json!("8080")), "{inbox}");
    let said = calls(&app, &coder, vec![call("read_messages", &json!({})), call("read_messages", &json!({}))]).await;
    assert!(said[0].1.contains("8080") && said[1].1.contains("\"messages\":[]"), "{said:?}");
    let request = app.model_requests().await.pop().expect("a request");
    let offered: Vec<_> = request["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(offered.contains(&"mcp__team__send_message") && offered.contains(&"mcp__team__search_memory"), "{offered:?}");
    let (system, conversation) = app.last_conversation().await;
    assert!(conversation.contains("You have 1 unread team message"), "{conversation}");
    assert!(system.contains("You work in a team of agents"), "{system}");
    assert_eq!(app.get(&path_of(&coder, "/inbox")).await.expect(200)["unread"], 0);
    assert_eq!(app.get(&path_of(&tester, "/inbox?include_read=true")).await.expect(200)["messages"], json!([]));
}

#[tokio::test]
async fn cli_a_question_to_the_user_is_shown_until_it_is_answered_by_a_message_to_the_agent() {
    let app = TestApp::start().await;
    let team = Team::on(&app, Topology::Star, &[AgentType::COORDINATOR, AgentType::CODER]).await;
    let coder = &team.agents[1];
    let ask = json!({"to": "user", "subject": "Which DB?", "body": "SQLite or PostgreSQL?", "kind": "question",
                     "requires_response": true, "deadline_seconds": 1});
    let said = calls(&app, coder, vec![call("send_message", &ask)]).await;
    assert!(said[0].1.contains("the user sees your question"), "{said:?}");
    let question = team.messages(&app).await.remove(0);
    let status = async || app.get(&format!("/swarm/status?swarm_id={}", team.swarm)).await.expect(200)["swarms"][0].clone();
    let overdue = app.swarm_until(&team.swarm, |status| status["questions"][0]["overdue"] == true).await;
    assert_eq!((&overdue["open_questions"], &overdue["health"]), (&json!(1), &json!("degraded")), "{overdue}");
    let shown = &overdue["questions"][0];
    assert_eq!(
        (&shown["id"], &shown["agent_id"], &shown["text"]),
        (&question["id"], &coder["id"], &json!("SQLite or PostgreSQL?"))
    );
    let words = overdue["next_step"].as_str().expect("words");
    let names = |thing: &Value| words.contains(thing.as_str().expect("an id"));
    assert!(words.contains("SQLite or PostgreSQL?") && names(&question["id"]) && names(&coder["id"]), "{words}");
    assert_eq!(team.messages(&app).await[0]["overdue"], true);

    // To another agent it is no answer; to the one that asked it is, once.
    let answer = json!({"text": "SQLite.", "in_reply_to": question["id"], "wait_seconds": 40, "idempotency_key": "db"});
    let other = app.post(&path_of(&team.agents[0], "/message"), &answer).await.problem(422, "validation_failed");
    assert_eq!(other["errors"][0]["field"], "in_reply_to", "{other}");
    let task = app.post(&path_of(coder, "/message"), &answer).await.expect(201);
    let again = app.post(&path_of(coder, "/message"), &answer).await.expect(200);
    assert_eq!(again["id"], task["id"]);
    app.ended(&task).await;
    let (_, conversation) = app.last_conversation().await;
    assert!(conversation.contains("The user answers your message") && conversation.contains("SQLite."), "{conversation}");
    assert!(!conversation.contains("unread team message"), "it was in the turn: {conversation}");
    let messages = team.messages(&app).await;
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!((&messages[0]["answered_by"], &messages[0]["overdue"]), (&messages[1]["id"], &json!(false)), "{messages:?}");
    let answered = status().await;
    assert_eq!((&answered["open_questions"], &answered["questions"]), (&json!(0), &json!([])), "{answered}");
    assert_eq!(answered["health"], "healthy", "{answered}");
    assert!(!answered["next_step"].as_str().expect("words").contains("asks the user"), "{answered}");
}

#[tokio::test]
async fn cli_a_team_shares_findings_artifacts_and_decisions() {
    let app = TestApp::start().await;
    let team = Team::on(&app, Topology::Mesh, &[AgentType::CODER, AgentType::REVIEWER]).await;
    let (coder, reviewer) = (&team.agents[0], &team.agents[1]);
    let finding = json!({"claim": "The cache is never emptied", "confidence": "high", "sources": ["src/cache.rs:12"]});
    let plan = |content: &str| json!({"name": "plan", "kind": "design", "content": content});
    let decision = json!({"decision": "Empty it hourly", "rationale": "It is the simplest", "alternatives": ["by size"]});
    let said = calls(
        &app,
        coder,
        vec![
            call("remember_finding", &finding),
            call("save_artifact", &plan("First sketch of the cache")),
            call("save_artifact", &plan(&"word ".repeat(1_000))),
            call("record_decision", &decision),
        ],
    )
    .await;
    assert!(said.iter().all(|(is_error, _)| !is_error) && said[2].1.contains("\"version\":2"), "{said:?}");
    let found = team.memories(&app, "query=cache").await;
    let kinds: Vec<_> = found.iter().map(|memory| memory["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["artifact", "finding"], "{found:?}");
    let (sketch, claim) = (found[0]["id"].clone(), found[1]["id"].clone());
    assert_eq!(found[0]["review_status"], "pending");

    let said = calls(&app, coder, vec![call("verify_finding", &json!({"id": claim, "verdict": "confirmed"}))]).await;
    assert!(said[0].0 && said[0].1.contains("your own"), "{said:?}");
    let said = calls(
        &app,
        reviewer,
        vec![
            call("search_memory", &json!({"query": "\"never emptied\""})),
            call("verify_finding", &json!({"id": claim, "verdict": "contradicted", "evidence": "line 40 does"})),
            call("verify_finding", &json!({"id": claim, "verdict": "confirmed"})),
            call("verify_finding", &json!({"id": sketch, "verdict": "confirmed"})),
            call("review_artifact", &json!({"id": sketch, "status": "needs_revision", "comment": "too short"})),
            call("search_memory", &json!({"query": "hourly", "kind": "decision"})),
        ],
    )
    .await;
    assert!(said[0].1.contains(claim.as_str().expect("an id")) && said[5].1.contains("Empty it hourly"), "{said:?}");
    assert_eq!(
        said.iter().map(|(is_error, _)| *is_error).collect::<Vec<_>>(),
        [false, false, false, true, false, false],
        "{said:?}"
    );
    let found = team.memories(&app, "query=cache").await;
    assert_eq!(
        (&found[0]["review_status"], &found[0]["verdicts"][0]["comment"]),
        (&json!("needs_revision"), &json!("too short"))
    );
    assert_eq!(
        (&found[1]["verified_by"], &found[1]["contradicting_evidence"]),
        (&json!([reviewer["id"]]), &json!(["line 40 does"]))
    );

    let all = team.memories(&app, "").await;
    assert_eq!((all.len(), &all[0]["alternatives"]), (4, &json!(["by size"])));
    assert_eq!((&all[1]["content_chars"], all[1]["content"].as_str().expect("text").chars().count()), (&json!(5_000), 500));
    let whole = team.memories(&app, &format!("id={}", all[1]["id"].as_str().expect("an id"))).await;
    assert_eq!(whole[0]["content"].as_str().expect("text").chars().count(), 5_000);
    let page = app.get(&team.path("/memory?limit=3")).await.expect(200);
    let rest = team.memories(&app, &format!("cursor={}", page["next_cursor"].as_str().expect("a cursor"))).await;
    assert_eq!((page["memories"].as_array().expect("memories").len(), rest), (3, vec![all[3].clone()]));
    for hostile in ["%22foo%20OR%20NEAR(", "*", "%22", "a%27%20OR%201=1%20--", "%00"] {
        assert_eq!(team.memories(&app, &format!("query={hostile}")).await, Vec::<Value>::new(), "{hostile}");
    }
}

#[tokio::test]
async fn cli_a_user_who_wants_an_answer_wakes_the_agent_and_sees_that_it_is_overdue() {
    let app = TestApp::start().await;
    let team = Team::on(&app, Topology::Mesh, &[AgentType::CODER]).await;
    let ask =
        json!({"to": "all", "subject": "Progress", "body": "How far are you?", "requires_response": true, "deadline_seconds": 1});
    let asked = app.post(&team.path("/messages"), &ask).await.expect(201);
    let task = json!({"id": asked["recipients"][0]["task_id"]});
    assert_eq!(app.ended(&task).await["status"], "complete");
    app.get_until(&team.path("/messages"), |page| page["messages"][0]["overdue"] == true).await;
    let reply = json!({"to": "user", "subject": "Half way", "body": "x", "in_reply_to": asked["id"]});
    let said = calls(&app, &team.agents[0], vec![call("send_message", &reply)]).await;
    assert!(!said[0].0, "{said:?}");
    let messages = team.messages(&app).await;
    assert_eq!((&messages[0]["overdue"], &messages[0]["recipients"][0]["answered_by"]), (&json!(false), &messages[1]["id"]));
    assert_eq!((&messages[1]["to"], &messages[1]["recipients"]), (&json!("user"), &json!([])));
}

#[tokio::test]
async fn users_write_to_members_roles_and_all_and_bad_messages_are_refused() {
    let app = TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let team = Team::on(&app, Topology::Ring, &[AgentType::CODER, AgentType::CODER, AgentType::TESTER]).await;
    // Their CLI cannot be started. It does not have to be, as long as nobody tries.
    app.sql("UPDATE agent SET status = 'parked', generation = 2, failure = NULL").await;
    let path = team.path("/messages");
    let message = json!({"to": "coder", "subject": "Begin", "body": "Read the specification.", "idempotency_key": "begin"});
    let sent = app.post(&path, &message).await.expect(201);
    let recipients: Vec<_> =
        sent["recipients"].as_array().expect("recipients").iter().map(|one| one["agent_id"].clone()).collect();
    assert_eq!((&sent["kind"], &sent["priority"], recipients.len()), (&json!("task"), &json!("normal"), 2), "{sent}");
    assert!(team.agents[..2].iter().all(|agent| recipients.contains(&agent["id"])), "{sent}");
    assert_eq!(app.post(&path, &message).await.expect(200)["id"], sent["id"], "an exact repeat is the same message");
    let other = json!({"to": "all", "subject": "Begin", "body": "x", "idempotency_key": "begin"});
    app.post(&path, &other).await.problem(409, "idempotency_conflict");
    for (field, value) in [
        ("to", json!("wizard")),
        ("to", json!("user")),
        ("to", json!(" ")),
        ("to", json!("planner")),
        ("subject", json!("")),
        ("subject", json!("two\nlines")),
        ("subject", json!("x".repeat(201))),
        ("body", json!("x".repeat(16_001))),
        ("body", json!("a \u{0}")),
        ("kind", json!("gossip")),
        ("priority", json!("asap")),
        ("deadline_seconds", json!(0)),
        ("deadline_seconds", json!(86_401)),
        ("in_reply_to", json!("msg_0193f2a87c3e7d10b5a1c2d3e4f50617")),
        ("in_reply_to", json!("7")),
        ("idempotency_key", json!("")),
        ("unheard_of", json!(1)),
    ] {
        let mut body = json!({"to": "all", "subject": "s", "body": "b"});
        body[field] = value;
        let problem = app.post(&path, &body).await.problem(422, "validation_failed");
        assert!(problem.to_string().contains(field), "{field}: {problem}");
    }
    let urgent = json!({"to": "coder-0", "subject": "Stop", "body": "x", "priority": "critical", "in_reply_to": sent["id"]});
    let urgent = app.post(&path, &urgent).await.expect(201);
    assert_eq!(urgent["thread_id"], sent["id"]);
    let inbox = app.get(&path_of(&team.agents[0], "/inbox?limit=1")).await.expect(200);
    assert_eq!((&inbox["messages"][0]["id"], &inbox["unread"]), (&urgent["id"], &json!(2)), "{inbox}");
    let next = format!("/inbox?cursor={}", inbox["next_cursor"].as_str().expect("a cursor"));
    let rest = app.get(&path_of(&team.agents[0], &next)).await.expect(200);
    assert_eq!((&rest["messages"][0]["id"], rest.get("next_cursor")), (&sent["id"], None), "{rest}");

    let messages = |query: &str| format!("{path}?{query}");
    let page = app.get(&messages("limit=1&unread=true")).await.expect(200);
    assert_eq!((&page["messages"][0]["id"], &page["next_cursor"]), (&urgent["id"], &urgent["id"]), "{page}");
    let of = |agent: &Value| messages(&format!("agent_id={}", agent["id"].as_str().expect("an id")));
    assert_eq!(app.get(&of(&team.agents[1])).await.expect(200)["messages"].as_array().expect("messages").len(), 1);
    let thread = messages(&format!("thread_id={}", sent["id"].as_str().expect("an id")));
    assert_eq!(app.get(&thread).await.expect(200)["messages"].as_array().expect("messages").len(), 2);
    for bad in ["limit=0", "cursor=x", "agent_id=x", "thread_id=x", "unread=perhaps", "unheard_of=1"] {
        app.get(&messages(bad)).await.problem(422, "validation_failed");
        app.get(&path_of(&team.agents[0], &format!("/inbox?{bad}"))).await.problem(422, "validation_failed");
        app.get(&team.path(&format!("/memory?{bad}"))).await.problem(422, "validation_failed");
    }
    app.get(&team.path(&format!("/memory?query={}", "x".repeat(501)))).await.problem(422, "validation_failed");
    app.get(&team.path("/memory?kind=rumour")).await.problem(422, "validation_failed");
    let nowhere = "/swarm/swarm_0193f2a87c3e7d10b5a1c2d3e4f50617";
    app.get(&format!("{nowhere}/messages")).await.problem(404, "not_found");
    app.get(&format!("{nowhere}/memory")).await.problem(404, "not_found");
    app.post(&format!("{nowhere}/messages"), &message).await.problem(404, "not_found");
    app.get("/agents/agent_0193f2a87c3e7d10b5a1c2d3e4f50617/inbox").await.problem(404, "not_found");
    let bob = app.mas(&["key", "create", "--user", "bob", "--scopes", "operate"]).output().expect("made");
    let bob = String::from_utf8_lossy(&bob.stdout).trim().to_owned();
    for place in [path.clone(), team.path("/memory"), path_of(&team.agents[0], "/inbox")] {
        app.send(app.request_as(Some(&bob), Method::GET, &place)).await.problem(404, "not_found");
    }
    app.send(app.request_as(Some(&bob), Method::POST, &path).json(&message)).await.problem(404, "not_found");
    app.sql("UPDATE swarm SET status = 'stopped'").await;
    app.post(&path, &json!({"to": "all", "subject": "s", "body": "b"})).await.problem(409, "swarm_ended");
    assert_eq!(team.messages(&app).await.len(), 2, "nothing that was refused was sent");
    let request = app.request_as(None, Method::GET, &path);
    app.send(request).await.problem(403, "invalid_key");
}
