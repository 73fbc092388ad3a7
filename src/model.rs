//! The vocabulary: plain types and pure transition functions. Nothing here does I/O.

pub mod agent;
pub mod answer;
pub mod consensus;
pub mod event;
pub mod id;
pub mod inbox;
pub mod key;
pub mod limits;
pub mod mcp;
pub mod memory;
pub mod mirror;
pub mod pattern;
pub mod project;
pub mod proposal;
pub mod public_url;
pub mod quota;
pub mod role;
pub mod run;
pub mod runner;
pub mod swarm;
pub mod task;
pub mod team;
pub mod tool;
pub mod topology;
pub mod tunnel;
mod word;
pub mod workflow;
