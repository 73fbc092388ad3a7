//! The captured events of a task: pages by cursor, and a stream that replays first and then goes live.

pub mod log;

use super::{
    App,
    error::AppError,
    keys::KeyWatch,
    size::json_chars,
    tasks::{event_cursor, page_limit},
    wait::{Waiter, wait_seconds},
};
use crate::{
    bus::Topic,
    model::{
        event::{Event, EventKind},
        id::{AgentId, RunId, TaskId},
        key::Principal,
        run::Provenance,
        task::{Task, TaskStatus},
    },
};
use chrono::{DateTime, Utc};
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use utoipa::{IntoParams, ToSchema};

/// Rows read at once. One event may have megabytes, so few are held in memory.
const CHUNK: u32 = 32;
/// Rows looked at for one answer; the rest comes with the next cursor.
const MOST_SCANNED: usize = 5_000;
/// The kinds that tell the story; the others are pieces of these or bookkeeping.
pub(super) const DIGEST_KINDS: &[&str] =
    &["message", "tool_call", "tool_result", "status", "result", "process", "delegation_broken"];

/// One captured event of a task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"seq": 3, "at": "2026-11-20T10:00:04Z", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "agent_seq": 3, "provenance": "live", "kind": "message", "data": {"text": "I will look at the server first."}}))]
pub struct EventResource {
    /// Place in the task's log, from 1, without holes.
    pub seq: i64,
    /// When the gateway captured it.
    pub at: DateTime<Utc>,
    /// The agent it comes from.
    pub agent_id: AgentId,
    /// Place in the agent's log, from 1, without holes.
    pub agent_seq: i64,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub run_id: Option<RunId>,
    /// Whether a real model or the rehearsal model was behind it.
    pub provenance: Provenance,
    /// What was captured: `kind` and `data`.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl EventResource {
    fn new(event: Event, provenance: Provenance) -> Self {
        Self {
            seq: event.task_seq.unwrap_or_default(),
            at: event.at,
            agent_id: event.agent_id,
            agent_seq: event.seq,
            run_id: event.run_id,
            provenance,
            kind: event.kind,
        }
    }
}

/// Which events to read.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this cursor: `next_cursor` of the answer before. Left out: from the beginning.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
    /// Most events to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// Seconds to wait when there is nothing new yet, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

/// A page of a task's events, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"events": [{"seq": 3, "at": "2026-11-20T10:00:04Z", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "agent_seq": 3, "provenance": "live", "kind": "message", "data": {"text": "I will look at the server first."}}], "next_cursor": 3, "has_more": false, "status": "in_progress", "next_step": "The task goes on. Call list_task_events with after=3 and wait_seconds=40 for what comes next."}))]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventResource>,
    /// The value of `after` for the next call.
    pub next_cursor: i64,
    /// Whether there are more events right now.
    pub has_more: bool,
    /// Where the task stands. Ended and no more events: there is nothing to come.
    pub status: TaskStatus,
    /// What to do next, in words.
    pub next_step: String,
}

/// What a task's event stream carries.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// A captured event.
    Event(Box<EventResource>),
    /// The task has ended and all its events were sent. The last item.
    End(TaskStatus),
    /// The stream cannot go on; resume it after the last event seen. The last item.
    Broken(AppError),
}

/// Events read, and the cursor behind everything looked at.
pub(super) struct Read {
    pub(super) events: Vec<EventResource>,
    pub(super) cursor: i64,
    pub(super) more: bool,
}

fn next_step(status: TaskStatus, cursor: i64, more: bool) -> String {
    match status {
        _ if more => format!("There are more. Call list_task_events with after={cursor} to read on."),
        status if status.is_terminal() => "The task has ended and these are its last events. get_task has its result.".to_owned(),
        _ => format!("The task goes on. Call list_task_events with after={cursor} and wait_seconds=40 for what comes next."),
    }
}

