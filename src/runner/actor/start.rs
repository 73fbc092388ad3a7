//! How an actor comes to its process: by starting one, or by finding one that an earlier server started.

use super::{Actor, until};
use crate::{
    adapter::{LaunchRequest, Outgoing, Resume, claude_code},
    bus::Topic,
    model::{agent::Backend, event::EventKind, project::PermissionMode},
    process::{self, ExitReason, ExitRecord, LaunchError, Launched, Liveness, Spec, Started},
    runner::{
        machine::{Beginning, Input, Machine, Reaction},
        preflight::find_cli,
    },
};
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// The shim ends an agent by itself this long after the server should have.
const SHIM_GRACE: TimeDelta = TimeDelta::seconds(60);
/// How long a shim may take from its start to its lock. Milliseconds in practice.
const SETTLE: TimeDelta = TimeDelta::seconds(3);
/// Between SIGINT and the end of everything when the shim stops an agent.
const STOP_GRACE: Duration = Duration::from_secs(2);

impl Actor {
    /// Starts the process and supervises it.
    pub(in crate::runner) async fn run_new(mut self) {
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
        self.machine.start_clock(&self.brief, Utc::now());
        match self.launch().await {
            Ok(started) => self.begin(Some(&started)).await,
            Err(NotStarted::Refused(exit)) => self.finish(&exit, None).await,
            Err(NotStarted::ShimLost(problem)) => {
                tracing::warn!(problem, agent = %self.agent.id, "the agent's shim died at its start");
                self.finish_vanished(None).await;
            }
        }
    }

    /// Goes on with a process an earlier server started, or starts it if that never happened.
    pub(in crate::runner) async fn run_recovered(mut self, state: Value) {
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
                self.machine.reread(Utc::now());
                self.machine.is_launched
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

    async fn launch(&self) -> Result<Started, NotStarted> {
        let settings = &self.runner.settings;
        let executable = find_cli(settings).map_err(spawn_failed)?;
        let home = settings.data.home();
        for dir in [&settings.claude_code.config_dir, &home] {
            std::fs::create_dir_all(dir).map_err(|error| spawn_failed(format!("{}: {error}", dir.display())))?;
        }
        let project = settings.projects.get(&self.task.project);
        let request = LaunchRequest {
            executable: &executable,
            session_id: self.agent.session_id,
            resume: (self.machine.beginning == Beginning::Resume)
                .then(|| Resume { role: self.task.agent_type.role(), schema: self.task.output_schema.as_ref() }),
            model: self
                .task
                .model
                .as_deref()
                .or_else(|| Some(settings.claude_code.default_model.as_str()).filter(|model| !model.is_empty())),
            permission_mode: project.map_or(PermissionMode::Default, |project| project.permission_mode),
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
            max_memory_bytes: None,
            max_processes: None,
            stop_grace_ms: STOP_GRACE.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let launched = self.runner.launcher.launch(&self.dir, spec, &launch.env, &[]).await;
        match launched {
            Ok(Launched::Running(started)) => Ok(started),
            Ok(Launched::Failed(exit)) => Err(NotStarted::Refused(exit)),
            Err(error @ LaunchError::Silent(_)) => Err(NotStarted::ShimLost(error.to_string())),
            Err(error) => Err(spawn_failed(error.to_string())),
        }
    }
}

/// Why there is no process.
enum NotStarted {
    /// The CLI cannot be started.
    Refused(ExitRecord),
    /// The shim died, or was too slow, before it said anything.
    ShimLost(String),
}

fn spawn_failed(detail: String) -> NotStarted {
    NotStarted::Refused(ExitRecord {
        code: None,
        signal: None,
        reason: ExitReason::SpawnFailed,
        detail: Some(detail),
        ended_at: Utc::now(),
        stdout_bytes: 0,
    })
}
