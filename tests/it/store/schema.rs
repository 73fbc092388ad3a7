//! Both engines have the same tables; a `SQLite` file is private; a locked database says so.

use super::support::{insert, task, test_store};
use mas_gateway::store::{Quota, Store, StoreError};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn migration_files(engine: &str) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("migrations")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Begins what the engines have no common form for, at the end of a file. Tests of search compare what comes of it.
const OF_ITS_OWN: &str = "-- Each engine searches by its own means:";

/// `table.column` of every line that defines a column, constraints by table, and indexes whole.
fn outline(engine: &str, file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine).join(file);
    let mut table = String::new();
    let mut outline = Vec::new();
    let text = fs::read_to_string(path).expect("readable");
    let common = text.lines().take_while(|line| *line != OF_ITS_OWN);
    for line in common.filter(|line| !line.starts_with("--")) {
        let mut words = line.split_whitespace();
        if let Some((altered, column)) = line.strip_prefix("ALTER TABLE ").and_then(|rest| rest.split_once(" ADD COLUMN ")) {
            let rules = ["NOT NULL", "DEFAULT"].map(|rule| line.contains(rule));
            outline.push(format!("{altered}.{} {rules:?}", column.split(' ').next().expect("a word")));
        } else if let Some((column, _)) = line.strip_prefix("UPDATE ").and_then(|update| update.split_once(" = ")) {
            outline.push(format!("UPDATE {column}"));
        } else if line.contains("process") && file.starts_with("0002") {
            // SQLite has to make the table again to take a NOT NULL away; a test of its own compares what comes of it.
            outline.extend(line.starts_with("CREATE INDEX process_of").then(|| line.to_owned()));
            "new_process".clone_into(&mut table);
        } else if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            rest.trim_end_matches([' ', '(']).clone_into(&mut table);
        } else if line.starts_with(' ') && table == "new_process" {
        } else if line.starts_with(' ') {
            let column = words.next().expect("a word");
            let rules = ["NOT NULL", "UNIQUE", "REFERENCES", "PRIMARY KEY"].map(|rule| line.contains(rule));
            outline.push(format!("{table}.{column} {rules:?}"));
        } else if !line.starts_with(')') {
            outline.push(line.to_owned());
        }
    }
    outline
}

#[test]
fn both_engines_have_the_same_tables_columns_and_indexes() {
    let files = migration_files("sqlite");
    assert_eq!(files, migration_files("postgres"));
    assert!(!files.is_empty());
    for file in files {
        let sqlite = outline("sqlite", &file);
        // A parser that finds next to nothing would compare nothing; two migrations are small.
        let least = match file.as_str() {
            "0003_answers.sql" => 9,
            "0004_monitoring.sql" | "0012_team_traces.sql" => 2,
            "0005_traces.sql" => 1,
            "0010_circles.sql" => 5,
            _ => 11,
        };
        assert!(sqlite.len() >= least, "{sqlite:?}");
        assert_eq!(sqlite, outline("postgres", &file), "{file}");
    }
}

#[tokio::test]
async fn a_new_sqlite_file_is_private_and_opens_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("100% odd?name#.db");
    let url = format!("sqlite://{}", file.display());
    let store = Store::connect(&url).await.expect("store");
    let made = task("ann");
    insert(&store, &made).await;
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file.display());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600, "{path}");
    }
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    let store = Store::connect(&url).await.expect("store");
    assert_eq!(store.get_task(made.id, None).await.expect("read"), Some(made));
    store.close().await;
    let missing = Store::connect(&format!("sqlite://{}/no/mas.db", directory.path().display())).await;
    assert!(matches!(missing, Err(StoreError::Unavailable(message)) if message.contains("mas.db")));
}

/// Takes as long as the store waits for a lock: 5 s.
#[tokio::test]
async fn a_locked_sqlite_database_is_unavailable_and_recovers() {
    let store = test_store().await;
    if let Some(file) = store.file() {
        let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("second connection");
        other.execute("BEGIN IMMEDIATE").await.expect("lock");
        match store.insert_task(&task("ann"), &Quota::default()).await {
            Err(StoreError::Unavailable(message)) => assert!(message.contains("locked"), "{message}"),
            other => panic!("{other:?}"),
        }
        store.ping().await.expect("reading goes on");
        other.execute("ROLLBACK").await.expect("unlock");
        insert(&store, &task("ann")).await;
    }
    store.end().await;
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    // Port 1 of the loopback address: nothing listens there.
    let error = Store::connect("postgres://nobody@127.0.0.1:1/none").await.expect_err("refused");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn what_may_pass_is_unavailable_and_what_will_not_is_internal() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = SqliteConnectOptions::new().filename(directory.path().join("small.db")).create_if_missing(true);
    let mut full = options.clone().pragma("max_page_count", "2").connect().await.expect("connection");
    full.execute("CREATE TABLE t (x UNIQUE)").await.expect_err("three pages");
    full.execute("PRAGMA max_page_count = 3; CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)").await.expect("fits");
    let error = StoreError::from(full.execute("INSERT INTO t VALUES (randomblob(100000))").await.expect_err("full"));
    assert!(matches!(&error, StoreError::Unavailable(message) if message.contains("full")), "{error}");
    let error = StoreError::from(full.execute("INSERT INTO t VALUES (1)").await.expect_err("twice"));
    assert!(matches!(error, StoreError::Internal(_)), "an extended code: {error}");
    let mut fixed = options.read_only(true).connect().await.expect("connection");
    let error = StoreError::from(fixed.execute("DELETE FROM t").await.expect_err("read-only"));
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");

    let store = test_store().await;
    if let Some(server) = store.server() {
        let mut connection = server.connect().await.expect("test server");
        for (code, passes) in
            [("57P01", true), ("40P01", true), ("53300", true), ("25006", true), ("23505", false), ("22021", false)]
        {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$");
            let error = StoreError::from(connection.execute(AssertSqlSafe(raise)).await.expect_err(code));
            assert_eq!(matches!(error, StoreError::Unavailable(_)), passes, "{code}: {error}");
        }
    }
    store.end().await;
}
