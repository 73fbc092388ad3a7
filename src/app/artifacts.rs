//! What came of a task as files: its result, its structured answer, its diff, and files of its workspace.
//!
//! A link to a file works without a key and expires; it is signed with a secret of this process, so a restart ends it.

use super::{
    App,
    error::AppError,
    now,
    size::{encoded_prefix, excerpt},
};
use crate::model::{
    id::TaskId,
    inbox::is_below,
    key::{Principal, Scope},
    limits::{ANSWER_FILE_BYTES, FILES},
    run::Run,
};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use utoipa::{IntoParams, ToSchema};

const RESULT: &str = "result.md";
const STRUCTURED: &str = "structured_output.json";
const DIFF: &str = "changes.diff";
/// Characters of a path that a refusal quotes.
const NAMED_CHARS: usize = 200;

/// Which files to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskFilesQuery {
    /// Also this file of the agent's workspace: a path below it, such as `docs/report.md`.
    #[param(nullable = false, min_length = 1, max_length = 1000)]
    pub path: Option<String>,
}

/// Which part of a file to read.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadTaskFile {
    /// `result.md`, `structured_output.json`, `changes.diff`, or the path of a file below the agent's workspace.
    #[param(min_length = 1, max_length = 1000)]
    pub name: String,
    /// Only what comes after so many characters: `next_cursor` of the answer before. Left out: from the beginning.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
}

/// A file that came of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskFile {
    /// What it is called; `read_task_file` reads it.
    pub name: String,
    /// Media type, by the name.
    pub mime_type: String,
    /// Its size.
    pub bytes: u64,
    /// Where it is until the link expires; needs no key. Absent when the file is too large to be given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// When the link stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Why there is no link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub note: Option<String>,
}

/// The files of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "files": [{"name": "result.md", "mime_type": "text/markdown", "bytes": 812, "url": "https://mas.example.com/files/0193f2a8/result.md", "expires_at": "2026-11-20T10:10:00Z"}], "openaiFileResponse": ["https://mas.example.com/files/0193f2a8/result.md"]}))]
pub struct TaskFiles {
    /// The task.
    pub task_id: TaskId,
    /// What there is.
    pub files: Vec<TaskFile>,
    /// Links of those that can be shown as files in `ChatGPT`: at most 10, of 10 MB, no images.
    #[serde(rename = "openaiFileResponse")]
    pub openai_file_response: Vec<String>,
}

/// Part of a file as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"name": "result.md", "text": "The server has a health check now.", "total_chars": 34}))]
pub struct FileText {
    /// The file.
    pub name: String,
    /// The part asked for.
    pub text: String,
    /// Characters of the whole file.
    pub total_chars: usize,
    /// The value of `after` for the rest; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<i64>,
}

/// A whole file, for a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Last part of its name.
    pub name: String,
    /// Media type.
    pub mime_type: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The secret links are signed with.
#[derive(Clone)]
pub(super) struct LinkSecret([u8; 64]);

impl LinkSecret {
    pub(super) fn random() -> Self {
        let mut secret = [0; 64]; // a block of SHA-256, the size the key is used in
        // Without randomness the operating system is broken beyond what this program could work with.
        getrandom::fill(&mut secret).unwrap_or_else(|error| unreachable!("no randomness: {error}"));
        Self(secret)
    }

    fn signature(&self, task: TaskId, name: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(task.uuid().as_bytes());
        mac.update(&expires.to_be_bytes());
        mac.update(name.as_bytes());
        mac
    }

    fn token(&self, task: TaskId, name: &str, expires: i64) -> String {
        let signature = super::keys::hexadecimal(&self.signature(task, name, expires).finalize().into_bytes());
        format!("{}-{expires}-{signature}", task.uuid().simple())
    }

    /// What a token says, when it is letter by letter one that was made here.
    fn checked(&self, token: &str, name: &str) -> Option<(TaskId, i64)> {
        let [task, expires, signature] = token.split('-').collect::<Vec<_>>()[..] else { return None };
        let task = format!("task_{task}").parse().ok()?;
        let expires = expires.parse().ok()?;
        let given: Option<Vec<u8>> =
            (0..signature.len() / 2).map(|at| u8::from_str_radix(signature.get(at * 2..at * 2 + 2)?, 16).ok()).collect();
        self.signature(task, name, expires).verify_slice(&given?).ok()?;
        // The numbers could be written in other ways.
        (self.token(task, name, expires) == token).then_some((task, expires))
    }
}

