//! The mirror: how what claude-flow is told of a project stands.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// The mirror of one project, by its own account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MirrorStatus {
    /// The project.
    pub project: String,
    /// Whether a claude-flow server runs for it. It is started when there is something to tell.
    pub connected: bool,
    /// Swarms, agents, tasks and proposals that claude-flow was told of.
    pub mirrored: u64,
    /// When it was last told something.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mirrored_at: Option<DateTime<Utc>>,
    /// What went wrong last; when `connected`, it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_error_at: Option<DateTime<Utc>>,
}
