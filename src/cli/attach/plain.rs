//! The transcript as plain text, for pipes and files: no colours, no control characters, lines of any length.

use super::{
    line::Line,
    session::{News, Session},
};
use crate::cli::output::complain;
use std::{
    io::{Write, stdout},
    pin::pin,
    process::ExitCode,
};
use tokio::sync::mpsc;

/// Prints what the feed tells until it ends, or nobody reads on.
pub(super) async fn show(feed: impl Future<Output = ()>, mut heard: mpsc::Receiver<News>) -> anyhow::Result<ExitCode> {
    let mut feed = pin!(feed);
    let mut session = Session::default();
    let mut is_over = false;
    loop {
        let news = tokio::select! {
            biased;
            news = heard.recv() => news,
            () = &mut feed, if !is_over => { is_over = true; continue }
        };
        let Some(news) = news else { return Ok(ExitCode::SUCCESS) };
        if let News::Failed(error) = news {
            return Err(error.into());
        }
        let is_about_us = matches!(news, News::Connected(_));
        let lines = session.take(news);
        if is_about_us {
            for line in lines {
                complain(&line.to_string());
            }
        } else if print(&lines).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print(lines: &[Line]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{}", line.to_string().trim_end()))?;
    out.flush()
}
