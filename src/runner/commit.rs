//! Storing what happened: with patience, because an agent's output waits in its file as long as it takes.

use super::{
    Runner,
    actor::Actor,
    machine::{Brief, Reaction, Turn, Verdict},
};
use crate::{
    bus::Topic,
    model::{
        agent::AgentStatus,
        event::{Event, EventKind},
        id::{AgentId, TaskId},
        run::FailureCode,
        task::TaskStatus,
    },
    store::{Appended, Batch, Begun, RunUpdate, StoreError, TaskChange, TeamChange},
    trace::{self, Work},
};
use chrono::{DateTime, Utc};
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
        let change = Change { offset, ended, begun: None, steering: None, team: None };
        self.store(reaction, change).await.is_some()
    }

    /// Stores a reaction together with a message that begins its turn, or is sent into the running one. `None`: the
    /// gateway stops. `Some(false)`: the message is not what it was, and nothing was stored.
    pub(super) async fn commit_with(
        &mut self,
        reaction: &Reaction,
        begun: Option<&Begun>,
        steering: Option<(TaskId, i64)>,
    ) -> Option<bool> {
        let change = Change { offset: self.offset, ended: false, begun, steering, team: None };
        self.store(reaction, change).await
    }

    /// Stores the answer to a tool's call together with what the call changes: both or neither. `None`: the gateway stops.
    /// `Some(false)`: things are not as they were read, and nothing was stored.
    pub(super) async fn commit_call(&mut self, reaction: &Reaction, team: Option<&TeamChange>) -> Option<bool> {
        let change = Change { offset: self.offset, ended: false, begun: None, steering: None, team };
        self.store(reaction, change).await
    }

    async fn store(&mut self, reaction: &Reaction, change: Change<'_>) -> Option<bool> {
        let now = Utc::now();
        let agent_id: AgentId = self.agent.id;
        let events = self.number(&reaction.events, now);
        // A turn that is over leaves the state with this batch.
        let over = if reaction.turn_over { self.machine.turn.take() } else { None };
        let state = match serde_json::to_value(&self.machine) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%error, agent = %agent_id, "the agent's state cannot be stored");
                return None;
            }
        };
        let turn = over.as_ref().or(self.machine.turn.as_ref());
        let next = match reaction.next.map(|beginning| self.next_process(beginning, now)).transpose() {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, agent = %agent_id, "the next process cannot be put on record");
                return None;
            }
        };
        let has_failed = matches!(reaction.agent, Some(AgentStatus::Failed | AgentStatus::Lost));
        let session_started = self.machine.has_session && !self.agent.session_started;
        let batch = Batch {
            process_id: self.process_id,
            agent_id,
            run_id: self.machine.turn.as_ref().map(|turn| turn.run_id),
            expected_offset: self.offset.cast_signed(),
            offset: change.offset.cast_signed(),
            state: &state,
            events: &events,
            run: turn.map(|turn| RunUpdate {
                id: turn.run_id,
                progress: &turn.progress,
                latest_output: &turn.latest_output,
                outcome: &turn.outcome,
                ended: over.is_some(),
            }),
            agent_status: reaction.agent,
            agent_failure: self.machine.failure.as_ref().filter(|_| has_failed),
            session_started,
            task: turn.and_then(|turn| Some((turn.task_id, task_change(turn, &self.brief, self.task_status(reaction)?, now)))),
            begun: change.begun,
            steering: change.steering,
            joined: reaction.joined.zip(turn.map(|turn| turn.task_id)),
            released: reaction.released,
            process_ended: change.ended,
            team: change.team,
            next: next.as_ref().map(|next| (&next.process, next.session_id)),
            at: now,
        };
        match self.runner.with_patience("append events", || self.runner.store.append(&batch)).await? {
            Appended::Refused => return Some(false),
            // A repeat of a commit whose answer was lost finds its own offset there; every event is in.
            Appended::Stale => tracing::warn!(agent = %agent_id, offset = change.offset, "output up to here was stored before"),
            Appended::Done { .. } => {}
        }
        self.offset = change.offset;
        self.agent.session_started |= session_started;
        self.look |= reaction.turn_over || reaction.joined.is_some() || reaction.agent.is_some();
        let concerned = [turn.map(|turn| turn.task_id), reaction.joined, reaction.released];
        let begun = turn.and_then(|turn| turn.begun_at);
        self.report(reaction, begun, over.as_ref(), now);
        if let Some(turn) = &over {
            self.tell_of_run(turn, now).await;
            self.task = None;
            self.brief.order = None;
        }
        if let Some(next) = next {
            self.adopt(next);
        }
        let bus = &self.runner.bus;
        bus.notify(Topic::Agent(agent_id));
        concerned.into_iter().flatten().for_each(|task| bus.notify(Topic::Task(task)));
        if reaction.task.is_some() {
            bus.notify(Topic::Settled);
            if let Some(swarm) = self.agent.swarm_id {
                bus.notify(Topic::Swarm(swarm));
            }
        }
        if !events.is_empty() {
            bus.notify(Topic::Events);
        }
        Some(true)
    }

    /// Tells of a run that is over, when traces are on. It may have begun under another server.
    async fn tell_of_run(&self, turn: &Turn, now: DateTime<Utc>) {
        let Some(task) = self.task.as_ref().filter(|_| trace::is_on()) else { return };
        let run = self.runner.store.get_run(turn.run_id).await.ok().flatten();
        let begun = run.map(|run| run.started_at).or(turn.begun_at).unwrap_or(now);
        let (outcome, failed) = match &turn.verdict {
            Some(Verdict::Failed(failure)) => (failure.code.as_str(), true),
            Some(verdict) => (verdict.task_status().as_str(), false),
            None => ("unknown", true),
        };
        let (agent, model) = (Some(self.agent.id), turn.outcome.model.as_deref());
        Work { name: "run_task", task, agent, model, begun, outcome, failed }.record();
    }

    /// Where the task stands by this reaction; a result that somebody is to judge first is not complete.
    fn task_status(&self, reaction: &Reaction) -> Option<TaskStatus> {
        let is_reviewed = self.task.as_ref().is_some_and(|task| task.reviewed);
        reaction.task.map(|status| if is_reviewed && status == TaskStatus::Complete { TaskStatus::Review } else { status })
    }

    /// Gives the events their places in the logs of agent and task.
    fn number(&mut self, kinds: &[EventKind], at: DateTime<Utc>) -> Vec<Event> {
        let machine = &mut self.machine;
        let mut events = Vec::with_capacity(kinds.len());
        for kind in kinds {
            events.push(Event {
                agent_id: self.agent.id,
                seq: machine.next_seq,
                task_id: machine.turn.as_ref().map(|turn| turn.task_id),
                task_seq: machine.turn.as_ref().map(|turn| turn.next_task_seq),
                run_id: machine.turn.as_ref().map(|turn| turn.run_id),
                at,
                kind: kind.clone(),
            });
            machine.next_seq += 1;
            if let Some(turn) = &mut machine.turn {
                turn.next_task_seq += 1;
            }
        }
        events
    }

    /// Tells the gate how the provider did.
    fn report(&self, reaction: &Reaction, begun: Option<DateTime<Utc>>, over: Option<&Turn>, now: DateTime<Utc>) {
        let gate = &self.runner.gate;
        let is_answer = |event: &EventKind| matches!(event, EventKind::Delta { .. } | EventKind::Usage { .. });
        if let Some(begun) = begun.filter(|_| reaction.events.iter().any(is_answer)) {
            gate.answered(begun);
        }
        if let Some(verdict) = over.and_then(|turn| turn.verdict.as_ref()) {
            match verdict {
                Verdict::Complete => gate.report(None, now),
                Verdict::Failed(failure) => gate.report(Some(failure), now),
                Verdict::Cancelled => gate.give_back(),
            }
        }
        if let Some(retry) = reaction.retry.as_ref() {
            match retry.resets_at {
                Some(at) => gate.pause(at, format!("the provider's limit is reached: {}", retry.failure.detail)),
                None => gate.report(Some(&retry.failure), now),
            }
        }
    }
}

/// What is stored beside a reaction.
struct Change<'a> {
    offset: u64,
    ended: bool,
    begun: Option<&'a Begun>,
    steering: Option<(TaskId, i64)>,
    team: Option<&'a TeamChange>,
}

fn task_change(turn: &Turn, brief: &Brief, status: TaskStatus, at: DateTime<Utc>) -> TaskChange {
    let failure = turn.verdict.as_ref().and_then(Verdict::failure).filter(|_| status.is_terminal()).cloned();
    let is_of_loss = |code| matches!(code, FailureCode::AgentLost | FailureCode::AgentExited);
    let dead_letter = failure.as_ref().is_some_and(|failure| {
        (failure.code.is_of_provider() && turn.outcome.retries > 0)
            || (is_of_loss(failure.code) && turn.recoveries > 0 && turn.recoveries >= brief.max_recoveries)
    });
    TaskChange { status, failure, dead_letter, at }
}
