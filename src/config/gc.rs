//! `[gc]`: what is reclaimed, and when.

use super::{ConfigError, invalid};
use serde::{Deserialize, Serialize};

/// A century; more would leave the range of times.
const MOST_DAYS: u32 = 36_500;

/// `[gc]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Gc {
    pub interval_seconds: u64,
    pub process_dirs_days: u32,
    pub worktrees_days: u32,
    pub events_days: u32,
    pub files_days: u32,
    pub keep_bytes: u64,
}

impl Gc {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let days = [
            ("gc.process_dirs_days", self.process_dirs_days),
            ("gc.worktrees_days", self.worktrees_days),
            ("gc.events_days", self.events_days),
            ("gc.files_days", self.files_days),
        ];
        match days.iter().find(|(_, days)| *days > MOST_DAYS) {
            Some((setting, _)) => Err(invalid(setting, format!("must be at most {MOST_DAYS} days"))),
            None => Ok(()),
        }
    }
}
