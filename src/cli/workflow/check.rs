//! `mas workflow check`: looks at files of workflows without a server.

use crate::{
    cli::{
        client::ServerArgs,
        output::{complain, print, print_json},
        serve::sources,
    },
    config::Config,
    definitions,
    model::workflow::{
        Workflow,
        file::{self, FILE_BYTES, FileFlaw},
    },
};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

pub(super) fn run(server: ServerArgs, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let is_json = server.json;
    let roles = sources(&Config::load(&server.common.flags())?).load_roles();
    let mut is_sound = true;
    let mut all = Vec::new();
    for path in files {
        let text = definitions::read(path, FILE_BYTES).map_err(|flaw| vec![flaw]);
        let checked = text.and_then(|text| file::parse(&text, &|role| roles.contains(role)));
        is_sound &= checked.is_ok();
        let name = path.display().to_string();
        match checked {
            checked if is_json => all.push(resource(&name, &checked)),
            Ok(workflow) => print(&format!("{name}: `{}` is sound, {} stages", workflow.name, stages(&workflow))),
            Err(flaws) => {
                for flaw in flaws {
                    complain(&format!("{name}: {flaw}"));
                }
            }
        }
    }
    if is_json {
        print_json(&json!({ "files": all }));
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stages(workflow: &Workflow) -> usize {
    workflow.stages.iter().map(|stage| stage.walk().len()).sum()
}

fn resource(name: &str, checked: &Result<Workflow, Vec<FileFlaw>>) -> Value {
    match checked {
        Ok(workflow) => {
            json!({"file": name, "sound": true, "workflow": workflow.name, "stages": stages(workflow), "problems": []})
        }
        Err(flaws) => {
            let problems: Vec<_> = flaws.iter().map(|flaw| json!({"line": flaw.line, "problem": flaw.words})).collect();
            json!({"file": name, "sound": false, "problems": problems})
        }
    }
}
