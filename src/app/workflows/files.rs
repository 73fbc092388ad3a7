//! The files a run left: `summary.md` and its stages' outputs.

use crate::{
    app::{App, artifacts::FileText, error::AppError, size::encoded_prefix},
    model::{id::WorkflowRunId, key::Principal},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::{IntoParams, ToSchema};

/// Which part of a run's file to read.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunFileQuery {
    /// One of the run's `files`. Left out: `summary.md`.
    #[param(nullable = false, min_length = 1, max_length = 300)]
    pub name: Option<String>,
    /// Only what comes after so many characters: `next_cursor` of the answer before. Left out: from the beginning.
    #[param(nullable = false, minimum = 0)]
    pub after: Option<i64>,
}

/// Part of a run's file as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"workflow_run_id": "wfrun_0193f2a87c3e7d10b5a1c2d3e4f50617", "file": {"name": "summary.md", "text": "# Rate limiting", "total_chars": 15}}))]
pub struct RunFile {
    /// The run.
    pub workflow_run_id: WorkflowRunId,
    /// The part asked for.
    pub file: FileText,
}

impl App {
    fn run_dir(&self, id: WorkflowRunId) -> PathBuf {
        self.settings.data_dir.join("outputs").join(id.to_string())
    }

    /// Names of the files of a run, `summary.md` first.
    pub(super) async fn run_files(&self, id: WorkflowRunId) -> Vec<String> {
        let Ok(mut entries) = tokio::fs::read_dir(self.run_dir(id)).await else { return Vec::new() };
        let mut names = Vec::new();
        while let Ok(Some(entry)) = entries.next_entry().await {
            names.extend(entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned));
        }
        names.sort_by_key(|name| (name != "summary.md", name.clone()));
        names
    }

    /// Part of a file a run left.
    pub async fn read_workflow_run_file(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        query: &RunFileQuery,
    ) -> Result<RunFile, AppError> {
        self.find_run(who, id).await?;
        let name = query.name.as_deref().unwrap_or("summary.md");
        let names = self.run_files(id).await;
        if !names.iter().any(|known| known == name) {
            let words = match names.as_slice() {
                [] => "the run has left no files yet; they come when it ends".to_owned(),
                names => format!("there is no such file; there are: {}", names.join(", ")),
            };
            return Err(AppError::field("name", words));
        }
        let bytes = tokio::fs::read(self.run_dir(id).join(name)).await;
        let bytes = bytes.map_err(|error| AppError::StoreUnavailable(format!("a file of {id} cannot be read: {error}")))?;
        let whole = String::from_utf8_lossy(&bytes);
        let (total_chars, skip) = (whole.chars().count(), usize::try_from(query.after.unwrap_or(0)).unwrap_or(0));
        let rest: String = whole.chars().skip(skip).collect();
        let text = encoded_prefix(&rest, self.settings.page_chars()).to_owned();
        let end = skip.min(total_chars) + text.chars().count();
        let next_cursor = (end < total_chars).then(|| i64::try_from(end).unwrap_or(i64::MAX));
        Ok(RunFile { workflow_run_id: id, file: FileText { name: name.to_owned(), text, total_chars, next_cursor } })
    }
}
