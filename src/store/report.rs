//! What reports say of the past: how tasks ended, how long they took, what they cost. Every query is bounded.

use super::{
    Store, StoreError,
    db::{micros, on, text, word},
    tasks::statuses,
};
use crate::model::{agent::AgentStatus, run::Provenance, task::TaskStatus};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

/// Whose work, and when.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// From this time on.
    pub from: DateTime<Utc>,
    /// Before this time.
    pub to: DateTime<Utc>,
}

/// How many tasks ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: TaskStatus,
    /// Code of the failure; none for other ends, and for a failure whose code cannot be read in SQL.
    pub code: Option<String>,
    /// How many.
    pub tasks: i64,
}

/// When one task was made, begun and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Times {
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When an agent began; a task that was cancelled or failed before has none.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// A proposal that ended by its rules or its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct EndedProposal {
    /// Whether there was a decision.
    pub is_decided: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// What the runs of one model used.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// The model as the CLI named it, if it did.
    pub model: Option<String>,
    /// Whether it was a real one.
    pub provenance: Provenance,
    /// Runs begun.
    pub runs: i64,
    /// US dollars, by the CLI's own price table; none when it reported none.
    pub cost_usd: Option<f64>,
    /// Tokens of all model requests; none when the CLI reported none.
    pub tokens: Option<i64>,
}

/// The columns of a failure's code. `PostgreSQL` refuses to look into a document with the escape of a NUL character.
const CODE: &str = r"CASE WHEN CAST(failure AS TEXT) NOT LIKE '%\u0000%' ESCAPE '!' THEN failure ->> 'code' END";

impl Store {
    /// How the tasks ended that ended in this time.
    pub async fn count_ended(&self, span: Span<'_>) -> Result<Vec<Ended>, StoreError> {
        let rows: Vec<(String, Option<String>, i64)> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT status, code, count(*) FROM (SELECT status, ");
            query.push(CODE).push(" AS code FROM task WHERE ended_at >= ").push_bind(micros(span.from));
            query.push(" AND ended_at < ").push_bind(micros(span.to));
            if let Some(owner) = span.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            query.push(") AS t GROUP BY status, code ORDER BY count(*) DESC, status, code");
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(|(status, code, tasks)| Ok(Ended { status: word(&status)?, code, tasks })).collect()
    }

    /// The times of the tasks that ended in this time, the latest first; at most `limit`.
    pub async fn list_ended_times(&self, span: Span<'_>, limit: u32) -> Result<Vec<Times>, StoreError> {
        Ok(on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT created_at, started_at, ended_at FROM task WHERE ended_at >= ");
            query.push_bind(micros(span.from)).push(" AND ended_at < ").push_bind(micros(span.to));
            if let Some(owner) = span.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            query.push(" ORDER BY ended_at DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(p).await?
        }))
    }

    /// What the runs used that began in this time, by model, the dearest first; at most `limit` models.
    pub async fn list_spent(&self, span: Span<'_>, limit: u32) -> Result<Vec<Spent>, StoreError> {
        type Row = (Option<String>, String, i64, Option<f64>, Option<i64>);
        let rows: Vec<Row> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT r.model, t.provenance, count(*), sum(r.cost_usd), CAST(sum(r.tokens) AS BIGINT) \
                 FROM run r JOIN task t ON t.id = r.task_id WHERE r.started_at >= ",
            );
            query.push_bind(micros(span.from)).push(" AND r.started_at < ").push_bind(micros(span.to));
            if let Some(owner) = span.owner {
                query.push(" AND t.owner = ").push_bind(text(owner));
            }
            query.push(
                " GROUP BY r.model, t.provenance ORDER BY COALESCE(sum(r.cost_usd), 0) DESC, count(*) DESC, r.model LIMIT ",
            );
            query.push_bind(i64::from(limit));
            query.build_query_as().fetch_all(p).await?
        });
        let spent = |(model, provenance, runs, cost_usd, tokens): Row| {
            Ok(Spent { model, provenance: word(&provenance)?, runs, cost_usd, tokens })
        };
        rows.into_iter().map(spent).collect()
    }

    /// The proposals that ended in this time, cancelled ones left out, the latest first; at most `limit`.
    pub async fn list_ended_proposals(&self, span: Span<'_>, limit: u32) -> Result<Vec<EndedProposal>, StoreError> {
        Ok(on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT status = 'decided' AS is_decided, created_at, ended_at FROM proposal \
                 WHERE status <> 'cancelled' AND ended_at >= ",
            );
            query.push_bind(micros(span.from)).push(" AND ended_at < ").push_bind(micros(span.to));
            if let Some(owner) = span.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            query.push(" ORDER BY ended_at DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(p).await?
        }))
    }

    /// How many tasks stand where, ended ones left out.
    pub async fn count_open_tasks(&self, owner: Option<&str>) -> Result<Vec<(TaskStatus, i64)>, StoreError> {
        let open = statuses(|status| !status.is_terminal());
        self.count_by_status("task", &open, owner).await
    }

    /// How many agents stand where, ended ones left out.
    pub async fn count_agents(&self, owner: Option<&str>) -> Result<Vec<(AgentStatus, i64)>, StoreError> {
        let open = AgentStatus::ALL.iter().filter(|status| !status.is_ended());
        let open = open.map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ");
        self.count_by_status("agent", &open, owner).await
    }

    /// Counts rows of `table` by their status, of the statuses in the list.
    async fn count_by_status<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        table: &str,
        statuses: &str,
        owner: Option<&str>,
    ) -> Result<Vec<(T, i64)>, StoreError> {
        let of_owner = if owner.is_some() { " AND owner = $1" } else { "" };
        let sql = format!("SELECT status, count(*) FROM {table} WHERE status IN ({statuses}){of_owner} GROUP BY status");
        let rows: Vec<(String, i64)> = on!(read & self.db, |p| {
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            if let Some(owner) = owner {
                query = query.bind(text(owner));
            }
            query.fetch_all(p).await?
        });
        rows.into_iter().map(|(status, count)| Ok((word(&status)?, count))).collect()
    }
}
