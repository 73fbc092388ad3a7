//! Git worktrees of agents that rest. Branches stay, and so does every worktree that holds anything no branch has.

use super::{Action, House, HousekeepingError, Item, What, at, size::disk_bytes};
use crate::{
    model::id::{AgentId, SwarmId, WorkflowRunId},
    process::{CommandOutput, lock, run_command},
    store::AgentRest,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

const GIT_TIMEOUT: Duration = Duration::from_mins(2);
/// Enough of git's output to say what is wrong.
const GIT_BYTES: usize = 4_096;
/// A worktree is made before its agent is on record; this is much longer than that takes.
const PREPARATION: TimeDelta = TimeDelta::hours(1);
/// As git's own automatic cleaning: a worktree of somebody else's may be on a disk that is not mounted right now.
const PRUNE: &str = "--expire=3.months.ago";

impl House<'_> {
    pub(super) async fn worktrees(&self, stray_runs: bool) -> Result<Vec<Item>, HousekeepingError> {
        let root = self.data.workspaces();
        let mut found = Vec::new();
        for (id, dir) in list(&root).map_err(at(&root))? {
            let rest = self.store.workspace_rest(&id).await?;
            found.push((id, dir, rest));
        }
        let store_fits = found.iter().any(|(_, _, rest)| rest.is_some());
        let (mut items, mut repositories) = (Vec::new(), BTreeSet::new());
        for (id, dir, rest) in found {
            let since = rest.map_or_else(|| made(&id), |rest| Some(rest.since));
            let mut action = match self.why_kept(since, rest, store_fits, stray_runs) {
                Some(why) => Action::Keep(why.to_owned()),
                None => match self.repository(&dir).await {
                    Err(why) => Action::Keep(why),
                    Ok(_) if self.mode.dry_run => Action::Remove,
                    Ok(repository) => {
                        repositories.insert(repository);
                        Action::Remove
                    }
                },
            };
            let measured = self.mode.measure_all || action == Action::Remove;
            let bytes = if measured { disk_bytes(&dir).await } else { None };
            if action == Action::Remove && !self.mode.dry_run {
                let _nobody_adds = self.no_new_worktrees().await?;
                if let Err(why) = self.remove(&dir).await {
                    action = Action::Failed(why);
                }
            }
            let age = since.map(|since| self.now - since);
            items.push(Item { what: What::Worktree, id, age, bytes, action });
        }
        let _nobody_adds = self.no_new_worktrees().await?;
        for repository in repositories {
            if let Err(problem) = self.git(&repository, &["worktree", "prune", PRUNE]).await {
                tracing::warn!(repository = %repository.display(), problem, "old worktrees cannot be forgotten");
            }
        }
        Ok(items)
    }

    /// Keeps the runner from adding worktrees while git removes some; see there.
    async fn no_new_worktrees(&self) -> Result<File, HousekeepingError> {
        let path = self.data.worktrees_lock();
        lock::wait(&path).await.map_err(at(&path))
    }

    /// Why it stays, as far as the store can tell.
    fn why_kept(
        &self,
        since: Option<DateTime<Utc>>,
        rest: Option<AgentRest>,
        store_fits: bool,
        stray_runs: bool,
    ) -> Option<&'static str> {
        let limit = self.limit(self.policy.worktrees_days);
        let older_than = |limit: DateTime<Utc>| since.is_some_and(|since| since < limit);
        match rest {
            Some(rest) if rest.status.is_live() => Some("its agent is at work"),
            Some(rest) if rest.open_processes > 0 => Some("the end of its agent's process is not stored yet"),
            Some(_) if older_than(limit) => None,
            Some(_) => Some("not old enough"),
            None if !store_fits => Some("the store knows no agent of this directory; are server.data_dir and store.url right?"),
            None if stray_runs => Some("the store does not know its agent, and a process it does not know runs"),
            None if older_than(limit.min(self.now - PREPARATION)) => None,
            None => Some("the store does not know its agent, and it is not old enough"),
        }
    }

    /// The repository of a worktree that holds nothing a branch does not have; otherwise why it stays.
    async fn repository(&self, dir: &Path) -> Result<PathBuf, String> {
        let places = self.git(dir, &["rev-parse", "--path-format=absolute", "--git-common-dir", "--git-dir"]).await?;
        let places = places.stdout_text();
        let Some((repository, own)) = places.split_once('\n').filter(|(repository, own)| repository != own) else {
            return Err("it is not a linked git worktree".to_owned());
        };
        // Git would refuse these two later; said now, a dry run tells the truth.
        if Path::new(own).join("locked").exists() {
            return Err("it is locked; `git worktree unlock` frees it".to_owned());
        }
        if dir.join(".gitmodules").exists() {
            return Err("it has submodules, which git does not remove".to_owned());
        }
        let status = ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"];
        if !self.git(dir, &status).await?.stdout.is_empty() {
            return Err("it has uncommitted work".to_owned());
        }
        if !self.git(dir, &["rev-list", "--max-count=1", "HEAD", "--not", "--branches"]).await?.stdout.is_empty() {
            return Err("it has commits that are on no branch".to_owned());
        }
        Ok(PathBuf::from(repository))
    }

    async fn remove(&self, dir: &Path) -> Result<(), String> {
        // Asked anew: the worktree is the one place where people may be at work without the gateway's knowing.
        let repository = self.repository(dir).await?;
        self.git(&repository, &["worktree", "remove", &dir.to_string_lossy()]).await.map(drop)
    }

    async fn git(&self, dir: &Path, arguments: &[&str]) -> Result<CommandOutput, String> {
        // Nothing the agent may have written into the configuration is started, and no setting hides its files.
        let mut argv = vec!["git", "--no-optional-locks", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
        argv.extend(["-c", "status.showUntrackedFiles=normal"]);
        argv.extend(arguments);
        let mut env = self.git_env.clone();
        env.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
        env.insert("LC_ALL".into(), "C".into());
        // A worktree that lost its `.git` file must not be taken for a part of a repository around the data directory.
        env.insert("GIT_CEILING_DIRECTORIES".into(), self.data.workspaces().to_string_lossy().into_owned());
        let output = run_command(&argv, dir, &env, None, GIT_TIMEOUT, GIT_BYTES)
            .await
            .map_err(|error| format!("git {}: {error}", arguments[0]))?;
        if output.success() {
            Ok(output)
        } else {
            let words = output.stderr_text();
            Err(format!("git {}: {}", arguments[0], words.lines().next().unwrap_or("failed without a word")))
        }
    }
}

/// Directories named after agents, or after what several of them share one for; oldest first.
fn list(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| uuid_of(name).is_some())
            && entry.file_type()?.is_dir()
        {
            found.push((name.to_owned(), entry.path()));
        }
    }
    found.sort_by_key(|(name, _)| uuid_of(name));
    Ok(found)
}

fn uuid_of(name: &str) -> Option<Uuid> {
    let of_agent = name.parse().map(AgentId::uuid);
    of_agent.or_else(|_| name.parse().map(WorkflowRunId::uuid)).or_else(|_| name.parse().map(SwarmId::uuid)).ok()
}

/// When a workspace whose agents the store does not know was made; its name says so.
fn made(name: &str) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = uuid_of(name)?.get_timestamp()?.to_unix();
    DateTime::from_timestamp(seconds.try_into().ok()?, nanoseconds)
}
