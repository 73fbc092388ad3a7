//! Reads what users define by files: roles and workflows in directories of theirs, beside the shipped ones. Follows the files
//! while the server runs.

use crate::model::{
    current::Current,
    limits::ROLE_BYTES,
    role,
    workflow::{
        self,
        file::{FILE_BYTES, FileFlaw, FileProblem},
    },
};
use std::{
    fs::File,
    io::{Error, ErrorKind, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// How often the directories are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Where definitions come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Directory of `<role>.md`.
    pub roles: PathBuf,
    /// Directory of `.yaml` and `.yml`.
    pub workflows: PathBuf,
    /// The models a role may have, and the one of roles that name none of these; see [`role::Catalogue::shipped`].
    pub models: Vec<String>,
    /// The model for all others.
    pub default_model: Option<String>,
    /// The MCP servers that are registered.
    pub mcp_servers: Vec<String>,
}

impl Sources {
    /// The shipped roles and the user's. What is wrong with a file is kept for whoever asks; the other roles are there all the
    /// same.
    pub fn load_roles(&self) -> role::Catalogue {
        let mut roles = role::Catalogue::shipped(self.models.clone(), self.default_model.clone());
        for (file, text) in texts(&self.roles, &["md"], ROLE_BYTES) {
            match text {
                Ok(text) => roles.add(&file, &text),
                Err(flaw) => roles.refuse(&file, flaw),
            }
        }
        roles
    }

    /// The shipped workflows and the user's, which are done in `roles`.
    pub fn load_workflows(&self, roles: &role::Catalogue) -> workflow::Catalogue {
        let mut workflows = workflow::Catalogue::shipped(roles);
        for (file, text) in texts(&self.workflows, &["yaml", "yml"], FILE_BYTES) {
            match text {
                Ok(text) => workflows.add(&file, &text, roles),
                Err(flaw) => workflows.refuse(&file, flaw),
            }
        }
        workflows
    }

    /// What roles name that is not there, in words.
    pub fn unregistered(&self, roles: &role::Catalogue) -> Vec<String> {
        let is_known = |name: &str| self.mcp_servers.iter().any(|known| known == name);
        roles.unregistered(&is_known).map(|(role, words)| format!("role `{}`: {words}", role.name)).collect()
    }

    /// Says in the log what cannot be used.
    pub fn report(&self, roles: &role::Catalogue, workflows: &workflow::Catalogue) {
        for problem in self.unregistered(roles) {
            tracing::warn!(problem, "a role is in force otherwise than its file says");
        }
        let all = [("role", &self.roles, roles.problems()), ("workflow", &self.workflows, workflows.problems())];
        for (kind, dir, problems) in all {
            for FileProblem { file, flaw } in problems {
                let line = flaw.line.map(|line| format!(":{line}")).unwrap_or_default();
                let place = format!("{}{line}", dir.join(file).display());
                tracing::error!(place, problem = flaw.words, "the {kind} is not available until its file is mended");
            }
        }
    }

    /// Puts in force what the files say whenever they have changed, until `stop`.
    pub async fn follow(self, roles: Current<role::Catalogue>, workflows: Current<workflow::Catalogue>, stop: CancellationToken) {
        let mut in_force = self.marks().await;
        let mut seen = in_force.clone();
        let mut tick = tokio::time::interval(POLL);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let now = self.marks().await;
            // A file that is being written is left alone until it has been the same for a while.
            if now == seen && now != in_force {
                let sources = self.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let roles = sources.load_roles();
                    let workflows = sources.load_workflows(&roles);
                    sources.report(&roles, &workflows);
                    (roles, workflows)
                });
                let Ok((new_roles, new_workflows)) = read.await else { continue };
                tracing::info!(
                    roles = new_roles.iter().count(),
                    workflows = new_workflows.iter().count(),
                    "files of roles or workflows have changed, and are in force"
                );
                roles.replace(new_roles);
                workflows.replace(new_workflows);
                in_force.clone_from(&now);
            }
            seen = now;
        }
    }

    async fn marks(&self) -> Vec<Mark> {
        let dirs = [self.roles.clone(), self.workflows.clone()];
        let read = tokio::task::spawn_blocking(move || dirs.iter().flat_map(|dir| marks(dir)).collect());
        read.await.unwrap_or_default()
    }
}

