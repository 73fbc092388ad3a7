//! `mas workflow check`: looks at files of workflows without a server.

use crate::{
    cli::{
        Common,
        output::{complain, print},
        serve::sources,
    },
    config::Config,
    definitions,
    model::workflow::file::{self, FILE_BYTES},
};
use std::{path::PathBuf, process::ExitCode};

pub(super) fn run(common: Common, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let roles = sources(&Config::load(&common.flags())?).load_roles();
    let mut is_sound = true;
    for path in files {
        let name = path.display();
        let flaws = match definitions::read(path, FILE_BYTES) {
            Ok(text) => match file::parse(&text, &|role| roles.contains(role)) {
                Ok(workflow) => {
                    let stages: usize = workflow.stages.iter().map(|stage| stage.walk().len()).sum();
                    print(&format!("{name}: `{}` is sound, {stages} stages", workflow.name));
                    continue;
                }
                Err(flaws) => flaws.iter().map(ToString::to_string).collect(),
            },
            Err(flaw) => vec![flaw.to_string()],
        };
        is_sound = false;
        for flaw in flaws {
            complain(&format!("{name}: {flaw}"));
        }
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
