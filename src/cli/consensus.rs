//! `mas consensus`: questions that several agents decide.

use super::{
    output::print,
    progress::{self, Kind},
    remote::{Limit, Remote, body, text},
    show::{Table, ago, record, word},
    team,
};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConsensusCommand {
    /// Put a question to agents and count their ballots
    Propose(Box<Propose>),
    /// List proposals, newest first
    Status {
        /// open, decided, rejected, inconclusive, `timed_out`, cancelled
        #[arg(long)]
        status: Option<String>,
        /// quorum, raft, byzantine, gossip, crdt
        #[arg(long)]
        protocol: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a proposal with its ballots
    Get {
        id: String,
        /// Wait until it has ended; exit code 1 unless it is decided
        #[arg(long)]
        wait: bool,
    },
    /// Stop a proposal
    Cancel { id: String },
}

#[derive(Debug, clap::Args)]
pub(super) struct Propose {
    /// What is to be decided; `-` reads it from standard input
    question: String,
    /// Something to choose; give at least two, or none for a free choice
    #[arg(long = "option", value_name = "TEXT")]
    options: Vec<String>,
    /// Who decides: an agent's id or `TYPE[:COUNT[:MODEL]]`, with `,weight=N` and `,veto`; may be given several times
    #[arg(long = "voter", required = true, value_name = "VOTERS", value_parser = team::parse_voter)]
    voters: Vec<Value>,
    /// quorum, raft, byzantine, gossip, crdt
    #[arg(long)]
    protocol: Option<String>,
    /// majority, `two_thirds`, unanimous, or a share
    #[arg(long)]
    threshold: Option<String>,
    /// Most rounds
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Peers a voter of gossip hears in a round
    #[arg(long, value_name = "N")]
    fanout: Option<u32>,
    /// Where its voters work
    #[arg(long)]
    project: Option<String>,
    /// When it ends at the latest
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Wait until it has ended, and print the decision; exit code 1 unless it is decided
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(remote: &Remote, command: ConsensusCommand) -> anyhow::Result<ExitCode> {
    let client = &remote.client;
    match command {
        ConsensusCommand::Propose(new) => propose(remote, *new).await,
        ConsensusCommand::Status { status, protocol, limit } => {
            let query = [("status", status), ("protocol", protocol)];
            let page = remote.list(&["consensus", "status"], &query, "proposals", limit.get()).await?;
            Ok(remote.show(&page, |page| {
                table(&page["proposals"]).print("there are no such proposals");
                Remote::mention_more(page);
            }))
        }
        ConsensusCommand::Get { id, wait: true } => progress::wait(remote, Kind::Proposal, &id).await,
        ConsensusCommand::Get { id, wait: false } => Ok(remote.show(&client.get(&["consensus", &id], &[]).await?, show)),
        ConsensusCommand::Cancel { id } => {
            let proposal = client.post(&["consensus", &id, "cancel"], json!({})).await?;
            Ok(remote.show(&proposal, |proposal| print(&format!("{id} {}", word(&proposal["status"])))))
        }
    }
}

async fn propose(remote: &Remote, new: Propose) -> anyhow::Result<ExitCode> {
    let options = (!new.options.is_empty()).then_some(new.options);
    let fields = body(json!({
        "question": text(new.question)?,
        "options": options,
        "voters": new.voters,
        "protocol": new.protocol,
        "threshold": new.threshold,
        "rounds": new.rounds,
        "fanout": new.fanout,
        "project": new.project,
        "timeout_seconds": new.timeout,
    }));
    let proposal = remote.client.post(&["consensus", "propose"], fields).await?;
    if !new.wait {
        return Ok(remote.made(&proposal, "mas consensus get"));
    }
    progress::wait(remote, Kind::Proposal, proposal["id"].as_str().unwrap_or_default()).await
}

/// Proposals as a table.
pub(super) fn table(proposals: &Value) -> Table {
    Table::of(["ID", "STATUS", "PROTOCOL", "CREATED", "QUESTION"], proposals, |proposal| {
        let [id, status, protocol, question] = ["id", "status", "protocol", "question"].map(|name| word(&proposal[name]));
        [id, status, protocol, ago(&proposal["created_at"]), question]
    })
}

fn show(proposal: &Value) {
    record(
        proposal,
        &[
            "id",
            "question",
            "options",
            "status",
            "decision",
            "why",
            "protocol",
            "threshold",
            "project",
            "round",
            "max_rounds",
            "created_at",
            "deadline_at",
            "ended_at",
            "provenance",
        ],
    );
    print("");
    Table::of(["VOTER", "TYPE", "ROUND", "PHASE", "STATUS", "CHOICE", "RATIONALE"], &proposal["ballots"], |ballot| {
        let voters = proposal["voters"].as_array().into_iter().flatten();
        let voter = voters.into_iter().find(|voter| voter["voter"] == ballot["voter"]).unwrap_or(&Value::Null);
        let [number, round, phase, status, choice] =
            ["voter", "round", "phase", "status", "choice"].map(|name| word(&ballot[name]));
        [number, word(&voter["agent_type"]), round, phase, status, choice, word(&ballot["rationale"])]
    })
    .print("there are no ballots yet");
    for entry in proposal["tally"].as_array().into_iter().flatten() {
        print(&format!("tally  {}: {}", word(&entry["choice"]), word(&entry["weight"])));
    }
    for entry in proposal["equivocations"].as_array().into_iter().flatten() {
        print(&format!("equivocation  voter {}, round {}: {}", entry["voter"], entry["round"], word(&entry["detail"])));
    }
}
