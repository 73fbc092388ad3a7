//! The vocabulary: plain types and pure transition functions. Nothing here does I/O.

pub mod agent;
pub mod event;
pub mod id;
pub mod key;
pub mod limits;
pub mod pattern;
pub mod project;
pub mod quota;
pub mod run;
pub mod runner;
pub mod task;
pub mod tunnel;
mod word;