impl App {
    /// What came of the task as files, each with a link below `base_url`.
    pub async fn list_task_files(
        &self,
        who: &Principal,
        id: TaskId,
        query: TaskFilesQuery,
        base_url: &str,
    ) -> Result<TaskFiles, AppError> {
        let run = self.run_of(who, id).await?;
        let expires_at = now() + TimeDelta::seconds(self.settings.link_seconds.into());
        let linked = |name: String, bytes: u64| TaskFile {
            mime_type: mime_type(&name),
            bytes,
            url: Some(self.link(base_url, id, &name, expires_at.timestamp())),
            expires_at: Some(expires_at),
            note: None,
            name,
        };
        let mut files: Vec<TaskFile> = [RESULT, STRUCTURED, DIFF]
            .into_iter()
            .filter_map(|name| Some(linked(name.to_owned(), of_run(run.as_ref()?, name)?.len() as u64)))
            .collect();
        if let Some(path) = query.path {
            let file = self.workspace_file(who, id, &path).await?;
            let bytes = size_of(&file, &path).await?;
            let file = linked(path, bytes);
            files.push(match too_large(bytes) {
                Some(note) => TaskFile { url: None, expires_at: None, note: Some(note), ..file },
                None => file,
            });
        }
        let is_shown = |file: &&TaskFile| {
            file.bytes <= ANSWER_FILE_BYTES && !file.mime_type.starts_with("image/") && !file.mime_type.starts_with("video/")
        };
        let openai_file_response = files.iter().filter(is_shown).take(FILES).filter_map(|file| file.url.clone()).collect();
        Ok(TaskFiles { task_id: id, files, openai_file_response })
    }

