//! `mas agent`: workers that keep their conversation.

use super::{
    output::print,
    progress::{self, Kind},
    remote::{Limit, Remote, body, text},
    show::{Table, ago, line, record, word},
    team, transcript,
};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum AgentCommand {
    /// Make an agent that takes messages
    Create(Box<Create>),
    /// List agents, newest first
    List {
        /// Only agents with this status
        #[arg(long)]
        status: Option<String>,
        /// Only agents of this type
        #[arg(long = "type", value_name = "TYPE")]
        agent_type: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an agent
    Get { id: String },
    /// Give an agent a prompt
    Message {
        id: String,
        /// The prompt; `-` reads it from standard input
        text: String,
        /// queue: a turn of its own; steer: into the running turn
        #[arg(long)]
        mode: Option<String>,
        /// critical, high, normal, low
        #[arg(long)]
        priority: Option<String>,
        /// The question to you that it answers: the id of its message
        #[arg(long)]
        in_reply_to: Option<String>,
        /// Wait until the turn has ended, and print the answer
        #[arg(long)]
        wait: bool,
    },
    /// Stop the turns of agents that work; their conversations stay
    Interrupt {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// Every agent that works
        #[arg(long)]
        all: bool,
    },
    /// End an agent; its work and conversation are kept
    Terminate { id: String },
    /// Let an ended agent take messages again
    Resume { id: String },
    /// Make another agent with the conversation of this one
    Fork {
        id: String,
        /// What to call the new one
        #[arg(long)]
        name: Option<String>,
        /// Its model (default: that of the first)
        #[arg(long)]
        model: Option<String>,
    },
    /// Print what an agent wrote and did; with --json one piece a line
    Output {
        id: String,
        /// Go on until the agent has ended
        #[arg(long)]
        follow: bool,
    },
    /// List the messages an agent of a swarm has got and not read
    Inbox {
        id: String,
        /// Also those it has read
        #[arg(long)]
        include_read: bool,
        #[command(flatten)]
        limit: Limit,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Type of agent: a role (`mas role list`)
    agent_type: Option<String>,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    /// haiku, sonnet, opus or another that the server allows
    #[arg(long)]
    model: Option<String>,
    /// Where it works
    #[arg(long)]
    project: Option<String>,
    /// claude-code, claude-flow
    #[arg(long)]
    backend: Option<String>,
    /// What it is told about itself, beside its role
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Longest turn
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Most it may cost
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// Most tokens it may use
    #[arg(long, value_name = "TOKENS")]
    budget_tokens: Option<u64>,
}

pub(super) async fn run(remote: &Remote, command: AgentCommand) -> anyhow::Result<ExitCode> {
    let client = &remote.client;
    match command {
        AgentCommand::Create(create) => {
            let agent = client.post(&["agents"], create.body()).await?;
            Ok(remote.made(&agent, "mas agent get"))
        }
        AgentCommand::List { status, agent_type, limit } => {
            let query = [("status", status), ("agent_type", agent_type)];
            let page = remote.list(&["agents"], &query, "agents", limit.get()).await?;
            Ok(remote.show(&page, |page| {
                table(&page["agents"]).print("there are no such agents");
                Remote::mention_more(page);
            }))
        }
        AgentCommand::Get { id } => Ok(remote.show(&client.get(&["agents", &id], &[]).await?, show)),
        AgentCommand::Message { id, text: words, mode, priority, in_reply_to, wait } => {
            let asked = json!({ "text": text(words)?, "mode": mode, "priority": priority, "in_reply_to": in_reply_to });
            let fields = body(asked);
            let task = client.post(&["agents", &id, "message"], fields).await?;
            if !wait {
                return Ok(remote.made(&task, "mas task get"));
            }
            progress::wait(remote, Kind::Task, task["id"].as_str().unwrap_or_default()).await
        }
        AgentCommand::Interrupt { ids, all } => interrupt(remote, ids, all).await,
        AgentCommand::Terminate { id } => {
            let agent = client.post(&["agents", &id, "terminate"], json!({ "wait_seconds": 20 })).await?;
            Ok(stands(remote, &agent))
        }
        AgentCommand::Resume { id } => Ok(stands(remote, &client.post(&["agents", &id, "resume"], json!({})).await?)),
        AgentCommand::Fork { id, name, model } => {
            let fields = body(json!({ "name": name, "model": model }));
            Ok(remote.made(&client.post(&["agents", &id, "fork"], fields).await?, "mas agent get"))
        }
        AgentCommand::Output { id, follow } => transcript::print_output(remote, &id, follow).await,
        AgentCommand::Inbox { id, include_read, limit } => {
            let query = [("include_read", include_read.then(|| "true".to_owned()))];
            let page = remote.list(&["agents", &id, "inbox"], &query, "messages", limit.get()).await?;
            Ok(remote.show(&page, |page| {
                team::show_messages(&page["messages"], "its inbox is empty");
                Remote::mention_more(page);
            }))
        }
    }
}

impl Create {
    fn body(self) -> Value {
        body(json!({
            "agent_type": self.agent_type,
            "name": self.name,
            "model": self.model,
            "project": self.project,
            "backend": self.backend,
            "system_prompt": self.system_prompt,
            "timeout_seconds": self.timeout,
            "budget_usd": self.budget_usd,
            "budget_tokens": self.budget_tokens,
        }))
    }
}

async fn interrupt(remote: &Remote, ids: Vec<String>, all: bool) -> anyhow::Result<ExitCode> {
    if let ([id], false) = (&ids[..], all) {
        let agent = remote.client.post(&["agents", id, "interrupt"], json!({ "wait_seconds": 20 })).await?;
        return Ok(stands(remote, &agent));
    }
    let which = if all { json!({ "all": true, "wait_seconds": 20 }) } else { json!({ "agent_ids": ids, "wait_seconds": 20 }) };
    let answer = remote.client.post(&["agents", "interrupt"], which).await?;
    Ok(remote.show(&answer, |answer| record(answer, &["interrupted", "still_stopping", "were_idle"])))
}

/// One line: where the agent stands after what was done.
fn stands(remote: &Remote, agent: &Value) -> ExitCode {
    remote.show(agent, |agent| print(&format!("{} {}", word(&agent["id"]), word(&agent["status"]))))
}

/// Agents as a table.
pub(super) fn table(agents: &Value) -> Table {
    Table::of(["ID", "STATUS", "TYPE", "PROJECT", "CREATED", "NAME"], agents, |agent| {
        let [id, status, kind, project] = ["id", "status", "agent_type", "project"].map(|name| word(&agent[name]));
        [id, status, kind, project, ago(&agent["created_at"]), line(agent["name"].as_str().unwrap_or_default())]
    })
}

fn show(agent: &Value) {
    record(
        agent,
        &[
            "id",
            "name",
            "status",
            "progress",
            "agent_type",
            "backend",
            "model",
            "project",
            "task_id",
            "queued",
            "turns",
            "cost_usd",
            "tokens",
            "workspace",
            "branch",
            "forked_from",
            "failure",
            "created_at",
            "updated_at",
            "latest_output",
            "provenance",
        ],
    );
}
