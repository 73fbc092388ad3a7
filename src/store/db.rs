//! The two engines behind one type: connecting, and the `on!` macro that compiles a query for each.

use super::StoreError;
use chrono::{DateTime, SubsecRound, Utc};
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{borrow::Cow, fmt::Display, str::FromStr, time::Duration};
use tokio::fs::OpenOptions;

/// How long a `SQLite` statement waits for another process's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that stopped answering is given up at this age at the latest.
const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// The server's advisory lock; locks are counted by database.
const HOLD_KEY: i64 = 0x6d61_735f_6877;
/// How long the session of a server that was killed may keep its lock.
const HOLD_LIMIT: Duration = Duration::from_secs(5);
const HOLD_STEP: Duration = Duration::from_millis(100);

/// Keeps other servers from the database until dropped.
#[derive(Debug)]
pub struct Hold {
    _connection: Option<PgConnection>,
}

/// Connections to one of the engines.
#[derive(Debug, Clone)]
pub(super) enum Db {
    /// `w` has one connection: `SQLite` has one writer, and writers queue here rather than on its lock. `r` only reads.
    Sqlite { w: SqlitePool, r: SqlitePool },
    /// `PostgreSQL`.
    Postgres(PgPool),
}

/// Runs a body on the engine at hand; it is compiled once per engine. `$1` counts parameters in both.
///
/// `read` and `write` give the body a pool. `tx` gives it a transaction: `Some(…)` commits, `None` and errors roll back.
/// Transactions belong in [`uncancelled`].
macro_rules! on {
    (read $db:expr, |$p:ident| $body:expr) => {
        match $db {
            $crate::store::db::Db::Sqlite { r, .. } => {
                let $p = r;
                $body
            }
            $crate::store::db::Db::Postgres(pool) => {
                let $p = pool;
                $body
            }
        }
    };
    (write $db:expr, |$p:ident| $body:expr) => {
        match $db {
            $crate::store::db::Db::Sqlite { w, .. } => {
                let $p = w;
                $body
            }
            $crate::store::db::Db::Postgres(pool) => {
                let $p = pool;
                $body
            }
        }
    };
    (tx $db:expr, |$t:ident| $body:expr) => {
        match $db {
            // Without IMMEDIATE a transaction that reads first fails at once when another process writes meanwhile.
            $crate::store::db::Db::Sqlite { w, .. } => {
                let mut $t = w.begin_with("BEGIN IMMEDIATE").await?;
                let outcome = $body;
                if outcome.is_some() {
                    $t.commit().await?
                } else {
                    $t.rollback().await?
                }
                outcome
            }
            $crate::store::db::Db::Postgres(pool) => {
                let mut $t = pool.begin().await?;
                let outcome = $body;
                if outcome.is_some() {
                    $t.commit().await?
                } else {
                    $t.rollback().await?
                }
                outcome
            }
        }
    };
}
pub(super) use on;

/// Runs a transaction to its end even when the caller is dropped. A cancelled `begin()` of sqlx 0.9 leaves the
/// connection inside a transaction nobody knows of, and later writes on it vanish (transact-rs/sqlx#4385).
pub(super) async fn uncancelled<T: Send + 'static>(
    transaction: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(transaction).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_cancelled() => Err(StoreError::Unavailable("the server is ending".to_owned())),
        Err(error) => Err(StoreError::internal(error)),
    }
}

impl Db {
    pub(super) async fn connect(url: &str) -> Result<Self, StoreError> {
        match url.strip_prefix("sqlite://") {
            Some(file) => Self::connect_sqlite(file).await,
            None => Self::connect_postgres(url).await,
        }
    }

    async fn connect_sqlite(file: &str) -> Result<Self, StoreError> {
        // SQLite would create it readable for everybody; its -wal and -shm files take over the mode of this one.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Unavailable(format!("{file} cannot be created: {error}")));
            }
            _ => {}
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", "67108864") // the -wal file shrinks back to 64 MiB after a burst
            .optimize_on_close(true, 400);
        // Longer than BUSY_TIMEOUT: who queues behind a statement that waits for a lock gets a turn of its own.
        let w = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT * 3)
            // A full disk makes SQLite roll back by itself. sqlx then takes the connection for one in a transaction for ever.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?; // the rollback of a dropped transaction comes before its answer
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("migrations/sqlite").run(&w).await?;
        let r = SqlitePoolOptions::new().max_connections(4).acquire_timeout(ACQUIRE_TIMEOUT);
        let r = r.connect_with(options.optimize_on_close(false, None).read_only(true)).await?;
        Ok(Self::Sqlite { w, r })
    }

    async fn connect_postgres(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?.application_name("mas");
        // The pool would only say that it timed out; a single connection says why.
        match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
            Ok(connection) => connection?.close().await?,
            Err(_) => return Err(StoreError::Unavailable("the PostgreSQL server does not answer".to_owned())),
        }
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(MAX_LIFETIME)
            // Second guard against what `uncancelled` is for. A ROLLBACK alone would put a warning into the server's log
            // each time there is nothing to roll back, which is always.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.execute("BEGIN; ROLLBACK").await?;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        sqlx::migrate!("migrations/postgres").run(&pool).await?;
        Ok(Self::Postgres(pool))
    }

    pub(super) async fn hold(&self) -> Result<Hold, StoreError> {
        let Self::Postgres(pool) = self else { return Ok(Hold { _connection: None }) };
        let mut connection = pool.connect_options().as_ref().clone().connect().await?;
        let limit = tokio::time::Instant::now() + HOLD_LIMIT;
        loop {
            let take = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(HOLD_KEY);
            if take.fetch_one(&mut connection).await? {
                return Ok(Hold { _connection: Some(connection) });
            }
            if tokio::time::Instant::now() > limit {
                let words =
                    "another server uses it, and two would both continue the same work; end that one, or use another database";
                return Err(StoreError::Unavailable(words.to_owned()));
            }
            tokio::time::sleep(HOLD_STEP).await;
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { w, r } => {
                // The writer last: the last connection folds the -wal file into the database, and must be able to write.
                r.close().await;
                w.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// The time as both engines keep it.
pub(super) fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

/// The text as both engines keep it: `PostgreSQL` refuses NUL characters.
pub(super) fn text(given: &str) -> Cow<'_, str> {
    if given.contains('\0') { Cow::Owned(given.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(given) }
}

/// A stored word as a value of its vocabulary.
pub(super) fn word<T: FromStr<Err: Display>>(stored: &str) -> Result<T, StoreError> {
    stored.parse().map_err(StoreError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a database that may not grow any more, as on a full disk.
    async fn fill(w: &SqlitePool) -> Result<Option<()>, StoreError> {
        let db = Db::Sqlite { w: w.clone(), r: w.clone() };
        Ok(on!(tx & db, |t| {
            sqlx::query("INSERT INTO filler VALUES (zeroblob(1000000))").execute(&mut *t).await?;
            Some(())
        }))
    }

    #[tokio::test]
    async fn a_full_disk_is_a_passing_fault() {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", dir.path().join("mas.db").display());
        let Ok(Db::Sqlite { w, .. }) = Db::connect(&url).await else { panic!("SQLite opens") };
        w.execute("CREATE TABLE filler (bytes BLOB)").await.expect("made");
        w.execute("PRAGMA max_page_count = 1").await.expect("cannot grow");
        let refused = fill(&w).await;
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("full")), "{refused:?}");
        // The limit was one of the connection that has failed; there is room now.
        let room = fill(&w).await;
        assert!(matches!(room, Ok(Some(()))), "the disk has room again: {room:?}");
    }
}
