//! The mirror: shows swarms, agents, tasks and proposals in claude-flow's records of each project, for people who use it beside us.
//!
//! # Theory of operation
//!
//! * Our store is the truth. Nothing here is on the way of an operation: a follower per project reads what has changed, by
//!   time of change, when the bus says that something may have, and every few seconds besides.
//! * claude-flow keeps its records in files below the project's directory and loses updates of concurrent writers, so it is
//!   told through one long-lived server per project, `claude-flow mcp start`, which is started when there is something to
//!   tell. It is tied to us ([`crate::process::Lifeline`]) and has no credentials: none of its tools may ask a model.
//! * What was told is stored with claude-flow's id of it, so a restart neither repeats nor forgets. A crash between telling and
//!   storing leaves one record that is not stored: after every start, and whenever a server has ended, the newest records are searched for it by
//!   our id, which stands in the tags of a task and in the configuration of a swarm; an agent has the same id on both sides.
//! * A server that ends, or does not answer, is started again after a pause that doubles. What claude-flow refuses is left
//!   alone until it changes.
//! * Claude-flow's records are only written: what somebody changes there stays there until we tell the next change.
//!   A `.gitignore` among them keeps them out of commits.
//!
//! To show another kind of thing, add it to `tell::Thing` and to `follower::changes`.

mod follower;
mod server;
mod state;
mod tell;

use crate::{
    adapter::claude_flow,
    bus::Bus,
    config::DataDir,
    model::project::Project,
    process::{Launcher, Watcher, find_program, run_command},
    store::Store,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const VERSION_LIMIT: Duration = Duration::from_secs(20);
/// What claude-flow's servers inherit of the agents' environment.
const INHERITED: [&str; 6] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// What the mirror needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// claude-flow: a path, or a name on the agents' PATH.
    pub command: String,
    /// Projects by name.
    pub projects: BTreeMap<String, Project>,
    /// What agents inherit.
    pub agent_env: BTreeMap<String, String>,
    /// Where the files of the servers are.
    pub data: DataDir,
}

/// What the followers share.
struct Shared {
    settings: Settings,
    env: BTreeMap<String, String>,
    store: Store,
    bus: Bus,
    launcher: Launcher,
    watcher: Watcher,
}

/// Tells claude-flow what changes until `stop`; none of its servers is left when it returns.
pub async fn supervise(settings: Settings, store: Store, bus: Bus, stop: CancellationToken) {
    let mut env: BTreeMap<String, String> = settings.agent_env.clone();
    env.retain(|name, _| INHERITED.contains(&name.as_str()));
    // It keeps things in its home, and reads configurations there.
    env.insert("HOME".into(), settings.data.home().to_string_lossy().into_owned());
    env.insert("CLAUDE_FLOW_MCP_TOOLS".into(), "swarm,agent,task".into());
    claude_flow::quiet(&mut env);
    let (launcher, watcher) = (Launcher::detect(), Watcher::new());
    let shared = Arc::new(Shared { settings, env, store, bus, launcher, watcher });
    shared.bus.set_mirror_version(tokio::select! {
        () = stop.cancelled() => None,
        version = shared.version() => version,
    });
    let mut followers = JoinSet::new();
    for project in shared.settings.projects.values() {
        followers.spawn(follower::follow(shared.clone(), project.clone(), stop.clone()));
    }
    while let Some(ended) = followers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the mirror has ended by a fault");
        }
    }
}

impl Shared {
    /// Where claude-flow is. The error says what to do.
    fn find(&self) -> Result<PathBuf, String> {
        let command = &self.settings.command;
        let path = self.env.get("PATH").map_or("", String::as_str);
        find_program(command, path).ok_or_else(|| {
            format!("claude-flow, `{command}`, was not found or is not executable; install it or correct claude_flow.command")
        })
    }

    async fn version(&self) -> Option<String> {
        let executable = self.find().ok()?.to_string_lossy().into_owned();
        let output = run_command(&[&executable, "--version"], Path::new("/"), &self.env, None, VERSION_LIMIT, 4096).await.ok()?;
        output.success().then(|| output.stdout_text().lines().next().unwrap_or_default().to_owned())
    }
}
