//! Stopping a task: at once while it waits, by its runner once an agent has it.

use super::{CancelTask, TaskResource};
use crate::{
    app::{App, detached, error::AppError, now, wait::wait_seconds},
    bus::Topic,
    model::{
        id::TaskId,
        key::Principal,
        task::{Task, TaskStatus},
    },
    store::TaskChange,
};

/// Seconds to wait for the agent to stop when the caller does not say.
const DEFAULT_WAIT: u32 = 10;
/// Somebody else may change the task between our look and our write; so often we look again.
const ATTEMPTS: usize = 20;

/// Refuses what callers may not ask for. Asking twice to cancel is fine.
pub(super) fn may_ask_for(from: TaskStatus, to: TaskStatus) -> Result<(), AppError> {
    let cancelled = TaskStatus::Cancelled;
    if to == cancelled && (from == cancelled || from.transition(to).is_ok()) {
        return Ok(());
    }
    let legal = if from.transition(cancelled).is_ok() { vec![cancelled] } else { vec![] };
    Err(AppError::IllegalTransition { from, to, legal })
}

impl App {
    /// Stops a task. A waiting one ends at once; for a running one the agent is told to stop, and the answer comes
    /// when it has stopped or the wait is over.
    pub async fn cancel_task(&self, who: &Principal, id: TaskId, how: CancelTask) -> Result<TaskResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, DEFAULT_WAIT)?;
        let waiter = self.waiter(Topic::Task(id), wait);
        let (app, caller) = (self.clone(), who.clone());
        let mut task = detached(async move { app.request_stop(&caller, id).await }).await?;
        if !task.status.is_terminal() {
            task = self.until_ended(who, id, waiter).await?;
            if task.status.is_terminal() {
                // It may have ended by itself just before the stop reached it.
                may_ask_for(task.status, TaskStatus::Cancelled)?;
            }
        }
        self.task_resource(task).await
    }

    pub(in crate::app) async fn request_stop(&self, who: &Principal, id: TaskId) -> Result<Task, AppError> {
        for _ in 0..ATTEMPTS {
            let task = self.find_task(who, id).await?;
            may_ask_for(task.status, TaskStatus::Cancelled)?;
            let stopped = match task.status {
                TaskStatus::Cancelled => return Ok(task),
                TaskStatus::Created => {
                    let change = TaskChange { status: TaskStatus::Cancelled, failure: None, dead_letter: false, at: now() };
                    self.store.change_task(id, task.generation, &change).await?
                }
                // A row that has ended meanwhile is looked at again: it decides between 200 and 409. One that went
                // back to the queue is cancelled there.
                _ => self
                    .store
                    .request_cancel(id, now())
                    .await?
                    .filter(|task| !task.status.is_terminal() && task.status != TaskStatus::Created),
            };
            if let Some(task) = stopped {
                if let Some(agent) = task.agent_id {
                    self.bus.notify(Topic::Control(agent));
                }
                self.bus.notify(Topic::Task(id));
                self.bus.notify(Topic::Settled);
                return Ok(task);
            }
        }
        Err(AppError::StoreUnavailable(format!("{id} changed {ATTEMPTS} times while being cancelled")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_may_only_cancel() {
        assert!(may_ask_for(TaskStatus::InProgress, TaskStatus::Cancelled).is_ok());
        assert!(may_ask_for(TaskStatus::Cancelled, TaskStatus::Cancelled).is_ok());
        let Err(AppError::IllegalTransition { legal, .. }) = may_ask_for(TaskStatus::Created, TaskStatus::Complete) else {
            panic!("accepted");
        };
        assert_eq!(legal, [TaskStatus::Cancelled]);
        let Err(AppError::IllegalTransition { legal, .. }) = may_ask_for(TaskStatus::Complete, TaskStatus::Cancelled) else {
            panic!("accepted");
        };
        assert!(legal.is_empty());
    }
}
