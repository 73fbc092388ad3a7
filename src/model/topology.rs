//! What a topology means, as pure functions of the topology and the agents.

pub mod build;
pub mod links;
