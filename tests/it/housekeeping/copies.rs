//! `mas backup` and `mas restore`.

use super::word;
use crate::support::TestApp;
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

const NO_CLI: [(&str, &str); 1] = [("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")];

/// Runs `mas` and returns what it said on stderr.
fn told(app: &TestApp, arguments: &[&str], success: bool) -> String {
    let output = app.mas(arguments).output().expect("ran");
    let words = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.success(), success, "{arguments:?}: {words}");
    words
}

fn file(app: &TestApp, name: &str) -> (PathBuf, String) {
    let path = app.dir.path().join(name);
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}

async fn task_ids(app: &TestApp) -> Vec<String> {
    let page = app.get("/tasks?limit=200").await.expect(200);
    let mut ids: Vec<String> = page["tasks"].as_array().expect("tasks").iter().map(|task| word(task, "id").to_owned()).collect();
    ids.reverse();
    ids
}

/// The ids of the tasks in a copy, oldest first.
async fn copied_ids(copy: &Path) -> Vec<String> {
    if std::env::var("MAS_TEST_POSTGRES_URL").is_ok() {
        let found = Command::new("sh")
            .args(["-c", "ls -d /usr/lib/postgresql/*/bin/pg_restore | tail -1"])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let program = found.ok().filter(|path| !path.is_empty()).unwrap_or_else(|| "pg_restore".to_owned());
        let script =
            Command::new(program).args(["--data-only", "--table=task", "--file=-"]).arg(copy).output().expect("pg_restore");
        let script = String::from_utf8(script.stdout).expect("text");
        let rows = script.lines().skip_while(|line| !line.starts_with("COPY ")).skip(1).take_while(|line| *line != "\\.");
        let mut ids: Vec<String> =
            rows.map(|row| format!("task_{}", row.split('\t').next().expect("an id").replace('-', ""))).collect();
        ids.sort();
        ids
    } else {
        use sqlx::Connection;
        let mut connection =
            sqlx::SqliteConnection::connect(&format!("sqlite://{}?mode=ro", copy.display())).await.expect("opens");
        let ids: Vec<uuid::Uuid> =
            sqlx::query_scalar("SELECT id FROM task ORDER BY id").fetch_all(&mut connection).await.expect("readable");
        ids.into_iter().map(|id| format!("task_{}", id.simple())).collect()
    }
}

async fn create_plain(app: &TestApp, title: &str) -> Value {
    let answer = app.post("/tasks", &json!({"title": title, "description": "Do it."})).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backup_during_writes_has_all_that_was_acknowledged_before_it_and_nothing_out_of_order() {
    let app = Arc::new(TestApp::with(&NO_CLI).await);
    let (acknowledged, enough) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (app, acknowledged, enough) = (app.clone(), acknowledged.clone(), enough.clone());
        tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let task = create_plain(&app, "one of many").await;
                acknowledged.lock().expect("a lock").push(word(&task, "id").to_owned());
            }
        })
    };
    let written = || acknowledged.lock().expect("a lock").len();
    crate::support::until("there are tasks", || written() > 20).await;
    let mut copies = vec![];
    for number in 0..5 {
        let (path, name) = file(&app, &format!("backup{number}"));
        let before = written();
        let (running, arguments) = (app.clone(), name.clone());
        let words = tokio::task::spawn_blocking(move || told(&running, &["backup", &arguments], true)).await.expect("ran");
        assert!(words.contains("wrote and checked"), "{words}");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        copies.push((path, before));
    }
    assert!(written() > copies[0].1, "nothing was written while the backups ran");
    enough.store(true, Ordering::Relaxed);
    writer.await.expect("wrote");
    let all = acknowledged.lock().expect("a lock").clone();
    for (path, before) in copies {
        let found = copied_ids(&path).await;
        assert!(found.len() >= before, "{} of {before} acknowledged tasks", found.len());
        // The writer's last task may have been stored but not acknowledged when the copy was made.
        assert_eq!(found[..found.len().min(all.len())], all[..found.len().min(all.len())]);
    }

    let (path, name) = file(&app, "backup0");
    let old = std::fs::read(&path).expect("there");
    assert!(told(&app, &["backup", &name], false).contains("--force"));
    assert_eq!(std::fs::read(&path).expect("there"), old);
    told(&app, &["backup", &name, "--force"], true);
    assert_ne!(std::fs::read(&path).expect("there"), old);
    let names = std::fs::read_dir(app.dir.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new(), "something unfinished is left");
}

