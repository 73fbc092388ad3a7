//! `mas-gateway` runs real CLI coding agents under supervision, behind an authenticated REST API.
//!
//! This is the map: the modules in dependency order, and where the main flows run. ARCHITECTURE.md tells more.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the vocabulary: plain types, pure transitions, no I/O |
//! | [`definitions`] | reads and follows the files of roles and workflows |
//! | [`config`], [`telemetry`], [`shutdown`] | settings, logs and the way to a tracing collector, ending in order |
//! | [`trace`] | spans from a request to its runs, across the store |
//! | [`store`] | the truth: `SQLite` or `PostgreSQL`, one SQL text per query |
//! | [`bus`] | wake-ups; a notification is a hint to read the store |
//! | [`process`] | the only place that starts processes: shim, files, containment |
//! | [`adapter`] | what each agent CLI speaks; pure |
//! | [`runner`] | claims tasks, one actor per agent, recovery |
//! | [`orchestrator`] | runs of workflows and proposals: asks agents for turns, by pure rules |
//! | [`housekeeping`] | reclaims what finished work left; backup and restore |
//! | [`app`] | the operations, the only way in for every front door |
//! | [`api`] | REST: routes, authentication, limits, problems, streams, `OpenAPI` |
//! | [`rehearsal`] | the scripted loopback model |
//! | [`gpt`] | the rules of `ChatGPT`'s importer, a checker for any document, the GPT builder's sheet; pure |
//! | [`tunnel`] | the way in from outside: a tunnel client, its public URL, the look at ourselves through it |
//! | [`mirror`] | shows swarms, agents, tasks and proposals in claude-flow's records of each project |
//! | [`cli`] | the command line and the composition root |
//!
//! * A task: `api::tasks` → `app::tasks` → `store::tasks` → bus → `runner::provision` → `runner::actor`.
//! * A line of output: shim → file → `process::Tail` → `adapter` → `runner::machine` → `store::events` → bus → SSE, `WebSocket`.
//! * A message: `app::agents::message` → `store::insert` → bus → `runner::actor::orders`, or `runner` when no process waits.
//! * A tool of a team: `adapter::mcp` → `runner::machine` → `runner::tools` → `store::team`, with the answer in one transaction.
//! * A stop: `app::tasks` → store, bus → `runner::actor` → `runner::machine` → stdin, then the shim.
//! * A restart: `runner::recover` → `process::ProcessDir::inspect` → `runner::actor` at the stored offset.

pub mod adapter;
pub mod api;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod definitions;
pub mod gpt;
pub mod housekeeping;
pub mod mirror;
pub mod model;
pub mod orchestrator;
pub mod process;
pub mod rehearsal;
pub mod runner;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod trace;
pub mod tunnel;
