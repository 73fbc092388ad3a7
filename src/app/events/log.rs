//! The events of all tasks and agents a caller may see, in the order of the cursor: pages, and a reader for streams.

use super::{CHUNK, EventResource};
use crate::{
    app::{
        App,
        error::AppError,
        keys::KeyWatch,
        size::json_chars,
        tasks::{event_cursor, page_limit},
        wait::{Waiter, wait_seconds},
    },
    bus::Topic,
    model::{
        event::EventKind,
        id::{AgentId, TaskId},
        key::Principal,
    },
    store::{EventFilter, LoggedEvent},
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// Cursors looked at by one query for certain kinds: rows of other kinds cost time, too.
const WINDOW: i64 = 10_000;
/// Most events `last` may ask for.
const MOST_LAST: u32 = 1_000;
/// Windows looked at for one answer; the rest comes with the next cursor.
const MOST_WINDOWS: u32 = 50;

/// Which of all events to read.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventLogQuery {
    /// Only events after this cursor: `next_cursor` of the answer before. Left out: from the beginning.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
    /// Begin with the last this many of the events asked for, 1 to 1000, instead of after a cursor. What comes is still oldest first.
    #[param(nullable = false, minimum = 1, maximum = 1000)]
    pub last: Option<i64>,
    /// Most events to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// Seconds to wait when there is nothing new yet, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
    /// Only events of this task.
    #[param(nullable = false)]
    pub task_id: Option<TaskId>,
    /// Only events of this agent.
    #[param(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// Only events of this kind, or of these kinds, separated by commas: `message,tool_call`.
    #[param(nullable = false)]
    pub kind: Option<String>,
}

/// One captured event, with its place among all events.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"cursor": 1207, "task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "seq": 3, "at": "2026-11-20T10:00:04Z", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "agent_seq": 3, "provenance": "live", "kind": "message", "data": {"text": "I will look at the server first."}}))]
pub struct LogEvent {
    /// Place among all events of the gateway; grows, with gaps.
    pub cursor: i64,
    /// The task worked on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_id: Option<TaskId>,
    /// What was captured.
    #[serde(flatten)]
    pub event: EventResource,
}

impl From<LoggedEvent> for LogEvent {
    fn from(LoggedEvent { cursor, provenance, event }: LoggedEvent) -> Self {
        Self { cursor, task_id: event.task_id, event: EventResource::new(event, provenance) }
    }
}

/// A page of all events, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"events": [{"cursor": 1207, "task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "seq": 3, "at": "2026-11-20T10:00:04Z", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "agent_seq": 3, "provenance": "live", "kind": "message", "data": {"text": "I will look at the server first."}}], "next_cursor": 1207, "has_more": false, "next_step": "Call list_events with after=1207 and wait_seconds=40 for what comes next."}))]
pub struct EventLogPage {
    /// The events.
    pub events: Vec<LogEvent>,
    /// The value of `after` for the next call.
    pub next_cursor: i64,
    /// Whether there may be more events right now.
    pub has_more: bool,
    /// What to do next, in words.
    pub next_step: String,
}

impl EventLogPage {
    fn new(events: Vec<LogEvent>, next_cursor: i64, has_more: bool) -> Self {
        let next_step = if has_more {
            format!("There may be more. Call list_events with after={next_cursor} to read on.")
        } else {
            format!("Call list_events with after={next_cursor} and wait_seconds=40 for what comes next.")
        };
        Self { events, next_cursor, has_more, next_step }
    }
}

/// A checked selection of events.
#[derive(Debug, Clone)]
struct Selection {
    owner: Option<String>,
    task: Option<TaskId>,
    agent: Option<AgentId>,
    kinds: Vec<&'static str>,
}

impl Selection {
    fn filter(&self) -> EventFilter<'_> {
        EventFilter { owner: self.owner.as_deref(), task: self.task, agent: self.agent, kinds: &self.kinds }
    }

    /// What wakes a reader.
    fn topic(&self) -> Topic {
        match (self.task, self.agent) {
            (Some(task), _) => Topic::Task(task),
            (None, Some(agent)) => Topic::Agent(agent),
            (None, None) => Topic::Events,
        }
    }

    /// The cursors one query may look at.
    fn until(&self, cursor: i64, head: i64) -> i64 {
        if self.kinds.is_empty() { head } else { head.min(cursor.saturating_add(WINDOW)) }
    }
}

impl App {
    /// A page of all events the caller may see; with `wait_seconds` it waits for the first one.
    pub async fn list_events(&self, who: &Principal, query: &EventLogQuery) -> Result<EventLogPage, AppError> {
        let limit = page_limit(query.limit)?;
        let seconds = wait_seconds(query.wait_seconds, 0)?;
        let selection = self.select_events(who, query).await?;
        let mut cursor = self.first_cursor(query, &selection).await?;
        let mut waiter = self.waiter(selection.topic(), seconds);
        loop {
            let page = self.read_log(&selection, cursor, limit, self.settings.page_chars()).await?;
            if !page.events.is_empty() || page.has_more || !waiter.changed().await {
                return Ok(page);
            }
            cursor = page.next_cursor;
        }
    }

    /// A reader of all events the caller may see, from a cursor on and without end. `limit` and `wait_seconds` mean
    /// nothing to it.
    pub async fn stream_events(&self, who: &Principal, query: &EventLogQuery) -> Result<EventReader, AppError> {
        let selection = self.select_events(who, query).await?;
        let cursor = self.first_cursor(query, &selection).await?;
        Ok(EventReader {
            app: self.clone(),
            key: KeyWatch::new(who.clone()),
            waiter: self.endless_waiter(selection.topic()),
            selection,
            cursor,
            head: 0,
            ready: VecDeque::new(),
        })
    }

