//! Copies of the database as files: making one of `SQLite` while it is in use, and judging whether one can be used here.

use super::{StoreError, db::BUSY_TIMEOUT};
use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteError},
};
use std::{collections::BTreeMap, path::Path, str::FromStr};

/// Why a copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Its content is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is something else.
    #[error("it is not a database of mas: {0}")]
    Foreign(String),
    /// Its schema comes from a later version.
    #[error("it was made by a newer mas (migration {0} is unknown here); use that version or a later one")]
    Newer(i64),
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().filter(|cause| cause.try_downcast_ref::<SqliteError>().is_some());
        match code.and_then(|cause| cause.code()?.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(11) => Self::Damaged(error.to_string()),
            Some(26) => Self::Foreign(error.to_string()),
            _ => Self::Store(error.into()),
        }
    }
}

/// Writes a consistent copy of a database that may be in use to `target`, an empty file. Readers and writers go on
/// meanwhile; the schema stays as it is.
pub async fn copy_sqlite(database: &Path, target: &Path) -> Result<(), StoreError> {
    let target = target.to_str().ok_or_else(|| StoreError::internal("the name of the copy is not UTF-8"))?;
    let mut connection =
        SqliteConnectOptions::new().filename(database).create_if_missing(false).busy_timeout(BUSY_TIMEOUT).connect().await?;
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Checks a copy nobody uses from end to end. Returns the number of tasks.
pub async fn check_sqlite_copy(file: &Path) -> Result<i64, CopyError> {
    let mut connection: SqliteConnection = SqliteConnectOptions::new().filename(file).create_if_missing(false).connect().await?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&mut connection).await?;
    if found != ["ok"] {
        return Err(CopyError::Damaged(found.join("; ")));
    }
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('_sqlx_migrations', 'task')")
            .fetch_one(&mut connection)
            .await?;
    if tables != 2 {
        return Err(CopyError::Foreign("it has no tasks and no migrations".to_owned()));
    }
    let tasks = sqlx::query_scalar("SELECT count(*) FROM task").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(tasks)
}

/// Whether this version knows the schema of a copy nobody uses.
pub async fn check_sqlite_migrations(file: &Path) -> Result<(), CopyError> {
    let mut connection: SqliteConnection = SqliteConnectOptions::new().filename(file).create_if_missing(false).connect().await?;
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version").fetch_all(&mut connection).await?;
    let known: BTreeMap<i64, Vec<u8>> =
        sqlx::migrate!("migrations/sqlite").iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
    connection.close().await?;
    judge(&applied, &known)
}

/// Whether this version knows the migrations (version and checksum) of a copy of a `PostgreSQL` database.
pub fn check_postgres_migrations(applied: &[(i64, Vec<u8>)]) -> Result<(), CopyError> {
    let known =
        sqlx::migrate!("migrations/postgres").iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
    judge(applied, &known)
}

fn judge(applied: &[(i64, Vec<u8>)], known: &BTreeMap<i64, Vec<u8>>) -> Result<(), CopyError> {
    if applied.is_empty() {
        return Err(CopyError::Foreign("it has no migrations".to_owned()));
    }
    for (version, checksum) in applied {
        match known.get(version) {
            None => return Err(CopyError::Newer(*version)),
            Some(expected) if expected != checksum => {
                return Err(CopyError::Foreign(format!("its migration {version} is another one than this version's")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Who uses a `PostgreSQL` database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct PostgresUse {
    /// It has tables of mas.
    pub has_tables: bool,
    /// Other connections of mas to it.
    pub sessions: i64,
}

/// Asks who uses the database, without making any tables.
pub async fn postgres_use(url: &str) -> Result<PostgresUse, StoreError> {
    const SQL: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL OR to_regclass('task') IS NOT NULL AS has_tables, \
                       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name = 'mas' AND pid <> pg_backend_pid()) AS sessions";
    let mut connection: PgConnection = PgConnectOptions::from_str(url)?.application_name("mas").connect().await?;
    let found = sqlx::query_as(SQL).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(found)
}

/// What `PostgreSQL`'s own programs need to reach the database, as the variables they read: nothing is in arguments.
pub fn libpq_environment(url: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let options = PgConnectOptions::from_str(url)?;
    let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.to_string_lossy().into_owned());
    let mut environment = BTreeMap::from([
        ("PGHOST".to_owned(), host.trim_matches(['[', ']']).to_owned()),
        ("PGPORT".to_owned(), options.get_port().to_string()),
        ("PGUSER".to_owned(), options.get_username().to_owned()),
        ("PGDATABASE".to_owned(), options.get_database().unwrap_or_else(|| options.get_username()).to_owned()),
        ("PGAPPNAME".to_owned(), "mas".to_owned()),
    ]);
    // The only way to the rest of the options; with a plain address, since names are not encoded there.
    let rest = options.host("localhost").username("mas").database("mas");
    let rest = rest.to_url_lossy();
    if let Some(password) = rest.password() {
        environment.insert("PGPASSWORD".to_owned(), percent_decoded(password));
    }
    for (name, value) in rest.query_pairs() {
        let variable = match &*name {
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            "sslcert" => "PGSSLCERT",
            "sslkey" => "PGSSLKEY",
            _ => continue,
        };
        environment.insert(variable.to_owned(), value.into_owned());
    }
    Ok(environment)
}

fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code =
            after.get(..2).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| u8::from_str_radix(code, 16).ok());
        let code = code.filter(|_| *first == b'%');
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_address_reaches_its_variable() {
        let environment = libpq_environment("postgres://a%40b:p%25%2F%40s@[::1]:5433/d%20b?sslmode=require").expect("parses");
        let get = |name: &str| environment.get(name).map(String::as_str);
        assert_eq!((get("PGUSER"), get("PGPASSWORD")), (Some("a@b"), Some("p%/@s")));
        assert_eq!((get("PGHOST"), get("PGPORT"), get("PGDATABASE")), (Some("::1"), Some("5433"), Some("d b")));
        assert_eq!(get("PGSSLMODE"), Some("require"));
        let environment = libpq_environment("postgres://u@%2Frun%2Fpostgresql/db").expect("parses");
        assert_eq!(environment.get("PGHOST").map(String::as_str), Some("/run/postgresql"));
        assert!(!environment.contains_key("PGPASSWORD"));
    }

    #[test]
    fn unknown_migrations_are_newer_and_other_ones_foreign() {
        let known = BTreeMap::from([(1, vec![1]), (2, vec![2])]);
        assert!(judge(&[(1, vec![1])], &known).is_ok());
        assert!(matches!(judge(&[(1, vec![1]), (3, vec![3])], &known), Err(CopyError::Newer(3))));
        assert!(matches!(judge(&[(1, vec![9])], &known), Err(CopyError::Foreign(_))));
        assert!(matches!(judge(&[], &known), Err(CopyError::Foreign(_))));
    }
}
