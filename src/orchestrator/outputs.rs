//! What a run leaves: `summary.md` and its stages' outputs, as files in a directory of its own.

use crate::model::{
    run::Failure,
    workflow::{
        plan::{Part, StageView, TurnKey, TurnState, doubts, end_stages},
        run::{WorkflowRun, WorkflowRunStatus},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write, path::Path};

/// How a run ends.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) status: WorkflowRunStatus,
    pub(super) result: Option<Value>,
    pub(super) failure: Option<Failure>,
}

/// Writes the files. A full disk must not keep a run from ending: the run's record has everything, too.
pub(super) async fn write(
    outputs: &Path,
    run: &WorkflowRun,
    end: &End,
    stages: &[StageView],
    turns: &BTreeMap<TurnKey, TurnState>,
) {
    let dir = outputs.join(run.id.to_string());
    let mut stages = stages.to_vec();
    end_stages(&mut stages);
    let mut files = vec![("summary.md".to_owned(), summary(run, end, &stages))];
    for (key, state) in turns.iter().filter(|(key, _)| key.part == Part::Work) {
        if let TurnState::Done { text, output } = state {
            let revision = if key.round > 0 { format!("-revision-{}", key.round) } else { String::new() };
            let name = key.path.replace('/', ".").replace(['[', '~'], "-").replace(']', "");
            files.push(match output {
                Some(output) => (format!("{name}{revision}.json"), serde_json::to_string_pretty(output).unwrap_or_default()),
                None => (format!("{name}{revision}.md"), text.clone()),
            });
        }
    }
    if let Err(error) = write_all(&dir, files).await {
        tracing::error!(%error, run = %run.id, dir = %dir.display(), "the results of a run cannot be written as files");
    }
}

async fn write_all(dir: &Path, files: Vec<(String, String)>) -> std::io::Result<()> {
    tokio::fs::create_dir_all(dir).await?;
    for (name, content) in files {
        // Whole or not at all, for whoever reads meanwhile.
        let (part, file) = (dir.join(format!(".{name}.part")), dir.join(name));
        tokio::fs::write(&part, content).await?;
        tokio::fs::rename(&part, &file).await?;
    }
    Ok(())
}

fn summary(run: &WorkflowRun, end: &End, stages: &[StageView]) -> String {
    let mut text = format!(
        "# {}\n\nWorkflow `{}`, run {}: **{}**\n\n## Task\n\n{}\n",
        run.title, run.workflow, run.id, end.status, run.input.task
    );
    let doubts = doubts(stages);
    if end.status == WorkflowRunStatus::Complete && !doubts.is_empty() {
        text += "\n## Not verified\n\n";
        for doubt in doubts {
            let _ = writeln!(text, "- {}", doubt.replace('\n', " "));
        }
    }
    if let Some(failure) = &end.failure {
        let _ = write!(text, "\n## Why it failed\n\n{} ({})\n", failure.detail, failure.code);
    }
    if let Some(result) = &end.result {
        let result = result
            .as_str()
            .map_or_else(|| format!("```json\n{}\n```", serde_json::to_string_pretty(result).unwrap_or_default()), str::to_owned);
        let _ = write!(text, "\n## Result\n\n{result}\n");
    }
    text += "\n## Stages\n\n";
    list(stages, 0, &mut text);
    text
}

fn list(stages: &[StageView], depth: usize, text: &mut String) {
    for stage in stages {
        let _ = write!(text, "{}- {}: {}", "  ".repeat(depth), stage.path, stage.state);
        if let Some(verdict) = stage.verdict {
            let _ = write!(text, ", {verdict}");
        }
        if stage.revisions > 0 {
            let _ = write!(text, ", revised {} times", stage.revisions);
        }
        if let Some(failure) = &stage.failure {
            let _ = write!(text, " ({})", failure.detail.replace('\n', " "));
        }
        text.push('\n');
        list(&stage.children, depth + 1, text);
    }
}
