//! `mas swarm`: teams of agents.

use super::{
    output::{complain, print},
    progress::{self, Kind},
    remote::{Limit, Remote, body, text},
    show::{Table, ago, line, record, word},
    team,
};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum SwarmCommand {
    /// Make a team of agents, and begin to work if there is an objective
    Spawn(Box<Spawn>),
    /// The same as spawn
    Init(Box<Spawn>),
    /// Show how one swarm is doing, or all
    Status {
        id: Option<String>,
        /// Of all: only those that stand here: active, stopping, stopped
        #[arg(long, conflicts_with = "id")]
        status: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Have a swarm work on an objective, the way of its topology
    Run {
        id: String,
        /// What is to be reached; `-` reads it from standard input
        objective: String,
        /// Longest turn of an agent
        #[arg(long, value_name = "SECONDS")]
        turn_timeout: Option<u32>,
        /// Wait until the run has ended, and print the result
        #[arg(long)]
        wait: bool,
    },
    /// Bring types of agents to these numbers
    Scale {
        id: String,
        /// `TYPE:COUNT[:MODEL]`
        #[arg(long = "agent", required = true, value_name = "AGENTS", value_parser = team::parse_agents)]
        agents: Vec<Value>,
    },
    /// Stop a swarm's runs and end its agents, for good
    Stop { id: String },
    /// Print what the agents wrote to each other and to you
    Messages {
        id: String,
        /// Only messages this agent wrote or got
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Only messages of this conversation: the id of its first message
        #[arg(long, value_name = "ID")]
        thread: Option<String>,
        /// Only messages that a recipient has not read
        #[arg(long)]
        unread: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Put a message into inboxes of a swarm
    Send(Box<Send>),
    /// Search findings, artifacts and decisions of a swarm
    Memory {
        id: String,
        /// Words that must all be there (default: everything)
        query: Option<String>,
        /// finding, artifact, decision
        #[arg(long)]
        kind: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Spawn {
    /// mesh, hierarchical, star, ring
    #[arg(long)]
    topology: Option<String>,
    /// `TYPE[:COUNT[:MODEL]]`, such as coder:2 or tester:1:haiku; may be given several times
    #[arg(long = "agent", value_name = "AGENTS", value_parser = team::parse_agents)]
    agents: Vec<Value>,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    /// Where its agents work
    #[arg(long)]
    project: Option<String>,
    /// What is to be reached; `-` reads it from standard input
    #[arg(long)]
    objective: Option<String>,
    /// Most agents it may ever have
    #[arg(long, value_name = "N")]
    max_agents: Option<u32>,
    /// Wait until the run for the objective has ended, and print the result
    #[arg(long, requires = "objective")]
    wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Send {
    id: String,
    /// An agent's id, a type of agents, or all
    to: String,
    subject: String,
    /// The text; `-` reads it from standard input
    body: String,
    /// task, result, question, feedback, status
    #[arg(long)]
    kind: Option<String>,
    /// critical, high, normal, low
    #[arg(long)]
    priority: Option<String>,
    /// Give each recipient a turn to answer
    #[arg(long)]
    requires_response: bool,
    /// When the answer is due
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u32>,
    /// The message this one answers
    #[arg(long, value_name = "ID")]
    in_reply_to: Option<String>,
}

pub(super) async fn run(remote: &Remote, command: SwarmCommand) -> anyhow::Result<ExitCode> {
    let client = &remote.client;
    match command {
        SwarmCommand::Spawn(new) => spawn(remote, "spawn", *new).await,
        SwarmCommand::Init(new) => spawn(remote, "init", *new).await,
        SwarmCommand::Status { id: Some(id), .. } => {
            let report = client.get(&["swarm", "status"], &[("swarm_id", id)]).await?;
            Ok(remote.show(&report, |report| show(&report["swarms"][0])))
        }
        SwarmCommand::Status { id: None, status, limit } => {
            let report = remote.list(&["swarm", "status"], &[("status", status)], "swarms", limit.get()).await?;
            Ok(remote.show(&report, |report| {
                table(&report["swarms"]).print("there are no such swarms");
                Remote::mention_more(report);
            }))
        }
        SwarmCommand::Run { id, objective, turn_timeout, wait } => {
            let fields = body(json!({ "objective": text(objective)?, "turn_timeout_seconds": turn_timeout }));
            let run = client.post(&["swarm", &id, "run"], fields).await?;
            if !wait {
                return Ok(remote.made(&run, "mas workflow get"));
            }
            progress::wait(remote, Kind::Run, run["id"].as_str().unwrap_or_default()).await
        }
        SwarmCommand::Scale { id, agents } => {
            let swarm = client.post(&["swarm", &id, "scale"], json!({ "agents": agents })).await?;
            Ok(remote.show(&swarm, show))
        }
        SwarmCommand::Stop { id } => {
            let swarm = client.post(&["swarm", &id, "stop"], json!({ "wait_seconds": 40 })).await?;
            Ok(remote.show(&swarm, |swarm| print(&format!("{id} {}", word(&swarm["status"])))))
        }
        SwarmCommand::Messages { id, agent, thread, unread, limit } => {
            let query = [("agent_id", agent), ("thread_id", thread), ("unread", unread.then(|| "true".to_owned()))];
            messages(remote, &id, &query, limit).await
        }
        SwarmCommand::Send(send) => {
            let fields = body(json!({
                "to": send.to,
                "subject": send.subject,
                "body": text(send.body)?,
                "kind": send.kind,
                "priority": send.priority,
                "requires_response": send.requires_response.then_some(true),
                "deadline_seconds": send.deadline,
                "in_reply_to": send.in_reply_to,
            }));
            let message = client.post(&["swarm", &send.id, "messages"], fields).await?;
            Ok(remote.show(&message, |message| print(&word(&message["id"]))))
        }
        SwarmCommand::Memory { id, query, kind, limit } => memory(remote, &id, query, kind, limit).await,
    }
}

async fn spawn(remote: &Remote, verb: &str, new: Spawn) -> anyhow::Result<ExitCode> {
    let agents = (!new.agents.is_empty()).then_some(new.agents);
    let fields = body(json!({
        "topology": new.topology,
        "agents": agents,
        "name": new.name,
        "project": new.project,
        "objective": new.objective.map(text).transpose()?,
        "max_agents": new.max_agents,
    }));
    let swarm = remote.client.post(&["swarm", verb], fields).await?;
    let id = swarm["id"].as_str().unwrap_or_default();
    let run = swarm["latest_run"]["id"].as_str().or(swarm["active_runs"][0].as_str());
    match run.filter(|_| new.wait) {
        Some(run) => {
            complain(&format!("{id}  its agents rest when the run has ended; end them with `mas swarm stop {id}`"));
            progress::wait(remote, Kind::Run, run).await
        }
        None => Ok(remote.made(&swarm, "mas swarm status")),
    }
}

/// Prints messages of a swarm.
pub(super) async fn messages(
    remote: &Remote,
    id: &str,
    query: &[(&str, Option<String>)],
    limit: Limit,
) -> anyhow::Result<ExitCode> {
    let page = remote.list(&["swarm", id, "messages"], query, "messages", limit.get()).await?;
    Ok(remote.show(&page, |page| {
        team::show_messages(&page["messages"], "there are no such messages");
        Remote::mention_more(page);
    }))
}

async fn memory(
    remote: &Remote,
    id: &str,
    query: Option<String>,
    kind: Option<String>,
    limit: Limit,
) -> anyhow::Result<ExitCode> {
    let query = [("query", query), ("kind", kind)];
    let page = remote.list(&["swarm", id, "memory"], &query, "memories", limit.get()).await?;
    Ok(remote.show(&page, |page| {
        let table = Table::of(["ID", "KIND", "CREATED", "STANDING", "WHAT"], &page["memories"], |memory| {
            let standing = ["confidence", "review_status"].map(|name| &memory[name]);
            let standing = standing.into_iter().find(|value| !value.is_null()).unwrap_or(&Value::Null);
            let what = ["claim", "decision", "name"].iter().find_map(|name| memory[*name].as_str()).unwrap_or_default();
            [word(&memory["id"]), word(&memory["kind"]), ago(&memory["created_at"]), word(standing), line(what)]
        });
        table.print("nothing was found");
        Remote::mention_more(page);
    }))
}

/// Swarms as a table.
pub(super) fn table(swarms: &Value) -> Table {
    Table::of(["ID", "STATUS", "HEALTH", "TOPOLOGY", "AGENTS", "RUNS", "CREATED", "NAME"], swarms, |swarm| {
        let [id, status, health, topology, agents] =
            ["id", "status", "health", "topology", "agent_count"].map(|name| word(&swarm[name]));
        let runs = swarm["active_runs"].as_array().map_or(0, Vec::len).to_string();
        [id, status, health, topology, agents, runs, ago(&swarm["created_at"]), word(&swarm["name"])]
    })
}

fn show(swarm: &Value) {
    record(
        swarm,
        &[
            "id",
            "name",
            "status",
            "health",
            "health_reasons",
            "topology",
            "project",
            "objective",
            "agent_count",
            "max_agents",
            "active_runs",
            "tasks",
            "messages",
            "turns",
            "cost_usd",
            "tokens",
            "created_at",
            "stopped_at",
        ],
    );
    print("");
    Table::of(["AGENT", "STATUS", "TYPE", "MODEL", "NAME"], &swarm["agents"], |agent| {
        ["id", "status", "type", "model", "name"].map(|name| word(&agent[name]))
    })
    .print("it has no agents");
    if !swarm["latest_run"].is_null() {
        print("");
        super::workflow::show(&swarm["latest_run"]);
    }
}
