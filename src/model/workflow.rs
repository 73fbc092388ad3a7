//! Workflows: stages worked on by agents, with inputs, conditions, fan-out, loops and reviews.
//!
//! A [`Workflow`] is read from a file (`workflow/file.rs`) or built for a swarm's topology, and checked (`workflow/check.rs`).
//! What a run does next is computed anew each time from the workflow and the turns made so far (`workflow/plan.rs`), so
//! a run has no state of its own that could get lost.

mod catalogue;
pub mod check;
pub mod file;
mod input;
pub mod plan;
mod prompt;
pub mod run;
pub mod sparc;
mod template;

pub use catalogue::Catalogue;
pub use input::InputField;

use super::{agent::Backend, id::AgentId, word::word_enum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most stages of a workflow, nested ones included.
pub const STAGES: usize = 300;
/// Most items a fan-out may have.
pub const ITEMS: usize = 100;
/// Most iterations of a loop, and revisions after a review.
pub const ITERATIONS: u32 = 50;
/// Most turns a run may have, whatever its workflow says.
pub const TURNS: u32 = 1_000;

/// A workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// Its name: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What a run needs besides its task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputField>,
    /// Turns after which a run is given up: a brake for loops.
    #[serde(default = "max_turns")]
    pub max_turns: u32,
    /// What is done, in order unless `inputs` and `after` say otherwise.
    pub stages: Vec<Stage>,
    /// Template of the result; the text of the last stage when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

const fn max_turns() -> u32 {
    100
}

/// A part of a workflow: one turn of an agent (`role` and `prompt`), or a group of stages (`stages`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name, unlike that of every other stage.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Type of the agent that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Stages with the same word here are turns of one agent, which so knows what it did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The member of a swarm that works on it. Not for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Model instead of the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// CLI instead of the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Template of the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// JSON Schema of its output; without one the output is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The stages of a group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// Earlier stages whose outputs its agent gets. Absent, as `after`: the stage before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// Earlier stages it waits for without needing their outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Expression: skipped unless it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Once for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Again and again until something is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Who judges its output, and what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// Seconds each of its turns may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How often a failed turn is made again.
    #[serde(default)]
    pub retries: u32,
    /// What to do when it has failed for good.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Fan-out: the stage once for each item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// Expression that gives a list.
    pub items: String,
    /// What templates call the item; `index` is its place from 0.
    #[serde(default = "item", rename = "as")]
    pub name: String,
    /// Most items worked on at a time; 1: one after the other.
    #[serde(default = "max_parallel")]
    pub max_parallel: u32,
}

fn item() -> String {
    "item".to_owned()
}

const fn max_parallel() -> u32 {
    4
}

/// A loop. Templates know `iteration` (from 1) and `previous`, what the last one gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Expression, looked at after each iteration with the iteration's outputs as `current`.
    pub until: String,
    /// Most iterations.
    pub max_iterations: u32,
    /// What to do when it is still not so after the last.
    #[serde(default = "accept")]
    pub on_exhausted: OnExhausted,
}

const fn accept() -> OnExhausted {
    OnExhausted::Accept
}

/// A gate: another agent judges the output; what it asks for is done by the agent that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Type of the agent that judges.
    #[serde(default = "reviewer")]
    pub role: String,
    /// As in a stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The member of a swarm that judges. Not for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Template: what to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Most revisions.
    #[serde(default = "max_revisions")]
    pub max_revisions: u32,
    /// What to do when the last revision is not approved either.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// What a rejection means.
    #[serde(default)]
    pub on_rejected: OnRejected,
}

fn reviewer() -> String {
    "reviewer".to_owned()
}

const fn max_revisions() -> u32 {
    2
}

/// What to do when a stage has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on without its output, which is marked as not verified.
    Skip,
    /// Whoever began the run is asked.
    Ask,
}

/// What to do when tries are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The stage fails.
    #[default]
    Fail,
    /// The last output is taken, marked as not verified.
    Accept,
    /// Whoever began the run is asked.
    Ask,
}

/// What a rejection by a reviewer means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRejected {
    /// The stage fails.
    #[default]
    Fail,
    /// It is revised like any other.
    Revise,
    /// Whoever began the run is asked.
    Ask,
}

word_enum! {
    /// A reviewer's judgement.
    ReviewVerdict {
        /// Good as it is.
        Approved = "APPROVED",
        /// Good once the issues are mended.
        NeedsRevision = "NEEDS_REVISION",
        /// Not the way to do it.
        Rejected = "REJECTED",
    }
}

/// JSON Schema of a reviewer's answer.
pub fn review_schema() -> Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["APPROVED", "NEEDS_REVISION", "REJECTED"]},
            "issues": {"type": "array", "items": {"type": "string"}, "description": "What has to change, one thing each"},
            "suggestions": {"type": "array", "items": {"type": "string"}, "description": "What could be better"},
            "verification_checks": {"type": "array", "items": {"type": "string"}, "description": "What you looked at or ran"}
        },
        "required": ["verdict", "issues"],
        "additionalProperties": false
    })
}

impl Stage {
    /// The names of the earlier stages it waits for. `before`: the stage before it in its list.
    pub fn needs<'a>(&'a self, before: Option<&'a str>) -> Vec<&'a str> {
        match (&self.inputs, &self.after) {
            (None, None) => before.into_iter().collect(),
            (inputs, after) => inputs.iter().flatten().chain(after.iter().flatten()).map(String::as_str).collect(),
        }
    }

    /// The names of the stages whose outputs its agent gets.
    pub fn takes<'a>(&'a self, before: Option<&'a str>) -> Vec<&'a str> {
        match (&self.inputs, &self.after) {
            (None, None) => before.into_iter().collect(),
            (inputs, _) => inputs.iter().flatten().map(String::as_str).collect(),
        }
    }

    /// This stage and all within it.
    pub fn walk(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.stages.iter().flat_map(Self::walk)).collect()
    }
}
