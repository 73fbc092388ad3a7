//! Storing what happened: with patience, because an agent's output waits in its file as long as it takes.

use super::{
    Runner,
    actor::Actor,
    machine::{Reaction, Verdict},
};
use crate::{
    bus::Topic,
    model::{event::Event, id::AgentId},
    store::{Appended, Batch, RunUpdate, StoreError, TaskChange},
};
use chrono::Utc;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Runner {
    /// Repeats a store operation until it succeeds or the gateway stops (`None`).
    pub(super) async fn with_patience<T, F>(&self, what: &str, operation: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match operation().await {
                Ok(value) => return Some(value),
                Err(error) => tracing::error!(%error, what, "the store failed; trying again"),
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Actor {
    /// Stores a reaction with the offset it leads to. `false`: the gateway stops and nothing was stored; the next
    /// start reads the same output again.
    pub(super) async fn commit(&mut self, reaction: &Reaction, offset: u64, ended: bool) -> bool {
        let now = Utc::now();
        let agent_id: AgentId = self.agent.id;
        let mut events = Vec::with_capacity(reaction.events.len());
        for kind in &reaction.events {
            events.push(Event {
                agent_id,
                seq: self.machine.next_seq,
                task_id: Some(self.task.id),
                task_seq: Some(self.machine.next_task_seq),
                run_id: Some(self.run_id),
                at: now,
                kind: kind.clone(),
            });
            self.machine.next_seq += 1;
            self.machine.next_task_seq += 1;
        }
        let state = match serde_json::to_value(&self.machine) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%error, agent = %agent_id, "the agent's state cannot be stored");
                return false;
            }
        };
        let failure = match &self.machine.verdict {
            Some(Verdict::Failed(failure)) => Some(failure.clone()),
            Some(Verdict::Complete | Verdict::Cancelled) | None => None,
        };
        let next = match reaction.next.map(|beginning| self.next_process(beginning, now)).transpose() {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, agent = %agent_id, "the next process cannot be put on record");
                return false;
            }
        };
        let batch = Batch {
            process_id: self.process_id,
            agent_id,
            task_id: self.task.id,
            run_id: self.run_id,
            expected_offset: self.offset.cast_signed(),
            offset: offset.cast_signed(),
            state: &state,
            events: &events,
            run: Some(RunUpdate {
                progress: &self.machine.progress,
                latest_output: &self.machine.latest_output,
                outcome: &self.machine.outcome,
                ended: ended && next.is_none(),
            }),
            agent_status: reaction.agent,
            task: reaction.task.map(|status| TaskChange { status, failure: failure.filter(|_| status.is_terminal()), at: now }),
            process_ended: ended,
            next: next.as_ref().map(|next| (&next.process, next.session_id)),
            at: now,
        };
        match self.runner.with_patience("append events", || self.runner.store.append(&batch)).await {
            None => return false,
            // A repeat of a commit whose answer was lost finds its own offset there; every event is in.
            Some(Appended::Stale) => tracing::warn!(agent = %agent_id, offset, "output up to here was stored before"),
            Some(Appended::Done { .. }) => {}
        }
        self.offset = offset;
        if let Some(next) = next {
            self.adopt(next);
        }
        self.runner.bus.notify(Topic::Agent(agent_id));
        self.runner.bus.notify(Topic::Task(self.task.id));
        if !events.is_empty() {
            self.runner.bus.notify(Topic::Events);
        }
        true
    }
}
