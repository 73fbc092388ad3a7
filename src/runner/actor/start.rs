//! How an actor comes to its process: by starting one, or by finding one that an earlier server started.

use super::{Actor, Flow, until};
use crate::{
    adapter::{
        Launch, LaunchRequest, Outgoing, Session, claude_code,
        claude_flow::{self, Hive},
    },
    bus::Topic,
    model::{agent::Backend, event::EventKind, project::PermissionMode, role::tools::permissions},
    process::{self, ExitReason, ExitRecord, LaunchError, Launched, Liveness, Spec, Started},
    runner::{
        brief::process_budget,
        machine::{Beginning, Fate, Input, Reaction, SHIM_GRACE},
        preflight::{find_claude_flow, find_cli},
    },
};
use chrono::{TimeDelta, Utc};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

/// File in the process directory that holds what is added to the system prompt; user text is no argument.
const SYSTEM_PROMPT: &str = "system-prompt";
/// File in the process directory that holds the MCP servers of the agent, with their secrets.
const MCP_CONFIG: &str = "mcp.json";
/// How long a shim may take from its start to its lock. Milliseconds in practice.
const SETTLE: TimeDelta = TimeDelta::seconds(3);
/// Between two looks at a directory nothing tells news of.
const LOOK_AGAIN: TimeDelta = TimeDelta::milliseconds(100);
/// Between SIGINT and the end of everything when the shim stops an agent.
const STOP_GRACE: Duration = Duration::from_secs(2);

impl Actor {
    /// Starts the process, once it may.
    pub(super) async fn start(&mut self) -> Flow {
        match self.wait_for_start().await {
            Go::Start => {}
            Go::CalledOff => {
                let reaction = self.machine.abandon(&self.brief);
                return self.conclude(reaction).await;
            }
            Go::Stop => return Flow::Done,
        }
        self.machine.start_clock(&self.brief, Utc::now());
        match self.launch().await {
            Ok(started) => {
                metrics::counter!("mas_process_starts_total").increment(1);
                self.begin_with(Some(&started)).await
            }
            Err(NotStarted::Refused(exit)) => self.finish(&exit, None).await,
            Err(NotStarted::ShimLost(problem)) => {
                tracing::warn!(problem, agent = %self.agent.id, "the agent's shim died at its start");
                self.finish_vanished(None).await
            }
        }
    }

    /// Waits for the provider, a place among the live and one among the starting agents.
    async fn wait_for_start(&mut self) -> Go {
        let runner = self.runner.clone();
        let mut control = runner.bus.subscribe(Topic::Control(self.agent.id));
        let mut gate = runner.gate.subscribe();
        // A first start came through the gate before it was claimed.
        let mut is_through = self.machine.not_before.is_none();
        loop {
            if self.is_called_off().await {
                return Go::CalledOff;
            }
            let now = Utc::now();
            let due = self.machine.not_before.map(|pause| pause.at).filter(|at| *at > now);
            if due.is_none() && !is_through {
                is_through = runner.gate.pass(now);
            }
            tokio::select! {
                () = runner.stop.cancelled() => return Go::Stop,
                () = control.changed() => {}
                () = until(due), if due.is_some() => {}
                _ = gate.changed(), if !is_through => {}
                () = until(runner.gate.opens_at()), if due.is_none() && !is_through => {}
                place = runner.place(), if is_through && self.live.is_none() => self.live = place,
                place = runner.starting.clone().acquire_owned(), if is_through && self.live.is_some() => {
                    self.starting = place.ok();
                    return Go::Start;
                }
            }
        }
    }

    /// Whether nobody wants the process any more.
    async fn is_called_off(&mut self) -> bool {
        if self.is_termination_requested().await {
            self.machine.fate = Some(Fate::Terminate);
            return true;
        }
        match &self.task {
            Some(task) => self.is_cancel_requested(task.id).await,
            None => false,
        }
    }

