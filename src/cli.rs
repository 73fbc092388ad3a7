//! The command line. `serve` is the composition root; data goes to stdout, everything else to stderr.
//!
//! Commands about the work itself are clients of the HTTP API (`client`, `remote`): they know nothing of `app` and `store`.

mod agent;
mod attach;
mod backup;
mod client;
mod config;
mod consensus;
mod doctor;
mod gc;
mod gpt;
mod harmless;
mod key;
mod log;
mod model;
mod openapi;
mod output;
mod progress;
mod rehearsal;
mod remote;
mod role;
mod serve;
mod session;
mod show;
mod sparc;
mod swarm;
mod task;
mod team;
mod transcript;
mod workflow;

use crate::{
    config::{Config, Flags, LogFormat},
    model::id::AgentId,
    process::shim,
};
use clap::{Parser, Subcommand};
use output::complain;
use remote::Asking;
use session::Haste;
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
    /// Look at an agent live: its transcript as it comes, a line to send it texts, Esc to interrupt it. Leaving changes
    /// nothing for the agent. Without a terminal the transcript is printed as plain text, followed until the agent's end; nothing is
    /// read from stdin then
    Attach(attach::AttachArgs),
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
    /// Begin work by a team of agents, and follow it to its end
    Start(session::StartArgs),
    /// Show the server and everything that has not ended
    Status(session::StatusArgs),
    /// Print what an agent wrote and did
    Logs(session::LogsArgs),
    /// Print what the agents of a swarm wrote to each other and to you
    Messages(session::MessagesArgs),
    /// Stop everything that runs: swarms, workflow runs, proposals, tasks (with an admin key: everybody's)
    Stop(session::EndArgs),
    /// Stop everything that runs without waiting for it, and end all agents (with an admin key: everybody's)
    Kill(session::EndArgs),
    /// End agents that rest after finished work, and reclaim worktrees
    ///
    /// Agents of active swarms, open runs and open proposals stay, and so do those with messages that wait. Where the server is
    /// this machine's, the rest is done as by `mas gc`, with worktrees of any age: branches stay, and so does every worktree with
    /// work that is on no branch.
    Clean(session::CleanArgs),
    /// Pieces of work
    Task(Asking<task::TaskCommand>),
    /// Workers that keep their conversation
    Agent(Asking<agent::AgentCommand>),
    /// Teams of agents
    Swarm(Asking<swarm::SwarmCommand>),
    /// Questions that several agents decide
    Consensus(Asking<consensus::ConsensusCommand>),
    /// Specification, pseudocode, architecture, refinement, completion
    Sparc(Asking<sparc::SparcCommand>),
    /// Workflows, their files and their runs
    Workflow(Asking<workflow::WorkflowCommand>),
    /// Kinds of agents
    Role(Asking<role::RoleCommand>),
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
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Where the database, keys and agents live
    #[arg(long, value_name = "DIR", global = true, display_order = 90)]
    data_dir: Option<PathBuf>,
    /// Configuration file (default: `mas.toml` here, if there is one)
    #[arg(long, value_name = "FILE", global = true, display_order = 91)]
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
            Command::Attach(arguments) => attach::run(arguments),
            Command::Backup(arguments) => backup::back_up(arguments),
            Command::Restore(arguments) => backup::restore(arguments),
            Command::Openapi { command } => openapi::run(&command),
            Command::Gpt { command } => gpt::run(command),
            Command::Start(arguments) => session::start(arguments),
            Command::Status(arguments) => session::status(&arguments),
            Command::Logs(arguments) => session::logs(&arguments),
            Command::Messages(arguments) => session::messages(&arguments),
            Command::Stop(arguments) => session::end(&arguments, Haste::Stop),
            Command::Kill(arguments) => session::end(&arguments, Haste::Kill),
            Command::Clean(arguments) => session::clean(&arguments),
            Command::Task(asking) => asking.run(task::run),
            Command::Agent(asking) => asking.run(agent::run),
            Command::Swarm(asking) => asking.run(swarm::run),
            Command::Consensus(asking) => asking.run(consensus::run),
            Command::Sparc(asking) => asking.run(sparc::run),
            Command::Workflow(asking) => workflow::run(asking),
            Command::Role(asking) => asking.run(role::run),
            Command::Model(arguments) => model::run(&arguments),
            Command::Rehearsal(arguments) => rehearsal::run(&arguments),
        };
        outcome.unwrap_or_else(|error: anyhow::Error| {
            complain(&format!("error: {error:#}"));
            remote::exit_code(&error)
        })
    }
}
