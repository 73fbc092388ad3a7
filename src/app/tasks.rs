//! Operations on tasks.

mod cancel;
mod request;
mod schema;
mod swarm;
mod view;

pub use request::{CancelTask, CreateTask, UpdateTask};
pub use view::{TaskPage, TaskResource, TaskSummary};

pub(super) use request::title_of;

use super::{
    App,
    checks::check_filter,
    detached,
    error::{AppError, Missing},
    events::DIGEST_KINDS,
    files::FileRef,
    now,
    size::take_within,
    wait::{Waiter, answer_by, wait_seconds},
};
use crate::{
    bus::Topic,
    model::{
        agent::AgentType,
        id::TaskId,
        key::Principal,
        limits::{DEFAULT_PAGE_ITEMS, PAGE_ITEMS},
        swarm::SwarmStatus,
        task::{Task, TaskStatus},
    },
    store::{Inserted, Quota, TaskFilter, TeamChange},
    trace::MakingSpan,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Most events inside a task answer. Few enough that a front door that has to
/// shorten the answer can shorten each of them and need not leave one out.
const DIGEST_EVENTS: u32 = 40;

/// Which tasks to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// Only tasks with this status.
    #[param(nullable = false)]
    pub status: Option<TaskStatus>,
    /// Only tasks and messages of this agent.
    #[param(nullable = false, pattern = "^agent_[0-9a-f]{32}$")]
    pub agent_id: Option<String>,
    /// true: only tasks the gateway gave up after repeating them; false: only others.
    #[param(nullable = false)]
    pub dead_letter: Option<bool>,
    /// Only tasks for this role.
    #[param(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// Only tasks of this project.
    #[param(nullable = false)]
    pub project: Option<String>,
    /// Most tasks to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^task_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// How to look at one task.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetTask {
    /// Seconds to wait for the end of the task (or, with `after`, for new events), 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
    /// Event cursor: the answer then holds the events after it and `next_cursor`. Start with 0.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
}

/// What became of a request to create a task.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedTask {
    /// The task.
    pub task: TaskResource,
    /// Whether it was made now; `false` for a repeated `idempotency_key`.
    pub is_new: bool,
}

impl App {
    /// Validates and stores a task, wakes a runner, and waits for its end as long as asked.
    pub async fn create_task(&self, who: &Principal, request: CreateTask) -> Result<CreatedTask, AppError> {
        let files = request.files.clone().unwrap_or_default();
        let swarm = self.swarm_of_task(who, &request).await?;
        let (task, wait) = request.validate(who, &self.settings, swarm.as_ref()).await?;
        self.make_task(who, task, files, self.settings.quota(who), wait, None).await
    }

    /// Makes a task or message unless it is known, and waits for its end as long as asked.
    pub(super) async fn make_task(
        &self,
        who: &Principal,
        mut task: Task,
        files: Vec<FileRef>,
        quota: Quota,
        wait: u32,
        answer: Option<TeamChange>,
    ) -> Result<CreatedTask, AppError> {
        let waiter = self.waiter(Topic::Task(task.id), wait);
        let making = MakingSpan::begin(&mut task);
        let (app, by) = (self.clone(), answer_by());
        let made = detached(async move {
            if files.is_empty() {
                return app.insert_task(task, &quota, answer).await;
            }
            // Whoever repeats the request meanwhile waits for what becomes of the first one; its links may not work any more.
            let _turn = app.one_at_a_time(&task, by).await?;
            if let Some(key) = &task.idempotency_key
                && let Some(earlier) = app.store.find_task_by_key(&task.owner, key).await?
            {
                return same_request(earlier, &task);
            }
            app.take_files(&mut task, &files, by).await?;
            app.insert_task(task, &quota, answer).await
        })
        .await;
        if let Some(making) = making {
            match &made {
                Ok((task, is_new)) => making.end(Some(task.id), if *is_new { "created" } else { "repeated" }),
                Err(error) => making.end(None, error.code()),
            }
        }
        let (task, is_new) = made?;
        let waiter = if is_new { waiter } else { self.waiter(Topic::Task(task.id), wait) };
        let task = if wait == 0 { task } else { self.until_ended(who, task.id, waiter).await? };
        Ok(CreatedTask { task: self.task_resource(task).await?, is_new })
    }

    /// Stores a task or message unless it is known, with the answer it gives to a question, and tells the runner. Whether it
    /// is new comes with it.
    async fn insert_task(&self, task: Task, quota: &Quota, answer: Option<TeamChange>) -> Result<(Task, bool), AppError> {
        let inserted = self.store.insert_task_and(&task, quota, answer).await;
        if !matches!(inserted, Ok(Inserted::New)) {
            self.drop_files(&task).await;
        }
        match inserted? {
            Inserted::New => {
                self.bus.notify(if task.swarm_id.is_some() { Topic::Orchestrate } else { Topic::Dispatch });
                if let Some(agent) = task.agent_id {
                    self.bus.notify(Topic::Control(agent));
                    self.bus.notify(Topic::Agent(agent));
                }
                Ok((task, true))
            }
            Inserted::Existing(earlier) => same_request(*earlier, &task),
            Inserted::AgentEnded => Err(match task.swarm_id {
                Some(id) => AppError::SwarmEnded { id, status: SwarmStatus::Stopped },
                None => self.agent_ended(task.agent_id).await,
            }),
            Inserted::Refused(limit) => Err(AppError::LimitReached(limit)),
        }
    }

