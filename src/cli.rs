//! The command line. `serve` is the composition root; data goes to stdout, everything else to stderr.

mod backup;
mod config;
mod doctor;
mod gc;
mod gpt;
mod key;
mod log;
mod model;
mod openapi;
mod output;
mod rehearsal;
mod serve;
mod workflow;

use crate::{
    config::{Config, Flags, LogFormat},
    model::id::AgentId,
    process::shim,
};
use clap::{Parser, Subcommand};
use output::complain;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// Runs real CLI coding agents under supervision, behind an authenticated API.
#[derive(Debug, Parser)]
#[command(name = "mas", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and run agents
    Serve {
        #[command(flatten)]
        common: Common,
        /// Address and port; port 0 picks a free one
        #[arg(long, value_name = "ADDR:PORT")]
        bind: Option<SocketAddr>,
        /// Answer agents from the built-in scripted model: nothing leaves the machine, nothing costs
        #[arg(long)]
        rehearsal: bool,
        /// How log lines look
        #[arg(long, value_enum)]
        log_format: Option<LogFormat>,
        /// Make the gateway reachable from outside: localtunnel, cloudflared, ngrok or a command in quotes
        #[arg(long, value_name = "CLIENT")]
        tunnel: Option<String>,
    },
    /// Manage API keys
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Say what is missing on this machine and how to get it
    Doctor {
        #[command(flatten)]
        common: Common,
        /// Judge for a server in rehearsal, where no login is needed
        #[arg(long)]
        rehearsal: bool,
    },
    /// Print the effective configuration, secrets hidden
    Config {
        #[command(flatten)]
        common: Common,
    },
    /// Reclaim what finished work left behind, as the [gc] settings say
    Gc {
        #[command(flatten)]
        common: Common,
        /// Only print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Print what an agent's CLI wrote, as it came: the raw logs of all its processes in order
    Log {
        #[command(flatten)]
        common: Common,
        /// The agent
        agent: AgentId,
        /// What it wrote to standard error instead
        #[arg(long)]
        stderr: bool,
    },
    /// Copy the database to a file, while the server works
    Backup(backup::BackupArgs),
    /// Put a copy made by `mas backup` in the place of the database, while no server works
    Restore(backup::RestoreArgs),
    /// Write or check the committed `OpenAPI` documents
    Openapi {
        #[command(subcommand)]
        command: openapi::OpenapiCommand,
    },
    /// Prepare a Custom GPT: check `OpenAPI` documents, print what to paste
    Gpt {
        #[command(subcommand)]
        command: gpt::GptCommand,
    },
    /// Look at files of workflows
    Workflow {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: workflow::WorkflowCommand,
    },
    /// Serve only the rehearsal model
    Rehearsal(rehearsal::RehearsalArgs),
    /// Be the rehearsal model of a server (started by the server)
    #[command(name = "__model", hide = true)]
    Model(model::ModelArgs),
    /// Own one agent's process (started by the server)
    #[command(name = "__shim", hide = true)]
    Shim {
        /// The process directory
        dir: PathBuf,
    },
}

/// Flags of every command that reads the configuration.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where the database, keys and agents live
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file (default: `mas.toml` here, if there is one)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Common {
    fn flags(self) -> Flags {
        Flags { config: self.config, data_dir: self.data_dir, ..Flags::default() }
    }
}

impl Cli {
    /// Runs the command and says how it ended.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            // Before anything else: the shim stays single-threaded and reads no configuration.
            Command::Shim { dir } => return shim::run(&dir),
            Command::Serve { common, bind, rehearsal, log_format, tunnel } => {
                Config::load(&Flags { bind, log_format, rehearsal, tunnel, ..common.flags() })
                    .map_err(Into::into)
                    .and_then(|config| serve::run(&config))
            }
            Command::Key { command } => key::run(command),
            Command::Doctor { common, rehearsal } => {
                Config::load(&Flags { rehearsal, ..common.flags() }).map_err(Into::into).and_then(|config| doctor::run(&config))
            }
            Command::Config { common } => {
                Config::load(&common.flags()).map_err(Into::into).and_then(|config| config::run(&config))
            }
            Command::Gc { common, dry_run } => {
                Config::load(&common.flags()).map_err(Into::into).and_then(|config| gc::run(&config, dry_run))
            }
            Command::Log { common, agent, stderr } => {
                Config::load(&common.flags()).map_err(Into::into).and_then(|config| log::run(&config, agent, stderr))
            }
            Command::Backup(arguments) => backup::back_up(arguments),
            Command::Restore(arguments) => backup::restore(arguments),
            Command::Openapi { command } => openapi::run(&command),
            Command::Gpt { command } => gpt::run(command),
            Command::Workflow { common, command } => {
                Config::load(&common.flags()).map_err(Into::into).map(|config| workflow::run(&config, &command))
            }
            Command::Model(arguments) => model::run(&arguments),
            Command::Rehearsal(arguments) => rehearsal::run(&arguments),
        };
        outcome.unwrap_or_else(|error: anyhow::Error| {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        })
    }
}
