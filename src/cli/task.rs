//! `mas task`: pieces of work.

use super::{
    client::ServerEvent,
    output::{complain, print, print_json, print_json_line},
    progress::{self, Kind},
    remote::{Limit, Remote, body, given, text},
    show::{Table, ago, line, record, word},
    transcript,
};
use anyhow::Context;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Subcommand)]
pub(super) enum TaskCommand {
    /// Have an agent do a piece of work
    Create(Box<Create>),
    /// List tasks, newest first
    List {
        /// Only tasks with this status
        #[arg(long)]
        status: Option<String>,
        /// Only tasks for this type of agent
        #[arg(long, value_name = "TYPE")]
        agent_type: Option<String>,
        /// Only tasks and messages of this agent
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Only tasks of this project
        #[arg(long)]
        project: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a task completely
    Get {
        id: String,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Stop a task
    Cancel { id: String },
    /// Change a task's title or priority
    Update {
        id: String,
        /// Another title
        #[arg(long)]
        title: Option<String>,
        /// critical, high, normal, low
        #[arg(long)]
        priority: Option<String>,
    },
    /// Print what was captured of a task, one event a line
    Events {
        id: String,
        /// Only events after this one
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: i64,
        /// Go on until the task has ended; with --json one event a line
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// List what a task has left as files
    Files {
        id: String,
        /// Also this file of the agent's workspace
        #[arg(long)]
        path: Option<String>,
    },
    /// Print one of a task's files
    File {
        id: String,
        /// `result.md`, `structured_output.json`, `changes.diff`, or a path in the agent's workspace
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// What is to be done; `-` reads it from standard input
    description: String,
    /// A short name (default: made of the description)
    #[arg(long)]
    title: Option<String>,
    /// Type of agent: a role (`mas role list`)
    #[arg(long, value_name = "TYPE")]
    agent_type: Option<String>,
    /// claude-code, claude-flow
    #[arg(long)]
    backend: Option<String>,
    /// Where the agent works
    #[arg(long)]
    project: Option<String>,
    /// haiku, sonnet, opus or another that the server allows
    #[arg(long)]
    model: Option<String>,
    /// critical, high, normal, low
    #[arg(long)]
    priority: Option<String>,
    /// Longest time it may take
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Most it may cost
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// Most tokens it may use
    #[arg(long, value_name = "TOKENS")]
    budget_tokens: Option<u64>,
    /// File with the JSON schema the answer has to fit
    #[arg(long, value_name = "FILE")]
    output_schema: Option<PathBuf>,
    /// Wait until it has ended, and print the result
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(remote: &Remote, command: TaskCommand) -> anyhow::Result<ExitCode> {
    match command {
        TaskCommand::Create(create) => self::create(remote, *create).await,
        TaskCommand::List { status, agent_type, agent, project, limit } => {
            let query = [("status", status), ("agent_type", agent_type), ("agent_id", agent), ("project", project)];
            let page = remote.list(&["tasks"], &query, "tasks", limit.get()).await?;
            Ok(remote.show(&page, |page| {
                table(&page["tasks"]).print("there are no such tasks");
                Remote::mention_more(page);
            }))
        }
        TaskCommand::Get { id, wait: true } => progress::wait(remote, Kind::Task, &id).await,
        TaskCommand::Get { id, wait: false } => Ok(remote.show(&remote.client.get(&["tasks", &id], &[]).await?, show)),
        TaskCommand::Cancel { id } => {
            let task = remote.client.post(&["tasks", &id, "cancel"], json!({ "wait_seconds": 20 })).await?;
            Ok(remote.show(&task, |task| print(&format!("{id} {}", word(&task["status"])))))
        }
        TaskCommand::Update { id, title, priority } => {
            let task = remote.client.patch(&["tasks", &id], body(json!({ "title": title, "priority": priority }))).await?;
            Ok(remote.show(&task, show))
        }
        TaskCommand::Events { id, after, follow: true, .. } => follow(remote, &id, after).await,
        TaskCommand::Events { id, after, follow: false, limit } => {
            let page = events(remote, &id, after, limit.get()).await?;
            Ok(remote.show(&page, |page| {
                let events = page["events"].as_array();
                events.into_iter().flatten().for_each(|event| print(&transcript::event(event)));
                if let (Some(next), true) = (page["next_cursor"].as_i64(), events.is_some_and(|all| all.len() >= limit.get())) {
                    complain(&format!("there may be more; go on with --after {next}"));
                }
            }))
        }
        TaskCommand::Files { id, path } => {
            let files = remote.client.get(&["tasks", &id, "files"], &given(&[("path", path)])).await?;
            Ok(remote.show(&files, |files| {
                let row = |file: &Value| [word(&file["name"]), word(&file["bytes"]), word(&file["mime_type"])];
                Table::of(["NAME", "BYTES", "TYPE"], &files["files"], row).print("it has left no files");
            }))
        }
        TaskCommand::File { id, name } => {
            let (path, query) = (["tasks", &id, "files", "text"], [("name", name)]);
            if remote.json {
                print_json(&remote.client.get(&path, &query).await?);
            } else {
                let text = remote.whole_text(&path, &query, |answer| answer).await?;
                print(super::output::harmless(&text).trim_end_matches('\n'));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn create(remote: &Remote, create: Create) -> anyhow::Result<ExitCode> {
    let schema = create.output_schema.map(|path| {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str::<Value>(&text).with_context(|| format!("{} is no JSON", path.display()))
    });
    let fields = body(json!({
        "description": text(create.description)?,
        "title": create.title,
        "agent_type": create.agent_type,
        "backend": create.backend,
        "project": create.project,
        "model": create.model,
        "priority": create.priority,
        "timeout_seconds": create.timeout,
        "budget_usd": create.budget_usd,
        "budget_tokens": create.budget_tokens,
        "output_schema": schema.transpose()?,
    }));
    let task = remote.client.post(&["tasks"], fields).await?;
    if !create.wait {
        return Ok(remote.made(&task, "mas task get"));
    }
    progress::wait(remote, Kind::Task, task["id"].as_str().unwrap_or_default()).await
}

/// Tasks as a table.
pub(super) fn table(tasks: &Value) -> Table {
    Table::of(["ID", "STATUS", "TYPE", "PROJECT", "CREATED", "TITLE"], tasks, |task| {
        let title = task["title"].as_str().filter(|title| !title.is_empty()).or(task["description"].as_str());
        let [id, status, kind, project] = ["id", "status", "agent_type", "project"].map(|name| word(&task[name]));
        [id, status, kind, project, ago(&task["created_at"]), line(title.unwrap_or_default())]
    })
}

fn show(task: &Value) {
    record(
        task,
        &[
            "id",
            "title",
            "status",
            "progress",
            "agent_type",
            "backend",
            "model",
            "project",
            "priority",
            "agent_id",
            "created_at",
            "started_at",
            "ended_at",
            "duration_ms",
            "cost_usd",
            "tokens",
            "failure",
            "changes",
            "description",
            "latest_output",
            "structured_output",
            "result",
            "provenance",
        ],
    );
}

async fn events(remote: &Remote, id: &str, mut after: i64, limit: usize) -> anyhow::Result<Value> {
    let mut all: Vec<Value> = vec![];
    loop {
        let most = (limit - all.len()).clamp(1, 200);
        let query = [("after", after.to_string()), ("limit", most.to_string())];
        let mut page = remote.client.get(&["tasks", id, "events"], &query).await?;
        let new = page["events"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let was_empty = new.is_empty();
        all.extend(new);
        if was_empty || all.len() >= limit {
            page["events"] = all.into();
            return Ok(page);
        }
        after = page["next_cursor"].as_i64().unwrap_or(after);
    }
}

async fn follow(remote: &Remote, id: &str, after: i64) -> anyhow::Result<ExitCode> {
    let mut stream = remote.client.events(&["tasks", id, "events"], &[], Some(after))?;
    while let Some(event) = stream.next().await {
        let ServerEvent { id: seq, kind, data } = event?;
        match kind.as_str() {
            "end" if seq.is_none() => complain(&format!("{id} {}", word(&data["status"]))),
            _ if remote.json => print_json_line(&data),
            _ => print(&transcript::event(&data)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
