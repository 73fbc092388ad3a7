//! `mas sparc`: specification, pseudocode, architecture, refinement, completion.

use super::{
    progress::{self, Kind},
    remote::{Remote, body, text},
    workflow,
};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum SparcCommand {
    /// Have a team work through the phases, each judged by a reviewer
    Run {
        /// What is to be built; `-` reads it from standard input
        task: String,
        /// Only these phases, in their order
        #[arg(long, value_delimiter = ',')]
        phases: Vec<String>,
        /// Where the agents work
        #[arg(long)]
        project: Option<String>,
        /// A word the agents are told about how to work
        #[arg(long)]
        mode: Option<String>,
        /// Wait until the run has ended, and print the result
        #[arg(long)]
        wait: bool,
    },
    /// Show where every phase stands
    Get {
        id: String,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
}

pub(super) async fn run(remote: &Remote, command: SparcCommand) -> anyhow::Result<ExitCode> {
    match command {
        SparcCommand::Run { task, phases, project, mode, wait } => {
            let phases = (!phases.is_empty()).then_some(phases);
            let fields = body(json!({ "task": text(task)?, "phases": phases, "project": project, "mode": mode }));
            let run = remote.client.post(&["sparc", "run"], fields).await?;
            if !wait {
                return Ok(remote.made(&run, "mas sparc get"));
            }
            progress::wait(remote, Kind::Run, run["id"].as_str().unwrap_or_default()).await
        }
        SparcCommand::Get { id, wait: true } => progress::wait(remote, Kind::Run, &id).await,
        SparcCommand::Get { id, wait: false } => Ok(remote.show(&remote.client.get(&["sparc", &id], &[]).await?, workflow::show)),
    }
}