impl App {
    /// A page of events; with `wait_seconds` it waits for the first one.
    pub async fn list_task_events(&self, who: &Principal, id: TaskId, query: EventQuery) -> Result<EventPage, AppError> {
        let mut cursor = event_cursor(query.after.unwrap_or(0))?;
        let limit = page_limit(query.limit)?;
        let mut waiter = self.waiter(Topic::Task(id), wait_seconds(query.wait_seconds, 0)?);
        loop {
            // The task before its events: an ended task then comes with all of them.
            let task = self.find_task(who, id).await?;
            let status = task.status;
            let Read { events, cursor: read_to, more } =
                self.read_events(&task, cursor, limit, self.settings.page_chars(), &[]).await?;
            cursor = read_to;
            if !events.is_empty() || status.is_terminal() || !waiter.changed().await {
                let next_step = next_step(status, cursor, more);
                return Ok(EventPage { events, next_cursor: cursor, has_more: more, status, next_step });
            }
        }
    }

    /// All events after the cursor, then new ones as they come, until the task has ended. Nothing is lost: the
    /// store is read by cursor, the bus only says when. Memory is bounded: a slow reader just reads later.
    pub async fn stream_task_events(
        &self,
        who: &Principal,
        id: TaskId,
        after: i64,
    ) -> Result<impl Stream<Item = StreamItem> + Send + 'static, AppError> {
        let cursor = event_cursor(after)?;
        let waiter = self.endless_waiter(Topic::Task(id));
        let provenance = self.find_task(who, id).await?.provenance;
        let tail = Tail {
            app: self.clone(),
            who: who.clone(),
            key: KeyWatch::new(who.clone()),
            id,
            provenance,
            cursor,
            waiter,
            ready: VecDeque::new(),
            ended: false,
        };
        Ok(stream::unfold(tail, Tail::next))
    }

    /// Events of the given kinds (all when empty) after `cursor`, at most `limit`, together at most `chars`
    /// characters of JSON but always one when there is one.
    pub(super) async fn read_events(
        &self,
        task: &Task,
        mut cursor: i64,
        limit: u32,
        chars: usize,
        kinds: &[&str],
    ) -> Result<Read, AppError> {
        let (mut events, mut used, mut scanned) = (Vec::new(), 0, 0);
        loop {
            let rows = self.store.list_task_events(task.id, cursor, CHUNK).await?;
            let last = rows.len() < CHUNK as usize;
            scanned += rows.len();
            for row in rows {
                let seq = row.task_seq.unwrap_or(cursor);
                if kinds.is_empty() || kinds.contains(&row.kind.name()) {
                    let event = EventResource::new(row, task.provenance);
                    used += json_chars(&event) + 1;
                    if !events.is_empty() && (events.len() >= limit as usize || used > chars) {
                        return Ok(Read { events, cursor, more: true });
                    }
                    events.push(event);
                }
                cursor = seq;
            }
            if last || scanned >= MOST_SCANNED {
                return Ok(Read { events, cursor, more: !last });
            }
        }
    }
}

/// The state of one event stream.
struct Tail {
    app: App,
    who: Principal,
    key: KeyWatch,
    id: TaskId,
    provenance: Provenance,
    cursor: i64,
    waiter: Waiter,
    ready: VecDeque<EventResource>,
    ended: bool,
}

impl Tail {
    async fn next(mut self) -> Option<(StreamItem, Self)> {
        if self.ended {
            return None;
        }
        loop {
            if let Err(error) = self.key.check(&self.app).await {
                self.ended = true;
                return Some((StreamItem::Broken(error), self));
            }
            if let Some(event) = self.ready.pop_front() {
                return Some((StreamItem::Event(Box::new(event)), self));
            }
            match self.refill().await {
                Ok(Some(status)) => {
                    self.ended = true;
                    return Some((StreamItem::End(status), self));
                }
                Ok(None) if self.ready.is_empty() && !self.waiter.changed().await => return None,
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some((StreamItem::Broken(error), self));
                }
            }
        }
    }

    /// Reads the next events. The status when the task had ended before the look and nothing is left.
    async fn refill(&mut self) -> Result<Option<TaskStatus>, AppError> {
        let status = self.app.find_task(&self.who, self.id).await?.status;
        let rows = self.app.store.list_task_events(self.id, self.cursor, CHUNK).await?;
        self.cursor = rows.last().and_then(|row| row.task_seq).unwrap_or(self.cursor);
        self.ready.extend(rows.into_iter().map(|row| EventResource::new(row, self.provenance)));
        Ok(Some(status).filter(|status| status.is_terminal() && self.ready.is_empty()))
    }
}
