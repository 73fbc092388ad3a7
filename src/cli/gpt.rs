//! `mas gpt`: checks documents against the rules of `ChatGPT`'s importer, and prints what to paste into the GPT builder.

mod source;
mod standing;

use super::{
    Common,
    openapi::DOCUMENTATION_URL,
    output::{complain, print},
};
use crate::{
    api,
    config::{Config, DataDir},
    gpt::{Document, Finding, RULES, Setup, Severity, lint, unreadable},
    model::public_url::{check_public_url, normal_public_url},
};
use anyhow::{Context, anyhow};
use serde_json::json;
use std::{io::ErrorKind, process::ExitCode};

/// Exit code of `mas gpt lint` for what is no `OpenAPI` document.
const UNREADABLE: u8 = 2;

#[derive(Debug, clap::Subcommand)]
pub(super) enum GptCommand {
    /// Check an `OpenAPI` document against all rules of ChatGPT's importer
    ///
    /// Exits with 0 when there are no errors (warnings may be there), with 1 when there are, with 2 when the document cannot be
    /// read.
    Lint {
        #[command(flatten)]
        common: Common,
        /// JSON or YAML: a file, `-` for standard input, or an http(s) URL (default: the actions document of this gateway)
        #[arg(value_name = "FILE|URL")]
        source: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print everything to paste into the GPT builder
    Setup {
        #[command(flatten)]
        common: Common,
        /// Where ChatGPT reaches this gateway (default: `server.public_url`, else that of the open tunnel)
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutputArgs {
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

pub(super) fn run(command: GptCommand) -> anyhow::Result<ExitCode> {
    match command {
        GptCommand::Lint { common, source, output } => {
            let (name, document) = match source {
                None => {
                    let url = public_url(None, &Config::load(&common.flags())?)?.unwrap_or_else(|| DOCUMENTATION_URL.into());
                    ("the actions document of this gateway".into(), Ok(Document::from(api::openapi_actions(&url))))
                }
                Some(source) => {
                    let document = source::read(&source);
                    (if source == "-" { "standard input".into() } else { source }, document)
                }
            };
            let document = match document {
                Ok(document) => document,
                Err(problem) => {
                    complain(&format!("error: {name}: {problem:#}"));
                    if output.is_json() {
                        report_json(&name, &[unreadable(&format!("{problem:#}"))], 1)?;
                    }
                    return Ok(ExitCode::from(UNREADABLE));
                }
            };
            let findings = lint(&document);
            let errors = findings.iter().filter(|finding| finding.is_error()).count();
            if output.is_json() {
                report_json(&name, &findings, errors)?;
            } else {
                report(&name, &findings, errors);
            }
            Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        GptCommand::Setup { common, url, output } => set_up(url, &Config::load(&common.flags())?, output),
    }
}

fn report_json(name: &str, findings: &[Finding], errors: usize) -> anyhow::Result<()> {
    let report = json!({ "document": name, "findings": findings, "errors": errors, "warnings": findings.len() - errors });
    print(&serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn report(name: &str, findings: &[Finding], errors: usize) {
    let warnings = findings.len() - errors;
    for Finding { rule, pointer, operation_id, found } in findings {
        let severity = if rule.severity == Severity::Error { "error" } else { "warning" };
        let operation = operation_id.as_ref().map_or(String::new(), |id| format!(" in {id}"));
        let place = if pointer.is_empty() { "(root)" } else { pointer };
        print(&format!("{severity}  {}{operation}: {}", rule.id, rule.title));
        print(&format!("  at     {place}\n  found  {found}\n  why    {}\n  fix    {}\n", rule.reason, rule.fix));
    }
    let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    print(&if findings.is_empty() {
        format!("{name}: nothing found by {} rules", RULES.len())
    } else {
        format!("{name}: {}, {}", counted(errors, "error"), counted(warnings, "warning"))
    });
}

/// Where `ChatGPT` reaches the gateway: as named, as configured, or as the open tunnel says.
fn public_url(named: Option<String>, config: &Config) -> anyhow::Result<Option<String>> {
    let file = DataDir(config.server.data_dir.clone()).public_url();
    let (origin, url) = if let Some(url) = named {
        ("--url".to_owned(), url)
    } else if !config.server.public_url.is_empty() {
        ("server.public_url".to_owned(), config.server.public_url.clone())
    } else {
        match std::fs::read_to_string(&file) {
            Ok(url) => (file.display().to_string(), url.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
    };
    check_public_url(&url).map_err(|problem| anyhow!("{origin}: {problem}"))?;
    Ok(Some(normal_public_url(&url)))
}

fn set_up(named: Option<String>, config: &Config, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let is_of_tunnel = named.is_none() && config.server.public_url.is_empty();
    let url = public_url(named, config)?;
    let data = DataDir(config.server.data_dir.clone());
    let standing = url.as_ref().filter(|_| is_of_tunnel).map(|url| standing::of_tunnel(&data, url)).transpose()?;
    let actions = api::openapi_actions(url.as_deref().unwrap_or(DOCUMENTATION_URL));
    let findings = lint(&Document::from(actions.clone()));
    let setup = Setup::new(&actions, url);
    print(&if output.is_json() { serde_json::to_string_pretty(&setup)? } else { setup.to_string() });
    for finding in &findings {
        complain(&format!("{}: {} ({}). {}", finding.rule.id, finding.rule.title, finding.found, finding.rule.fix));
    }
    if setup.public_url.is_none() {
        complain(&format!(
            "No public URL is known, and ChatGPT needs one that is https. Start the server with `mas serve --tunnel localtunnel` (or ngrok, \
             cloudflared) and call this again, or put a TLS proxy in front of {} and name its address: `mas gpt setup --url https://…` this \
             once, or `public_url` in [server] of mas.toml for good. An open tunnel writes its address to {}.",
            config.server.bind,
            data.public_url().display()
        ));
        return Ok(ExitCode::FAILURE);
    }
    if let Some(words) = standing.as_ref().and_then(|standing| standing.words.as_ref()) {
        complain(words);
    }
    // Else what was printed would not be imported, or not work.
    let is_fit = standing.is_none_or(|standing| standing.is_up) && !findings.iter().any(Finding::is_error);
    Ok(if is_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_actions_document_has_no_finding() {
        for url in [DOCUMENTATION_URL, "https://agents.my-company.dev", "https://a1b2.loca.lt/"] {
            let document = Document::from(api::openapi_actions(url));
            let findings = lint(&document);
            assert!(findings.is_empty(), "{}", serde_json::to_string_pretty(&findings).expect("JSON"));
            assert!(document.bytes < 1_000_000 && !document.value["paths"].as_object().expect("paths").is_empty());
        }
    }

    #[test]
    fn a_gateway_without_a_public_address_is_told_so() {
        let findings = lint(&Document::from(api::openapi_actions("http://127.0.0.1:3456")));
        assert_eq!(findings.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["server-local"]);
    }
}