    /// Where to begin.
    async fn first_cursor(&self, query: &EventLogQuery, selection: &Selection) -> Result<i64, AppError> {
        let Some(last) = query.last else { return event_cursor(query.after.unwrap_or(0)) };
        if query.after.is_some() {
            return Err(AppError::field("last", "goes without `after`: either the last events or those after a cursor"));
        }
        let count = u32::try_from(last).ok().filter(|count| (1..=MOST_LAST).contains(count));
        let count = count.ok_or_else(|| AppError::field("last", format!("{last} is outside 1..={MOST_LAST}")))?;
        let head = self.store.last_cursor().await?;
        // No further back than one answer would look forward.
        let first = (head - WINDOW * i64::from(MOST_WINDOWS)).max(0) + 1;
        Ok(self.store.cursor_before_last(&selection.filter(), first..=head, count).await?)
    }

    /// Checks the filters. A task or an agent is looked up once: it never changes its owner.
    async fn select_events(&self, who: &Principal, query: &EventLogQuery) -> Result<Selection, AppError> {
        let kinds = query.kind.as_deref().map_or(Ok(Vec::new()), event_kinds)?;
        if let Some(id) = query.task_id {
            self.find_task(who, id).await?;
        }
        if let Some(id) = query.agent_id {
            self.find_agent(who, id).await?;
        }
        // One condition less for the planner to weigh an index against.
        let is_owned = query.task_id.is_some() || query.agent_id.is_some();
        let owner = who.owner_filter().filter(|_| !is_owned).map(str::to_owned);
        Ok(Selection { owner, task: query.task_id, agent: query.agent_id, kinds })
    }

    /// Events after `cursor`, at most `limit`, together at most `chars` characters but always one when there is one.
    async fn read_log(&self, selection: &Selection, cursor: i64, limit: u32, chars: usize) -> Result<EventLogPage, AppError> {
        let (mut events, mut used, mut next_cursor) = (Vec::new(), 0, cursor);
        let head = self.store.last_cursor().await?;
        let mut windows = 0;
        while next_cursor < head && windows < MOST_WINDOWS {
            let until = selection.until(next_cursor, head);
            let rows = self.store.list_events(&selection.filter(), next_cursor + 1..=until, CHUNK).await?;
            let all = rows.len() < CHUNK as usize;
            for row in rows {
                let event = LogEvent::from(row);
                used += json_chars(&event) + 1;
                if !events.is_empty() && (events.len() >= limit as usize || used > chars) {
                    return Ok(EventLogPage::new(events, next_cursor, true));
                }
                next_cursor = event.cursor;
                events.push(event);
            }
            if all {
                next_cursor = until;
                windows += 1;
            }
        }
        Ok(EventLogPage::new(events, next_cursor, next_cursor < head))
    }
}

/// Reads kinds as given by a caller.
fn event_kinds(given: &str) -> Result<Vec<&'static str>, AppError> {
    let known = |word: &str| EventKind::NAMES.into_iter().find(|name| *name == word);
    let mut kinds = Vec::new();
    for word in given.split(',').map(str::trim) {
        let Some(kind) = known(word) else {
            let shown: String = word.chars().take(64).collect();
            return Err(AppError::field("kind", format!("`{shown}` is not one of: {}", EventKind::NAMES.join(", "))));
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// Reads all events after a cursor, then new ones as they come. Nothing is lost: the store is read by cursor, the bus
/// only says when. Memory is bounded: a slow reader just reads later.
pub struct EventReader {
    app: App,
    key: KeyWatch,
    selection: Selection,
    waiter: Waiter,
    /// Everything up to here was looked at.
    cursor: i64,
    /// What can be read without asking how far the log goes.
    head: i64,
    ready: VecDeque<LogEvent>,
}

impl EventReader {
    /// The next event, however long it takes; `None` at shutdown. After an error, `InvalidKey` when the key was
    /// revoked, drop the reader; another can go on after the last event seen. Safe in `select!`: a cancelled call loses nothing.
    pub async fn next(&mut self) -> Option<Result<LogEvent, AppError>> {
        loop {
            if let Err(error) = self.key.check(&self.app).await {
                return Some(Err(error));
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            match self.refill().await {
                Ok(false) if !self.waiter.changed().await => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Goes on after another cursor, back or forward.
    pub fn seek(&mut self, after: i64) -> Result<(), AppError> {
        self.cursor = event_cursor(after)?;
        self.ready.clear();
        Ok(())
    }

    /// When [`EventReader::check_key`] has something to do.
    pub const fn key_due(&self) -> Instant {
        self.key.due()
    }

    /// For whoever is held up between two events: whether the key is still valid.
    pub async fn check_key(&mut self) -> Result<(), AppError> {
        self.key.check(&self.app).await
    }

    /// Reads on; `false` when everything there is was looked at. Changes nothing before its last wait is over.
    async fn refill(&mut self) -> Result<bool, AppError> {
        if self.cursor >= self.head {
            self.head = self.app.store.last_cursor().await?;
            if self.cursor >= self.head {
                return Ok(false);
            }
        }
        let until = self.selection.until(self.cursor, self.head);
        let rows = self.app.store.list_events(&self.selection.filter(), self.cursor + 1..=until, CHUNK).await?;
        self.cursor = match rows.last() {
            Some(row) if rows.len() == CHUNK as usize => row.cursor,
            _ => until,
        };
        self.ready.extend(rows.into_iter().map(LogEvent::from));
        Ok(true)
    }

    /// Makes the next call look at the key.
    #[cfg(test)]
    pub(crate) fn hurry(&mut self) {
        self.key.hurry();
    }
}

#[cfg(test)]
mod tests;
