//! `mas role`: what kinds of agents there are.

use super::{
    output::{complain, print_json},
    remote::Remote,
    show::{Table, record, word},
};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum RoleCommand {
    /// List roles
    List,
    /// Show all of a role
    Get { name: String },
}

pub(super) async fn run(remote: &Remote, command: RoleCommand) -> anyhow::Result<ExitCode> {
    match command {
        RoleCommand::List => {
            let page = list(remote).await?;
            if remote.json {
                print_json(&page);
                return Ok(ExitCode::SUCCESS);
            }
            Table::of(["NAME", "SOURCE", "BACKEND", "MODEL", "DESCRIPTION"], &page["roles"], |role| {
                ["name", "source", "backend", "model", "description"].map(|name| word(&role[name]))
            })
            .print("there are no roles");
            problems(&page);
        }
        RoleCommand::Get { name } => {
            let role = remote.client.get(&["roles", &name], &[]).await?;
            remote.show(&role, |role| {
                record(
                    role,
                    &[
                        "name",
                        "description",
                        "source",
                        "backend",
                        "model",
                        "allowed_tools",
                        "mcp_servers",
                        "problems",
                        "output_schema",
                        "persona",
                    ],
                );
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All pages as one.
async fn list(remote: &Remote) -> anyhow::Result<Value> {
    let mut roles: Vec<Value> = vec![];
    let mut cursor: Option<String> = None;
    loop {
        let query: Vec<_> = cursor.into_iter().map(|cursor| ("cursor", cursor)).collect();
        let mut page = remote.client.get(&["roles"], &query).await?;
        roles.extend(page["roles"].as_array_mut().map(std::mem::take).unwrap_or_default());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            page["roles"] = roles.into();
            return Ok(page);
        }
    }
}

/// Files that cannot be used.
pub(super) fn problems(answer: &Value) {
    for problem in answer["problems"].as_array().into_iter().flatten() {
        complain(&format!("{}: {}", word(&problem["file"]), word(&problem["problem"])));
    }
}
