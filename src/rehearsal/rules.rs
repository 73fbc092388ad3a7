//! The rules file: scripted answers for prompts that carry no directive.

use super::plan::{Plan, Step};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Why a rules file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It could not be read.
    #[error("rules file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a JSON list.
    #[error("rules file: {0}")]
    Json(#[from] serde_json::Error),
    /// A rule makes no sense.
    #[error("rules file: rule {index}: {problem}")]
    Rule {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A plan for the prompts that match a pattern: `{"match": "regex", "steps": […], "sequential": false}`,
/// or the fields of a single step instead of `steps`. Without `match` every prompt matches.
#[derive(Debug)]
pub struct Rule {
    pattern: Regex,
    plan: Plan,
    /// Requests answered so far, when each takes the next step; else the conversation says which step is due.
    sequential: Option<AtomicUsize>,
}

/// Reads a JSON list of rules.
pub fn load_rules(path: &Path) -> Result<Vec<Rule>, RulesError> {
    let text = std::fs::read_to_string(path).map_err(|source| RulesError::Read { path: path.to_owned(), source })?;
    parse_rules(&text)
}

/// Reads rules from JSON text.
pub(super) fn parse_rules(text: &str) -> Result<Vec<Rule>, RulesError> {
    let rules: Vec<Value> = serde_json::from_str(text)?;
    let rules = rules.into_iter().enumerate();
    rules.map(|(index, rule)| Rule::from_json(rule).map_err(|problem| RulesError::Rule { index, problem })).collect()
}

impl Rule {
    fn from_json(mut value: Value) -> Result<Self, String> {
        let object = value.as_object_mut().ok_or("not a JSON object")?;
        let pattern = match object.remove("match") {
            None => String::new(),
            Some(Value::String(pattern)) => pattern,
            Some(_) => return Err("`match` is not text".to_owned()),
        };
        let sequential = match object.remove("sequential") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(AtomicUsize::new(0)),
            Some(_) => return Err("`sequential` is neither true nor false".to_owned()),
        };
        // Prompts have many lines; a dot that stops at the first would surprise.
        let pattern = RegexBuilder::new(&pattern).dot_matches_new_line(true).build().map_err(|error| error.to_string())?;
        Ok(Self { pattern, plan: Plan::from_json(value)?, sequential })
    }

    /// Whether the rule answers `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.pattern.is_match(text)
    }

    /// The step due after `answers` answers, and its index.
    pub(super) fn step(&self, answers: usize) -> (&Step, usize) {
        self.plan.step(self.sequential.as_ref().map_or(answers, |taken| taken.fetch_add(1, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_rules_take_a_step_per_request() {
        let rules =
            parse_rules(r#"[{"match":"a.b","sequential":true,"steps":[{"text":"1"},{"text":"2"}]}, {"text":"any"}]"#).unwrap();
        assert!(rules[0].matches("xa\nb") && !rules[0].matches("c") && rules[1].matches("c"));
        let texts: Vec<_> = (0..3).map(|_| rules[0].step(0).0.text.clone().unwrap()).collect();
        assert_eq!(texts, ["1", "2", "2"]);
    }

    #[test]
    fn errors_name_the_rule() {
        let problem = |text: &str| parse_rules(text).unwrap_err().to_string();
        assert!(problem(r#"[{"text":"x"},{"match":"(","text":"x"}]"#).contains("rule 1"));
        assert!(problem(r#"[{"mach":"x"}]"#).contains("unknown field `mach`"));
        assert!(problem("{}").contains("rules file"));
        let dir = tempfile::tempdir().unwrap();
        assert!(load_rules(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
        std::fs::write(dir.path().join("rules"), r#"[{"text":"x"}]"#).unwrap();
        assert_eq!(load_rules(&dir.path().join("rules")).unwrap().len(), 1);
    }
}