#[tokio::test]
async fn a_restored_store_serves_what_was_backed_up_and_the_one_before_is_kept() {
    let app = TestApp::with(&NO_CLI).await;
    for number in 0..3 {
        app.ended(&create_plain(&app, &format!("task {number}")).await).await;
    }
    let ids = task_ids(&app).await;
    let (_, copy) = file(&app, "copy");
    told(&app, &["backup", &copy], true);
    create_plain(&app, "after the backup").await;

    let mut other = TestApp::prepared(&NO_CLI).await;
    told(&other, &["restore", &copy], true);
    other.launch();
    assert_eq!(task_ids(&other).await, ids);
    let task = other.get(&format!("/tasks/{}", ids[0])).await.expect(200);
    assert_eq!((&task["title"], &task["failure"]["code"]), (&json!("task 0"), &json!("agent_unavailable")));

    // Again, over a store with something in it.
    create_plain(&other, "soon gone").await;
    assert!(told(&other, &["restore", "--force", &copy], false).contains("running server"));
    assert_eq!(task_ids(&other).await.len(), 4);
    other.kill();
    assert!(told(&other, &["restore", &copy], false).contains("--force"));
    assert!(told(&other, &["restore", "--force", &copy], true).contains("before-restore"));
    other.launch();
    assert_eq!(task_ids(&other).await, ids);

    // What was kept can be put back.
    assert!(other.stop().success());
    let kept = std::fs::read_dir(other.data_dir()).expect("a directory").map(|entry| entry.expect("an entry").path());
    let kept: Vec<PathBuf> = kept.filter(|path| path.to_string_lossy().contains("before-restore")).collect();
    let kept = kept.iter().min_by_key(|path| path.as_os_str().len()).expect("kept").clone();
    let (_, again) = file(&other, "again");
    if kept.extension().is_some_and(|ending| ending == "dump") {
        std::fs::copy(&kept, &again).expect("copied");
    } else {
        // It may need the log of the killed server, which is kept with it.
        use sqlx::{Connection, Executor};
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", kept.display())).await.expect("opens");
        connection.execute(sqlx::AssertSqlSafe(format!("VACUUM INTO '{again}'"))).await.expect("copied");
        connection.close().await.expect("closed");
    }
    told(&other, &["restore", "--force", &again], true);
    other.launch();
    assert_eq!(task_ids(&other).await.len(), 4);
}

#[tokio::test]
async fn damaged_foreign_and_newer_copies_are_refused_and_the_store_stays_as_it_is() {
    let mut app = TestApp::with(&NO_CLI).await;
    for number in 0..40 {
        create_plain(&app, &format!("task {number}")).await;
    }
    let ids = task_ids(&app).await;
    let (path, copy) = file(&app, "copy");
    told(&app, &["backup", &copy], true);
    let newer = "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, execution_time \
                 FROM _sqlx_migrations WHERE version = 1";
    app.sql(newer).await;
    let (_, newer) = file(&app, "newer");
    told(&app, &["backup", &newer], true);
    app.sql("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    assert!(app.stop().success());

    let good = std::fs::read(&path).expect("there");
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 6_000].fill(0xA5);
    let attempts = [
        ("damaged", damaged),
        ("short", good[..good.len() / 2].to_vec()),
        ("words", b"this is no database at all, only a sentence".repeat(100)),
        ("empty", vec![]),
    ];
    let mut refused = vec![newer.clone(), "/nonexistent/copy".to_owned()];
    for (name, bytes) in attempts {
        let (path, name) = file(&app, name);
        std::fs::write(&path, bytes).expect("written");
        refused.push(name);
    }
    for name in refused {
        let words = told(&app, &["restore", "--force", &name], false);
        assert!(words.starts_with("error: mas restore: "), "{words}");
        assert!(name != newer || words.contains("newer mas"), "{words}");
    }
    let own = app.data_dir().join("mas.db");
    if own.exists() {
        told(&app, &["restore", "--force", own.to_str().expect("UTF-8")], false);
    }
    let left = std::fs::read_dir(app.data_dir()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
    app.launch();
    assert_eq!(task_ids(&app).await, ids);
}

#[tokio::test]
async fn cli_an_agent_that_was_at_work_during_the_backup_is_lost_after_a_restore_elsewhere() {
    let app = TestApp::start().await;
    let task = app.create(&json!({"hang": 600.0}), json!({"on_lost": "fail"})).await;
    app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    let (_, copy) = file(&app, "copy");
    told(&app, &["backup", &copy], true);
    let mut other = TestApp::prepared(&[]).await;
    told(&other, &["restore", &copy], true);
    other.launch();
    let ended = other.ended(&task).await;
    assert_eq!((&ended["status"], &ended["failure"]["code"]), (&json!("failed"), &json!("agent_lost")), "{ended}");
    assert!(!app.agent_processes().is_empty(), "the agent itself works on for its own server");
}
