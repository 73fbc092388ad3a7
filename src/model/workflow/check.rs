//! What is wrong with a workflow before anything of it is run.

mod names;
pub(in crate::model) mod schema;

use super::{
    ITERATIONS, STAGES, Stage, TURNS, Workflow,
    template::{self, Fault},
};
use crate::model::agent::Backend;
use names::{Names, Place, listed};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The stage; `None` for the workflow itself.
    pub stage: Option<String>,
    /// The field; with a dot what lies within another, such as `review.prompt`.
    pub field: &'static str,
    /// The line of the field's text, from 1, where it is one of its lines that is wrong.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub words: String,
}

/// Longest name, in characters.
const NAME_CHARS: usize = 60;

fn is_name(name: &str) -> bool {
    let allowed = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '_' | '-');
    !name.is_empty() && name.len() <= NAME_CHARS && name.chars().all(allowed)
}

/// Everything that is wrong with a workflow. `is_role`: whether there is an agent type of that name.
pub fn check(workflow: &Workflow, is_role: &dyn Fn(&str) -> bool) -> Vec<Flaw> {
    let mut checker = Checker {
        flaws: Vec::new(),
        seen: BTreeSet::new(),
        backends: BTreeMap::new(),
        is_role,
        stage: None,
        names: Names::of(workflow),
        values: known_values(workflow),
    };
    checker.must(is_name(&workflow.name), "name", || name_words(&workflow.name));
    checker.must(!workflow.description.trim().is_empty(), "description", || "is missing".into());
    checker.must((1..=TURNS).contains(&workflow.max_turns), "max_turns", || format!("must be 1 to {TURNS}"));
    let count: usize = workflow.stages.iter().map(|stage| stage.walk().len()).sum();
    checker.must(count > 0, "stages", || "there is none".into());
    checker.must(count <= STAGES, "stages", || format!("{count} are too many; at most {STAGES} are allowed"));
    checker.inputs(workflow);
    if let Some(result) = &workflow.result {
        let all = workflow.stages.iter().map(|stage| stage.name.as_str());
        checker.template("result", result, &Place::default().after(all));
    }
    checker.list(&workflow.stages, &Place::default());
    checker.flaws
}

/// What templates get whatever a run is given.
fn known_values(workflow: &Workflow) -> Value {
    let inputs = workflow.inputs.iter().filter_map(|(name, field)| Some((name.clone(), field.default.clone()?)));
    json!({"task": "", "input": inputs.collect::<Map<_, _>>()})
}

fn name_words(name: &str) -> String {
    format!("`{name}` is no name; use up to {NAME_CHARS} lower-case letters, digits, _ and -")
}

struct Checker<'a> {
    flaws: Vec<Flaw>,
    /// The stages so far.
    seen: BTreeSet<&'a str>,
    /// The CLI of each named agent.
    backends: BTreeMap<&'a str, Option<Backend>>,
    is_role: &'a dyn Fn(&str) -> bool,
    stage: Option<&'a str>,
    names: Names<'a>,
    values: Value,
}

impl<'a> Checker<'a> {
    fn must(&mut self, ok: bool, field: &'static str, words: impl FnOnce() -> String) {
        if !ok {
            self.flaw(field, None, words());
        }
    }

    fn flaw(&mut self, field: &'static str, line: Option<usize>, words: String) {
        self.flaws.push(Flaw { stage: self.stage.map(str::to_owned), field, line, words });
    }

    fn inputs(&mut self, workflow: &Workflow) {
        for (name, field) in &workflow.inputs {
            let is_word = is_name(name) && !name.contains('-');
            self.must(is_word, "inputs", || format!("`{name}` is no name; templates know lower-case letters, digits and _"));
            let words = match (field.schema.as_ref().and_then(schema::flaw_of_any), &field.default) {
                (Some(words), _) => words,
                (None, Some(default)) => match field.accept(default.clone()) {
                    Ok(_) => continue,
                    Err(why) => format!("its default is not what it takes, {}: {why}", field.takes()),
                },
                (None, None) => continue,
            };
            self.must(false, "inputs", || format!("`{name}`: {words}"));
        }
    }

    fn template(&mut self, field: &'static str, text: &str, place: &Place<'a>) {
        self.text(field, text, place, template::check_template(text, &self.values));
    }

    fn expression(&mut self, field: &'static str, text: &str, place: &Place<'a>) {
        self.text(field, text, place, template::check_expression(text, &self.values));
    }

    fn text(&mut self, field: &'static str, text: &str, place: &Place<'a>, checked: Result<BTreeSet<String>, Fault>) {
        match checked {
            Err(Fault { line, words }) => self.flaw(field, line, words),
            Ok(names) => {
                for name in names {
                    if let Some(words) = self.names.flaw(&name, place) {
                        let line = text.lines().position(|line| line.contains(&name)).map(|index| index + 1);
                        self.flaw(field, line, words);
                    }
                }
            }
        }
    }

