//! After a restart: every process that was never finished gets its actor back.

use super::{
    Runner,
    actor::Actor,
    machine::{Beginning, Joining, Machine, Turn},
    seconds,
};
use crate::{
    model::{agent::Agent, task::TaskStatus},
    store::{Process, TaskChange},
};
use chrono::Utc;
use std::{pin::Pin, sync::Arc};

impl Runner {
    pub(super) async fn recover(self: &Arc<Self>) {
        let unprovisioned = self.with_patience("list unprovisioned tasks", || self.store.list_unprovisioned_tasks()).await;
        for task in unprovisioned.unwrap_or_default() {
            // Nobody works on it, so a cancel that came meanwhile needs no stopping.
            let status = if task.cancel_requested { TaskStatus::Cancelled } else { TaskStatus::Created };
            tracing::info!(task = %task.id, %status, "the gateway ended before an agent was made for the task");
            let change = TaskChange { status, failure: None, dead_letter: false, at: Utc::now() };
            self.with_patience("requeue a task", || self.store.change_task(task.id, task.generation, &change)).await;
        }
        self.with_patience("park agents", || self.store.park_orphaned_agents(Utc::now())).await;
        let open = self.with_patience("list open processes", || self.store.list_open_processes()).await;
        for process in open.unwrap_or_default() {
            if let Some((actor, is_readable)) = self.actor_of(&process).await {
                let (agent, task) = (actor.agent.id, actor.task.as_ref().map(|task| task.id));
                let work: Pin<Box<dyn Future<Output = ()> + Send>> =
                    if is_readable { Box::pin(actor.run_recovered()) } else { Box::pin(actor.run_unreadable()) };
                self.supervise(Some(agent), task, work);
            }
        }
    }

    /// The actor of a process on record, and whether its state could be read.
    async fn actor_of(self: &Arc<Self>, process: &Process) -> Option<(Actor, bool)> {
        let agent = self.with_patience("get an agent", || self.store.get_agent(process.agent_id, None)).await??;
        let (machine, is_readable) = match serde_json::from_value::<Machine>(process.state.clone()) {
            Ok(machine) => (machine, true),
            Err(error) => {
                tracing::error!(%error, agent = %agent.id, "the agent's stored state cannot be read");
                (self.rebuild(process, &agent).await?, false)
            }
        };
        let task = match &machine.turn {
            Some(turn) => self.with_patience("get a task", || self.store.get_task(turn.task_id, None)).await?,
            None => None,
        };
        let mut brief = self.brief(&agent, task.as_ref());
        if let (Some(task), Some(turn)) = (&task, &machine.turn) {
            brief.order = Some(self.order_of_running(task, &agent, turn.run_id).await);
        }
        if let Some(at) = machine.limited_until().filter(|at| *at > Utc::now()) {
            self.gate.pause(at, "the provider's limit is reached".into());
        }
        // An agent that lives already needs no permission to live, but it counts: new ones wait for it.
        let place = self.live.clone().try_acquire_owned().ok().filter(|_| machine.not_before.is_none());
        Some((Actor::new(self.clone(), agent, task, process, machine, brief, place), is_readable))
    }

    /// A state to end a process with whose own cannot be read, as after a change of its format.
    async fn rebuild(&self, process: &Process, agent: &Agent) -> Option<Machine> {
        let ready_timeout = seconds(self.settings.runner.ready_timeout_seconds);
        let mut machine = Machine::new(Utc::now(), ready_timeout, Beginning::New);
        machine.next_seq =
            self.with_patience("find an agent's last event", || self.store.last_agent_seq(process.agent_id)).await? + 1;
        if let Some(run) = process.run_id {
            let run = self.with_patience("get a run", || self.store.get_run(run)).await??;
            // An agent that stays may have had other turns in its session.
            machine.has_session = agent.durable && agent.session_started;
            let mut turn = Turn::new(run.task_id, run.id, !machine.has_session);
            turn.next_task_seq =
                self.with_patience("find a task's last event", || self.store.last_task_seq(run.task_id)).await? + 1;
            machine.turn = Some(turn);
        }
        let sent = self.with_patience("find a sent message", || self.store.sent_message_of(process.agent_id)).await?;
        machine.joining = sent.map(|message| Joining { task_id: message.id, is_kept: false });
        Some(machine)
    }
}