/// What tells that a file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

fn marks(dir: &Path) -> Vec<Mark> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut marks: Vec<_> = entries
        .map(|entry| {
            // Of what a link leads to.
            let found = std::fs::metadata(entry.path()).ok();
            Mark {
                path: entry.path(),
                bytes: found.as_ref().map_or(0, std::fs::Metadata::len),
                modified: found.and_then(|found| found.modified().ok()),
            }
        })
        .collect();
    marks.sort_by(|one, other| one.path.cmp(&other.path));
    marks
}

/// The texts of the files in `dir` with one of the `endings`, by name.
fn texts(dir: &Path, endings: &[&str], most_bytes: usize) -> Vec<(String, Result<String, FileFlaw>)> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return vec![],
        Err(error) => {
            return vec![(String::new(), Err(FileFlaw::whole(format!("{} cannot be read: {error}", dir.display()))))];
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let wanted = paths.iter().filter(|path| path.extension().is_some_and(|end| endings.iter().any(|ending| end == *ending)));
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    wanted.map(|path| (name(path), read(path, most_bytes))).collect()
}

/// A file's text, unless it is too large.
pub fn read(path: &Path, most_bytes: usize) -> Result<String, FileFlaw> {
    let unreadable = |error: Error| FileFlaw::whole(format!("cannot be read: {error}"));
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileFlaw::whole("is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most_bytes as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > most_bytes {
        return Err(FileFlaw::whole(format!("is too large; at most {most_bytes} bytes are allowed")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        FileFlaw { line: Some(1 + good.matches('\n').count() as u64), words: "is not UTF-8".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dir: &Path) -> Sources {
        Sources {
            roles: dir.join("roles"),
            workflows: dir.join("workflows"),
            models: vec![],
            default_model: None,
            mcp_servers: vec![],
        }
    }

    #[test]
    fn directories_that_are_not_there_are_no_problem() {
        let dir = tempfile::tempdir().expect("a directory");
        let sources = sources(dir.path());
        let roles = sources.load_roles();
        let workflows = sources.load_workflows(&roles);
        assert!(roles.problems().is_empty() && roles.contains("coder"));
        assert!(workflows.problems().is_empty() && workflows.get("sparc").is_some());
    }

    #[test]
    fn files_that_cannot_be_read_are_told_and_others_are_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let sources = sources(dir.path());
        let workflow = b"name: mine\ndescription: d\nstages:\n  - {name: a, role: gardener, prompt: x}\n".to_vec();
        for (dir, files) in [
            (
                &sources.roles,
                vec![
                    ("gardener.md", b"---\ndescription: Tends.\n---\nWater.".to_vec()),
                    ("latin.md", b"---\ndescription: \xe9\n---\nx".to_vec()),
                    ("huge.md", vec![b'x'; ROLE_BYTES * 2]),
                    ("README.txt", b"not a role".to_vec()),
                ],
            ),
            (&sources.workflows, vec![("a.yaml", workflow), ("huge.yml", vec![b'x'; FILE_BYTES * 2])]),
        ] {
            std::fs::create_dir(dir).expect("made");
            for (name, text) in files {
                std::fs::write(dir.join(name), text).expect("written");
            }
        }
        std::fs::create_dir(sources.roles.join("folder.md")).expect("made");
        let roles = sources.load_roles();
        let workflows = sources.load_workflows(&roles);
        let files = |problems: &[FileProblem]| problems.iter().map(|problem| problem.file.clone()).collect::<Vec<_>>();
        assert!(roles.contains("gardener") && workflows.get("mine").is_some(), "{:?}", workflows.problems());
        assert_eq!(files(roles.problems()), ["folder.md", "huge.md", "latin.md"]);
        assert_eq!(files(workflows.problems()), ["huge.yml"]);
        assert_eq!(roles.problems()[2].flaw.to_string(), "line 2: is not UTF-8");
    }
}