    fn role(&mut self, field: &'static str, role: &str) {
        let known = (self.is_role)(role);
        self.must(known, field, || format!("there is no agent type `{role}`; GET /roles lists them"));
    }

    /// `outer`: what is known where this list begins.
    fn list(&mut self, stages: &'a [Stage], outer: &Place<'a>) {
        let (mut earlier, mut before) = (outer.ended.clone(), None);
        // For each stage those that have ended when it begins.
        let mut ended: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for stage in stages {
            self.stage = Some(&stage.name);
            self.must(is_name(&stage.name), "name", || name_words(&stage.name));
            let is_new = self.seen.insert(&stage.name);
            self.must(is_new, "name", || format!("two stages are called `{}`", stage.name));
            for (field, names) in [("inputs", &stage.inputs), ("after", &stage.after)] {
                for name in names.iter().flatten().map(String::as_str) {
                    let (known, seen) = (earlier.contains(name), self.seen.contains(name) && name != stage.name);
                    self.must(known, field, || {
                        let why = if seen {
                            "lies in another group, or the group around this stage does not wait for it"
                        } else {
                            "is no earlier stage, and only those can be waited for"
                        };
                        format!("`{name}` {why}: {}", listed(earlier.iter().copied()))
                    });
                }
            }
            let needs = stage.needs(before.replace(stage.name.as_str()));
            let further = needs.iter().filter_map(|name| ended.get(name)).flatten().copied();
            let place = outer.after(further.chain(needs.iter().copied()).collect::<BTreeSet<_>>());
            let inner = self.parts(stage, &place);
            self.list(&stage.stages, &inner);
            self.stage = Some(&stage.name);
            earlier.insert(&stage.name);
            ended.insert(&stage.name, place.ended);
        }
    }

    /// Gives what is known within the stage.
    fn parts(&mut self, stage: &'a Stage, place: &Place<'a>) -> Place<'a> {
        let mut inner = place.clone();
        if let Some(when) = &stage.when {
            self.expression("when", when, place);
        }
        if let Some(each) = &stage.for_each {
            self.expression("for_each.items", &each.items, place);
            self.must((1..=64).contains(&each.max_parallel), "for_each", || "max_parallel must be 1 to 64".into());
            let taken = ["task", "input", "stages", "index", "iteration", "previous", "current", "review", "revision", "made"];
            let fits = is_name(&each.name.replace('-', "!")) && !taken.contains(&each.name.as_str());
            self.must(fits, "for_each", || format!("`as: {}` is taken or no name", each.name));
            inner = inner.with(&[&each.name, "index"]);
        }
        if let Some(repeat) = &stage.repeat {
            inner = inner.with(&["iteration", "previous"]);
            self.expression("repeat.until", &repeat.until, &inner.with(&["current"]));
            let fits = (1..=ITERATIONS).contains(&repeat.max_iterations);
            self.must(fits, "repeat", || format!("max_iterations must be 1 to {ITERATIONS}"));
        }
        let is_group = !stage.stages.is_empty();
        if is_group {
            let of_turns = stage.role.is_some()
                || stage.prompt.is_some()
                || stage.output_schema.is_some()
                || stage.agent.is_some()
                || stage.backend.is_some();
            self.must(!of_turns && stage.review.is_none(), "stages", || {
                "a group has no role, agent, backend, prompt, output_schema and review of its own".into()
            });
        } else {
            match &stage.role {
                Some(role) => self.role("role", role),
                None => self.must(false, "role", || "is missing: name the type of agent that works on it".into()),
            }
            match stage.prompt.as_deref().filter(|prompt| !prompt.trim().is_empty()) {
                Some(prompt) => self.template("prompt", prompt, &inner.with(&["review", "revision"])),
                None => self.must(false, "prompt", || "is missing: say what is to be done".into()),
            }
        }
        if let Some(agent) = &stage.agent {
            let known = *self.backends.entry(agent).or_insert(stage.backend);
            self.must(known == stage.backend, "backend", || {
                format!("an earlier stage has another one for the agent `{agent}`, and an agent has one CLI")
            });
        }
        if let Some(flaw) = stage.output_schema.as_ref().and_then(schema::flaw) {
            self.must(false, "output_schema", || flaw);
        }
        if let Some(review) = &stage.review {
            self.role("review.role", &review.role);
            self.must(review.max_revisions <= ITERATIONS, "review", || format!("max_revisions must be at most {ITERATIONS}"));
            if let Some(prompt) = &review.prompt {
                self.template("review.prompt", prompt, &inner.with(&["made", "revision"]));
            }
        }
        self.must(stage.retries <= 10, "retries", || "must be at most 10".into());
        self.must(stage.timeout_seconds.is_none_or(|seconds| (1..=86_400).contains(&seconds)), "timeout_seconds", || {
            "must be 1 to 86400".into()
        });
        inner
    }
}

#[cfg(test)]
mod tests;
