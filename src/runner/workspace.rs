//! Where an agent works: a git worktree of the project when it is a repository, the project's directory otherwise.

use crate::{
    model::{id::AgentId, limits::DIFF_BYTES, project::Project, run::Changes},
    process::{CommandOutput, run_command},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

const GIT_TIMEOUT: Duration = Duration::from_mins(2);

/// A prepared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workspace {
    /// Where the CLI runs.
    pub(super) dir: PathBuf,
    /// Branch of the worktree.
    pub(super) branch: Option<String>,
    /// Commit the worktree started from.
    pub(super) base_commit: Option<String>,
}

/// Runs git with the agents' environment.
pub(super) struct Git<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
}

impl Git<'_> {
    async fn run(&self, dir: &Path, arguments: &[&str]) -> Result<CommandOutput, String> {
        // No hooks and no signing: nobody is there to answer, and the agent's work must not start programs.
        let mut argv = vec!["git", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false"];
        argv.extend(arguments);
        let mut env = self.env.clone();
        env.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
        env.insert("LC_ALL".into(), "C".into());
        run_command(&argv, dir, &env, None, GIT_TIMEOUT, DIFF_BYTES)
            .await
            .map_err(|error| format!("git {}: {error}", arguments[0]))
    }

    async fn must(&self, dir: &Path, arguments: &[&str]) -> Result<CommandOutput, String> {
        let output = self.run(dir, arguments).await?;
        if output.success() { Ok(output) } else { Err(format!("git {}: {}", arguments[0], output.stderr_text())) }
    }

    /// The repository's commit to start from and the project's place in it; `None` without repository or commit.
    async fn head(&self, dir: &Path) -> Option<(String, String)> {
        // Saves starting git where there is plainly nothing for it.
        if !dir.ancestors().any(|ancestor| ancestor.join(".git").exists()) {
            return None;
        }
        let prefix = self.run(dir, &["rev-parse", "--show-prefix"]).await.ok().filter(CommandOutput::success)?;
        let commit = self.run(dir, &["rev-parse", "--verify", "HEAD^{commit}"]).await.ok().filter(CommandOutput::success)?;
        Some((commit.stdout_text(), prefix.stdout_text()))
    }

    /// Makes the workspace of a new agent. Call it for one agent of a repository at a time.
    pub(super) async fn prepare(&self, project: &Project, agent: AgentId, root: &Path) -> Result<Workspace, String> {
        tokio::fs::create_dir_all(&project.path)
            .await
            .map_err(|error| format!("the directory of project `{}` cannot be made: {error}", project.name))?;
        let Some((base_commit, prefix)) = self.head(&project.path).await else {
            return Ok(Workspace { dir: project.path.clone(), branch: None, base_commit: None });
        };
        tokio::fs::create_dir_all(root).await.map_err(|error| format!("{}: {error}", root.display()))?;
        let dir = root.join(agent.to_string());
        let branch = format!("mas/{agent}");
        self.must(&project.path, &["worktree", "add", "--quiet", "-b", &branch, &dir.to_string_lossy(), &base_commit]).await?;
        Ok(Workspace { dir: dir.join(prefix), branch: Some(branch), base_commit: Some(base_commit) })
    }

    /// Commits what the agent left in its worktree and measures it. `None` outside of a worktree.
    pub(super) async fn collect(&self, workspace: &Workspace, title: &str) -> Result<Option<Changes>, String> {
        let (Some(branch), Some(base)) = (&workspace.branch, &workspace.base_commit) else { return Ok(None) };
        let dir = &workspace.dir;
        let status = self.must(dir, &["status", "--porcelain"]).await?;
        if !status.stdout.is_empty() {
            self.must(dir, &["add", "--all", ":/"]).await?;
            let identity = ["-c", "user.name=mas-gateway", "-c", "user.email=mas-gateway@localhost"];
            let mut commit = identity.to_vec();
            commit.extend(["commit", "--quiet", "--no-verify", "-m", title]);
            let output = self.run(dir, &commit).await?;
            if !output.success() {
                return Err(format!("git commit: {}", output.stderr_text()));
            }
        }
        let numbers = self.must(dir, &["diff", "--numstat", "--no-renames", base, "HEAD"]).await?;
        let diff = self.must(dir, &["diff", "--no-color", "--no-ext-diff", base, "HEAD"]).await?;
        let mut changes = Changes {
            branch: branch.clone(),
            base_commit: base.clone(),
            diff: String::from_utf8_lossy(&diff.stdout).into_owned(),
            diff_truncated: diff.truncated,
            ..Changes::default()
        };
        for line in numbers.stdout_text().lines() {
            // Binary files have `-` instead of numbers.
            let mut columns = line.split('\t').map(|column| column.parse::<u32>().unwrap_or(0));
            changes.files_changed += 1;
            changes.insertions += columns.next().unwrap_or(0);
            changes.deletions += columns.next().unwrap_or(0);
        }
        Ok(Some(changes))
    }
}
