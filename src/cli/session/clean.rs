//! `mas clean`: ends agents that rest after finished work, and reclaims their worktrees.

use super::{
    end::{ALL, Haste, confirm, end_all, report},
    open::Thing,
};
use crate::{
    cli::{
        client::ServerArgs,
        gc,
        output::complain,
        remote::{self, EXIT_CODES, FAILED, Remote},
    },
    config::Config,
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::{collections::BTreeSet, process::ExitCode};

/// What `mas clean` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct CleanArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs `mas clean`.
pub(in crate::cli) fn clean(arguments: &CleanArgs) -> anyhow::Result<ExitCode> {
    let (mut is_local, mut is_json, mut refused) = (false, false, false);
    let ended = remote::run(&arguments.server, async |remote| {
        (is_local, is_json) = (remote.client.local_data().is_some(), remote.json);
        let spare = spare(remote).await?;
        if spare.is_empty() {
            complain("no agent rests after finished work");
        } else if !arguments.yes && !confirm(&format!("End {} at rest?", Thing::Agent.counted(spare.len())))? {
            refused = true;
            return Ok(ExitCode::from(FAILED));
        }
        Ok(report(remote, end_all(remote, Thing::Agent, &spare, Haste::Stop).await))
    })?;
    if refused {
        complain("nothing was done");
        return Ok(ended);
    }
    if !is_local {
        complain("worktrees are reclaimed on the server's machine: call `mas clean` or `mas gc` there");
        return Ok(ended);
    }
    let mut config = Config::load(&arguments.server.common.clone().flags())?;
    config.gc.worktrees_days = 0;
    let items = gc::reclaim(&config, false)?;
    if is_json {
        // One document is enough; what it ended is in there.
        return Ok(ended);
    }
    let reclaimed = gc::summary(&items);
    Ok(if ended == ExitCode::SUCCESS { reclaimed } else { ended })
}

/// Agents that rest and that no open work of others needs.
async fn spare(remote: &Remote) -> anyhow::Result<Vec<Value>> {
    let mut needed = BTreeSet::new();
    for swarm in Thing::Swarm.find(remote, ALL).await?.0 {
        let id = swarm["id"].as_str().unwrap_or_default().to_owned();
        let report = remote.client.get(&["swarm", "status"], &[("swarm_id", id)]).await?;
        needed.extend(ids(&report["swarms"][0]["agents"], "id"));
    }
    let tasks = Thing::Task.find(remote, ALL).await?.0;
    needed.extend(tasks.iter().filter_map(|task| task["agent_id"].as_str().map(str::to_owned)));
    // A swarm's run works with the swarm's agents, and makes none for itself.
    let mut open = Thing::Run.find(remote, ALL).await?.0;
    open.retain(|run| run["swarm_id"].is_null());
    for proposal in Thing::Proposal.find(remote, ALL).await?.0 {
        let whole = remote.client.get(&["consensus", proposal["id"].as_str().unwrap_or_default()], &[]).await?;
        needed.extend(ids(&whole["voters"], "agent_id"));
        open.push(whole);
    }
    // Agents that open work has made for itself are younger than it is.
    let oldest = open.iter().filter_map(made).min();
    let mut agents = Thing::Agent.find(remote, ALL).await?.0;
    agents.retain(|agent| {
        let text = |name: &str| agent[name].as_str().unwrap_or_default();
        let is_older = oldest.is_none_or(|oldest| made(agent).is_some_and(|made| made < oldest));
        ["idle", "parked"].contains(&text("status")) && !needed.contains(text("id")) && is_older
    });
    Ok(agents)
}

fn made(thing: &Value) -> Option<DateTime<Utc>> {
    thing["created_at"].as_str()?.parse().ok()
}

fn ids(items: &Value, name: &str) -> Vec<String> {
    items.as_array().into_iter().flatten().filter_map(|item| item[name].as_str()).map(str::to_owned).collect()
}
