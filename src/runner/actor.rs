//! One agent, one actor: `select!` → one input → the pure machine → store → act.

mod start;
mod succeed;

use super::{
    Runner,
    machine::{Brief, Effect, Input, Machine, Phase, Reaction},
    workspace::Git,
};
use crate::{
    bus::Topic,
    config::OnShutdown,
    model::{
        agent::Agent,
        event::EventKind,
        id::{ProcessId, RunId},
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

pub(super) struct Actor {
    pub(super) runner: Arc<Runner>,
    pub(super) task: Task,
    pub(super) agent: Agent,
    pub(super) run_id: RunId,
    pub(super) process_id: ProcessId,
    pub(super) machine: Machine,
    pub(super) offset: u64,
    brief: Brief,
    dir: ProcessDir,
    input: Option<process::Input>,
    /// A place among the starting agents, held until the CLI is ready.
    starting: Option<OwnedSemaphorePermit>,
    /// A place among the live agents; agents found alive after a restart may exceed the places.
    _live: Option<OwnedSemaphorePermit>,
}

impl Actor {
    pub(super) fn new(
        runner: Arc<Runner>,
        task: Task,
        agent: Agent,
        process: &Process,
        live: impl Into<Option<OwnedSemaphorePermit>>,
    ) -> Self {
        let brief = runner.brief(&task, &agent);
        Self {
            dir: ProcessDir::new(&runner.settings.data.processes(), process.id),
            machine: Machine::new(Utc::now(), brief.ready_timeout, 1),
            offset: process.offset.cast_unsigned(),
            run_id: process.run_id,
            process_id: process.id,
            brief,
            runner,
            task,
            agent,
            input: None,
            starting: None,
            _live: live.into(),
        }
    }

    /// The actor's loop: until the process has ended and that is stored, or the gateway lets go.
    async fn supervise(mut self) {
        let mut tail = match self.open_tail().await {
            Ok(tail) => tail,
            Err(error) => {
                tracing::error!(%error, agent = %self.agent.id, "the agent's output cannot be read");
                return self.finish_vanished(None).await;
            }
        };
        let mut control = self.runner.bus.subscribe(Topic::Control(self.task.id));
        let mut cancel_seen = false;
        let mut check_cancel = true;
        let mut shutting_down = false;
        let stop = self.runner.stop.clone();
        loop {
            if check_cancel && !cancel_seen {
                cancel_seen = self.is_cancel_requested().await;
                if cancel_seen && !self.step(Input::Cancel).await {
                    return;
                }
            }
            check_cancel = false;
            tokio::select! {
                // Orders before output, so that a flood cannot delay a stop.
                biased;
                () = stop.cancelled(), if !shutting_down => match self.runner.settings.runner.on_shutdown {
                    OnShutdown::Detach => return,
                    OnShutdown::Stop => {
                        shutting_down = true;
                        if !self.step(Input::Shutdown).await { return }
                    }
                },
                () = control.changed() => check_cancel = true,
                () = until(self.machine.wakes_at()) => if !self.step(Input::Time).await { return },
                batch = tail.next() => match batch {
                    Ok(TailBatch::Lines { lines, offset }) => if !self.lines(&lines, offset).await { return },
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

    async fn is_cancel_requested(&self) -> bool {
        let id = self.task.id;
        let task = self.runner.with_patience("get a task", || self.runner.store.get_task(id, None)).await.flatten();
        task.is_some_and(|task| task.cancel_requested)
    }

    /// Handles one input that moves no offset.
    async fn step(&mut self, input: Input<'_>) -> bool {
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        let offset = self.offset;
        if !self.commit(&reaction, offset, false).await {
            return false;
        }
        self.act(reaction).await;
        true
    }

    /// Handles a batch of lines as one transaction.
    async fn lines(&mut self, lines: &[String], offset: u64) -> bool {
        let mut whole = Reaction::default();
        for line in lines {
            whole.absorb(self.machine.handle(&self.brief, Utc::now(), Input::Line(line)));
        }
        if !self.commit(&whole, offset, false).await {
            return false;
        }
        self.act(whole).await;
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
            Some(Effect::CloseInput) => input.close_stdin().await,
            Some(Effect::Stop) => input.stop().await,
            Some(Effect::Kill) => input.kill().await,
            Some(Effect::KillShim) => self.dir.kill_shim(),
        }
    }

    async fn finish(mut self, exit: &ExitRecord, partial_tail: Option<&str>) {
        let stderr = self.dir.stderr_tail(STDERR_BYTES);
        let input = Input::Exited { exit, partial_tail, stderr: &stderr };
        let reaction = self.machine.handle(&self.brief, Utc::now(), input);
        self.conclude(reaction).await;
    }

    async fn finish_vanished(mut self, partial_tail: Option<&str>) {
        match process::kill_leftovers(&self.dir).await {
            Ok(0) => {}
            Ok(killed) => tracing::warn!(agent = %self.agent.id, killed, "ended what a vanished agent had left"),
            Err(error) => tracing::error!(%error, agent = %self.agent.id, "what a vanished agent left may still run"),
        }
        let mut reaction = self.machine.handle(&self.brief, Utc::now(), Input::Vanished);
        if let Some(line) = partial_tail.filter(|line| !line.is_empty()) {
            reaction.events.insert(0, EventKind::Raw { line: line.to_owned() });
        }
        self.conclude(reaction).await;
    }

    /// Stores the end of the process, and of the run unless another process takes over.
    async fn conclude(mut self, mut reaction: Reaction) {
        if reaction.next.is_none() {
            self.measure(&mut reaction).await;
        }
        let offset = self.offset;
        if self.commit(&reaction, offset, true).await {
            if reaction.next.is_some() {
                return Box::pin(self.run_next()).await;
            }
            tracing::info!(task = %self.task.id, agent = %self.agent.id, progress = self.machine.progress, "run ended");
        }
    }

    /// Commits and measures what the agent left in its worktree.
    async fn measure(&mut self, reaction: &mut Reaction) {
        let (Some(branch), Some(base)) = (&self.agent.branch, &self.agent.base_commit) else { return };
        let settings = &self.runner.settings;
        let mut env = settings.agent_env.clone();
        // Git may start programs the agent put into its configuration; they are the agent's, so they end with it.
        env.insert(process::MARKER_VARIABLE.into(), self.process_id.to_string());
        let git = Git { env, data: settings.data.path() };
        let worktree = settings.data.workspaces().join(self.agent.id.to_string());
        let problem = match git.collect(&worktree, branch, base, &self.task.title).await {
            Ok((changes, problem)) => {
                self.machine.outcome.changes = Some(changes);
                problem
            }
            Err(problem) => Some(problem),
        };
        if let Err(error) = process::kill_leftovers(&self.dir).await {
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
