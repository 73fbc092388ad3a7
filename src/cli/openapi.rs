//! `mas openapi`: the committed documents and whether they are up to date. Needs no server.

use super::output::{complain, print};
use crate::api;
use anyhow::Context;
use std::{path::PathBuf, process::ExitCode};

/// Stands in the committed actions document where the public URL goes: a name reserved for documentation.
pub(super) const DOCUMENTATION_URL: &str = "https://mas.example.com";

#[derive(Debug, clap::Subcommand)]
pub(super) enum OpenapiCommand {
    /// Write the documents
    Write {
        /// Where to
        #[arg(long, default_value = "openapi")]
        dir: PathBuf,
    },
    /// Fail when a document differs from what would be written
    Check {
        /// Where they are
        #[arg(long, default_value = "openapi")]
        dir: PathBuf,
    },
    /// Print the full document
    Print,
}

fn documents() -> anyhow::Result<[(&'static str, String); 2]> {
    let full = serde_json::to_string_pretty(&api::openapi())?;
    let actions = serde_json::to_string_pretty(&api::openapi_actions(DOCUMENTATION_URL))?;
    Ok([("openapi.json", full + "\n"), ("actions.json", actions + "\n")])
}

pub(super) fn run(command: &OpenapiCommand) -> anyhow::Result<ExitCode> {
    match command {
        OpenapiCommand::Print => print(&serde_json::to_string_pretty(&api::openapi())?),
        OpenapiCommand::Write { dir } => {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            for (name, text) in documents()? {
                let path = dir.join(name);
                std::fs::write(&path, text).with_context(|| path.display().to_string())?;
                complain(&format!("wrote {}", path.display()));
            }
        }
        OpenapiCommand::Check { dir } => {
            let mut stale = false;
            for (name, text) in documents()? {
                let path = dir.join(name);
                if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
                    stale = true;
                    complain(&format!("{} is out of date; run `mas openapi write`", path.display()));
                }
            }
            if stale {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
