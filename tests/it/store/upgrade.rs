//! A database of the first schema, with work in every state, is taken over by this version.

use crate::{
    faults::{GREET, RESULT},
    support::{TestApp, assert_no_hole, path_of},
};
use mas_gateway::{
    model::{
        id::{AgentId, KeyId, ProcessId, RunId, TaskId},
        key::Scope,
    },
    store::Store,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use std::fmt::Write as _;
use uuid::Uuid;

const AT: &str = "2026-01-02T03:04:05.000006+00:00";

/// Writes rows as the first version did, in the words of one engine.
struct Old {
    is_sqlite: bool,
    statements: String,
}

impl Old {
    fn id(&self, id: Uuid) -> String {
        if self.is_sqlite { format!("X'{}'", id.simple()) } else { format!("'{id}'") }
    }

    fn row(&mut self, table: &str, columns: &str, values: &str) {
        writeln!(self.statements, "INSERT INTO {table} ({columns}) VALUES ({values});").expect("to a string");
    }

    /// A task, and the agent that has or had it.
    fn task(&mut self, status: &str, on_lost: &str, work: Option<(AgentId, RunId)>, failure: Option<&str>) -> TaskId {
        let task = TaskId::generate();
        let no = if self.is_sqlite { "0" } else { "FALSE" };
        let (agent, run) = match work {
            Some((agent, run)) => (self.id(agent.uuid()), self.id(run.uuid())),
            None => ("NULL".into(), "NULL".into()),
        };
        let id = self.id(task.uuid());
        let failure = failure.map_or("NULL".into(), |failure| format!("'{failure}'"));
        let ended = if failure != "NULL" || status == "complete" { format!("'{AT}'") } else { "NULL".into() };
        self.row(
            "task",
            "id, owner, title, description, agent_type, project, priority, timeout_seconds, on_lost, request_hash, status, \
             generation, cancel_requested, agent_id, run_id, failure, provenance, created_at, updated_at, ended_at",
            &format!(
                "{id}, 'admin', 'old', 'do it', 'coder', 'default', 2, 600, '{on_lost}', '', '{status}', 2, {no}, {agent}, {run}, \
                 {failure}, 'rehearsal', '{AT}', '{AT}', {ended}"
            ),
        );
        task
    }

    fn agent(&mut self, agent: AgentId, status: &str, workspace: &str) {
        let (id, session) = (self.id(agent.uuid()), self.id(Uuid::new_v4()));
        self.row(
            "agent",
            "id, owner, name, agent_type, backend, project, status, generation, session_id, workspace, provenance, created_at, \
             updated_at",
            &format!(
                "{id}, 'admin', 'coder-1', 'coder', 'claude-code', 'default', '{status}', 3, {session}, '{workspace}', 'rehearsal', \
                 '{AT}', '{AT}'"
            ),
        );
    }

    /// The run of a task with its process and three events; an open one vanished with the first version.
    fn run(&mut self, task: TaskId, (agent, run): (AgentId, RunId), outcome: &Value, is_open: bool) {
        let [task, agent, run, process] =
            [task.uuid(), agent.uuid(), run.uuid(), ProcessId::generate().uuid()].map(|id| self.id(id));
        let ended = if is_open { "NULL".into() } else { format!("'{AT}'") };
        let columns = "id, task_id, agent_id, progress, latest_output, outcome, started_at, ended_at";
        self.row("run", columns, &format!("{run}, {task}, {agent}, 'working', 'so far', '{outcome}', '{AT}', {ended}"));
        let state = json!({"phase": "Working", "beginning": "Fresh", "is_launched": true, "next_seq": 4, "next_task_seq": 4});
        let columns = "id, agent_id, run_id, stdout_offset, state, started_at, ended_at";
        self.row("process", columns, &format!("{process}, {agent}, {run}, 100, '{state}', '{AT}', {ended}"));
        for seq in 1..=3 {
            self.statements.push_str("UPDATE event_cursor SET last = last + 1;\n");
            let data = json!({"text": format!("message {seq}")});
            self.row(
                "event",
                "agent_id, seq, task_id, task_seq, cursor, owner, run_id, at, kind, data",
                &format!(
                    "{agent}, {seq}, {task}, {seq}, (SELECT last FROM event_cursor), 'admin', {run}, '{AT}', 'message', '{data}'"
                ),
            );
        }
    }

    /// Makes the first schema and stores everything.
    async fn store(self, url: &str) {
        if self.is_sqlite {
            let mut connection = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.expect("made");
            sqlx::migrate!("migrations/sqlite").run_to(1, &mut connection).await.expect("the first schema");
            connection.execute(AssertSqlSafe(self.statements)).await.expect("stored");
            connection.close().await.expect("closed");
        } else {
            let mut connection = PgConnection::connect(url).await.expect("opens");
            sqlx::migrate!("migrations/postgres").run_to(1, &mut connection).await.expect("the first schema");
            connection.execute(AssertSqlSafe(self.statements)).await.expect("stored");
            connection.close().await.expect("closed");
        }
    }
}

fn named(task: TaskId) -> Value {
    json!({"id": task.to_string()})
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_taken_over_with_all_that_is_in_it() {
    let mut app = TestApp::prepared(&[]).await;
    app.script(&format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo scripted; exit; }}\n{GREET}{RESULT}"));
    std::fs::create_dir(app.data_dir()).expect("made");
    let work = || (AgentId::generate(), RunId::generate());
    let (done, stopped, resumed, lost) = (work(), work(), work(), work());
    let url = app.store_url();
    let mut old = Old { is_sqlite: url.starts_with("sqlite:"), statements: String::new() };
    let key = KeyId::generate();
    let key_id = old.id(key.uuid());
    let (prefix, hash) = if old.is_sqlite {
        (format!("X'{}'", "07".repeat(8)), format!("X'{}'", "07".repeat(32)))
    } else {
        (format!("'\\x{}'", "07".repeat(8)), format!("'\\x{}'", "07".repeat(32)))
    };
    let columns = "id, user_name, name, scopes, hash_prefix, hash, created_at";
    old.row("api_key", columns, &format!("{key_id}, 'ann', 'old key', '[\"read\"]', {prefix}, {hash}, '{AT}'"));
    let created = old.task("created", "resume", None, None);
    let claimed = old.task("assigned", "resume", None, None);
    let workspace = app.dir.path().display().to_string();
    let mut worked = |status: &str, on_lost, agent_status, work: (AgentId, RunId), failure, outcome, is_open| {
        old.agent(work.0, agent_status, &workspace);
        let task = old.task(status, on_lost, Some(work), failure);
        old.run(task, work, &outcome, is_open);
        task
    };
    let complete = json!({"result": "well done", "cost_usd": 0.25, "structured_output": {"nul": "\0"}});
    let complete = worked("complete", "resume", "parked", done, None, complete, false);
    let half = json!({"result": "half", "cost_usd": 0.5});
    let failed = r#"{"code":"agent_error","detail":"it did not work","retryable":false}"#;
    let failed = worked("failed", "resume", "terminated", stopped, Some(failed), half, false);
    let resumed = worked("in_progress", "resume", "busy", resumed, None, json!({}), true);
    let lost = worked("in_progress", "fail", "busy", lost, None, json!({}), true);
    old.store(&url).await;

    app.launch();
    for task in [created, claimed, resumed] {
        let ended = app.ended(&named(task)).await;
        assert_eq!((&ended["status"], &ended["result"]), (&json!("complete"), &json!("done")), "{ended}");
        assert_no_hole(&app.events(&ended).await);
    }
    assert_eq!(app.events(&named(resumed)).await[2]["data"]["text"], "message 3", "what was captured stays");
    assert_eq!(app.ended(&named(lost)).await["failure"]["code"], "agent_lost");
    assert_eq!(app.get(&format!("/tasks/{complete}")).await.expect(200)["result"], "well done");
    assert_eq!(app.get(&format!("/tasks/{failed}")).await.expect(200)["failure"]["detail"], "it did not work");
    let agent = json!({"id": done.0.to_string()});
    let again = app.tell(&agent, &json!("and now?"), json!({"wait_seconds": 40})).await;
    assert_eq!((&again["status"], &again["agent_id"]), (&json!("complete"), &agent["id"]), "{again}");
    let stopped = json!({"id": stopped.0.to_string()});
    let known = app.get(&path_of(&stopped, "")).await.expect(200);
    assert_eq!(
        (&known["status"], &known["turns"], &known["cost_usd"]),
        (&json!("terminated"), &json!(1), &json!(0.5)),
        "{known}"
    );
    app.post(&path_of(&stopped, "/resume"), &json!({})).await.expect(200);
    assert_eq!(app.ended(&app.tell(&stopped, &json!("go on"), json!({})).await).await["status"], "complete");
    app.stop();
    let store = Store::connect(&url).await.expect("opens");
    let kept = store.get_key(key).await.expect("read").expect("there");
    assert_eq!((kept.user.as_str(), &kept.scopes[..]), ("ann", &[Scope::Read][..]));
    store.close().await;
}
