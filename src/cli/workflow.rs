//! `mas workflow`: files of workflows, and runs of them.

mod check;

use super::{
    output::{complain, harmless, print, print_json},
    progress::{self, Kind},
    remote::{self, Asking, Limit, Remote, body, text},
    role,
    show::{Table, ago, line, record, word},
};
use serde_json::{Map, Value, json};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Subcommand)]
pub(super) enum WorkflowCommand {
    /// Say what is wrong with files of workflows, with line numbers; exit code 1 when anything is. Asks no server
    Check {
        /// YAML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the workflows that can be run
    List,
    /// Have a team of agents work through a workflow
    Run(Box<Run>),
    /// List runs, newest first
    Runs {
        /// running, waiting, complete, failed, cancelled
        #[arg(long)]
        status: Option<String>,
        /// Only runs of this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// Only runs of this swarm
        #[arg(long, value_name = "ID")]
        swarm: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show where every stage of a run stands
    Get {
        id: String,
        /// Wait until it has ended or waits for an answer
        #[arg(long)]
        wait: bool,
    },
    /// Answer a question a run waits for
    Answer {
        id: String,
        /// The question's id
        question: String,
        /// retry, skip, accept, revise, fail: one of the question's options
        answer: String,
        /// Wait until the run has ended or waits again
        #[arg(long)]
        wait: bool,
    },
    /// Stop a run
    Cancel { id: String },
    /// Print a file a run has left
    File {
        id: String,
        /// One of its files
        #[arg(default_value = "summary.md")]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The workflow (`mas workflow list`)
    name: String,
    /// What is to be done; `-` reads it from standard input
    task: String,
    /// A short name
    #[arg(long)]
    title: Option<String>,
    /// Where the agents work
    #[arg(long)]
    project: Option<String>,
    /// Input of the workflow; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = parse_input)]
    inputs: Vec<(String, Value)>,
    /// Longest turn of an agent
    #[arg(long, value_name = "SECONDS")]
    turn_timeout: Option<u32>,
    /// Most that one turn may cost
    #[arg(long, value_name = "USD")]
    turn_budget_usd: Option<f64>,
    /// Wait until the run has ended, and print the result
    #[arg(long)]
    wait: bool,
}

/// Checks files here, asks the server for everything else.
pub(super) fn run(asking: Asking<WorkflowCommand>) -> anyhow::Result<ExitCode> {
    match asking.command {
        WorkflowCommand::Check { files } => check::run(asking.server, &files),
        command => remote::run(&asking.server, async |remote| ask(remote, command).await),
    }
}

async fn ask(remote: &Remote, command: WorkflowCommand) -> anyhow::Result<ExitCode> {
    let client = &remote.client;
    match command {
        WorkflowCommand::Check { .. } => {}
        WorkflowCommand::List => {
            let list = client.get(&["workflows"], &[]).await?;
            remote.show(&list, |list| {
                let row = |workflow: &Value| ["name", "source", "description"].map(|name| word(&workflow[name]));
                Table::of(["NAME", "SOURCE", "DESCRIPTION"], &list["workflows"], row).print("there are no workflows");
                role::problems(list);
            });
        }
        WorkflowCommand::Run(run) => return begin(remote, *run).await,
        WorkflowCommand::Runs { status, workflow, swarm, limit } => {
            let query = [("status", status), ("workflow", workflow), ("swarm_id", swarm)];
            let page = remote.list(&["workflow-runs"], &query, "runs", limit.get()).await?;
            remote.show(&page, |page| {
                table(&page["runs"]).print("there are no such runs");
                Remote::mention_more(page);
            });
        }
        WorkflowCommand::Get { id, wait: true } => return progress::wait(remote, Kind::Run, &id).await,
        WorkflowCommand::Get { id, wait: false } => {
            remote.show(&client.get(&["workflow-runs", &id], &[]).await?, show);
        }
        WorkflowCommand::Answer { id, question, answer, wait } => {
            let fields = json!({ "question": question, "answer": answer });
            let run = client.post(&["workflow-runs", &id, "answer"], fields).await?;
            if wait {
                return progress::wait(remote, Kind::Run, &id).await;
            }
            remote.show(&run, |run| print(&format!("{id} {}", word(&run["status"]))));
        }
        WorkflowCommand::Cancel { id } => {
            let run = client.post(&["workflow-runs", &id, "cancel"], json!({ "wait_seconds": 20 })).await?;
            remote.show(&run, |run| print(&format!("{id} {}", word(&run["status"]))));
        }
        WorkflowCommand::File { id, name } => {
            if remote.json {
                print_json(&client.get(&["workflow-runs", &id, "file"], &[("name", name)]).await?);
            } else {
                print(harmless(&file(remote, &id, &name).await?).trim_end_matches('\n'));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn begin(remote: &Remote, run: Run) -> anyhow::Result<ExitCode> {
    let inputs = Map::from_iter(run.inputs);
    let fields = body(json!({
        "task": text(run.task)?,
        "title": run.title,
        "project": run.project,
        "inputs_json": (!inputs.is_empty()).then(|| Value::Object(inputs).to_string()),
        "turn_timeout_seconds": run.turn_timeout,
        "turn_budget_usd": run.turn_budget_usd,
    }));
    let begun = remote.client.post(&["workflows", &run.name, "run"], fields).await?;
    if !run.wait {
        return Ok(remote.made(&begun, "mas workflow get"));
    }
    progress::wait(remote, Kind::Run, begun["id"].as_str().unwrap_or_default()).await
}

/// The whole of a file a run has left.
pub(super) async fn file(remote: &Remote, id: &str, name: &str) -> anyhow::Result<String> {
    let query = [("name", name.to_owned())];
    Ok(remote.whole_text(&["workflow-runs", id, "file"], &query, |answer| &answer["file"]).await?)
}

/// Runs as a table.
pub(super) fn table(runs: &Value) -> Table {
    Table::of(["ID", "STATUS", "WORKFLOW", "PROJECT", "CREATED", "TITLE"], runs, |run| {
        let [id, status, workflow, project, title] =
            ["id", "status", "workflow", "project", "title"].map(|name| word(&run[name]));
        [id, status, workflow, project, ago(&run["created_at"]), title]
    })
}

/// All of a run.
pub(super) fn show(run: &Value) {
    record(
        run,
        &[
            "id",
            "workflow",
            "title",
            "status",
            "project",
            "swarm_id",
            "turns",
            "cost_usd",
            "tokens",
            "created_at",
            "ended_at",
            "failure",
            "files",
            "provenance",
        ],
    );
    print("");
    Table::of(["STAGE", "STATUS", "ROLE", "VERDICT", "REVISIONS", "OUTPUT"], &run["stages"], |stage| {
        let [path, status, role, verdict, revisions] =
            ["path", "status", "role", "verdict", "revisions"].map(|name| word(&stage[name]));
        let last = stage["output"].as_str().or(stage["failure"]["detail"].as_str()).unwrap_or_default();
        [path, status, role, verdict, revisions, line(last)]
    })
    .print("");
    for question in run["waits_for"].as_array().into_iter().flatten() {
        complain(&format!(
            "waits for {}: {} ({})",
            word(&question["id"]),
            word(&question["question"]),
            word(&question["options"])
        ));
    }
    if let Some(result) = run["result"].as_str() {
        print(&format!("\n{}", harmless(result).trim_end()));
    }
}

/// `NAME=VALUE`; numbers, `true`, `false`, lists and objects are taken as such.
fn parse_input(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("give NAME=VALUE")?;
    let plain = serde_json::from_str::<Value>(value).ok().filter(|value| !(value.is_string() || value.is_null()));
    Ok((name.to_owned(), plain.unwrap_or_else(|| value.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_a_workflow() {
        assert_eq!(parse_input("depth=3"), Ok(("depth".into(), json!(3))));
        assert_eq!(parse_input("style=a=b"), Ok(("style".into(), json!("a=b"))));
        assert_eq!(parse_input("phases=[\"a\"]"), Ok(("phases".into(), json!(["a"]))));
        assert_eq!(parse_input("note=[a"), Ok(("note".into(), json!("[a"))));
        assert!(parse_input("depth").is_err() && parse_input("=3").is_err());
    }
}
