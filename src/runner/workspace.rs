//! Where an agent works: a git worktree of the project when it is a repository, the project's directory otherwise.

use crate::{
    model::{agent::Agent, limits::DIFF_BYTES, project::Project, run::Changes},
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
    /// What agents inherit, and whatever else git should see.
    pub(super) env: BTreeMap<String, String>,
    /// The data directory: a repository around it has nothing to do with what is inside.
    pub(super) data: &'a Path,
}

impl Git<'_> {
    async fn run(&self, dir: &Path, arguments: &[&str], input: Option<&str>) -> Result<CommandOutput, String> {
        // No hooks, monitors and signing: nobody is there to answer, and what an agent left in the configuration
        // should not start programs.
        let mut argv = vec!["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgsign=false"];
        argv.extend(arguments);
        let mut env = self.env.clone();
        env.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
        env.insert("GIT_CEILING_DIRECTORIES".into(), self.data.to_string_lossy().into_owned());
        env.insert("LC_ALL".into(), "C".into());
        let output = run_command(&argv, dir, &env, input, GIT_TIMEOUT, DIFF_BYTES).await;
        output.map_err(|error| format!("git {}: {error}", arguments[0]))
    }

    async fn must(&self, dir: &Path, arguments: &[&str]) -> Result<CommandOutput, String> {
        let output = self.run(dir, arguments, None).await?;
        if output.success() { Ok(output) } else { Err(format!("git {}: {}", arguments[0], output.stderr_text())) }
    }

    /// Whether `dir` is in a repository, told without git: when git is missing or refuses, that must not look like
    /// there is none, or the agent would work in somebody's checkout.
    fn is_in_repository(&self, dir: &Path) -> bool {
        dir.ancestors().take_while(|ancestor| *ancestor != self.data).any(|ancestor| ancestor.join(".git").exists())
    }

    /// The repository's commit to start from and the project's place in it; `None` without repository or commit.
    async fn head(&self, dir: &Path) -> Result<Option<(String, String)>, String> {
        if !self.is_in_repository(dir) {
            return Ok(None);
        }
        let prefix = self.must(dir, &["rev-parse", "--show-prefix"]).await.map_err(|problem| {
            format!(
                "{problem}. The project is in a git repository that git does not open; install git, or allow the directory \
                 with `git config --global --add safe.directory` for the gateway's user"
            )
        })?;
        let commit = self.run(dir, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], None).await?;
        Ok(commit.success().then(|| (commit.stdout_text(), prefix.stdout_text())))
    }

    /// Makes the workspace of a new agent, or finds the one it shares. Call it for one agent of a repository at a time.
    /// `from`: the branch to start from instead of the project's commit.
    pub(super) async fn prepare(
        &self,
        project: &Project,
        agent: &Agent,
        root: &Path,
        from: Option<&str>,
    ) -> Result<Workspace, String> {
        let path = &project.path;
        let make = |dir: PathBuf| async move {
            tokio::fs::create_dir_all(&dir).await.map_err(|error| format!("{} cannot be made: {error}", dir.display()))
        };
        if path.starts_with(self.data) {
            make(path.clone()).await?;
        } else if !path.is_dir() {
            return Err(format!("the directory of the project `{}` is gone: {}", project.name, path.display()));
        }
        let Some((mut base_commit, prefix)) = self.head(path).await? else {
            return Ok(Workspace { dir: path.clone(), branch: None, base_commit: None });
        };
        if let Some(branch) = from {
            base_commit = self.must(path, &["rev-parse", "--verify", &format!("refs/heads/{branch}")]).await?.stdout_text();
        }
        make(root.to_owned()).await?;
        let name = name_of(agent);
        let (worktree, branch) = (root.join(&name), format!("mas/{name}"));
        // What a shared branch started from: whoever comes later measures changes from there, too.
        let started_from = format!("branch.{branch}.masBase");
        let known = self.run(path, &["config", "--get", &started_from], None).await?;
        if agent.workspace_name.is_some() && known.success() {
            base_commit = known.stdout_text();
            if !worktree.is_dir() {
                self.must(path, &["worktree", "prune"]).await?;
                self.must(path, &["worktree", "add", "--quiet", &worktree.to_string_lossy(), &branch]).await?;
            }
        } else {
            self.must(path, &["worktree", "add", "--quiet", "-b", &branch, &worktree.to_string_lossy(), &base_commit]).await?;
            if agent.workspace_name.is_some() {
                self.must(path, &["config", &started_from, &base_commit]).await?;
            }
        }
        let dir = worktree.join(prefix);
        // A project that is an untracked part of its repository is not in the worktree.
        make(dir.clone()).await?;
        Ok(Workspace { dir, branch: Some(branch), base_commit: Some(base_commit) })
    }

    /// Makes the worktree of an agent again that was reclaimed while it rested; its branch has its work. Call it for one
    /// agent of a repository at a time.
    pub(super) async fn restore(&self, project: &Project, agent: &Agent, branch: &str, root: &Path) -> Result<Workspace, String> {
        let path = &project.path;
        let Some((_, prefix)) = self.head(path).await? else {
            return Err(format!("the project `{}` is no longer a git repository; the agent's work was there", project.name));
        };
        tokio::fs::create_dir_all(root).await.map_err(|error| format!("{} cannot be made: {error}", root.display()))?;
        let worktree = root.join(name_of(agent));
        // Another one that shares it may have been faster.
        if !worktree.is_dir() {
            self.must(path, &["worktree", "prune"]).await?;
            self.must(path, &["worktree", "add", "--quiet", &worktree.to_string_lossy(), branch]).await?;
        }
        let dir = worktree.join(prefix);
        tokio::fs::create_dir_all(&dir).await.map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
        Ok(Workspace { dir, branch: Some(branch.to_owned()), base_commit: None })
    }

    /// Commits what an agent left in its worktree and measures it. The words say what could not be committed.
    pub(super) async fn collect(
        &self,
        worktree: &Path,
        branch: &str,
        base: &str,
        title: &str,
    ) -> Result<(Changes, Option<String>), String> {
        let mut problem = None;
        let status = self.must(worktree, &["status", "--porcelain", "--untracked-files=all"]).await?;
        if !status.stdout.is_empty() {
            let added = self.run(worktree, &["add", "--all", "--ignore-errors"], None).await?;
            if !added.success() {
                problem = Some(format!("git add: {}", added.stderr_text()));
            }
            let staged = self.run(worktree, &["diff", "--cached", "--quiet"], None).await?;
            if !staged.success() {
                let identity = ["-c", "user.name=mas-gateway", "-c", "user.email=mas-gateway@localhost"];
                let commit = [&identity[..], &["commit", "--quiet", "--no-verify", "--cleanup=verbatim", "-F", "-"]].concat();
                let output = self.run(worktree, &commit, Some(title)).await?;
                if !output.success() {
                    return Err(format!("git commit: {}", output.stderr_text()));
                }
            }
        }
        let numbers = self.must(worktree, &["diff", "--shortstat", "--no-renames", base, "HEAD"]).await?;
        let diff = self.must(worktree, &["diff", "--no-color", "--no-ext-diff", "--no-textconv", base, "HEAD"]).await?;
        let [files_changed, insertions, deletions] = parse_shortstat(&numbers.stdout_text());
        let changes = Changes {
            branch: branch.to_owned(),
            base_commit: base.to_owned(),
            files_changed,
            insertions,
            deletions,
            diff: String::from_utf8_lossy(&diff.stdout).into_owned(),
            diff_truncated: diff.truncated,
        };
        Ok((changes, problem))
    }
}

/// The name of the agent's worktree: its own, or that of what it shares one with others for.
pub(super) fn name_of(agent: &Agent) -> String {
    agent.workspace_name.clone().unwrap_or_else(|| agent.id.to_string())
}

/// Files, insertions and deletions of ` 3 files changed, 10 insertions(+), 2 deletions(-)`; what is not named is 0.
fn parse_shortstat(line: &str) -> [u32; 3] {
    ["file", "insertion", "deletion"].map(|unit| {
        let part = line.split(',').map(str::trim).find(|part| part.split(' ').nth(1).is_some_and(|word| word.starts_with(unit)));
        part.and_then(|part| part.split(' ').next()?.parse().ok()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortstat_in_all_its_forms() {
        for (line, expected) in [
            ("3 files changed, 10 insertions(+), 2 deletions(-)", [3, 10, 2]),
            ("1 file changed, 1 insertion(+)", [1, 1, 0]),
            ("1 file changed, 4 deletions(-)", [1, 0, 4]),
            ("2 files changed, 0 insertions(+), 0 deletions(-)", [2, 0, 0]),
            ("", [0, 0, 0]),
        ] {
            assert_eq!(parse_shortstat(line), expected, "{line}");
        }
    }
}
