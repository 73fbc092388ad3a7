//! Events: appending what was captured together with what follows from it, and reading it back.

use super::{
    Process, Store, StoreError, TaskChange,
    db::{micros, on, text, uncancelled},
    json::JsonText,
    tasks::{TaskRow, change_sql},
};
use crate::model::{
    agent::AgentStatus,
    event::Event,
    id::{AgentId, ProcessId, RunId, TaskId},
    run::RunOutcome,
    task::Task,
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::fmt::Write as _;
use uuid::Uuid;

/// What was captured from a process in one go, and what follows from it.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The process it was captured from.
    pub process_id: ProcessId,
    /// Bytes of output stored so far; the batch counts only when the store agrees.
    pub expected_offset: i64,
    /// Bytes of output stored with this batch.
    pub offset: i64,
    /// What the runner needs to read on from there.
    pub state: &'a Value,
    /// The events, in order, all of the agent. One whose `(agent_id, seq)` is stored already is skipped.
    pub events: &'a [Event],
    /// What the run looks like now.
    pub run: Option<RunUpdate<'a>>,
    /// Where the agent stands now.
    pub agent_status: Option<AgentStatus>,
    /// A status change of the task, made only if the lifecycle allows it.
    pub task: Option<TaskChange>,
    /// The task worked on.
    pub task_id: TaskId,
    /// The agent that works.
    pub agent_id: AgentId,
    /// The run it works on.
    pub run_id: RunId,
    /// Whether this is all the process will ever have written.
    pub process_ended: bool,
    /// The process that takes over from it, with the session it uses.
    pub next: Option<(&'a Process, Uuid)>,
    /// When the batch was captured.
    pub at: DateTime<Utc>,
}

/// What a run looks like; replaces what was stored.
#[derive(Debug, Clone, Copy)]
pub struct RunUpdate<'a> {
    /// What is going on, in words.
    pub progress: &'a str,
    /// The end of the latest text the agent wrote.
    pub latest_output: &'a str,
    /// What came of it so far.
    pub outcome: &'a RunOutcome,
    /// Whether it is over.
    pub ended: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Appended {
    /// Everything was stored.
    Done {
        /// The task after the change; `None` when none was asked for or the lifecycle does not allow it.
        task: Option<Box<Task>>,
    },
    /// The process is unknown or stands at another offset: somebody else stored this output. Nothing was written.
    Stale,
}

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    agent_id: Uuid,
    seq: i64,
    task_id: Option<Uuid>,
    task_seq: Option<i64>,
    run_id: Option<Uuid>,
    at: DateTime<Utc>,
    kind: String,
    data: JsonText,
}

/// An event's JSON is `{"kind":"<name>","data":<data>}`; only `<data>` is stored, as it is, since it may be megabytes.
const KIND: &str = "{\"kind\":\"";
const DATA: &str = "\",\"data\":";

