//! `mas stop` and `mas kill`: everything that runs, ended in order or at once.

use super::open::Thing;
use crate::cli::{
    client::{ClientError, ServerArgs},
    output::{complain, print, print_json},
    remote::{self, EXIT_CODES, FAILED, Remote},
    show::word,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

/// Calls at the same time.
const AT_ONCE: usize = 8;
/// More than a server holds.
pub(super) const ALL: usize = 100_000;

/// What the commands take that end things.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct EndArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// How much haste there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Haste {
    /// Running turns are told to stop, and everything is waited for.
    Stop,
    /// Nothing is waited for, and then every agent is ended, by force if need be.
    Kill,
}

/// Runs `mas stop` and `mas kill`.
pub(in crate::cli) fn end(arguments: &EndArgs, haste: Haste) -> anyhow::Result<ExitCode> {
    remote::run(&arguments.server, async |remote| {
        let mut kinds = vec![Thing::Swarm, Thing::Run, Thing::Proposal, Thing::Task];
        if haste == Haste::Kill {
            kinds.push(Thing::Agent);
        }
        let mut counts = vec![];
        for kind in &kinds {
            let count = kind.find(remote, ALL).await?.0.len();
            if count > 0 {
                counts.push(kind.counted(count));
            }
        }
        if counts.is_empty() {
            complain("nothing runs");
        } else if !arguments.yes && !confirm(&format!("End {}?", counts.join(", ")))? {
            complain("nothing was done");
            return Ok(ExitCode::from(FAILED));
        }
        let mut outcomes = vec![];
        for kind in kinds {
            // Looked at anew: what ends takes others with it.
            let found = kind.find(remote, ALL).await?.0;
            outcomes.extend(end_all(remote, kind, &found, haste).await);
        }
        Ok(report(remote, outcomes))
    })
}

/// What became of one thing: its id, and how it stands or why it could not be ended.
pub(super) type Outcome = (String, Result<Value, ClientError>);

/// Ends these, several at a time.
pub(super) async fn end_all(remote: &Remote, kind: Thing, found: &[Value], haste: Haste) -> Vec<Outcome> {
    let ids = found.iter().filter_map(|one| one["id"].as_str());
    let calls = ids.map(async |id| {
        let wait = if haste == Haste::Kill && kind != Thing::Agent { 0 } else { 30 };
        let (path, body): ([&str; 3], _) = match kind {
            Thing::Swarm => (["swarm", id, "stop"], json!({ "wait_seconds": wait })),
            Thing::Run => (["workflow-runs", id, "cancel"], json!({ "wait_seconds": wait })),
            Thing::Proposal => (["consensus", id, "cancel"], json!({})),
            Thing::Task => (["tasks", id, "cancel"], json!({ "wait_seconds": wait })),
            Thing::Agent => (["agents", id, "terminate"], json!({ "wait_seconds": wait })),
        };
        (id.to_owned(), remote.client.post(&path, body).await)
    });
    stream::iter(calls).buffer_unordered(AT_ONCE).collect().await
}

/// Tells what became of each thing. What ended by itself meanwhile, and is therefore refused, is no failure.
pub(super) fn report(remote: &Remote, outcomes: Vec<Outcome>) -> ExitCode {
    let (mut done, mut failed) = (vec![], false);
    for (id, outcome) in outcomes {
        match outcome {
            Ok(answer) => {
                if !remote.json {
                    print(&format!("{id} {}", word(&answer["status"])));
                }
                done.push(answer);
            }
            Err(ClientError::Refused(refusal)) if has_ended(refusal.code()) => {}
            Err(error) => {
                complain(&format!("{id}: {error}"));
                failed = true;
            }
        }
    }
    if remote.json {
        print_json(&json!({ "ended": done }));
    }
    if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn has_ended(code: &str) -> bool {
    code.ends_with("_ended") || ["not_found", "illegal_transition"].contains(&code)
}

/// Asks whoever sits there; where nobody does, the command itself is the answer.
pub(super) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    complain(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
