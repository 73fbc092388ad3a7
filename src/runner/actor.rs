//! One agent, one actor: `select!` → one input → the pure machine → store → act.

use super::{
    Runner,
    machine::{Brief, Effect, Input, Machine, Phase, Reaction},
    preflight::find_cli,
    workspace::{Git, Workspace},
};
use crate::{
    adapter::{LaunchRequest, Outgoing, claude_code},
    bus::Topic,
    config::OnShutdown,
    model::{
        agent::{Agent, Backend},
        event::EventKind,
        id::{ProcessId, RunId},
        task::Task,
    },
    process::{self, ExitReason, ExitRecord, Launched, Liveness, ProcessDir, Spec, Started, Tail, TailBatch},
    store::Process,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

/// The shim ends an agent by itself this long after the server should have.
const SHIM_GRACE: TimeDelta = TimeDelta::seconds(60);
/// How long a shim may take from its start to its lock. Milliseconds in practice.
const SETTLE: TimeDelta = TimeDelta::seconds(3);
/// Between SIGINT and the end of everything when the shim stops an agent.
const STOP_GRACE: Duration = Duration::from_secs(2);
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

    /// Starts the process and supervises it.
    pub(super) async fn run_new(mut self) {
        let mut control = self.runner.bus.subscribe(Topic::Control(self.task.id));
        while self.starting.is_none() {
            if self.is_cancel_requested().await {
                let reaction = self.machine.abandon();
                return self.conclude(reaction).await;
            }
            tokio::select! {
                () = self.runner.stop.cancelled() => return,
                () = control.changed() => {}
                place = self.runner.starting.clone().acquire_owned() => self.starting = place.ok(),
            }
        }
        // The wait for a place does not count.
        self.machine = Machine::new(Utc::now(), self.brief.ready_timeout, 1);
        match self.launch().await {
            Ok(started) => self.begin(Some(&started)).await,
            Err(exit) => self.finish(&exit, None).await,
        }
    }

    /// Goes on with a process an earlier server started, or starts it if that never happened.
    pub(super) async fn run_recovered(mut self, state: Value) {
        let liveness = match self.dir.inspect() {
            Ok(liveness) => liveness,
            Err(error) => {
                tracing::error!(%error, agent = %self.agent.id, "the agent's directory cannot be read");
                Liveness::Vanished(None)
            }
        };
        let was_launched = match serde_json::from_value::<Option<Machine>>(state) {
            Ok(Some(machine)) => {
                self.machine = machine;
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, agent = %self.agent.id, "the agent's stored state cannot be read");
                false
            }
        };
        tracing::info!(agent = %self.agent.id, ?liveness, was_launched, "found an agent of an earlier start");
        match liveness {
            // The server died before it started the process, or while it was about to.
            Liveness::NotStarted | Liveness::Vanished(None) if !was_launched => self.start_again().await,
            // Started, but the server died before it could say so.
            Liveness::Running(started) if !was_launched => self.begin(started.as_ref()).await,
            Liveness::Running(_) => self.reattach().await,
            Liveness::NotStarted | Liveness::Vanished(_) | Liveness::Exited(_) => Box::pin(self.supervise()).await,
        }
    }

    /// Starts a process that was on record but not seen alive, unless its shim was just about to say so.
    async fn start_again(self) {
        let mut watch = self.runner.watcher.watch(&self.dir);
        let settled = Utc::now() + SETTLE;
        while let Ok(Liveness::NotStarted) = self.dir.inspect()
            && Utc::now() < settled
        {
            tokio::select! {
                () = watch.changed() => {}
                () = until(Some(settled)) => {}
            }
        }
        drop(watch);
        match self.dir.inspect() {
            Ok(Liveness::Running(started)) => self.begin(started.as_ref()).await,
            Ok(Liveness::NotStarted | Liveness::Vanished(None)) => {
                if let Err(error) = self.dir.remove() {
                    tracing::error!(%error, agent = %self.agent.id, "an unused process directory cannot be removed");
                }
                Box::pin(self.run_new()).await;
            }
            _ => Box::pin(self.supervise()).await,
        }
    }

    /// Greets a freshly started process.
    async fn begin(mut self, started: Option<&Started>) {
        let mut reaction = self.machine.handle(&self.brief, Utc::now(), Input::Started);
        let pid = started.map(|started| started.pid);
        let process = EventKind::Process { state: "started".into(), pid, code: None, signal: None, reason: None };
        reaction.events.splice(0..0, [EventKind::status("assigned"), process]);
        let offset = self.offset;
        if self.commit(&reaction, offset, false).await {
            self.act(reaction).await;
            Box::pin(self.supervise()).await;
        }
    }

    /// Sends again what the stored state intended and the shim never saw.
    async fn reattach(mut self) {
        let process = EventKind::Process { state: "reattached".into(), pid: None, code: None, signal: None, reason: None };
        let mut reaction = Reaction { events: vec![process], ..Reaction::default() };
        reaction.effects.extend(self.machine.pending_effect());
        let offset = self.offset;
        if !self.commit(&reaction, offset, false).await {
            return;
        }
        match self.unsent().await {
            Ok(unsent) => reaction.send = unsent,
            Err(error) => tracing::warn!(%error, agent = %self.agent.id, "the agent's input cannot be checked"),
        }
        self.act(reaction).await;
        Box::pin(self.supervise()).await;
    }

    async fn unsent(&mut self) -> std::io::Result<Vec<Outgoing>> {
        let mut input = process::Input::open(&self.dir)?;
        // The shim logs in order: once it shows our mark, whatever arrived before is in the log.
        input.sync().await?;
        self.input = Some(input);
        let seen = self.dir.sent_lines()?;
        let is_unsent = |outgoing: &&Outgoing| !seen.iter().any(|line| line.contains(&outgoing.id));
        Ok(self.machine.outbox.iter().filter(is_unsent).cloned().collect())
    }

    async fn launch(&self) -> Result<Started, ExitRecord> {
        let settings = &self.runner.settings;
        let executable = find_cli(settings).map_err(spawn_failed)?;
        let home = settings.home();
        for dir in [&settings.claude_code.config_dir, &home] {
            std::fs::create_dir_all(dir).map_err(|error| spawn_failed(format!("{}: {error}", dir.display())))?;
        }
        let project = settings.projects.get(&self.task.project);
        let request = LaunchRequest {
            executable: &executable,
            session_id: self.agent.session_id,
            model: self
                .task
                .model
                .as_deref()
                .or_else(|| Some(settings.claude_code.default_model.as_str()).filter(|model| !model.is_empty())),
            permission_mode: project.map_or(crate::model::project::PermissionMode::Default, |project| project.permission_mode),
            allowed_tools: project.map_or(&[], |project| &project.allowed_tools),
            budget_usd: self.task.budget_usd,
            max_retries: settings.claude_code.max_retries,
            config_dir: &settings.claude_code.config_dir,
            inherited: &settings.agent_env,
            rehearsal: settings.rehearsal_url.as_deref().map(|url| (url, home.as_path())),
        };
        let launch = match self.agent.backend {
            Backend::ClaudeCode => claude_code::launch(&request),
        };
        let spec = Spec {
            argv: launch.argv,
            cwd: PathBuf::from(&self.agent.workspace),
            deadline: Some(Utc::now() + self.brief.ready_timeout + self.brief.timeout + SHIM_GRACE),
            max_output_bytes: settings.runner.max_output_bytes,
            stop_grace_ms: STOP_GRACE.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let launched = self.runner.launcher.launch(&self.dir, spec, &launch.env).await;
        match launched {
            Ok(Launched::Running(started)) => Ok(started),
            Ok(Launched::Failed(exit)) => Err(exit),
            Err(error) => Err(spawn_failed(error.to_string())),
        }
    }

    /// The actor's loop: until the process has ended and that is stored, or the gateway lets go.
    async fn supervise(mut self) {
        let watch = self.runner.watcher.watch(&self.dir);
        let mut tail = match Tail::open(&self.dir, self.offset, watch).await {
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

    /// Measures the work and stores the end of the run.
    async fn conclude(&mut self, mut reaction: Reaction) {
        let workspace = Workspace {
            dir: PathBuf::from(&self.agent.workspace),
            branch: self.agent.branch.clone(),
            base_commit: self.agent.base_commit.clone(),
        };
        let git = Git { env: &self.runner.settings.agent_env };
        match git.collect(&workspace, &self.task.title).await {
            Ok(changes) => self.machine.outcome.changes = changes,
            Err(problem) => {
                tracing::warn!(agent = %self.agent.id, problem, "the agent's changes cannot be measured");
                let detail = Some(format!("the changes stay in the worktree but could not be committed: {problem}"));
                reaction.events.push(EventKind::Status { state: "changes_unknown".into(), detail });
            }
        }
        let offset = self.offset;
        if self.commit(&reaction, offset, true).await {
            tracing::info!(task = %self.task.id, agent = %self.agent.id, progress = self.machine.progress, "run ended");
        }
    }
}

fn spawn_failed(detail: String) -> ExitRecord {
    ExitRecord {
        code: None,
        signal: None,
        reason: ExitReason::SpawnFailed,
        detail: Some(detail),
        ended_at: Utc::now(),
        stdout_bytes: 0,
    }
}

async fn until(time: Option<DateTime<Utc>>) {
    match time {
        None => std::future::pending().await,
        Some(time) => tokio::time::sleep((time - Utc::now()).to_std().unwrap_or_default()).await,
    }
}
