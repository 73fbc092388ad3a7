//! The REST API: one list of routes, thin handlers, one error format.

mod agents;
mod auth;
mod bounded;
mod caller;
mod claude_flow;
mod docs;
mod events;
mod extract;
mod files;
mod health;
mod limit;
mod meter;
mod monitoring;
mod once;
mod openapi;
mod problem;
mod proposals;
mod roles;
mod router;
mod serve;
mod span;
mod swarms;
mod tasks;
mod team;
mod workflows;

pub use caller::WayIn;
pub use openapi::{actions::openapi_actions, openapi};
pub use problem::Problem;
pub use router::{ApiSettings, router};
pub use serve::serve;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
