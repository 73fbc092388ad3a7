//! `mas attach`: a live look at one agent, and a line to talk to it. A client of the HTTP API like any other: leaving it changes
//! nothing for the agent.
//!
//! [`feed`] brings news from the server, [`session`] makes lines of them, and [`interactive`] or [`plain`] shows these.

mod command;
mod feed;
mod frame;
mod input;
mod interactive;
mod line;
mod link;
mod markdown;
mod painter;
mod plain;
mod render;
mod session;
mod status;
mod terminal;
mod tool;
mod view;

use super::{client::ServerArgs, output::runtime};
use crate::model::id::AgentId;
use anyhow::bail;
use feed::Feed;
use link::Link;
use std::{
    io::{IsTerminal, stdin, stdout},
    process::ExitCode,
};
use tokio::sync::mpsc;

/// News that may wait to be shown; beyond that the server's stream waits.
const NEWS: usize = 256;

#[derive(Debug, clap::Args)]
pub(super) struct AttachArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The agent's id
    agent: AgentId,
    /// How many of its last events to begin with
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    history: u32,
    /// Print what there is so far as plain text and end
    #[arg(long)]
    no_follow: bool,
}

pub(super) fn run(arguments: AttachArgs) -> anyhow::Result<ExitCode> {
    let AttachArgs { server, agent, history, no_follow } = arguments;
    if server.json {
        bail!("attach shows a conversation, not JSON; GET /events?agent_id={agent} has its events as JSON");
    }
    let link = Link::new(server, agent.to_string())?;
    runtime()?.block_on(async {
        let (news, heard) = mpsc::channel(NEWS);
        let feed = Feed::new(link.clone(), history, news.clone());
        if no_follow {
            drop(news);
            plain::show(feed.up_to_now(), heard).await
        } else if stdin().is_terminal() && stdout().is_terminal() {
            interactive::run(&link, feed, news, heard).await
        } else {
            drop(news);
            plain::show(feed.follow(), heard).await
        }
    })
}