    /// Goes on with a process an earlier server started, or starts it if that never happened.
    pub(in crate::runner) async fn run_recovered(mut self) {
        let liveness = match self.dir.inspect() {
            Ok(liveness) => liveness,
            Err(error) => {
                tracing::error!(%error, agent = %self.agent.id, "the agent's directory cannot be read");
                Liveness::Vanished(None)
            }
        };
        self.machine.reread(Utc::now());
        let was_launched = self.machine.is_launched;
        tracing::info!(agent = %self.agent.id, ?liveness, was_launched, "found an agent of an earlier start");
        metrics::counter!("mas_process_recoveries_total").increment(1);
        let flow = match liveness {
            // The server died before it started the process, or while it was about to.
            Liveness::NotStarted | Liveness::Vanished(None) if !was_launched => self.start_again().await,
            // Started, but the server died before it could say so.
            Liveness::Running(started) if !was_launched => self.begin_with(started.as_ref()).await,
            Liveness::Running(_) => self.reattach().await,
            Liveness::NotStarted | Liveness::Vanished(_) | Liveness::Exited(_) => Flow::Supervise,
        };
        self.run(flow).await;
    }

    /// Ends a process whose stored state cannot be read; the task's policy decides what follows.
    pub(in crate::runner) async fn run_unreadable(mut self) {
        self.machine.is_launched = true;
        if let Err(error) = self.dir.kill_shim() {
            tracing::warn!(%error, agent = %self.agent.id, "the agent's shim cannot be ended");
        }
        self.settle(|liveness| !matches!(liveness, Liveness::Running(_))).await;
        let flow = self.finish_vanished(None).await;
        self.run(flow).await;
    }

    /// Starts a process that was on record but not seen alive, unless its shim was just about to say so.
    async fn start_again(&mut self) -> Flow {
        // While it still has to wait, nobody can have begun to start it.
        if self.machine.not_before.is_none_or(|pause| pause.at <= Utc::now()) {
            self.settle(|liveness| !matches!(liveness, Liveness::NotStarted)).await;
        }
        match self.dir.inspect() {
            Ok(Liveness::Running(started)) => self.begin_with(started.as_ref()).await,
            Ok(Liveness::NotStarted | Liveness::Vanished(None)) => {
                if let Err(error) = self.dir.remove() {
                    tracing::error!(%error, agent = %self.agent.id, "an unused process directory cannot be removed");
                }
                Flow::Start
            }
            _ => Flow::Supervise,
        }
    }

    /// Gives a process directory a moment to become as wanted.
    async fn settle(&self, is_settled: impl Fn(&Liveness) -> bool) {
        let mut watch = self.runner.watcher.watch(&self.dir);
        let limit = Utc::now() + SETTLE;
        while Utc::now() < limit && self.dir.inspect().is_ok_and(|liveness| !is_settled(&liveness)) {
            tokio::select! {
                () = watch.changed() => {}
                () = until(Some(Utc::now() + LOOK_AGAIN)) => {}
            }
        }
    }

    /// Greets a freshly started process.
    async fn begin_with(&mut self, started: Option<&Started>) -> Flow {
        let mut reaction = self.machine.handle(&self.brief, Utc::now(), Input::Started);
        let pid = started.map(|started| started.pid);
        let process = EventKind::Process { state: "started".into(), pid, code: None, signal: None, reason: None };
        reaction.events.insert(0, process);
        if self.machine.turn.is_some() {
            reaction.events.insert(0, EventKind::status("assigned"));
        }
        let offset = self.offset;
        if self.store_and_act(reaction, offset).await { Flow::Supervise } else { Flow::Done }
    }

