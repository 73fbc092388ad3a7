//! `mas doctor`: what is missing on this machine, and how to get it.

use super::{
    output::{print, runtime},
    serve,
};
use crate::{
    adapter::{claude_code::TESTED_VERSION, claude_flow},
    config::{Config, DataDir},
    gpt::{self, lint_server},
    model::{
        current::Current,
        role,
        workflow::{
            self,
            file::{DefinitionSource, FileProblem},
        },
    },
    process::run_command,
    runner::{
        Settings,
        preflight::{claude_flow_version, cli_version, find_claude_flow, find_cli, is_logged_in},
    },
    tunnel,
};
use std::{net::TcpListener, path::Path, process::ExitCode, time::Duration};

enum Finding {
    Good(String),
    /// Works, but should be known.
    Note(String),
    Bad(String),
}
use Finding::{Bad, Good, Note};

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    // The CLI would make it readable for all.
    let _ = serve::make_data_dir(config);
    let findings = runtime()?.block_on(examine(config));
    let mut healthy = true;
    for (subject, finding) in findings {
        let (mark, text) = match finding {
            Good(text) => ("ok  ", text),
            Note(text) => ("note", text),
            Bad(text) => {
                healthy = false;
                ("FAIL", text)
            }
        };
        print(&format!("{mark}  {subject:<15} {text}"));
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(config: &Config) -> Vec<(&'static str, Finding)> {
    let sources = serve::sources(config);
    let roles = sources.load_roles();
    let workflows = sources.load_workflows(&roles);
    let settings = Settings {
        runner: config.runner.clone(),
        claude_code: config.claude_code.clone(),
        claude_flow: config.claude_flow.clone(),
        mcp_servers: config.mcp_servers.clone(),
        limits: config.limits.of_gateway(),
        key_limits: config.limits.of_key(),
        roles: Current::new(roles.clone()),
        projects: config.projects(),
        agent_env: config.agent_env.clone(),
        data: DataDir(config.server.data_dir.clone()),
        rehearsal_url: None,
    };
    let mut findings = vec![("data directory", data_dir(config)), ("port", port(config)), ("git", git(config).await)];
    findings.extend(role_findings(&roles).into_iter().map(|finding| ("roles", finding)));
    findings.extend(sources.unregistered(&roles).into_iter().map(|words| ("roles", Bad(words))));
    findings.extend(workflow_findings(&workflows).into_iter().map(|finding| ("workflows", finding)));
    findings.extend(public_url(&config.server.public_url).into_iter().map(|finding| ("public URL", finding)));
    if config.tunnel.is_wanted() {
        let finding = tunnel::problem(&config.tunnel, &config.tunnel_env).map_or_else(|| Good("the client is there".into()), Bad);
        findings.push(("tunnel", finding));
    }
    if config.claude_flow.is_wanted() {
        findings.push(("claude-flow", claude_flow(&settings).await));
    }
    let executable = match find_cli(&settings) {
        Ok(executable) => executable,
        Err(problem) => {
            findings.push(("claude", Bad(problem)));
            return findings;
        }
    };
    match cli_version(&settings, &executable).await {
        Err(problem) => {
            findings.push(("claude", Bad(problem)));
            return findings;
        }
        Ok(version) if version.starts_with(TESTED_VERSION) => {
            findings.push(("claude", Good(format!("{version} at {}", executable.display()))));
        }
        Ok(version) => findings.push((
            "claude",
            Note(format!("{version} at {}; the gateway is tested with {TESTED_VERSION}", executable.display())),
        )),
    }
    findings.push((
        "claude login",
        if config.rehearsal.enabled {
            Good("not needed in rehearsal".into())
        } else {
            match is_logged_in(&settings, &executable).await {
                Ok(true) => Good("logged in".into()),
                Ok(false) => Bad(format!(
                    "not logged in. Either run `CLAUDE_CONFIG_DIR={} {} /login`, or set ANTHROPIC_API_KEY or \
                     CLAUDE_CODE_OAUTH_TOKEN (from `claude setup-token`) for the gateway",
                    config.claude_code.config_dir.display(),
                    executable.display()
                )),
                Err(problem) => Bad(problem),
            }
        },
    ));
    findings
}

async fn claude_flow(settings: &Settings) -> Finding {
    let executable = match find_claude_flow(settings) {
        Ok(executable) => executable,
        Err(problem) => return Bad(problem),
    };
    match claude_flow_version(settings, &executable).await {
        Ok(version) if version.ends_with(claude_flow::TESTED_VERSION) => Good(format!("{version} at {}", executable.display())),
        Ok(version) => {
            let tested = claude_flow::TESTED_VERSION;
            Note(format!("{version} at {}; the gateway is tested with {tested}", executable.display()))
        }
        Err(problem) => Bad(problem),
    }
}

fn role_findings(roles: &role::Catalogue) -> Vec<Finding> {
    definitions("roles", &roles.iter().map(|(_, source)| source).collect::<Vec<_>>(), roles.problems())
}

fn workflow_findings(workflows: &workflow::Catalogue) -> Vec<Finding> {
    definitions("workflows", &workflows.iter().map(|(_, source)| source).collect::<Vec<_>>(), workflows.problems())
}

fn definitions(dir: &str, usable: &[DefinitionSource], problems: &[FileProblem]) -> Vec<Finding> {
    let own = usable.iter().filter(|source| **source == DefinitionSource::User).count();
    let there = Good(format!("{} usable, {own} of them of your own", usable.len()));
    let flaws = problems.iter().map(|FileProblem { file, flaw }| {
        Bad(format!("{dir}/{file}: {flaw}; what it defines is not available until this is mended"))
    });
    std::iter::once(there).chain(flaws).collect()
}

fn data_dir(config: &Config) -> Finding {
    let dir = &config.server.data_dir;
    // The nearest directory that exists decides whether the rest can be made.
    let existing = dir.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Bad(format!("{} is not a directory; choose another with --data-dir", existing.display()));
    }
    match rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Good(dir.display().to_string()),
        Err(error) => Bad(format!("{}: {error}; choose another with --data-dir", existing.display())),
    }
}

fn port(config: &Config) -> Finding {
    let bind = config.server.bind;
    match TcpListener::bind(bind) {
        Ok(_) if bind.ip().is_loopback() => Good(format!("{bind} is free")),
        Ok(_) => Note(format!("{bind} is free; it can be reached from other machines, protected by API keys only")),
        Err(error) => Bad(format!("{bind}: {error}; stop what listens there or choose another with --bind")),
    }
}

/// What `ChatGPT`'s importer thinks of the address, when one is set.
fn public_url(url: &str) -> Vec<Finding> {
    if url.is_empty() {
        return vec![];
    }
    let findings = lint_server(url);
    if findings.is_empty() {
        return vec![Good(url.to_owned())];
    }
    let finding = |found: gpt::Finding| {
        let text = format!("{}: {}. {} {}", found.found, found.rule.title, found.rule.reason, found.rule.fix);
        if found.is_error() { Bad(text) } else { Note(text) }
    };
    findings.into_iter().map(finding).collect()
}

async fn git(config: &Config) -> Finding {
    match run_command(&["git", "--version"], Path::new("/"), &config.agent_env, None, Duration::from_secs(10), 4096).await {
        Ok(output) if output.success() => Good(output.stdout_text()),
        Ok(output) => Bad(format!("`git --version` failed: {}", output.stderr_text())),
        Err(error) => Bad(format!("git was not found ({error}); install it, for example with `apt-get install git`")),
    }
}
