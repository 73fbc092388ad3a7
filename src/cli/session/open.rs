//! What has not ended, of each kind.

use crate::cli::remote::Remote;
use futures::future::try_join_all;
use serde_json::Value;

/// A kind of thing that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Swarm,
    Run,
    Proposal,
    Task,
    Agent,
}

impl Thing {
    /// Where they are listed, and under which name.
    fn list(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Swarm => (&["swarm", "status"], "swarms"),
            Self::Run => (&["workflow-runs"], "runs"),
            Self::Proposal => (&["consensus", "status"], "proposals"),
            Self::Task => (&["tasks"], "tasks"),
            Self::Agent => (&["agents"], "agents"),
        }
    }

    /// Statuses of those that have not ended.
    fn open(self) -> &'static [&'static str] {
        match self {
            Self::Swarm => &["active"],
            Self::Run => &["running", "waiting"],
            Self::Proposal => &["open"],
            Self::Task => &["created", "assigned", "in_progress", "review", "revision"],
            Self::Agent => &["starting", "busy", "interrupting", "idle", "parked"],
        }
    }

    /// One or several of them in words.
    pub(super) fn counted(self, count: usize) -> String {
        let word = match self {
            Self::Swarm => "swarm",
            Self::Run => "workflow run",
            Self::Proposal => "proposal",
            Self::Task => "task",
            Self::Agent => "agent",
        };
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    }

    /// Those that have not ended, at most `limit` of each status, and whether there are more.
    pub(super) async fn find(self, remote: &Remote, limit: usize) -> anyhow::Result<(Vec<Value>, bool)> {
        let (path, items) = self.list();
        let pages = self.open().iter().map(async |status| {
            let query = [("status", Some((*status).to_owned()))];
            remote.list(path, &query, items, limit).await
        });
        let (mut found, mut more) = (vec![], false);
        for mut page in try_join_all(pages).await? {
            more |= !page["next_cursor"].is_null();
            found.extend(page[items].as_array_mut().map(std::mem::take).unwrap_or_default());
        }
        Ok((found, more))
    }
}