    /// The caller's tasks, newest first.
    pub async fn list_tasks(&self, who: &Principal, query: &TaskQuery) -> Result<TaskPage, AppError> {
        let limit = page_limit(query.limit)?;
        check_filter("project", query.project.as_deref())?;
        let before = query.cursor.as_deref().map(page_cursor).transpose()?;
        let agent =
            query.agent_id.as_deref().map(|id| id.parse().map_err(|error| AppError::field("agent_id", format!("{error}"))));
        let agent = agent.transpose()?;
        let filter = TaskFilter {
            owner: who.owner_filter(),
            status: query.status,
            agent,
            dead_letter: query.dead_letter,
            agent_type: query.agent_type,
            project: query.project.as_deref(),
            before,
            limit: limit + 1,
        };
        let mut tasks = self.store.list_tasks(&filter).await?;
        let more = tasks.len() > limit as usize;
        tasks.truncate(limit as usize);
        let (tasks, cut) = take_within(tasks.into_iter().map(TaskSummary::from).collect(), self.settings.page_chars());
        let next_cursor = tasks.last().filter(|_| more || cut).map(|task| task.id);
        Ok(TaskPage { tasks, next_cursor })
    }

    /// One task; with `wait_seconds` as soon as it has ended, with `after` also as soon as it has newer events.
    pub async fn get_task(&self, who: &Principal, id: TaskId, how: GetTask) -> Result<TaskResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, 0)?;
        let after = how.after.map(event_cursor).transpose()?;
        let mut waiter = self.waiter(Topic::Task(id), wait);
        let Some(mut cursor) = after else {
            let task = self.until_ended(who, id, waiter).await?;
            return self.task_resource(task).await;
        };
        loop {
            // The task before its events: an ended task then comes with all of them.
            let task = self.find_task(who, id).await?;
            let page = self.read_events(&task, cursor, DIGEST_EVENTS, self.settings.response_chars * 2 / 5, DIGEST_KINDS).await?;
            cursor = page.cursor;
            if !page.events.is_empty() || task.status.is_terminal() || page.more || !waiter.changed().await {
                let mut resource = self.task_resource(task).await?;
                resource.events = Some(page.events);
                resource.next_cursor = Some(cursor);
                return Ok(resource);
            }
        }
    }

    /// Changes title or priority, or cancels.
    pub async fn update_task(&self, who: &Principal, id: TaskId, change: UpdateTask) -> Result<TaskResource, AppError> {
        change.validate()?;
        let task = self.find_task(who, id).await?;
        if let Some(to) = change.status {
            self::cancel::may_ask_for(task.status, to)?;
        }
        if change.priority.is_some() && task.status.is_terminal() {
            return Err(AppError::TaskEnded(task.status));
        }
        if change.title.is_some() || change.priority.is_some() {
            let (app, UpdateTask { title, priority, .. }) = (self.clone(), change.clone());
            detached(async move {
                app.store.edit_task(id, title.as_deref(), priority, now()).await?;
                app.bus.notify(Topic::Task(id));
                Ok(())
            })
            .await?;
        }
        if change.status.is_some() {
            return self.cancel_task(who, id, CancelTask::default()).await;
        }
        let task = self.find_task(who, id).await?;
        self.task_resource(task).await
    }

    /// The caller's task of this id.
    pub(super) async fn find_task(&self, who: &Principal, id: TaskId) -> Result<Task, AppError> {
        let found = self.store.get_task(id, who.owner_filter()).await?;
        found.ok_or_else(|| {
            AppError::NotFound(Missing::Task, format!("you have no task {id}; list_tasks shows the ones you have"))
        })
    }

    /// Reads the task until it has ended or the waiter gives up.
    async fn until_ended(&self, who: &Principal, id: TaskId, mut waiter: Waiter) -> Result<Task, AppError> {
        loop {
            let task = self.find_task(who, id).await?;
            if task.status.is_terminal() || !waiter.changed().await {
                return Ok(task);
            }
        }
    }

    pub(super) async fn task_resource(&self, task: Task) -> Result<TaskResource, AppError> {
        let run = match task.run_id {
            Some(id) => self.store.get_run(id).await?,
            None => None,
        };
        Ok(TaskResource::new(task, run, self.bus.runner_status().pause))
    }
}

/// The task of an earlier request under the same key, if that was the same request.
fn same_request(earlier: Task, task: &Task) -> Result<(Task, bool), AppError> {
    if earlier.request_hash == task.request_hash {
        Ok((earlier, false))
    } else {
        Err(AppError::IdempotencyConflict { first: earlier.id.to_string() })
    }
}

/// Checks `limit` as given by a caller.
pub(super) fn page_limit(given: Option<i64>) -> Result<u32, AppError> {
    match given {
        None => Ok(DEFAULT_PAGE_ITEMS),
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| (1..=PAGE_ITEMS).contains(limit))
            .ok_or_else(|| AppError::field("limit", format!("{limit} is outside 1..={PAGE_ITEMS}"))),
    }
}

/// Checks `cursor` as given by a caller.
pub(super) fn page_cursor<T: std::str::FromStr>(given: &str) -> Result<T, AppError> {
    given.parse().map_err(|_| AppError::field("cursor", "is not a cursor; use `next_cursor` of the page before, or leave it out"))
}

/// Checks `after` as given by a caller.
pub(super) fn event_cursor(given: i64) -> Result<i64, AppError> {
    if given >= 0 {
        Ok(given)
    } else {
        Err(AppError::field("after", "must not be negative; use `next_cursor` of the answer before, or 0"))
    }
}

#[cfg(test)]
mod tests;
