//! map
pub mod adapter;
pub mod config;
pub mod model;
