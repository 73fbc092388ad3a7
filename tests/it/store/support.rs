//! A store for one test, and things to put into it.

use chrono::{SubsecRound, Utc};
use mas_gateway::{
    model::{
        agent::{Agent, AgentStatus, AgentType},
        id::{AgentId, ProcessId, RunId},
        run::{Provenance, Run, RunOutcome},
        task::Task,
    },
    store::{Inserted, Process, Provision, Quota, Store},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions};
use std::{ops::Deref, path::PathBuf, str::FromStr};
use uuid::Uuid;

/// A fresh, empty store. Call [`TestStore::end`] last, so that nothing of it stays.
pub(crate) struct TestStore {
    store: Store,
    place: Place,
}

enum Place {
    Sqlite(tempfile::TempDir),
    Postgres { server: Box<PgConnectOptions>, database: String },
}

impl Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    /// The `SQLite` file, when it is `SQLite`.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Sqlite(directory) => Some(directory.path().join("mas.db")),
            Place::Postgres { .. } => None,
        }
    }

    /// The server, when it is `PostgreSQL`.
    pub(crate) fn server(&self) -> Option<&PgConnectOptions> {
        match &self.place {
            Place::Sqlite(_) => None,
            Place::Postgres { server, .. } => Some(server),
        }
    }

    /// Closes the store and removes its database.
    pub(crate) async fn end(self) {
        self.store.close().await;
        if let Place::Postgres { server, database } = self.place {
            let mut connection = server.connect().await.expect("test server");
            // The name is `mas_test_` and hexadecimal digits.
            connection.execute(AssertSqlSafe(format!("DROP DATABASE {database} WITH (FORCE)"))).await.expect("dropped");
            connection.close().await.expect("closed");
        }
    }
}

/// A store on `SQLite`, or on the server `MAS_TEST_POSTGRES_URL` names, in a database of its own.
pub(crate) async fn test_store() -> TestStore {
    #[expect(clippy::disallowed_methods, reason = "chooses the engine of a test run; not a setting of the product")]
    let server = std::env::var("MAS_TEST_POSTGRES_URL").ok();
    let (url, place) = match server {
        None => {
            let directory = tempfile::tempdir().expect("temporary directory");
            (format!("sqlite://{}", directory.path().join("mas.db").display()), Place::Sqlite(directory))
        }
        Some(url) => {
            let server = PgConnectOptions::from_str(&url).expect("MAS_TEST_POSTGRES_URL");
            let database = format!("mas_test_{}", Uuid::now_v7().simple());
            let mut connection = server.connect().await.expect("test server");
            connection.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await.expect("created");
            connection.close().await.expect("closed");
            let (address, query) = url.split_once('?').map_or((url.as_str(), String::new()), |(a, q)| (a, format!("?{q}")));
            let (address, _) = address.rsplit_once('/').expect("postgres://…/database");
            (format!("{address}/{database}{query}"), Place::Postgres { server: Box::new(server), database })
        }
    };
    TestStore { store: Store::connect(&url).await.expect("store"), place }
}

/// A new task of `owner`.
pub(crate) fn task(owner: &str) -> Task {
    let now = Utc::now().trunc_subsecs(6);
    Task {
        title: "title".into(),
        description: "description".into(),
        ..Task::new(owner.to_owned(), AgentType::CODER, 60, Provenance::Rehearsal, now)
    }
}

/// Stores a task that no limit concerns.
pub(crate) async fn insert(store: &Store, task: &Task) -> Inserted<Task> {
    store.insert_task(task, &Quota::default()).await.expect("inserted")
}

/// Claims the next task.
pub(crate) async fn claim(store: &Store) -> Option<Task> {
    store.claim_task(Utc::now(), &[]).await.expect("claimed")
}

/// The run of a provision made by [`provision`].
pub(crate) fn run_of(p: &Provision) -> &Run {
    p.run.as_ref().expect("made with a run")
}

/// An agent, a run and a process for a claimed task.
pub(crate) fn provision(task: &Task) -> Provision {
    let now = Utc::now().trunc_subsecs(6);
    let (agent_id, run_id) = (AgentId::generate(), RunId::generate());
    let agent = Agent {
        id: agent_id,
        name: "coder-1".into(),
        project: task.project.clone(),
        status: AgentStatus::Starting,
        durable: false,
        workspace: "/workspace".into(),
        branch: Some("mas/x".into()),
        ..Agent::at_rest(task.owner.clone(), task.agent_type, task.provenance, now)
    };
    let run = Run {
        id: run_id,
        task_id: task.id,
        agent_id,
        progress: String::new(),
        latest_output: String::new(),
        outcome: RunOutcome::default(),
        started_at: now,
        ended_at: None,
    };
    let process = Process {
        id: ProcessId::generate(),
        agent_id,
        run_id: Some(run_id),
        offset: 0,
        state: serde_json::json!({"v": 1}),
        started_at: now,
        ended_at: None,
    };
    Provision { task: Some((task.id, task.generation)), agent, is_known: false, run: Some(run), process }
}
