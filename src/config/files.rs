//! `[files]`: what callers send along, and links to what came of tasks.

use serde::{Deserialize, Serialize};

/// `[files]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Files {
    pub hosts: Vec<String>,
    pub link_seconds: u32,
}
