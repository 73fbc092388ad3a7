//! The store: everything durable, in `SQLite` or `PostgreSQL`. One SQL text per query, one file per resource.
//!
//! Every method is safe to cancel: a single statement happens wholly or not at all, and what needs several runs as
//! one transaction in a task of its own. Times are kept to the microsecond.

mod agents;
mod answers;
mod append;
mod ballots;
mod claim;
mod copy;
mod db;
mod events;
mod housekeeping;
mod inbox;
mod insert;
mod json;
mod keys;
mod log;
mod memory;
mod meters;
mod mirror;
mod processes;
mod proposals;
mod quota;
mod report;
mod runs;
mod scaling;
mod swarms;
mod tasks;
mod team;
mod work;
mod workflow_runs;

pub use agents::{AgentFilter, AgentUsage};
pub use append::{Appended, Batch, Begun, RunUpdate};
pub use claim::LiveAgents;
pub use copy::{
    CopyError, PostgresUse, check_postgres_migrations, check_sqlite_copy, check_sqlite_migrations, copy_sqlite,
    libpq_environment, postgres_use,
};
pub use db::Hold;
pub use housekeeping::{AgentRest, ProcessEnd, SpentTask};
pub use inbox::{InboxFilter, MessageFilter};
pub use insert::Inserted;
pub use log::{EventFilter, LoggedEvent};
pub use memory::MemoryFilter;
pub use mirror::Mirrored;
pub use processes::Process;
pub use proposals::{ProposalFilter, ProposalStep};
pub use quota::Quota;
pub use report::{Ended, EndedProposal, Span, Spent, Times};
pub use runs::Provision;
pub use swarms::{Grown, StoppedSwarm, SwarmFilter, SwarmTotals};
pub use tasks::{TaskChange, TaskFilter};
pub use team::TeamChange;
pub use work::NewWork;
pub use workflow_runs::{Advance, Advanced, TurnTask, WorkflowRunFilter};

use crate::model::{
    id::AgentId,
    run::{Failure, FailureCode},
};
use db::{Db, on};
use sqlx::{migrate::MigrateError, sqlite::SqliteError};
use std::fmt;

/// Why the store did not do what it was asked. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Locked, full, read-only, connection lost, no connection free in time: the same call may work later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A bug, corrupt data or a schema of another version: trying again does not help.
    #[error("the database refused: {0}")]
    Internal(String),
}

impl StoreError {
    fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let passes = may_work_later(&error);
        metrics::counter!("mas_store_errors_total", "kind" => if passes { "unavailable" } else { "internal" }).increment(1);
        if passes { Self::Unavailable(error.to_string()) } else { Self::Internal(error.to_string()) }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match &error {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) if may_work_later(cause) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// Why messages fail that wait for an agent which has failed.
fn waiting_failure(agent: AgentId, failure: &Failure) -> Failure {
    let detail = format!("{agent} failed before the message had its turn ({}): {}", failure.code, failure.detail);
    Failure::new(FailureCode::AgentFailed, format!("{detail} Resume the agent (resume_agent) and send the message again."))
}

fn may_work_later(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(cause) => {
            let code = cause.code().unwrap_or_default();
            if cause.try_downcast_ref::<SqliteError>().is_some() {
                // The low byte of an extended code is the primary one: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
                matches!(code.parse::<u32>().unwrap_or(0) & 0xff, 5 | 6 | 8 | 10 | 13 | 14)
            } else {
                // Connection lost; transaction rolled back by the engine; resources used up; operator intervention;
                // lock not available; read-only (a standby).
                matches!(code.get(..2), Some("08" | "40" | "53" | "57")) || matches!(&*code, "55P03" | "25006")
            }
        }
        _ => false,
    }
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// `url` is `sqlite://` and an absolute file name, taken literally, in a directory that exists (a new file is
    /// readable by its owner only), or `postgres://user:password@host:port/database`.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Ok(Self { db: Db::connect(url).await? })
    }

    /// Makes sure that no other server uses the database, until the answer is dropped. A `SQLite` file is in a data directory,
    /// which has a lock of its own.
    pub async fn hold(&self) -> Result<Hold, StoreError> {
        self.db.hold().await
    }

    /// Reads from the database, to see that it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on!(read & self.db, |p| sqlx::query("SELECT 1 FROM api_key LIMIT 1").fetch_optional(p).await.map(drop)?);
        Ok(())
    }

    /// Waits for running statements and closes every connection. Later calls, of clones too, are `Unavailable`.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
