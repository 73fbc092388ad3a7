//! The operations: the only way in for every front door (REST, MCP, CLI). One file per resource.

pub mod agents;
mod answers;
pub mod artifacts;
mod checks;
pub mod claude_flow;
pub mod error;
pub mod events;
mod files;
pub mod health;
pub mod keys;
pub mod memory;
mod meters;
mod money;
pub mod proposals;
pub mod report;
mod responses;
pub mod roles;
pub mod size;
pub mod sparc;
pub mod swarms;
pub mod tasks;
pub mod team;
mod turns;
mod wait;
pub mod workflows;

use crate::{
    bus::Bus,
    model::{
        current::Current,
        key::{Principal, Scope},
        mcp::McpServers,
        project::Project,
        quota::KeyLimits,
        role,
        run::Provenance,
        workflow,
    },
    store::{Quota, Store},
};
use artifacts::LinkSecret;
pub use checks::{check_idempotency_key, request_hash};
use chrono::{DateTime, Timelike, Utc};
use error::AppError;
use responses::Responses;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;
use turns::Turns;
use uuid::Uuid;
pub use wait::with_waits;

/// What the operations need to know from the configuration.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// Projects tasks may name, `default` included.
    pub projects: BTreeMap<String, Project>,
    /// Models tasks may ask for; a trailing `*` matches any ending.
    pub models: Vec<String>,
    /// What everybody together may use.
    pub limits: KeyLimits,
    /// What a key may use that has no limits of its own.
    pub key_limits: KeyLimits,
    /// Longest JSON response, in characters.
    pub response_chars: usize,
    /// Seconds a task may run when it names no limit.
    pub task_timeout_seconds: u32,
    /// Seconds a link to a file works.
    pub link_seconds: u32,
    /// Hosts files may be fetched from; a leading `*.` stands for any subdomain.
    pub file_hosts: Vec<String>,
    /// Whether the backend claude-flow is set up.
    pub has_claude_flow: bool,
    /// MCP servers that projects and roles may attach to their agents.
    pub mcp_servers: McpServers,
    /// The roles agents can have.
    pub roles: Current<role::Catalogue>,
    /// The workflows that can be run.
    pub workflows: Current<workflow::Catalogue>,
    /// Where everything of the gateway is stored.
    pub data_dir: PathBuf,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
}

/// A handle on the operations; clones share everything.
#[derive(Clone)]
pub struct App {
    store: Store,
    bus: Bus,
    settings: Arc<AppSettings>,
    stop: CancellationToken,
    started: Instant,
    link_secret: LinkSecret,
    instance: Uuid,
    responses: Arc<Responses>,
    turns: Arc<Turns>,
}

impl App {
    /// Puts the operations together. `stop` ends waits and streams at shutdown.
    pub fn new(store: Store, bus: Bus, settings: AppSettings, stop: CancellationToken) -> Self {
        let link_secret = LinkSecret::random();
        let responses = Arc::new(Responses::new(now()));
        let (started, instance) = (Instant::now(), Uuid::new_v4());
        Self { store, bus, settings: Arc::new(settings), stop, started, link_secret, instance, responses, turns: Arc::default() }
    }

    /// A random value of this run, by which the gateway recognises its own answers from outside.
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// Where the tunnel makes the gateway reachable.
    pub fn tunnel_url(&self) -> Option<String> {
        self.bus.tunnel_status()?.url
    }
}

impl AppSettings {
    /// Characters the items of a page may take, so that its other fields fit as well.
    fn page_chars(&self) -> usize {
        self.response_chars - 1_000
    }

    /// The limits on what the caller makes.
    fn quota(&self, who: &Principal) -> Quota {
        Quota { key_id: Some(who.key_id), key: who.limits.or(self.key_limits), gateway: self.limits, keeps: None }
    }
}

/// Refuses a caller whose key lacks `needed`. `operate` includes `read`, `admin` includes everything.
pub fn authorise(who: &Principal, needed: Scope) -> Result<(), AppError> {
    if who.allows(needed) || (needed == Scope::Read && who.allows(Scope::Operate)) {
        Ok(())
    } else {
        Err(AppError::InsufficientScope { needed })
    }
}

/// The time, cut to what every database keeps.
fn now() -> DateTime<Utc> {
    let now = Utc::now();
    now.with_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap_or(now)
}

/// Runs a piece of work to its end even when the caller goes away: a front door drops its handlers when a
/// client disconnects, and a half-done write or a cancelled transaction must not be the result.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T, AppError>> + Send + 'static) -> Result<T, AppError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(AppError::StoreUnavailable("the server is shutting down".into())),
        },
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::KeyId;

    #[test]
    fn operate_includes_read_but_not_the_other_way_round() {
        let with = |scope| Principal {
            key_id: KeyId::generate(),
            user: "ann".into(),
            scopes: vec![scope],
            limits: KeyLimits::default(),
        };
        assert!(authorise(&with(Scope::Operate), Scope::Read).is_ok());
        assert!(authorise(&with(Scope::Admin), Scope::Operate).is_ok());
        let error = authorise(&with(Scope::Read), Scope::Operate).expect_err("read may not change anything");
        assert_eq!(error, AppError::InsufficientScope { needed: Scope::Operate });
        assert!(authorise(&with(Scope::Approve), Scope::Read).is_err());
    }
}
