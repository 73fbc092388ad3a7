//! After a restart: every process that was never finished gets its actor back.

use super::{Runner, actor::Actor};
use crate::{
    model::{id::TaskId, task::TaskStatus},
    store::{Process, TaskChange},
};
use chrono::Utc;
use std::sync::Arc;

impl Runner {
    pub(super) async fn recover(self: &Arc<Self>) {
        let unprovisioned = self.with_patience("list unprovisioned tasks", || self.store.list_unprovisioned_tasks()).await;
        for task in unprovisioned.unwrap_or_default() {
            // Nobody works on it, so a cancel that came meanwhile needs no stopping.
            let status = if task.cancel_requested { TaskStatus::Cancelled } else { TaskStatus::Created };
            tracing::info!(task = %task.id, %status, "the gateway ended before an agent was made for the task");
            let change = TaskChange { status, failure: None, at: Utc::now() };
            self.with_patience("requeue a task", || self.store.change_task(task.id, task.generation, &change)).await;
        }
        let open = self.with_patience("list open processes", || self.store.list_open_processes()).await;
        for process in open.unwrap_or_default() {
            if let Some(actor) = self.actor_of(&process).await {
                self.supervise(actor.task.id, Box::pin(actor.run_recovered(process.state)));
            }
        }
    }

    async fn actor_of(self: &Arc<Self>, process: &Process) -> Option<Actor> {
        let run = self.with_patience("get a run", || self.store.get_run(process.run_id)).await??;
        let agent = self.with_patience("get an agent", || self.store.get_agent(process.agent_id, None)).await??;
        let task_id: TaskId = run.task_id;
        let task = self.with_patience("get a task", || self.store.get_task(task_id, None)).await??;
        // An agent that lives already needs no permission to live, but it counts: new ones wait for it.
        let place = self.live.clone().try_acquire_owned().ok();
        Some(Actor::new(self.clone(), task, agent, process, place))
    }
}
