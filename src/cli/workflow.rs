//! `mas workflow`: looks at files of workflows without a server.

use super::{
    output::{complain, print},
    serve::load_roles,
};
use crate::{config::Config, model::workflow::file};
use clap::Subcommand;
use std::{path::PathBuf, process::ExitCode};

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub(super) enum WorkflowCommand {
    /// Say what is wrong with files of workflows, with line numbers; exit code 1 when anything is
    Check {
        /// YAML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(config: &Config, command: &WorkflowCommand) -> ExitCode {
    let WorkflowCommand::Check { files } = command;
    let roles = load_roles(config);
    let mut is_sound = true;
    for path in files {
        let name = path.display();
        let flaws = match std::fs::read_to_string(path) {
            Ok(text) => match file::parse(&text, &|role| roles.contains(role)) {
                Ok(workflow) => {
                    let stages: usize = workflow.stages.iter().map(|stage| stage.walk().len()).sum();
                    print(&format!("{name}: `{}` is sound, {stages} stages", workflow.name));
                    continue;
                }
                Err(flaws) => flaws.iter().map(ToString::to_string).collect(),
            },
            Err(error) => vec![format!("cannot be read: {error}")],
        };
        is_sound = false;
        for flaw in flaws {
            complain(&format!("{name}: {flaw}"));
        }
    }
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
