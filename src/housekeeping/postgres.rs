//! Copies of a `PostgreSQL` database, with its own programs. The password reaches them by environment only.

use super::{HousekeepingError, backup};
use crate::{
    process::{CommandOutput, run_command},
    store::{check_postgres_migrations, libpq_environment, postgres_use},
};
use chrono::Utc;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest dump or restore.
const LIMIT: Duration = Duration::from_hours(24);
/// Enough for words and for the list of migrations.
const OUTPUT_BYTES: usize = 1 << 20;
/// How long the sessions of a server that has just ended may take to be gone.
const SESSIONS_LEAVE: Duration = Duration::from_secs(5);
/// Where Debian keeps the programs, one directory per version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Dumps the database to `target`, an empty file, and reads the dump once from end to end.
pub(super) async fn dump(url: &str, env: &BTreeMap<String, String>, target: &Path) -> Result<(), HousekeepingError> {
    let environment = environment(url, env)?;
    let file = utf8(target)?;
    run("pg_dump", &["--format=custom", "--no-password", &format!("--file={file}")], &environment).await?;
    read_through(file, &environment).await
}

/// Reads a dump from end to end; one that is cut or damaged fails.
async fn read_through(file: &str, env: &BTreeMap<String, String>) -> Result<(), HousekeepingError> {
    run("pg_restore", &["--file=/dev/null", file], env).await.map(drop)
}

/// Replaces the database's content by that of `file`, wholly or not at all. What was there is dumped into `keep_in` first.
pub(super) async fn replace(
    url: &str,
    env: &BTreeMap<String, String>,
    file: &Path,
    force: bool,
    keep_in: &Path,
) -> Result<Option<PathBuf>, HousekeepingError> {
    let environment = environment(url, env)?;
    let file_name = utf8(file)?;
    read_through(file_name, &environment).await?;
    let listing = ["--data-only", "--table=_sqlx_migrations", "--file=-", file_name];
    let migrations = run("pg_restore", &listing, &environment).await?;
    check_postgres_migrations(&applied(&migrations.stdout_text()))
        .map_err(|problem| HousekeepingError::Copy { file: file.to_owned(), problem })?;
    let has_tables = unused(url).await?;
    if has_tables && !force {
        let words = "the database of store.url has tables of mas already; --force replaces them and keeps a dump of them";
        return Err(HousekeepingError::Refused(words.to_owned()));
    }
    let kept = if has_tables {
        let kept = keep_in.join(format!("postgres.before-restore-{}.dump", Utc::now().format("%Y%m%dT%H%M%S%.3fZ")));
        Box::pin(backup::backup(url, env, &kept, false)).await?;
        Some(kept)
    } else {
        None
    };
    let database = environment.get("PGDATABASE").map_or("", String::as_str);
    let into = format!("--dbname={database}");
    let replacing = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"];
    let arguments: Vec<&str> = replacing.into_iter().chain(["--no-password", &into, file_name]).collect();
    run("pg_restore", &arguments, &environment).await?;
    Ok(kept)
}

/// Whether the database has tables of mas. Refuses while somebody works with it: the restore would wait for them.
async fn unused(url: &str) -> Result<bool, HousekeepingError> {
    let limit = tokio::time::Instant::now() + SESSIONS_LEAVE;
    loop {
        let state = postgres_use(url).await?;
        if state.sessions == 0 {
            return Ok(state.has_tables);
        }
        if tokio::time::Instant::now() > limit {
            let words = format!("{} sessions of mas use the database of store.url; stop the server first", state.sessions);
            return Err(HousekeepingError::Refused(words));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn environment(url: &str, env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, HousekeepingError> {
    let inherited = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"];
    let mut all: BTreeMap<String, String> = env
        .iter()
        .filter(|(name, _)| inherited.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    all.extend(libpq_environment(url)?);
    Ok(all)
}

async fn run(program: &str, arguments: &[&str], env: &BTreeMap<String, String>) -> Result<CommandOutput, HousekeepingError> {
    let path = find(program, env.get("PATH").map_or("", String::as_str)).ok_or_else(|| {
        HousekeepingError::Refused(format!(
            "{program} was not found; it comes with PostgreSQL's client programs, for example `apt-get install postgresql-client`"
        ))
    })?;
    let argv: Vec<&str> = std::iter::once(utf8(&path)?).chain(arguments.iter().copied()).collect();
    let failed = |words: String| HousekeepingError::Refused(format!("{program}: {words}"));
    let output =
        run_command(&argv, Path::new("/"), env, None, LIMIT, OUTPUT_BYTES).await.map_err(|error| failed(error.to_string()))?;
    if output.success() { Ok(output) } else { Err(failed(output.stderr_text())) }
}

/// The program on `PATH`, else the newest where Debian keeps them.
fn find(program: &str, path: &str) -> Option<PathBuf> {
    let on_path = std::env::split_paths(path).map(|dir| dir.join(program));
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin").join(program)))
        })
        .collect();
    versions.sort();
    on_path.chain(versions.into_iter().rev().map(|(_, file)| file)).find(|file| file.is_file())
}

fn utf8(path: &Path) -> Result<&str, HousekeepingError> {
    path.to_str().ok_or_else(|| HousekeepingError::Refused(format!("{} is not UTF-8", path.display())))
}

/// Version and checksum of each migration, from `pg_restore`'s `COPY` lines.
fn applied(script: &str) -> Vec<(i64, Vec<u8>)> {
    let mut lines = script.lines().skip_while(|line| !line.starts_with("COPY "));
    let Some(columns) = lines.next().and_then(|line| line.split_once('(')?.1.split_once(')')) else { return Vec::new() };
    let place = |wanted: &str| columns.0.split(", ").position(|column| column == wanted);
    let (Some(version), Some(checksum)) = (place("version"), place("checksum")) else { return Vec::new() };
    lines
        .take_while(|line| *line != "\\.")
        .filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            Some((fields.get(version)?.parse().ok()?, unhex(fields.get(checksum)?.strip_prefix("\\\\x")?)?))
        })
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_read_from_a_dump() {
        let script = "SET x;\n\nCOPY public._sqlx_migrations (version, description, checksum) FROM stdin;\n\
                      1\tinitial\t\\\\x01ff\n2\tmore\t\\\\x02\n\\.\n\nSELECT 1;";
        assert_eq!(applied(script), [(1, vec![1, 255]), (2, vec![2])]);
        assert_eq!(applied("no dump"), []);
    }
}