    /// Part of a file as text, as much as fits into an answer.
    pub async fn read_task_file(&self, who: &Principal, id: TaskId, query: ReadTaskFile) -> Result<FileText, AppError> {
        let after = query.after.unwrap_or(0);
        let start = usize::try_from(after).map_err(|_| AppError::field("after", "must be 0 or more"))?;
        let bytes = match self.run_of(who, id).await?.as_ref().and_then(|run| of_run(run, &query.name)) {
            Some(bytes) => bytes,
            None => {
                let file = self.workspace_file(who, id, &query.name).await?;
                if let Some(words) = too_large(size_of(&file, &query.name).await?) {
                    return Err(AppError::field("name", format!("`{}` {words}", query.name)));
                }
                tokio::fs::read(&file).await.map_err(|error| unreadable(&query.name, &error))?
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| {
            AppError::field("name", format!("`{}` is not text; list_task_files with path gives a link to it", query.name))
        })?;
        let total_chars = text.chars().count();
        let rest = text.char_indices().nth(start).map_or("", |(at, _)| &text[at..]);
        let part = encoded_prefix(rest, self.settings.page_chars() - query.name.chars().count() * 2).to_owned();
        let next = start + part.chars().count();
        let next_cursor = (next < total_chars).then(|| i64::try_from(next).ok()).flatten();
        Ok(FileText { name: query.name, text: part, total_chars, next_cursor })
    }

    /// The file behind a link. `NotFound` for links that are expired or not ours.
    pub async fn linked_file(&self, token: &str, name: &str) -> Result<FileContent, AppError> {
        let gone = || AppError::NoLink("this link is not valid, or not any more; list_task_files makes a new one".into());
        let (task, expires) = self.link_secret.checked(token, name).ok_or_else(gone)?;
        if expires < now().timestamp() {
            return Err(gone());
        }
        let task = self.store.get_task(task, None).await?.ok_or_else(gone)?;
        let run = match task.run_id {
            Some(run) => self.store.get_run(run).await?,
            None => None,
        };
        let bytes = match run.as_ref().and_then(|run| of_run(run, name)) {
            Some(bytes) => bytes,
            // What is there may have changed since the link was made.
            None => {
                let missing = |error| match error {
                    AppError::NoFile(_) => AppError::NoLink("the file behind this link is not there any more".into()),
                    other => other,
                };
                let file = self.file_in_workspace(task.agent_id, name).await.map_err(missing)?;
                if let Some(words) = too_large(size_of(&file, name).await.map_err(missing)?) {
                    return Err(AppError::NoLink(format!("the file behind this link {words}")));
                }
                tokio::fs::read(&file).await.map_err(|error| missing(unreadable(name, &error)))?
            }
        };
        let short = name.rsplit('/').next().unwrap_or(name).to_owned();
        Ok(FileContent { name: short, mime_type: mime_type(name), bytes })
    }

    async fn run_of(&self, who: &Principal, id: TaskId) -> Result<Option<Run>, AppError> {
        match self.find_task(who, id).await?.run_id {
            Some(run) => Ok(self.store.get_run(run).await?),
            None => Ok(None),
        }
    }

    /// A file of the workspace can be anything of the project, so looking at it needs more than reading tasks does.
    async fn workspace_file(&self, who: &Principal, id: TaskId, path: &str) -> Result<PathBuf, AppError> {
        super::authorise(who, Scope::Operate)?;
        let task = self.find_task(who, id).await?;
        self.file_in_workspace(task.agent_id, path).await
    }

    async fn file_in_workspace(&self, agent: Option<crate::model::id::AgentId>, path: &str) -> Result<PathBuf, AppError> {
        let named = excerpt(path, NAMED_CHARS);
        let missing = || AppError::NoFile(format!("there is no file `{named}` in the agent's workspace; use a path below it"));
        let agent = match agent {
            Some(id) => self.store.get_agent(id, None).await?.ok_or_else(missing)?,
            None => return Err(missing()),
        };
        // Both sides without links: an agent may have made one that leads elsewhere.
        let root = tokio::fs::canonicalize(&agent.workspace).await.map_err(|_| missing())?;
        let file = tokio::fs::canonicalize(root.join(path)).await.map_err(|_| missing())?;
        let is_file = tokio::fs::metadata(&file).await.is_ok_and(|found| found.is_file());
        let is_gits = file.strip_prefix(&root).is_ok_and(|inside| inside.starts_with(".git"));
        if is_below(&root, &file) && is_file && !is_gits { Ok(file) } else { Err(missing()) }
    }

    fn link(&self, base_url: &str, task: TaskId, name: &str, expires: i64) -> String {
        let token = self.link_secret.token(task, name, expires);
        let escaped = name.split('/').map(escape).collect::<Vec<_>>().join("/");
        format!("{}/files/{token}/{escaped}", base_url.trim_end_matches('/'))
    }
}

/// A file made of what is stored of the run.
fn of_run(run: &Run, name: &str) -> Option<Vec<u8>> {
    let outcome = &run.outcome;
    match name {
        RESULT => outcome.result.clone().map(String::into_bytes),
        STRUCTURED => outcome.structured_output.as_ref().map(|output| format!("{output:#}").into_bytes()),
        DIFF => outcome.changes.as_ref().map(|changes| changes.diff.clone().into_bytes()),
        _ => None,
    }
}

async fn size_of(file: &Path, name: &str) -> Result<u64, AppError> {
    Ok(tokio::fs::metadata(file).await.map_err(|error| unreadable(name, &error))?.len())
}

/// Why a file of so many bytes is not given out, if it is not.
fn too_large(bytes: u64) -> Option<String> {
    (bytes > ANSWER_FILE_BYTES).then(|| format!("has {bytes} bytes; at most {ANSWER_FILE_BYTES} can be given out"))
}

fn unreadable(name: &str, error: &std::io::Error) -> AppError {
    AppError::NoFile(format!("the file `{name}` cannot be read: {}", error.kind()))
}

fn mime_type(name: &str) -> String {
    match name {
        DIFF => "text/x-diff".to_owned(),
        _ => mime_guess::from_path(name).first_or_octet_stream().to_string(),
    }
}

/// One step of a URL's path.
fn escape(step: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    step.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exactly_the_link_that_was_made_works() {
        let (secret, task) = (LinkSecret::random(), TaskId::generate());
        let token = secret.token(task, "a/b.txt", 1_800_000_000);
        assert_eq!(secret.checked(&token, "a/b.txt"), Some((task, 1_800_000_000)));
        let [id, expires, signature] = token.split('-').collect::<Vec<_>>()[..] else { panic!("{token}") };
        for other in [
            format!("{token}-x"),
            format!("{token}-"),
            format!("{token}0"),
            format!("{id}-0{expires}-{signature}"),
            format!("{id}-+{expires}-{signature}"),
            format!("{}-{expires}-{signature}", id.to_uppercase()),
            format!("{id}-{expires}-{}", signature.to_uppercase()),
            format!("{id}-1800000001-{signature}"),
            format!("{id}-{expires}"),
            String::new(),
        ] {
            assert_eq!(secret.checked(&other, "a/b.txt"), None, "{other}");
        }
        assert_eq!(secret.checked(&token, "a/c.txt"), None);
        assert_eq!(LinkSecret::random().checked(&token, "a/b.txt"), None);
    }

    #[test]
    fn large_files_are_not_given_out() {
        assert_eq!(too_large(ANSWER_FILE_BYTES), None);
        assert!(too_large(ANSWER_FILE_BYTES + 1).is_some_and(|words| words.contains("10000001 bytes")));
    }
}
