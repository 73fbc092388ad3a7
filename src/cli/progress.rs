//! Waiting for work with live progress: a line for each change, a spinner where somebody looks.

mod kind;

pub(super) use kind::Kind;

use super::{
    client::ClientError,
    output::{complain, harmless, print, print_json},
    remote::{FAILED, INTERRUPTED, Remote},
    show::{line, span, usd},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    fmt::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long one look waits for the end, in seconds: short at first, so that short work is told of in detail.
const LOOKS: [u32; 5] = [1, 1, 2, 3, 5];
/// A server that is started again within this time is not missed.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until the work has ended, prints what came of it, and says whether it succeeded.
pub(super) async fn wait(remote: &Remote, kind: Kind, id: &str) -> anyhow::Result<ExitCode> {
    let ended = watch(remote, kind, id).await?;
    Ok(ended.map_or(ExitCode::from(INTERRUPTED), |ended| conclude(remote, kind, &ended, kind.result(&ended))))
}

/// Waits until the work has ended. Ctrl-C leaves the work running and gives nothing.
pub(super) async fn watch(remote: &Remote, kind: Kind, id: &str) -> anyhow::Result<Option<Value>> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let ended = tokio::select! {
        ended = follow(remote, kind, id, &bar) => ended.map(Some),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(None)
        }
    };
    bar.finish_and_clear();
    if let Ok(None) = ended {
        complain(&format!("{id} goes on without you; {}", kind.again(id)));
    }
    Ok(ended?)
}

/// Tells of every change until there are no more.
async fn follow(remote: &Remote, kind: Kind, id: &str, bar: &ProgressBar) -> Result<Value, ClientError> {
    let (mut told, mut looks, mut lost): (_, _, Option<Instant>) = (kind::Told::default(), LOOKS.into_iter(), None);
    loop {
        let seconds = looks.next().unwrap_or(LOOKS[LOOKS.len() - 1]);
        let seen = match remote.client.get(&kind.path(id), &[("wait_seconds", seconds.to_string())]).await {
            Ok(seen) => seen,
            Err(error @ ClientError::NoServer { .. }) if !told.is_empty() => {
                if lost.is_none() {
                    bar.suspend(|| complain("the server does not answer; trying again"));
                }
                if lost.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        lost = None;
        for news in kind.news(&seen, &mut told) {
            bar.suspend(|| complain(&news));
        }
        bar.set_message(line(&kind.now(&seen)));
        if !kind.is_open(&seen) {
            return Ok(seen);
        }
    }
}

/// Prints what came of work that has ended: the text to stdout, the rest to stderr.
pub(super) fn conclude(remote: &Remote, kind: Kind, ended: &Value, text: Option<String>) -> ExitCode {
    if remote.json {
        print_json(ended);
    } else {
        if let Some(result) = text {
            print(harmless(&result).trim_end());
        }
        complain(&summary(kind, ended));
        for hint in kind.hints(remote, ended) {
            complain(&hint);
        }
    }
    if kind.succeeded(ended) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn summary(kind: Kind, ended: &Value) -> String {
    let word = |name: &str| ended[name].as_str().map(line).unwrap_or_default();
    let mut words = format!("{} {}", word("id"), word("status"));
    if let Some(why) = kind.why(ended) {
        let _ = write!(words, ": {why}");
    }
    if let Some(seconds) = kind::seconds(ended) {
        let _ = write!(words, " after {}", span(seconds));
    }
    if !ended["cost_usd"].is_null() {
        let unpaid = if ended["provenance"] == "rehearsal" { " (rehearsal, paid by nobody)" } else { "" };
        let _ = write!(words, ", {}{unpaid}", usd(&ended["cost_usd"]));
    }
    words
}
