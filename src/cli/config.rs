//! `mas config`: the effective settings.

use super::output::print;
use crate::config::Config;
use std::process::ExitCode;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    print(config.to_toml()?.trim_end());
    Ok(ExitCode::SUCCESS)
}
