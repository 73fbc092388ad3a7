//! What others want of the agent, read from the store: its end, the end of its turn, a message.

use super::Actor;
use crate::{
    bus::Topic,
    model::{
        id::{RunId, TaskId},
        quota::SetBy,
        run::{Failure, Run, RunOutcome},
        task::{Task, TaskStatus},
    },
    runner::machine::{Fate, Input, Order, Phase},
    store::{Begun, TaskChange},
};
use chrono::Utc;

impl Actor {
    /// Looks for orders and obeys them. `false`: the gateway stops.
    pub(super) async fn take_orders(&mut self) -> bool {
        self.look = false;
        if self.machine.fate != Some(Fate::Terminate) && self.is_termination_requested().await {
            return self.step(Input::Terminate).await;
        }
        if let Some(task) = self.task.as_ref().map(|task| task.id)
            && self.cancelled != Some(task)
            && self.is_cancel_requested(task).await
        {
            self.cancelled = Some(task);
            if !self.step(Input::Cancel).await {
                return false;
            }
        }
        if !self.follow_up().await {
            return false;
        }
        if self.machine.may_be_steered() {
            return self.steer().await;
        }
        self.machine.phase != Phase::Idle || self.begin().await
    }

    /// Looks at what was said about the agent since: whether it is to end, and whether it is to stay.
    pub(super) async fn is_termination_requested(&mut self) -> bool {
        let id = self.agent.id;
        let agent = self.runner.with_patience("get an agent", || self.runner.store.get_agent(id, None)).await.flatten();
        // Whoever sends messages to an agent expects it to stay.
        self.brief.keep |= agent.as_ref().is_some_and(|agent| agent.durable);
        agent.is_some_and(|agent| agent.terminate_requested)
    }

    pub(super) async fn is_cancel_requested(&self, task: TaskId) -> bool {
        let task = self.runner.with_patience("get a task", || self.runner.store.get_task(task, None)).await.flatten();
        task.is_some_and(|task| task.cancel_requested)
    }

    /// Sends the oldest steering message into the running turn.
    async fn steer(&mut self) -> bool {
        let id = self.agent.id;
        let found = self.runner.with_patience("find a message", || self.runner.store.next_steering_message(id)).await;
        let Some(Some(message)) = found else { return found.is_some() };
        let before = Box::new(self.machine.clone());
        let input = Input::Steer { task_id: message.id, text: &message.description };
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        match self.commit_with(&reaction, None, Some((message.id, message.generation))).await {
            None => false,
            Some(false) => {
                self.machine = *before;
                self.look = true;
                true
            }
            Some(true) => {
                self.act(reaction).await;
                true
            }
        }
    }

    /// Begins the turn of the next message, if the gate lets it through.
    async fn begin(&mut self) -> bool {
        let id = self.agent.id;
        let waiting = self.runner.with_patience("find a message", || self.runner.store.list_waiting_messages(id, 1)).await;
        self.is_held_up = false;
        let Some(mut waiting) = waiting else { return false };
        let Some(message) = waiting.pop() else { return true };
        if message.output_schema.as_ref().map(ToString::to_string) != self.machine.schema {
            // The CLI takes a schema at its start only: the next process gets it.
            return self.step(Input::Park).await;
        }
        if !self.runner.gate.pass(Utc::now()) {
            self.is_held_up = true;
            return true;
        }
        let is_begun = Box::pin(self.take_up(message, Input::Begin)).await;
        if self.machine.turn.is_none() {
            self.runner.gate.give_back();
        }
        is_begun
    }

    /// Adopts the turn that the CLI begins by itself with a message that came too late for the turn before.
    pub(super) async fn follow_up(&mut self) -> bool {
        let Some(task) = self.machine.follows_up() else { return true };
        let found = self.runner.with_patience("get a task", || self.runner.store.get_task(task, None)).await;
        let Some(found) = found else { return false };
        let is_adopted = match found {
            Some(message) => Box::pin(self.take_up(message, Input::FollowUp)).await,
            None => true,
        };
        if is_adopted && self.machine.follows_up().is_some() {
            // Nobody is there to own it.
            self.machine.joining = None;
            return self.step(Input::Park).await;
        }
        is_adopted
    }

    /// Gives the agent the turn of a message. `false`: the gateway stops.
    async fn take_up(&mut self, message: Task, input: Input<'_>) -> bool {
        let run = RunId::generate();
        let order = match self.runner.order(&message, &self.agent, run).await {
            Ok(order) => order,
            Err(failure) => return self.refuse(&message, failure).await,
        };
        let begun = Begun { task_generation: message.generation, run: self.new_run(&order) };
        let before = Box::new(self.machine.clone());
        self.brief.order = Some(order);
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        let earlier = self.task.replace(message);
        match self.commit_with(&reaction, Some(&begun), None).await {
            None => false,
            Some(false) => {
                self.machine = *before;
                self.brief.order = None;
                self.task = earlier;
                self.look = true;
                true
            }
            Some(true) => {
                self.act(reaction).await;
                true
            }
        }
    }

    fn new_run(&self, order: &Order) -> Run {
        Run {
            id: order.run_id,
            task_id: order.task_id,
            agent_id: self.agent.id,
            progress: "waiting for the model".into(),
            latest_output: String::new(),
            outcome: RunOutcome::default(),
            started_at: Utc::now(),
            ended_at: None,
        }
    }

    /// Counts the budgets anew once the turn has told what it spent: others spend from those of a day as well.
    pub(super) async fn recount(&mut self) -> bool {
        let (Some(turn), Some(task)) = (&self.machine.turn, &self.task) else { return true };
        let (run, spent) = (turn.run_id, turn.outcome.cost_usd);
        let is_shared = |order: &Order| order.caps.iter().any(|cap| matches!(cap.limit.set_by, SetBy::Key | SetBy::Gateway));
        if spent.is_none() || spent == self.counted_usd || !self.brief.order.as_ref().is_some_and(is_shared) {
            return true;
        }
        let caps = self.runner.caps(task, &self.agent, run).await;
        self.counted_usd = spent;
        if let Some(order) = &mut self.brief.order {
            order.caps = caps;
        }
        self.step(Input::Recounted).await
    }

    /// Fails a message whose turn is not allowed.
    async fn refuse(&mut self, message: &Task, failure: Failure) -> bool {
        let change = TaskChange { status: TaskStatus::Failed, failure: Some(failure), dead_letter: false, at: Utc::now() };
        let (id, generation) = (message.id, message.generation);
        let done = self.runner.with_patience("fail a task", || self.runner.store.change_task(id, generation, &change)).await;
        self.runner.bus.notify(Topic::Task(id));
        self.runner.bus.notify(Topic::Settled);
        self.look = true;
        done.is_some()
    }
}
