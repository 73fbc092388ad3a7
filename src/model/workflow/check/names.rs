//! Which names templates and expressions may use, by their place in the workflow.

use crate::model::workflow::{Stage, Workflow};
use std::collections::{BTreeMap, BTreeSet};

/// What templates and expressions may name at some place.
#[derive(Debug, Clone, Default)]
pub(super) struct Place<'a> {
    /// Loop variables and the like.
    words: BTreeSet<&'a str>,
    /// Stages that have ended for certain by then.
    pub(super) ended: BTreeSet<&'a str>,
}

impl<'a> Place<'a> {
    /// This place with more words.
    pub(super) fn with(&self, words: &[&'a str]) -> Self {
        let mut place = self.clone();
        place.words.extend(words);
        place
    }

    /// This place after more stages.
    pub(super) fn after(&self, stages: impl IntoIterator<Item = &'a str>) -> Self {
        let mut place = self.clone();
        place.ended.extend(stages);
        place
    }
}

/// What there is to name in the whole workflow.
pub(super) struct Names<'a> {
    inputs: BTreeSet<&'a str>,
    stages: BTreeMap<&'a str, &'a Stage>,
}

/// The names as a list, or that there is none.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl<'a> Names<'a> {
    pub(super) fn of(workflow: &'a Workflow) -> Self {
        let stages = workflow.stages.iter().flat_map(Stage::walk).map(|stage| (stage.name.as_str(), stage));
        Self { inputs: workflow.inputs.keys().map(String::as_str).collect(), stages: stages.collect() }
    }

    /// What is wrong with `name` at `place`, with the names that would be right.
    pub(super) fn flaw(&self, name: &str, place: &Place<'a>) -> Option<String> {
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            ["task" | "input" | "stages"] => None,
            ["input", input, ..] => (!self.inputs.contains(input)).then(|| {
                format!("`{name}`: the workflow has no input `{input}`; it has: {}", listed(self.inputs.iter().copied()))
            }),
            ["stages", stage, rest @ ..] => self.stage(stage, rest, place),
            [word, ..] if *word == "task" || place.words.contains(word) => None,
            _ => {
                let known = ["task", "input", "stages"].into_iter().chain(place.words.iter().copied());
                Some(format!("`{name}` is not known here; known are: {}", listed(known)))
            }
        }
    }

    fn stage(&self, name: &str, rest: &[&str], place: &Place<'a>) -> Option<String> {
        let ended = || listed(place.ended.iter().copied());
        let Some(stage) = self.stages.get(name) else {
            let dashed = self.stages.keys().find(|known| known.contains('-') && known.starts_with(name));
            let hint = dashed.map(|known| format!("; `-` is minus here, so write stages['{known}']")).unwrap_or_default();
            return Some(format!(
                "`stages.{name}`: there is no stage `{name}`; those that have ended here are: {}{hint}",
                ended()
            ));
        };
        if !place.ended.contains(name) {
            return Some(format!(
                "`stages.{name}`: the stage `{name}` need not have ended here; name it in `inputs` or `after` if it comes earlier. Those that have \
                 ended are: {}",
                ended()
            ));
        }
        let field = rest.first()?;
        let fields = fields(stage);
        (!fields.contains(field))
            .then(|| format!("`stages.{name}.{field}`: a stage has no `{field}`; `{name}` has: {}", fields.join(", ")))
    }
}

/// What a stage leaves to templates.
fn fields(stage: &Stage) -> Vec<&'static str> {
    let mut fields = vec!["output", "status", "text", "verified"];
    if stage.for_each.is_some() {
        fields.push("items");
    } else if !stage.stages.is_empty() {
        fields.push("stages");
    } else if stage.review.is_some() {
        fields.push("revisions");
    }
    fields
}
