//! The log of all events: reading across agents, in the order of the cursor.
//!
//! A transaction takes its cursors under a lock it holds until its end (`events.rs`), so they become visible in their order:
//! a reader that has seen one never misses a lower one. The log has gaps, where an append was repeated or undone.

use super::{
    Store, StoreError,
    db::{on, text, word},
    events::EventRow,
};
use crate::model::{
    event::Event,
    id::{AgentId, TaskId},
    run::Provenance,
};
use std::ops::RangeInclusive;

/// Which events of the log to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those of this task.
    pub task: Option<TaskId>,
    /// Only those of this agent.
    pub agent: Option<AgentId>,
    /// Words of [`EventKind::name`](crate::model::event::EventKind::name) to keep; none keeps all.
    pub kinds: &'a [&'static str],
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Its place.
    pub cursor: i64,
    /// Whether a real model answers the agent.
    pub provenance: Provenance,
    /// What was captured.
    pub event: Event,
}

#[derive(sqlx::FromRow)]
struct LoggedRow {
    cursor: i64,
    provenance: String,
    #[sqlx(flatten)]
    event: EventRow,
}

impl LoggedRow {
    fn into_logged(self) -> Result<LoggedEvent, StoreError> {
        Ok(LoggedEvent { cursor: self.cursor, provenance: word(&self.provenance)?, event: self.event.into_event()? })
    }
}

/// A sub-query rather than a join, which a planner might begin at the wrong end.
const COLUMNS: &str = "event.*, (SELECT provenance FROM agent WHERE agent.id = event.agent_id) AS provenance";

/// What to read of the events that pass a filter.
#[derive(Clone, Copy)]
enum Part {
    /// The first so many, in order.
    First(u32),
    /// The cursor of the event before the last so many.
    CursorBeforeLast(u32),
}

fn select<'a, D: sqlx::Database>(part: Part, filter: &EventFilter<'a>, cursors: RangeInclusive<i64>) -> sqlx::QueryBuilder<D>
where
    i64: sqlx::Encode<'a, D> + sqlx::Type<D>,
    uuid::Uuid: sqlx::Encode<'a, D> + sqlx::Type<D>,
    String: sqlx::Encode<'a, D> + sqlx::Type<D>,
    &'static str: sqlx::Encode<'a, D> + sqlx::Type<D>,
{
    let (columns, order, count) = match part {
        Part::First(count) => (COLUMNS, " ORDER BY cursor LIMIT ", count),
        Part::CursorBeforeLast(count) => ("cursor", " ORDER BY cursor DESC LIMIT 1 OFFSET ", count),
    };
    let mut query = sqlx::QueryBuilder::new("SELECT ");
    query.push(columns).push(" FROM event WHERE cursor BETWEEN ");
    query.push_bind(*cursors.start()).push(" AND ").push_bind(*cursors.end());
    if let Some(owner) = filter.owner {
        query.push(" AND owner = ").push_bind(text(owner).into_owned());
    }
    if let Some(task) = filter.task {
        query.push(" AND task_id = ").push_bind(task.uuid());
    }
    if let Some(agent) = filter.agent {
        query.push(" AND agent_id = ").push_bind(agent.uuid());
    }
    if !filter.kinds.is_empty() {
        query.push(" AND kind IN (");
        let mut list = query.separated(", ");
        for kind in filter.kinds {
            list.push_bind(*kind);
        }
        query.push(")");
    }
    query.push(order).push_bind(i64::from(count));
    query
}

impl Store {
    /// The highest cursor given out so far. Every event at or below it that there will ever be can be read.
    pub async fn last_cursor(&self) -> Result<i64, StoreError> {
        Ok(on!(read & self.db, |p| sqlx::query_scalar("SELECT last FROM event_cursor").fetch_one(p).await?))
    }

    /// The events that pass the filter with a cursor in `cursors`, at most `limit`, in that order.
    pub async fn list_events(
        &self,
        filter: &EventFilter<'_>,
        cursors: RangeInclusive<i64>,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let rows: Vec<LoggedRow> =
            on!(read & self.db, |p| select(Part::First(limit), filter, cursors).build_query_as().fetch_all(p).await?);
        rows.into_iter().map(LoggedRow::into_logged).collect()
    }

    /// The cursor after which the last `count` events follow that pass the filter with a cursor in `cursors`; the one before the
    /// range when there are no more than that.
    pub async fn cursor_before_last(
        &self,
        filter: &EventFilter<'_>,
        cursors: RangeInclusive<i64>,
        count: u32,
    ) -> Result<i64, StoreError> {
        let before = *cursors.start() - 1;
        let part = Part::CursorBeforeLast(count);
        let found: Option<i64> =
            on!(read & self.db, |p| select(part, filter, cursors).build_query_scalar().fetch_optional(p).await?);
        Ok(found.unwrap_or(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Execute, Sqlite};

    /// How `SQLite` means to run the query for `filter`.
    async fn plan(store: &Store, mut query: sqlx::QueryBuilder<Sqlite>) -> String {
        let sql = query.build().sql().as_str().to_owned();
        let crate::store::db::Db::Sqlite { r, .. } = &store.db else { panic!("not SQLite") };
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(r).await.expect("a plan");
        steps.into_iter().map(|(_, _, _, step)| step + "\n").collect()
    }

    #[tokio::test]
    async fn every_filter_is_served_in_order_by_an_index() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::connect(&format!("sqlite://{}", dir.path().join("mas.db").display())).await.expect("a store");
        let all = EventFilter::default();
        let (task, agent) = (Some(TaskId::generate()), Some(AgentId::generate()));
        for (filter, index) in [
            (all, "event_by_cursor (cursor>? AND cursor<?)"),
            (EventFilter { owner: Some("ann"), ..all }, "event_by_owner (owner=? AND cursor>? AND cursor<?)"),
            (EventFilter { owner: Some("ann"), kinds: &["raw", "delta"], ..all }, "event_by_owner (owner=? AND cursor>?"),
            (EventFilter { task, ..all }, "event_of_task (task_id=? AND cursor>? AND cursor<?)"),
            (EventFilter { agent, ..all }, "event_of_agent (agent_id=? AND cursor>? AND cursor<?)"),
            (EventFilter { task, agent, ..all }, "AND cursor>? AND cursor<?)"),
        ] {
            for part in [Part::First(9), Part::CursorBeforeLast(9)] {
                let plan = plan(&store, select(part, &filter, 1..=9)).await;
                assert!(plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{filter:?}:\n{plan}");
            }
        }
    }
}