impl EventRow {
    fn new(event: &Event) -> Result<Self, StoreError> {
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

/// Columns filled by [`insert_sql`].
const COLUMNS: usize = 10;
/// Gives out cursors. The row stays locked until the transaction ends, so cursors become visible in their order.
const TAKE_CURSORS: &str = "UPDATE event_cursor SET last = last + $1 RETURNING last, (SELECT owner FROM agent WHERE id = $2)";

/// The statement for `rows` events. Called with powers of two only, so that the prepared ones are few.
fn insert_sql(rows: usize) -> AssertSqlSafe<String> {
    let mut sql =
        "INSERT INTO event (agent_id, seq, task_id, task_seq, cursor, owner, run_id, at, kind, data) VALUES ".to_owned();
    for row in 0..rows {
        for column in 1..=COLUMNS {
            let before = if column > 1 {
                ", "
            } else if row > 0 {
                ", ("
            } else {
                "("
            };
            let _ = write!(sql, "{before}${}", row * COLUMNS + column);
        }
        sql.push(')');
    }
    sql.push_str(" ON CONFLICT (agent_id, seq) DO NOTHING");
    AssertSqlSafe(sql)
}

/// How many of `left` events go into the next statement.
const fn chunk(left: usize) -> usize {
    if left >= 256 { 256 } else { 1 << left.ilog2() }
}

const ADVANCE: &str = "UPDATE process SET stdout_offset = $3, state = $4, ended_at = COALESCE(ended_at, $5) \
                       WHERE id = $1 AND stdout_offset = $2";
const UPDATE_RUN: &str = "UPDATE run SET progress = $2, latest_output = $3, outcome = $4, ended_at = COALESCE(ended_at, $5) \
                          WHERE id = $1";
const UPDATE_AGENT: &str = "UPDATE agent SET status = $2, generation = generation + 1, updated_at = $3 WHERE id = $1";

const INSERT_NEXT: &str = "INSERT INTO process (id, agent_id, run_id, stdout_offset, state, started_at) \
                           VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT (id) DO NOTHING";
const UPDATE_SESSION: &str = "UPDATE agent SET session_id = $2 WHERE id = $1";

/// A batch in the form the statements take it; owned, because the transaction outlives a dropped caller.
struct Prepared {
    process_id: Uuid,
    expected_offset: i64,
    offset: i64,
    state: JsonText,
    ended_at: Option<DateTime<Utc>>,
    events: Vec<EventRow>,
    run_id: Uuid,
    run: Option<(String, String, JsonText, Option<DateTime<Utc>>)>,
    agent_id: Uuid,
    agent_status: Option<AgentStatus>,
    task_id: Uuid,
    task: Option<(TaskChange, Option<JsonText>)>,
    next: Option<(Uuid, JsonText, DateTime<Utc>, Uuid)>,
    at: DateTime<Utc>,
}

impl Prepared {
    fn new(batch: &Batch<'_>) -> Result<Self, StoreError> {
        let at = micros(batch.at);
        let run = match batch.run {
            Some(run) => {
                let (progress, output) = (text(run.progress).into_owned(), text(run.latest_output).into_owned());
                Some((progress, output, JsonText::of(run.outcome)?, run.ended.then_some(at)))
            }
            None => None,
        };
        let task = match &batch.task {
            Some(change) => Some((change.clone(), JsonText::of_option(change.failure.as_ref())?)),
            None => None,
        };
        Ok(Self {
            process_id: batch.process_id.uuid(),
            expected_offset: batch.expected_offset,
            offset: batch.offset,
            state: JsonText::of(batch.state)?,
            ended_at: batch.process_ended.then_some(at),
            events: batch.events.iter().map(EventRow::new).collect::<Result<_, _>>()?,
            run_id: batch.run_id.uuid(),
            run,
            agent_id: batch.agent_id.uuid(),
            agent_status: batch.agent_status,
            task_id: batch.task_id.uuid(),
            next: match batch.next {
                Some((process, session)) => {
                    Some((process.id.uuid(), JsonText::of(&process.state)?, micros(process.started_at), session))
                }
                None => None,
            },
            task,
            at,
        })
    }
}

impl Store {
    /// Stores a batch, all or nothing: the offset, the events, and the changes of run, agent and task.
    pub async fn append(&self, batch: &Batch<'_>) -> Result<Appended, StoreError> {
        let db = self.db.clone();
        let b = Prepared::new(batch)?;
        let done: Option<Option<TaskRow>> = uncancelled(async move {
            Ok(on!(tx db, |t| {
                let advanced = sqlx::query(ADVANCE)
                    .bind(b.process_id)
                    .bind(b.expected_offset)
                    .bind(b.offset)
                    .bind(b.state)
                    .bind(b.ended_at)
                    .execute(&mut *t)
                    .await?
                    .rows_affected();
                if advanced == 1 {
                    if let Some((progress, output, outcome, ended_at)) = b.run {
                        let update = sqlx::query(UPDATE_RUN).bind(b.run_id).bind(progress).bind(output).bind(outcome);
                        update.bind(ended_at).execute(&mut *t).await?;
                    }
                    if let Some(status) = b.agent_status {
                        sqlx::query(UPDATE_AGENT).bind(b.agent_id).bind(status.as_str()).bind(b.at).execute(&mut *t).await?;
                    }
                    if let Some((id, state, started_at, session)) = b.next {
                        let insert = sqlx::query(INSERT_NEXT).bind(id).bind(b.agent_id).bind(b.run_id).bind(state);
                        insert.bind(started_at).execute(&mut *t).await?;
                        sqlx::query(UPDATE_SESSION).bind(b.agent_id).bind(session).execute(&mut *t).await?;
                    }
                    let task = match b.task {
                        Some((change, failure)) => {
                            sqlx::query_as(change_sql(change.status, ""))
                                .bind(b.task_id)
                                .bind(change.status.as_str())
                                .bind(failure)
                                .bind(micros(change.at))
                                .bind(change.started_at())
                                .bind(change.ended_at())
                                .fetch_optional(&mut *t)
                                .await?
                        }
                        None => None,
                    };
                    // Last, because other appends wait from here on.
                    let mut events = b.events.into_iter();
                    if let Ok(count @ 1..) = i64::try_from(events.len()) {
                        let taken = sqlx::query_as(TAKE_CURSORS).bind(count).bind(b.agent_id);
                        let (last, owner): (i64, String) = taken.fetch_one(&mut *t).await?;
                        let mut cursor = last - count;
                        while events.len() > 0 {
                            let rows = chunk(events.len());
                            let mut insert = sqlx::query(insert_sql(rows));
                            for row in events.by_ref().take(rows) {
                                cursor += 1;
                                insert = insert.bind(row.agent_id).bind(row.seq).bind(row.task_id).bind(row.task_seq);
                                insert = insert.bind(cursor).bind(owner.clone()).bind(row.run_id);
                                insert = insert.bind(row.at).bind(row.kind).bind(row.data);
                            }
                            insert.execute(&mut *t).await?;
                        }
                    }
                    Some(task)
                } else {
                    None
                }
            }))
        })
        .await?;
        Ok(match done {
            Some(row) => Appended::Done { task: row.map(TaskRow::into_task).transpose()?.map(Box::new) },
            None => Appended::Stale,
        })
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
