//! `mas status`: one screen of what is going on.

use super::open::Thing;
use crate::cli::{
    agent,
    client::ServerArgs,
    consensus,
    output::{complain, print, print_json},
    remote::{self, EXIT_CODES, Remote},
    show::{span, usd, word},
    swarm, task, workflow,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Lines for each kind of thing and status; more is for the lists.
const LINES: usize = 20;

/// What `mas status` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs `mas status`. With `--json` the answers of the API are the parts of one document.
pub(in crate::cli) fn status(arguments: &StatusArgs) -> anyhow::Result<ExitCode> {
    remote::run(&arguments.server, async |remote| {
        let health = remote.client.get(&["health"], &[]).await?;
        let report = async {
            let query = [("window_hours", "24".to_owned())];
            anyhow::Ok(remote.client.get(&["performance", "report"], &query).await?)
        };
        let (report, tasks, runs, swarms, agents, proposals) = tokio::try_join!(
            report,
            Thing::Task.find(remote, LINES),
            Thing::Run.find(remote, LINES),
            Thing::Swarm.find(remote, LINES),
            Thing::Agent.find(remote, LINES),
            Thing::Proposal.find(remote, LINES),
        )?;
        let parts = [
            (Thing::Swarm, "swarms", swarms),
            (Thing::Run, "runs", runs),
            (Thing::Proposal, "proposals", proposals),
            (Thing::Task, "tasks", tasks),
            (Thing::Agent, "agents", agents),
        ];
        if remote.json {
            let mut all = json!({ "health": health, "performance": report });
            for (_, name, (found, _)) in parts {
                all[name] = found.into();
            }
            print_json(&all);
            return Ok(ExitCode::SUCCESS);
        }
        head(remote, &health, &report);
        for (thing, _, (found, more)) in parts {
            section(thing, found, more);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn head(remote: &Remote, health: &Value, report: &Value) {
    let up = span(health["uptime_seconds"].as_u64().unwrap_or_default());
    print(&format!(
        "server  {} {}, version {}, up {up}",
        remote.client.base(),
        word(&health["status"]),
        word(&health["version"])
    ));
    let tunnel = &health["tunnel"];
    if !tunnel.is_null() {
        print(&format!(
            "tunnel  {} {}",
            word(&tunnel["state"]),
            tunnel["url"].as_str().map(crate::cli::show::line).unwrap_or_default()
        ));
    }
    let figure = |name: &str| &report[name]["value"];
    // Figures are numbers of any kind; tasks are whole.
    let ended = ["tasks_complete", "tasks_failed", "tasks_cancelled"].map(|name| figure(name).as_f64().unwrap_or_default());
    print(&format!("24 h    {} tasks complete, {} failed, {} cancelled", ended[0], ended[1], ended[2]));
    if !figure("cost_usd").is_null() {
        print(&format!("cost    {} in 24 h", usd(figure("cost_usd"))));
    }
}

fn section(thing: Thing, found: Vec<Value>, more: bool) {
    let (count, found) = (found.len(), Value::from(found));
    let table = match thing {
        Thing::Swarm => swarm::table(&found),
        Thing::Run => workflow::table(&found),
        Thing::Proposal => consensus::table(&found),
        Thing::Task => task::table(&found),
        Thing::Agent => agent::table(&found),
    };
    let counted = thing.counted(count);
    print(&if more { format!("\n{counted} and more") } else { format!("\n{counted}") });
    if count > 0 {
        table.print("");
    }
    if more {
        complain("not all are shown; the lists of each kind have them");
    }
}