    /// Sends again what the stored state intended and the shim never saw.
    async fn reattach(&mut self) -> Flow {
        let process = EventKind::Process { state: "reattached".into(), pid: None, code: None, signal: None, reason: None };
        let mut reaction = Reaction { events: vec![process], ..Reaction::default() };
        reaction.effects.extend(self.machine.pending_effect());
        let offset = self.offset;
        if !self.commit(&reaction, offset, false).await {
            return Flow::Done;
        }
        match self.unsent().await {
            Ok(unsent) => reaction.send = unsent,
            Err(error) => tracing::warn!(%error, agent = %self.agent.id, "the agent's input cannot be checked"),
        }
        self.act(reaction).await;
        Flow::Supervise
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
        let role = self.runner.role_of(&self.agent).map_err(spawn_failed)?;
        let project = settings.projects.get(&self.agent.project);
        let mode = project.map_or(PermissionMode::Default, |project| project.permission_mode);
        let allowed = project.map_or(&[][..], |project| &project.allowed_tools);
        let mut permissions = permissions(mode, allowed, role.allowed_tools.as_deref());
        let schema = self.brief.order.as_ref().and_then(|order| order.output_schema.as_ref());
        let system_prompt = self.dir.file(SYSTEM_PROMPT);
        let flow = match self.agent.backend {
            Backend::ClaudeCode => None,
            Backend::ClaudeFlow => Some(find_claude_flow(settings).map_err(spawn_failed)?),
        };
        let attached = self.runner.attached(&self.agent, &role.mcp_servers, &self.dir, flow.as_deref());
        let mcp_config = self.dir.file(MCP_CONFIG);
        permissions.allow.extend(attached.allowed);
        let request = LaunchRequest {
            executable: &executable,
            session_id: self.agent.session_id,
            session: match self.machine.beginning {
                Beginning::New => Session::New,
                Beginning::Resume => Session::Resume,
                Beginning::ResumeTurn => Session::ResumeTurn { system_prompt: &system_prompt, schema },
            },
            model: (self.task.as_ref().and_then(|task| task.model.as_deref()))
                .or(self.agent.model.as_deref())
                .or_else(|| Some(settings.claude_code.default_model.as_str()).filter(|model| !model.is_empty())),
            permission_mode: permissions.mode,
            allowed_tools: &permissions.allow,
            denied_tools: &permissions.deny,
            mcp_config: attached.config.is_some().then_some(&mcp_config),
            team: self.brief.team,
            budget_usd: process_budget(&self.brief, self.machine.turn.as_ref()),
            max_retries: settings.claude_code.max_retries,
            config_dir: &settings.claude_code.config_dir,
            inherited: &settings.agent_env,
            rehearsal: settings.rehearsal_url.as_deref().map(|url| (url, home.as_path())),
        };
        let launch = match self.agent.backend {
            Backend::ClaudeCode => claude_code::launch(&request),
            Backend::ClaudeFlow => self.hive(&request, flow.as_deref(), &system_prompt).map_err(spawn_failed)?,
        };
        let work = self.brief.order.as_ref().map_or(self.brief.park_after, |order| order.timeout);
        let spec = Spec {
            argv: launch.argv,
            cwd: PathBuf::from(&self.agent.workspace),
            deadline: Some(Utc::now() + self.brief.ready_timeout + work + SHIM_GRACE),
            max_output_bytes: settings.runner.max_output_bytes,
            max_memory_bytes: self.brief.max_memory_bytes.map(|(most, _)| most),
            max_processes: self.brief.max_processes.map(|(most, _)| most),
            stop_grace_ms: STOP_GRACE.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let mut files = vec![(SYSTEM_PROMPT, self.brief.role.as_str())];
        files.extend(attached.config.as_deref().map(|config| (MCP_CONFIG, config)));
        files.extend(launch.files.iter().map(|(name, content)| (*name, content.as_str())));
        let launched = self.runner.launcher.launch(&self.dir, spec, &launch.env, &files).await;
        match launched {
            Ok(Launched::Running(started)) => Ok(started),
            Ok(Launched::Failed(exit)) => Err(NotStarted::Refused(exit)),
            Err(error @ LaunchError::Silent(_)) => Err(NotStarted::ShimLost(error.to_string())),
            Err(error) => Err(spawn_failed(error.to_string())),
        }
    }

    /// How the agent's CLI is started by claude-flow.
    fn hive(&self, request: &LaunchRequest<'_>, flow: Option<&Path>, system_prompt: &Path) -> Result<Launch, String> {
        let bin = self.runner.settings.data.hive_bin();
        place_wrapper(&bin).map_err(|error| format!("{} cannot be prepared: {error}", bin.display()))?;
        let hive = Hive {
            executable: flow.unwrap_or(Path::new("claude-flow")),
            bin: &bin,
            process_dir: self.dir.path(),
            workspace: Path::new(&self.agent.workspace),
            system_prompt,
            agent_type: self.agent.agent_type,
        };
        Ok(claude_flow::launch(&hive, request))
    }
}

/// Makes sure that claude-flow finds our `claude`, whole, also beside another start.
fn place_wrapper(bin: &Path) -> std::io::Result<()> {
    let place = bin.join("claude");
    if std::fs::read_to_string(&place).is_ok_and(|text| text == claude_flow::WRAPPER) {
        return Ok(());
    }
    std::fs::create_dir_all(bin)?;
    let new = bin.with_file_name(format!("{}.new", Uuid::new_v4()));
    std::fs::write(&new, claude_flow::WRAPPER)?;
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o700))?;
    std::fs::rename(new, place)
}

/// What came of the wait for a start.
enum Go {
    Start,
    CalledOff,
    Stop,
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
