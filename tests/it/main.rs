//! The integration suite: the real binary over HTTP, the real Claude Code CLI against the rehearsal model.
//! Runs on SQLite, or on PostgreSQL when `MAS_TEST_POSTGRES_URL` names a server.

#![expect(clippy::disallowed_methods, reason = "tests start servers and read their own environment")]
#![expect(clippy::print_stderr, reason = "a failing test shows the log of its server")]

mod agents;
mod architecture;
mod attach;
mod auth;
mod chatgpt;
mod claude_flow;
mod cli;
mod clients;
mod commands;
mod consensus;
mod deploy;
mod events;
mod failures;
mod faults;
mod files;
mod gpt;
mod housekeeping;
mod kills;
mod limits;
mod monitoring;
mod process;
mod recovery;
mod roles;
mod store;
mod support;
mod swarms;
mod tasks;
mod team;
mod traces;
mod tunnel;
mod validation;
mod workflows;
