//! Events: reading them back, and the form they are stored in. They are written by `append.rs`.

use super::{
    Store, StoreError,
    db::{micros, on},
    json::JsonText,
};
use crate::model::{
    event::Event,
    id::{AgentId, RunId, TaskId},
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) agent_id: Uuid,
    pub(super) seq: i64,
    pub(super) task_id: Option<Uuid>,
    pub(super) task_seq: Option<i64>,
    pub(super) run_id: Option<Uuid>,
    pub(super) at: DateTime<Utc>,
    pub(super) kind: String,
    pub(super) data: JsonText,
}

/// An event's JSON is `{"kind":"<name>","data":<data>}`; only `<data>` is stored, as it is, since it may be megabytes.
const KIND: &str = "{\"kind\":\"";
const DATA: &str = "\",\"data\":";

impl EventRow {
    pub(super) fn new(event: &Event) -> Result<Self, StoreError> {
        let kind = event.kind.name();
        let mut data = JsonText::of(&event.kind)?.0;
        let start = KIND.len() + kind.len() + DATA.len();
        if !data.ends_with('}') || data.get(..start).is_none_or(|head| !head.ends_with(DATA)) {
            return Err(StoreError::internal(format!("an event of kind {kind} does not serialise as kind and data")));
        }
        data.pop();
        data.drain(..start);
        Ok(Self {
            agent_id: event.agent_id.uuid(),
            seq: event.seq,
            task_id: event.task_id.map(TaskId::uuid),
            task_seq: event.task_seq,
            run_id: event.run_id.map(RunId::uuid),
            at: micros(event.at),
            kind: kind.to_owned(),
            data: JsonText(data),
        })
    }

    pub(super) fn into_event(self) -> Result<Event, StoreError> {
        let Self { kind, data: JsonText(data), .. } = self;
        Ok(Event {
            agent_id: self.agent_id.into(),
            seq: self.seq,
            task_id: self.task_id.map(Into::into),
            task_seq: self.task_seq,
            run_id: self.run_id.map(Into::into),
            at: self.at,
            kind: JsonText(format!("{KIND}{kind}{DATA}{data}}}")).parse()?,
        })
    }
}

fn all(rows: Vec<EventRow>) -> Result<Vec<Event>, StoreError> {
    rows.into_iter().map(EventRow::into_event).collect()
}

impl Store {
    /// The highest `seq` of the agent's events; 0 when it has none.
    pub async fn last_agent_seq(&self, agent: AgentId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(max(seq), 0) FROM event WHERE agent_id = $1";
        Ok(on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(agent.uuid()).fetch_one(p).await?))
    }

    /// The highest `task_seq` of the task's events; 0 when it has none.
    pub async fn last_task_seq(&self, task: TaskId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(max(task_seq), 0) FROM event WHERE task_id = $1";
        Ok(on!(read & self.db, |p| sqlx::query_scalar(SQL).bind(task.uuid()).fetch_one(p).await?))
    }

    /// A task's events with a `task_seq` above `after`, at most `limit`, in that order.
    pub async fn list_task_events(&self, task: TaskId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        const SQL: &str = "SELECT * FROM event WHERE task_id = $1 AND task_seq > $2 ORDER BY task_seq LIMIT $3";
        all(on!(read & self.db, |p| {
            sqlx::query_as(SQL).bind(task.uuid()).bind(after).bind(i64::from(limit)).fetch_all(p).await?
        }))
    }

    /// An agent's events with a `seq` above `after`, at most `limit`, in that order. `kinds`: words of
    /// [`EventKind::name`](crate::model::event::EventKind::name) to keep; none keeps all.
    pub async fn list_agent_events(
        &self,
        agent: AgentId,
        after: i64,
        limit: u32,
        kinds: &[&str],
    ) -> Result<Vec<Event>, StoreError> {
        all(on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM event WHERE agent_id = ");
            query.push_bind(agent.uuid()).push(" AND seq > ").push_bind(after);
            if !kinds.is_empty() {
                query.push(" AND kind IN (");
                let mut list = query.separated(", ");
                for kind in kinds {
                    list.push_bind(*kind);
                }
                query.push(")");
            }
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(p).await?
        }))
    }
}
