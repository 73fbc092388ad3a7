//! `mas`: parse, run, exit code.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    mas_gateway::cli::Cli::parse().run()
}
