//! One agent, one actor: `select!` → one input → the pure machine → store → act.

mod orders;
mod start;
mod succeed;
mod tools;

use super::{
    Runner,
    idle::Rest,
    machine::{Brief, Effect, Input, Machine, Phase, Reaction},
    workspace::{Git, name_of},
};
use crate::{
    bus::{FactsGuard, Topic},
    config::OnShutdown,
    model::{
        agent::Agent,
        event::EventKind,
        id::{ProcessId, TaskId},
        runner::ProcessFacts,
        task::Task,
    },
    process::{self, ExitRecord, ProcessDir, Tail, TailBatch},
    store::Process,
};
use chrono::{DateTime, Utc};
use std::{sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

/// How much of the CLI's stderr goes into a failure.
const STDERR_BYTES: usize = 2_000;

/// What an actor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Starts the process, once it may.
    Start,
    /// Supervises the process.
    Supervise,
    /// Lets go.
    Done,
}

pub(super) struct Actor {
    pub(super) runner: Arc<Runner>,
    pub(super) agent: Agent,
    /// The task of the current turn.
    pub(super) task: Option<Task>,
    pub(super) process_id: ProcessId,
    pub(super) machine: Machine,
    pub(super) offset: u64,
    pub(super) brief: Brief,
    dir: ProcessDir,
    input: Option<process::Input>,
    /// A place among the starting agents, held until the CLI is ready.
    starting: Option<OwnedSemaphorePermit>,
    /// A place among the live agents; agents found alive after a restart may exceed the places.
    live: Option<OwnedSemaphorePermit>,
    /// The entry among those whose place can be had, while the agent is idle.
    rest: Option<Rest>,
    /// Whether there may be orders for the agent that were not looked at.
    pub(super) look: bool,
    /// Whether a message waits for the gate to open.
    pub(super) is_held_up: bool,
    /// The task whose cancellation was passed on already.
    cancelled: Option<TaskId>,
    /// What the turn had spent when its budgets were counted last.
    counted_usd: Option<f64>,
    facts: Option<FactsGuard>,
}

