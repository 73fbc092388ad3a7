//! Workflows as YAML files; what is wrong with one is told with its line.

mod lines;

use super::{Workflow, check};
use crate::model::word::word_enum;
use lines::Lines;
use serde_saphyr::{budget, options};
use std::fmt;

/// Largest file, in bytes.
pub const FILE_BYTES: usize = 256 * 1024;

word_enum! {
    /// Where a role or workflow comes from.
    DefinitionSource {
        /// The program.
        Shipped = "shipped",
        /// A file of the data directory.
        User = "user",
    }
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFlaw {
    /// The line, from 1, as far as it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub words: String,
}

impl FileFlaw {
    /// Something that is wrong with the whole file.
    pub const fn whole(words: String) -> Self {
        Self { line: None, words }
    }
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub flaw: FileFlaw,
}

impl fmt::Display for FileFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

/// The name a file gives its workflow, whatever else is wrong with it.
pub(super) fn name_of(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    serde_saphyr::from_str::<Named>(text).ok().map(|named| named.name)
}

/// The workflow in a YAML text, or everything that is wrong with it.
pub fn parse(text: &str, is_role: &dyn Fn(&str) -> bool) -> Result<Workflow, Vec<FileFlaw>> {
    if text.len() > FILE_BYTES {
        return Err(vec![FileFlaw { line: None, words: format!("has {} bytes; at most {FILE_BYTES} are allowed", text.len()) }]);
    }
    // Without it, `n` and `yes` in a schema's `required` would be truth values.
    let options = options! { strict_booleans: true, budget: budget! { max_nodes: 20_000 } };
    let workflow: Workflow = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        vec![FileFlaw { line: error.location().map(|place| place.line()), words: error.to_string() }]
    })?;
    let lines = Lines::of(text);
    let mut flaws = check::check(&workflow, is_role);
    let stages = workflow.stages.iter().flat_map(|stage| stage.walk());
    for stage in stages.filter(|stage| stage.agent_id.is_some() || stage.review.as_ref().is_some_and(|it| it.agent_id.is_some()))
    {
        let words = "agent_id is for swarms only; use agent".to_owned();
        flaws.push(check::Flaw { stage: Some(stage.name.clone()), field: "agent_id", line: None, words });
    }
    if flaws.is_empty() {
        return Ok(workflow);
    }
    let described = flaws.into_iter().map(|flaw| FileFlaw {
        line: lines.of_flaw(&flaw),
        words: match &flaw.stage {
            Some(stage) => format!("stage `{stage}`, {}: {}", flaw.field, flaw.words),
            None => format!("{}: {}", flaw.field, flaw.words),
        },
    });
    Err(described.collect())
}
