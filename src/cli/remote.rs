//! What the commands that ask a server have in common: the client, how answers are shown, pages, texts in pieces.

use super::{
    client::{Client, ClientError, ServerArgs},
    output::{complain, print, print_json, runtime},
};
use anyhow::Context;
use serde_json::Value;
use std::{io::Read, path::PathBuf, process::ExitCode};

/// Exit code of a refusal and of work that failed.
pub(super) const FAILED: u8 = 1;
/// Exit code when no server answers.
pub(super) const NO_SERVER: u8 = 3;
/// Exit code when Ctrl-C ended the waiting, as shells have it.
pub(super) const INTERRUPTED: u8 = 130;
/// Longest page the API gives.
const PAGE: usize = 200;

/// How the commands end, for their help.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or the work failed, 2 the command line cannot be understood, \
                                     3 no server answers, 130 waiting was ended by Ctrl-C (the work goes on).";

/// A command and the server it is for.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Asking<C: clap::Subcommand> {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(subcommand)]
    pub(super) command: C,
}

impl<C: clap::Subcommand> Asking<C> {
    pub(super) fn run(self, work: impl AsyncFnOnce(&Remote, C) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
        let Self { server, command } = self;
        run(&server, async |remote| work(remote, command).await)
    }
}

/// A server to ask.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) client: Client,
    /// Answers are printed as they come.
    pub(super) json: bool,
}

/// Does something with a server.
pub(super) fn run(
    arguments: &ServerArgs,
    work: impl AsyncFnOnce(&Remote) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let remote = Remote { client: Client::new(arguments)?, json: arguments.json };
    let done = runtime()?.block_on(work(&remote));
    if let (true, Err(error)) = (remote.json, &done)
        && let Some(ClientError::Refused(refusal)) = error.downcast_ref()
        && refusal.problem.is_object()
    {
        print_json(&refusal.problem);
    }
    done
}

/// The exit code of an error.
pub(super) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(ClientError::NoServer { .. }) => ExitCode::from(NO_SERVER),
        _ => ExitCode::from(FAILED),
    }
}

impl Remote {
    /// Prints an answer: as it came, or by `show`.
    pub(super) fn show(&self, answer: &Value, show: impl FnOnce(&Value)) -> ExitCode {
        if self.json {
            print_json(answer);
        } else {
            show(answer);
        }
        ExitCode::SUCCESS
    }

    /// Tells of something new: its id for scripts, what to do with it for people.
    pub(super) fn made(&self, answer: &Value, look: &str) -> ExitCode {
        let id = answer["id"].as_str().unwrap_or_default();
        self.show(answer, |_| {
            print(id);
            complain(&format!("look at it with `{look} {id}`"));
        })
    }

    /// The first `limit` items of a list, over as many pages as it takes, as one answer.
    pub(super) async fn list(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
        items: &str,
        limit: usize,
    ) -> anyhow::Result<Value> {
        let mut whole: Option<Value> = None;
        loop {
            let so_far = whole.as_ref().and_then(|whole| whole[items].as_array()).map_or(0, Vec::len);
            let mut asked = given(query);
            asked.push(("limit", (limit - so_far).clamp(1, PAGE).to_string()));
            if let Some(cursor) = whole.as_ref().and_then(|whole| whole["next_cursor"].as_str()) {
                asked.push(("cursor", cursor.to_owned()));
            }
            let mut page = self.client.get(path, &asked).await?;
            let new = page[items].as_array_mut().map(std::mem::take).unwrap_or_default();
            let was_empty = new.is_empty();
            let all = whole.as_mut().and_then(|whole| whole[items].as_array_mut()).map(std::mem::take);
            page[items] = all.unwrap_or_default().into_iter().chain(new).collect();
            let count = page[items].as_array().map_or(0, Vec::len);
            let is_last = page["next_cursor"].is_null() || was_empty || count >= limit;
            if is_last {
                return Ok(page);
            }
            whole = Some(page);
        }
    }

    /// A text that comes in pieces; `text` finds the piece in an answer.
    pub(super) async fn whole_text(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        piece: impl Fn(&Value) -> &Value,
    ) -> Result<String, ClientError> {
        let (mut text, mut after) = (String::new(), None);
        loop {
            let mut asked = query.to_vec();
            asked.extend(after.map(|after: i64| ("after", after.to_string())));
            let answer = self.client.get(path, &asked).await?;
            let file = piece(&answer);
            text.push_str(file["text"].as_str().unwrap_or_default());
            after = file["next_cursor"].as_i64();
            if after.is_none() {
                return Ok(text);
            }
        }
    }

    /// Says when a list goes on beyond what was asked for.
    pub(super) fn mention_more(answer: &Value) {
        if !answer["next_cursor"].is_null() {
            complain("there is more; see it with a higher --limit");
        }
    }

    /// Where a server of this machine keeps the files of runs.
    pub(super) fn outputs(&self, run: &str) -> Option<PathBuf> {
        self.client.local_data().map(|data| data.outputs().join(run)).filter(|dir| dir.is_dir())
    }
}

/// The parameters that were given.
pub(super) fn given<'a>(query: &[(&'a str, Option<String>)]) -> Vec<(&'a str, String)> {
    query.iter().filter_map(|(name, value)| Some((*name, value.clone()?))).collect()
}

/// A body without what was not given.
pub(super) fn body(mut fields: Value) -> Value {
    if let Value::Object(fields) = &mut fields {
        fields.retain(|_, value| !value.is_null());
    }
    fields
}

/// The text itself, or standard input for `-`.
pub(super) fn text(argument: String) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    Ok(text)
}

/// How much of a list to show.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Limit {
    /// Most to show
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Limit {
    pub(super) fn get(self) -> usize {
        self.limit as usize
    }
}
