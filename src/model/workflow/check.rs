//! What is wrong with a workflow before anything of it is run.

pub(in crate::model) mod schema;

use super::{ITERATIONS, STAGES, Stage, TURNS, Workflow, template};
use crate::model::agent::Backend;
use std::collections::{BTreeMap, BTreeSet};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The stage; `None` for the workflow itself.
    pub stage: Option<String>,
    /// The field.
    pub field: &'static str,
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
    let mut checker = Checker { flaws: Vec::new(), names: BTreeSet::new(), backends: BTreeMap::new(), is_role, stage: None };
    checker.must(is_name(&workflow.name), "name", || name_words(&workflow.name));
    checker.must(!workflow.description.trim().is_empty(), "description", || "is missing".into());
    checker.must((1..=TURNS).contains(&workflow.max_turns), "max_turns", || format!("must be 1 to {TURNS}"));
    let count: usize = workflow.stages.iter().map(|stage| stage.walk().len()).sum();
    checker.must(count > 0, "stages", || "there is none".into());
    checker.must(count <= STAGES, "stages", || format!("{count} are too many; at most {STAGES} are allowed"));
    if let Some(result) = &workflow.result {
        checker.template("result", result);
    }
    checker.list(&workflow.stages, &BTreeSet::new());
    checker.flaws
}

fn name_words(name: &str) -> String {
    format!("`{name}` is no name; use up to {NAME_CHARS} lower-case letters, digits, _ and -")
}

struct Checker<'a> {
    flaws: Vec<Flaw>,
    names: BTreeSet<&'a str>,
    /// The CLI of each named agent.
    backends: BTreeMap<&'a str, Option<Backend>>,
    is_role: &'a dyn Fn(&str) -> bool,
    stage: Option<&'a str>,
}

impl<'a> Checker<'a> {
    fn must(&mut self, ok: bool, field: &'static str, words: impl FnOnce() -> String) {
        if !ok {
            self.flaws.push(Flaw { stage: self.stage.map(str::to_owned), field, words: words() });
        }
    }

    fn template(&mut self, field: &'static str, text: &str) {
        if let Err(error) = template::check_template(text) {
            self.must(false, field, || format!("the template does not parse: {error}"));
        }
    }

    fn expression(&mut self, field: &'static str, text: &str) {
        if let Err(error) = template::check_expression(text) {
            self.must(false, field, || format!("the expression `{text}` does not parse: {error}"));
        }
    }

    fn role(&mut self, field: &'static str, role: &str) {
        let known = (self.is_role)(role);
        self.must(known, field, || format!("there is no agent type `{role}`; GET /roles lists them"));
    }

    /// `outer`: stages that are settled when this list begins.
    fn list(&mut self, stages: &'a [Stage], outer: &BTreeSet<&'a str>) {
        let mut earlier = outer.clone();
        for stage in stages {
            self.stage = Some(&stage.name);
            self.must(is_name(&stage.name), "name", || name_words(&stage.name));
            let is_new = self.names.insert(&stage.name);
            self.must(is_new, "name", || format!("two stages are called `{}`", stage.name));
            for (field, names) in [("inputs", &stage.inputs), ("after", &stage.after)] {
                for name in names.iter().flatten() {
                    self.must(earlier.contains(name.as_str()), field, || {
                        let known: Vec<&str> = earlier.iter().copied().collect();
                        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                        format!("`{name}` is no earlier stage, and only those can be waited for: {known}")
                    });
                }
            }
            self.parts(stage);
            self.list(&stage.stages, &earlier);
            self.stage = Some(&stage.name);
            earlier.insert(&stage.name);
        }
    }

    fn parts(&mut self, stage: &'a Stage) {
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
                Some(prompt) => self.template("prompt", prompt),
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
        if let Some(when) = &stage.when {
            self.expression("when", when);
        }
        if let Some(each) = &stage.for_each {
            self.expression("for_each", &each.items);
            self.must((1..=64).contains(&each.max_parallel), "for_each", || "max_parallel must be 1 to 64".into());
            let taken = ["task", "input", "stages", "index", "iteration", "previous", "current", "review", "revision", "made"];
            let fits = is_name(&each.name.replace('-', "!")) && !taken.contains(&each.name.as_str());
            self.must(fits, "for_each", || format!("`as: {}` is taken or no name", each.name));
        }
        if let Some(repeat) = &stage.repeat {
            self.expression("repeat", &repeat.until);
            let fits = (1..=ITERATIONS).contains(&repeat.max_iterations);
            self.must(fits, "repeat", || format!("max_iterations must be 1 to {ITERATIONS}"));
        }
        if let Some(review) = &stage.review {
            self.role("review", &review.role);
            self.must(review.max_revisions <= ITERATIONS, "review", || format!("max_revisions must be at most {ITERATIONS}"));
            if let Some(prompt) = &review.prompt {
                self.template("review", prompt);
            }
        }
        self.must(stage.retries <= 10, "retries", || "must be at most 10".into());
        self.must(stage.timeout_seconds.is_none_or(|seconds| (1..=86_400).contains(&seconds)), "timeout_seconds", || {
            "must be 1 to 86400".into()
        });
    }
}
