//! `mas log`: the raw logs of an agent, one per process. Works beside a running server or without one.

use super::{
    output::{complain, runtime},
    serve,
};
use crate::{
    config::{Config, DataDir},
    model::id::AgentId,
    process::ProcessDir,
};
use anyhow::{Context, bail};
use std::{fs::File, io, process::ExitCode};

pub(super) fn run(config: &Config, agent: AgentId, stderr: bool) -> anyhow::Result<ExitCode> {
    let data = DataDir(config.server.data_dir.clone());
    let processes = runtime()?.block_on(async {
        let store = serve::open_store(config).await?;
        let known = store.get_agent(agent, None).await?.is_some();
        let processes = store.list_processes_of(agent).await?;
        store.close().await;
        if !known {
            bail!("there is no agent {agent}; are server.data_dir and store.url right?");
        }
        Ok(processes)
    })?;
    let mut output = io::stdout().lock();
    for process in processes {
        let dir = ProcessDir::new(&data.processes(), process.id);
        let path = if stderr { dir.stderr() } else { dir.stdout() };
        match File::open(&path) {
            Ok(mut file) => match io::copy(&mut file, &mut output) {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                copied => drop(copied.with_context(|| path.display().to_string())?),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                complain(&format!("{} began at {}; its log was reclaimed or never made", process.id, process.started_at));
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(ExitCode::SUCCESS)
}