impl Actor {
    /// The actor of a process on record. The brief has the order of the machine's turn, if it has one.
    pub(super) fn new(
        runner: Arc<Runner>,
        agent: Agent,
        task: Option<Task>,
        process: &Process,
        machine: Machine,
        brief: Brief,
        live: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            dir: ProcessDir::new(&runner.settings.data.processes(), process.id),
            offset: process.offset.cast_unsigned(),
            process_id: process.id,
            machine,
            brief,
            runner,
            agent,
            task,
            input: None,
            starting: None,
            live,
            rest: None,
            look: true,
            is_held_up: false,
            cancelled: None,
            counted_usd: None,
            facts: None,
        }
    }

    /// Goes through the life of the process, and of those that take over from it.
    pub(super) async fn run(mut self, mut flow: Flow) {
        loop {
            flow = match flow {
                Flow::Start => Box::pin(self.start()).await,
                Flow::Supervise => Box::pin(self.supervise()).await,
                Flow::Done => break,
            };
        }
        // The place is free, and perhaps messages came meanwhile.
        let (runner, had_place) = (self.runner.clone(), self.live.is_some());
        drop(self);
        if !had_place {
            // Whoever asked for its place gets none by its end.
            runner.idlers.ask_again();
        }
        runner.bus.notify(Topic::Dispatch);
    }

    /// The actor's loop: until the process has ended and that is stored, or the gateway lets go.
    async fn supervise(&mut self) -> Flow {
        let mut tail = match self.open_tail().await {
            Ok(tail) => tail,
            Err(error) => {
                tracing::error!(%error, agent = %self.agent.id, "the agent's output cannot be read");
                return self.finish_vanished(None).await;
            }
        };
        self.serve_facts();
        let mut control = self.runner.bus.subscribe(Topic::Control(self.agent.id));
        // Nobody listened while the process was being started.
        self.look = true;
        let mut gate = self.runner.gate.subscribe();
        let mut shutting_down = false;
        let stop = self.runner.stop.clone();
        loop {
            // The agent waits for these.
            if !self.run_tools().await {
                return Flow::Done;
            }
            if self.look && !self.take_orders().await {
                return Flow::Done;
            }
            if self.machine.phase != Phase::Idle {
                self.rest = None;
            } else if self.rest.is_none() {
                self.rest = Some(self.runner.idlers.enter(self.agent.id, self.agent.key_id));
            }
            tokio::select! {
                // Orders before output, so that a flood cannot delay a stop.
                biased;
                () = stop.cancelled(), if !shutting_down => match self.runner.settings.runner.on_shutdown {
                    OnShutdown::Detach => return Flow::Done,
                    OnShutdown::Stop => {
                        shutting_down = true;
                        if !self.step(Input::Shutdown).await { return Flow::Done }
                    }
                },
                () = control.changed() => self.look = true,
                // Only then: a pause that is over stays on record until somebody passes.
                _ = gate.changed(), if self.is_held_up && self.machine.phase == Phase::Idle => self.look = true,
                () = until(self.runner.gate.opens_at()), if self.is_held_up && self.machine.phase == Phase::Idle => self.look = true,
                () = wanted(self.rest.as_ref()) => if !self.step(Input::Park).await { return Flow::Done },
                () = until(self.machine.wakes_at()) => if !self.step(Input::Time).await { return Flow::Done },
                batch = tail.next() => match batch {
                    Ok(TailBatch::Lines { lines, ends, .. }) => if !self.lines(&lines, &ends).await { return Flow::Done },
                    Ok(TailBatch::End { partial_tail, exit }) => return self.finish(&exit, partial_tail.as_deref()).await,
                    Ok(TailBatch::Vanished { partial_tail }) => return self.finish_vanished(partial_tail.as_deref()).await,
                    Err(error) => {
                        tracing::error!(%error, agent = %self.agent.id, "reading the agent's output failed; trying again");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                },
            }
            if self.machine.phase != Phase::Starting {
                self.starting = None;
            }
        }
    }

    /// Answers for the process as long as this actor supervises it.
    fn serve_facts(&mut self) {
        let dir = self.dir.clone();
        self.facts = Some(self.runner.bus.serve_facts(self.agent.id, move || {
            process::tree_facts(&dir).map(|facts| ProcessFacts {
                pid: facts.pid,
                started_at: facts.started_at,
                rss_bytes: facts.rss_bytes,
                cpu_seconds: facts.cpu_seconds,
                processes: facts.processes,
            })
        }));
    }

    /// Opens the output; a passing fault, such as too many open files, must not cost a healthy agent its life.
    async fn open_tail(&self) -> std::io::Result<Tail> {
        let mut tries = 0;
        loop {
            match Tail::open(&self.dir, self.offset, self.runner.watcher.watch(&self.dir)).await {
                Err(error) if tries < 20 && error.kind() != std::io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, agent = %self.agent.id, "the agent's output cannot be opened; trying again");
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Handles one input that moves no offset.
    async fn step(&mut self, input: Input<'_>) -> bool {
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        let offset = self.offset;
        self.store_and_act(reaction, offset).await
    }

    /// Handles a batch of lines: one transaction, and one more for each turn that ends in it.
    async fn lines(&mut self, lines: &[String], ends: &[u64]) -> bool {
        let mut whole = Reaction::default();
        let mut offset = self.offset;
        for (line, end) in lines.iter().zip(ends) {
            whole.absorb(self.machine.handle(&self.brief, Utc::now(), Input::Line(line)));
            offset = *end;
            if whole.turn_over && !(self.store_and_act(std::mem::take(&mut whole), offset).await && self.follow_up().await) {
                return false;
            }
        }
        (offset == self.offset || self.store_and_act(whole, offset).await) && self.recount().await
    }

    async fn store_and_act(&mut self, mut reaction: Reaction, offset: u64) -> bool {
        if reaction.turn_over {
            self.measure(&mut reaction).await;
            self.await_conversation().await;
        }
        if !self.commit(&reaction, offset, false).await {
            return false;
        }
        self.act(reaction).await;
        true
    }

    /// Does what was stored. A process that is gone is noticed by its exit, so failures are only logged.
    async fn act(&mut self, reaction: Reaction) {
        for outgoing in reaction.send {
            match self.write(Some(&outgoing.line), None).await {
                Ok(()) => self.machine.outbox.retain(|kept| kept.id != outgoing.id),
                Err(error) => tracing::debug!(%error, agent = %self.agent.id, "the agent takes no input"),
            }
        }
        for effect in reaction.effects {
            if let Err(error) = self.write(None, Some(effect)).await {
                tracing::debug!(%error, agent = %self.agent.id, ?effect, "the shim takes no order");
            }
        }
    }

    async fn write(&mut self, line: Option<&str>, effect: Option<Effect>) -> std::io::Result<()> {
        let input = match &mut self.input {
            Some(input) => input,
            none => none.insert(process::Input::open(&self.dir)?),
        };
        if let Some(line) = line {
            input.send_line(line).await?;
        }
        match effect {
            None => Ok(()),
            Some(Effect::Deadline(at)) => input.set_deadline(Some(at)).await,
            Some(Effect::CloseInput) => input.close_stdin().await,
            Some(Effect::Stop) => input.stop().await,
            Some(Effect::Kill) => input.kill().await,
            Some(Effect::KillShim) => self.dir.kill_shim(),
        }
    }

    async fn finish(&mut self, exit: &ExitRecord, partial_tail: Option<&str>) -> Flow {
        metrics::counter!("mas_process_exits_total", "reason" => exit.reason.as_str()).increment(1);
        let stderr = self.dir.stderr_tail(STDERR_BYTES);
        let input = Input::Exited { exit, partial_tail, stderr: &stderr, conversation: self.conversation().await };
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        self.conclude(reaction).await
    }

    async fn finish_vanished(&mut self, partial_tail: Option<&str>) -> Flow {
        metrics::counter!("mas_process_exits_total", "reason" => "vanished").increment(1);
        match process::kill_leftovers(&self.dir).await {
            Ok(0) => {}
            Ok(killed) => tracing::warn!(agent = %self.agent.id, killed, "ended what a vanished agent had left"),
            Err(error) => tracing::error!(%error, agent = %self.agent.id, "what a vanished agent left may still run"),
        }
        let input = Input::Vanished { conversation: self.conversation().await };
        let mut reaction = self.machine.handle(&self.brief, Utc::now(), input);
        if let Some(line) = partial_tail.filter(|line| !line.is_empty()) {
            reaction.events.insert(0, EventKind::Raw { line: line.to_owned() });
        }
        self.conclude(reaction).await
    }

    /// Stores the end of the process, and of its turn unless another process takes over.
    async fn conclude(&mut self, mut reaction: Reaction) -> Flow {
        if reaction.turn_over {
            self.measure(&mut reaction).await;
        }
        let offset = self.offset;
        if !self.commit(&reaction, offset, true).await {
            return Flow::Done;
        }
        self.rest = None;
        if reaction.next.is_some() && self.pause_before_next().await {
            return Flow::Start;
        }
        tracing::info!(agent = %self.agent.id, status = ?reaction.agent, "the agent's process has ended");
        Flow::Done
    }

    /// Commits and measures what the agent left in its worktree.
    async fn measure(&mut self, reaction: &mut Reaction) {
        let (Some(branch), Some(base), Some(task)) = (&self.agent.branch, &self.agent.base_commit, &self.task) else { return };
        let settings = &self.runner.settings;
        let mut env = settings.agent_env.clone();
        // Git may start programs the agent put into its configuration; they end with it.
        let marker = ProcessId::generate().to_string();
        env.insert(process::MARKER_VARIABLE.into(), marker.clone());
        let git = Git { env, data: settings.data.path() };
        let worktree = settings.data.workspaces().join(name_of(&self.agent));
        // Git takes one at a time in a worktree that several share.
        let _alone = match &self.agent.workspace_name {
            Some(_) => Some(self.runner.worktrees.lock().await),
            None => None,
        };
        let problem = match git.collect(&worktree, branch, base, &task.title).await {
            Ok((changes, problem)) => {
                if let Some(turn) = &mut self.machine.turn {
                    turn.outcome.changes = Some(changes);
                }
                problem
            }
            Err(problem) => Some(problem),
        };
        if let Err(error) = process::kill_marked(marker).await {
            tracing::error!(%error, agent = %self.agent.id, "what git started may still run");
        }
        if let Some(problem) = problem {
            tracing::warn!(agent = %self.agent.id, problem, "not all changes could be committed");
            let detail = Some(format!("what could not be committed stays in the worktree: {problem}"));
            reaction.events.push(EventKind::Status { state: "changes_incomplete".into(), detail });
        }
    }
}

async fn until(time: Option<DateTime<Utc>>) {
    match time {
        None => std::future::pending().await,
        Some(time) => tokio::time::sleep((time - Utc::now()).to_std().unwrap_or_default()).await,
    }
}

async fn wanted(rest: Option<&Rest>) {
    match rest {
        None => std::future::pending().await,
        Some(rest) => rest.is_wanted().await,
    }
}
