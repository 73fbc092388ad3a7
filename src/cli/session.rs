//! The short verbs: `mas start`, `status`, `logs`, `messages`, `stop`, `kill`, `clean`.

mod clean;
mod end;
mod open;
mod status;

pub(super) use clean::{CleanArgs, clean};
pub(super) use end::{EndArgs, Haste, end};
pub(super) use status::{StatusArgs, status};

use super::{
    client::ServerArgs,
    output::complain,
    progress::{self, Kind},
    remote::{self, EXIT_CODES, INTERRUPTED, Limit, Remote, body},
    swarm, transcript, workflow,
};
use anyhow::{Context, bail};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// What `mas start` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct StartArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The project the agents work in
    #[arg(long, global = true)]
    project: Option<String>,
    /// Return at once; `mas status` shows how it goes
    #[arg(long, global = true)]
    detach: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Answer a question from verified sources (workflow `deep_research`)
    Research {
        #[arg(required = true)]
        topic: Vec<String>,
    },
    /// Build one feature, reviewed and tested (workflow `code_development`)
    Develop {
        #[arg(required = true)]
        feature: Vec<String>,
    },
    /// Implement a whole specification, led by an architect (workflow `autonomous_development`)
    Autonomous {
        /// File with the specification
        #[arg(required_unless_present = "spec", conflicts_with = "spec")]
        file: Option<PathBuf>,
        /// The specification itself
        #[arg(long, value_name = "TEXT")]
        spec: Option<String>,
    },
    /// Plan how to build something (workflow `system_planning`)
    Architect {
        #[arg(required = true)]
        requirements: Vec<String>,
    },
}

/// Runs `mas start`.
pub(super) fn start(arguments: StartArgs) -> anyhow::Result<ExitCode> {
    let StartArgs { server, project, detach, what } = arguments;
    let (name, task) = match what {
        What::Research { topic } => ("deep_research", topic.join(" ")),
        What::Develop { feature } => ("code_development", feature.join(" ")),
        What::Architect { requirements } => ("system_planning", requirements.join(" ")),
        What::Autonomous { file, spec } => {
            let read = |path: PathBuf| std::fs::read_to_string(&path).with_context(|| path.display().to_string());
            ("autonomous_development", file.map_or(Ok(spec.unwrap_or_default()), read)?)
        }
    };
    remote::run(&server, async |remote| {
        let fields = body(json!({ "task": task, "project": project }));
        let run = remote.client.post(&["workflows", name, "run"], fields).await?;
        if detach {
            return Ok(remote.made(&run, "mas workflow get"));
        }
        let id = run["id"].as_str().unwrap_or_default();
        let Some(ended) = progress::watch(remote, Kind::Run, id).await? else { return Ok(ExitCode::from(INTERRUPTED)) };
        let has_summary = ended["files"].as_array().is_some_and(|files| files.contains(&"summary.md".into()));
        let summary = if has_summary { Some(workflow::file(remote, id, "summary.md").await?) } else { Kind::Run.result(&ended) };
        Ok(progress::conclude(remote, Kind::Run, &ended, summary))
    })
}

/// What `mas logs` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// An agent's id, or a type of agents: then its newest agent
    agent: String,
    /// Go on until the agent has ended
    #[arg(long, short)]
    follow: bool,
}

/// Runs `mas logs`.
pub(super) fn logs(arguments: &LogsArgs) -> anyhow::Result<ExitCode> {
    let LogsArgs { server, agent, follow } = arguments;
    remote::run(server, async |remote| {
        if agent.starts_with("agent_") {
            return transcript::print_output(remote, agent, *follow).await;
        }
        let query = [("agent_type", agent.clone()), ("limit", "1".to_owned())];
        let page = remote.client.get(&["agents"], &query).await?;
        let Some(id) = page["agents"][0]["id"].as_str() else { bail!("there is no agent of type {agent}; see `mas agent list`") };
        complain(&format!("{id}, the newest {agent}"));
        transcript::print_output(remote, id, *follow).await
    })
}

/// What `mas messages` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct MessagesArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The swarm (default: the newest active one)
    swarm: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

/// Runs `mas messages`.
pub(super) fn messages(arguments: &MessagesArgs) -> anyhow::Result<ExitCode> {
    remote::run(&arguments.server, async |remote| {
        let id = match &arguments.swarm {
            Some(id) => id.clone(),
            None => newest_swarm(remote).await?,
        };
        swarm::messages(remote, &id, &[], arguments.limit).await
    })
}

async fn newest_swarm(remote: &Remote) -> anyhow::Result<String> {
    let query = [("status", "active".to_owned()), ("limit", "1".to_owned())];
    let report = remote.client.get(&["swarm", "status"], &query).await?;
    match report["swarms"][0]["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => bail!("no swarm is active; name one: `mas swarm status` lists them"),
    }
}
