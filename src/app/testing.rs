//! What unit tests of the operations and of the API share: an app over a fresh `SQLite` file.

use super::{App, AppSettings, now};
use crate::{
    bus::{Bus, Topic},
    model::{
        agent::{Agent, AgentStatus, AgentType},
        current::Current,
        event::{Event, EventKind},
        id::{AgentId, KeyId, ProcessId, RunId},
        key::{Principal, Scope},
        mcp::McpServers,
        project::{PermissionMode, Project},
        quota::KeyLimits,
        role::Catalogue,
        run::{Provenance, Run, RunOutcome},
        task::{Task, TaskStatus},
        workflow,
    },
    store::{Appended, Batch, Process, Provision, RunUpdate, Store, TaskChange},
};
use tokio_util::sync::CancellationToken;

pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite://{}", dir.path().join("mas.db").display());
        let (bus, stop) = (Bus::local(), CancellationToken::new());
        let store = Store::connect(&url).await.expect("a fresh database");
        let app = App::new(store.clone(), bus.clone(), settings(), stop.clone());
        Self { app, store, bus, stop, _dir: dir }
    }
}

/// A claimed task in the hands of a pretended runner.
pub(crate) struct Work {
    pub(crate) task: Task,
    pub(crate) agent: AgentId,
    run: RunId,
    process: ProcessId,
    seq: i64,
}

impl TestApp {
    /// Claims the next task and gives it an agent, as the runner does.
    pub(crate) async fn claim(&self) -> Work {
        let task = self.store.claim_task(now(), &[]).await.expect("claimed").expect("a task waits");
        let (agent, run, process) = (AgentId::generate(), RunId::generate(), ProcessId::generate());
        let at = now();
        let provision = Provision {
            task: Some((task.id, task.generation)),
            is_known: false,
            agent: Agent {
                id: agent,
                key_id: task.key_id,
                name: "coder-1".into(),
                project: task.project.clone(),
                status: AgentStatus::Busy,
                durable: false,
                workspace: "/work".into(),
                ..Agent::at_rest(task.owner.clone(), AgentType::CODER, Provenance::Live, at)
            },
            run: Some(Run {
                id: run,
                task_id: task.id,
                agent_id: agent,
                progress: "starting".into(),
                latest_output: String::new(),
                outcome: RunOutcome::default(),
                started_at: at,
                ended_at: None,
            }),
            process: Process {
                id: process,
                agent_id: agent,
                run_id: Some(run),
                offset: 0,
                state: serde_json::json!({}),
                started_at: at,
                ended_at: None,
            },
        };
        assert!(self.store.provision(&provision).await.expect("provisioned"));
        let mut work = Work { task, agent, run, process, seq: 0 };
        self.emit(&mut work, vec![], Some(TaskStatus::InProgress), RunOutcome::default()).await;
        work
    }

    /// Stores events and what follows from them, then tells everybody, as the runner does.
    pub(crate) async fn emit(&self, work: &mut Work, kinds: Vec<EventKind>, status: Option<TaskStatus>, outcome: RunOutcome) {
        let (before, at) = (work.seq, now());
        let events: Vec<Event> = kinds
            .into_iter()
            .map(|kind| {
                work.seq += 1;
                let (seq, task_seq) = (work.seq, Some(work.seq));
                Event { agent_id: work.agent, seq, task_id: Some(work.task.id), task_seq, run_id: Some(work.run), at, kind }
            })
            .collect();
        let process = self.store.list_open_processes().await.expect("read").into_iter().find(|open| open.id == work.process);
        let offset = process.expect("open").offset;
        let batch = Batch {
            process_id: work.process,
            expected_offset: offset,
            offset: offset + 1 + work.seq - before,
            state: &serde_json::json!({}),
            events: &events,
            run: Some(RunUpdate { id: work.run, progress: "working", latest_output: "latest", outcome: &outcome, ended: false }),
            agent_status: None,
            agent_failure: None,
            session_started: false,
            task: status.map(|status| (work.task.id, TaskChange { status, failure: None, dead_letter: false, at })),
            begun: None,
            steering: None,
            joined: None,
            released: None,
            agent_id: work.agent,
            run_id: Some(work.run),
            team: None,
            next: None,
            process_ended: false,
            at,
        };
        assert!(matches!(self.store.append(&batch).await.expect("appended"), Appended::Done { .. }));
        self.bus.notify(Topic::Task(work.task.id));
        self.bus.notify(Topic::Agent(work.agent));
        self.bus.notify(Topic::Events);
    }

    /// Emits one text.
    pub(crate) async fn say(&self, work: &mut Work, text: &str) {
        self.emit(work, vec![message(text)], None, RunOutcome::default()).await;
    }

    /// Completes the task with `result`.
    pub(crate) async fn complete(&self, work: &mut Work, result: &str) {
        let outcome = RunOutcome { result: Some(result.into()), ..RunOutcome::default() };
        self.emit(work, vec![message(result)], Some(TaskStatus::Complete), outcome).await;
    }
}

pub(crate) fn message(text: &str) -> EventKind {
    EventKind::Message { text: text.into(), model: None, parent_tool_use_id: None }
}

pub(crate) fn settings() -> AppSettings {
    let project = |name: &str| Project {
        name: name.into(),
        path: std::env::temp_dir(),
        permission_mode: PermissionMode::AcceptEdits,
        allowed_tools: vec![],
        mcp_servers: vec![],
    };
    AppSettings {
        projects: ["default", "shop"].into_iter().map(|name| (name.to_owned(), project(name))).collect(),
        models: vec!["haiku".into(), "claude-*".into()],
        response_chars: 30_000,
        task_timeout_seconds: 3600,
        limits: KeyLimits::default(),
        key_limits: KeyLimits::default(),
        link_seconds: 60,
        file_hosts: vec!["127.0.0.1".into()],
        has_claude_flow: false,
        mcp_servers: McpServers::default(),
        roles: Current::new(Catalogue::shipped(vec!["haiku".into(), "claude-*".into()], None)),
        workflows: Current::new(workflow::Catalogue::default()),
        data_dir: std::env::temp_dir(),
        provenance: Provenance::Live,
    }
}

pub(crate) fn principal(user: &str, scopes: &[Scope]) -> Principal {
    Principal { key_id: KeyId::generate(), user: user.into(), scopes: scopes.to_vec(), limits: KeyLimits::default() }
}
