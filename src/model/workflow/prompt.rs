//! The prompts of a run's turns.

use super::{
    Review, Stage, Workflow,
    plan::{Part, TurnKey},
    template,
};
use serde_json::Value;
use std::fmt::Write;

/// Characters all inputs of a turn may take together; a task's description takes 60,000.
const INPUT_CHARS: usize = 36_000;
/// Characters of the task as each turn is told it.
const TASK_CHARS: usize = 12_000;

/// The text, cut with a mark when it is too long.
fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}\n[cut: {} of {} characters]", &text[..end], chars, text.chars().count()),
    }
}

/// What a stage gave, as text for an agent.
fn output_of(value: &Value) -> String {
    match &value["output"] {
        Value::Null => value["text"].as_str().unwrap_or_default().to_owned(),
        output => serde_json::to_string_pretty(output).unwrap_or_default(),
    }
}

/// What the task of a turn is called.
pub(super) fn title(workflow: &Workflow, key: &TurnKey) -> String {
    let what = match (key.part, key.round) {
        (Part::Review, 0) => ", review".to_owned(),
        (Part::Review, round) => format!(", review of revision {round}"),
        (Part::Work, 0) => String::new(),
        (Part::Work, round) => format!(", revision {round}"),
    };
    let again = if key.attempt > 0 { format!(", try {}", key.attempt + 1) } else { String::new() };
    cut(&format!("{}: {}{what}{again}", workflow.name, key.path), 190)
}

fn head(workflow: &Workflow, what: &str, values: &Value) -> String {
    let task = cut(values["task"].as_str().unwrap_or_default(), TASK_CHARS);
    format!("You are part of a team that works through the workflow `{}`. {what}\n\n# The whole task\n{task}\n", workflow.name)
}

fn values_of_unused_inputs(values: &Value) -> String {
    let given = values["input"].as_object().filter(|input| !input.is_empty());
    given
        .map(|input| format!("\n# Given with the task\n{}\n", serde_json::to_string_pretty(input).unwrap_or_default()))
        .unwrap_or_default()
}

/// The prompt of a stage's work; `asked`: what a review wants changed.
pub(super) fn work(
    workflow: &Workflow,
    stage: &Stage,
    path: &str,
    values: &Value,
    asked: &Value,
    before: Option<&str>,
) -> Result<String, String> {
    if !asked.is_null() {
        let list = |name: &str| {
            let items = asked[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            items.fold(String::new(), |list, item| list + "- " + item + "\n")
        };
        return Ok(format!(
            "Stage: {path}, revision {}\nA review of your work says {}. Change what it asks for, keep what was fine, and give the whole \
             result again in its final form.\n\n# Issues\n{}\n# Suggestions\n{}",
            values["revision"],
            asked["verdict"].as_str().unwrap_or("NEEDS_REVISION"),
            list("issues"),
            list("suggestions"),
        ));
    }
    let mut prompt = head(workflow, &format!("This turn is yours.\nStage: {path}"), values);
    prompt += &values_of_unused_inputs(values);
    let takes: Vec<&str> = stage.takes(before);
    let each = INPUT_CHARS / takes.len().max(1);
    for name in takes {
        let value = &values["stages"][name];
        let doubt = if value["verified"] == Value::Bool(false) { " (not verified)" } else { "" };
        let _ = write!(prompt, "\n# From the stage {name}{doubt}\n{}\n", cut(&output_of(value), each));
    }
    let _ = write!(prompt, "\n# Your part\n{}\n", template::render(stage.prompt.as_deref().unwrap_or_default(), values)?);
    Ok(prompt)
}

/// The prompt of a review.
pub(super) fn review(
    workflow: &Workflow,
    stage: &Stage,
    review: &Review,
    path: &str,
    values: &Value,
    made: &Value,
) -> Result<String, String> {
    let mut prompt = head(
        workflow,
        &format!("You judge the work of another agent.\nReview of stage: {path}, revision {}", values["revision"]),
        values,
    );
    let asked = template::render(stage.prompt.as_deref().unwrap_or_default(), values)?;
    let _ = write!(prompt, "\n# What the agent was asked to do\n{}\n", cut(&asked, TASK_CHARS));
    let _ = write!(prompt, "\n# What it made\n{}\n", cut(&output_of(made), INPUT_CHARS / 2));
    if let Some(extra) = &review.prompt {
        let _ = write!(prompt, "\n# What to look at\n{}\n", template::render(extra, values)?);
    }
    prompt += "\n# Your part\nCheck it against the task; look at files and run what can be run when that tells more than reading. Give a verdict: \
               APPROVED when it is good as it is, NEEDS_REVISION with every issue that has to be mended, REJECTED when the approach itself is \
               wrong. Name issues so that the agent can act on each.\n";
    Ok(prompt)
}
