//! What a run shows of its stages.

use super::{Progress, TurnKey};
use crate::model::{
    run::Failure,
    word::word_enum,
    workflow::{ReviewVerdict, Stage, run::Answer},
};
use serde_json::Value;

word_enum! {
    /// Where a stage stands.
    StageState {
        /// It waits for others.
        Pending = "pending",
        /// Its agent works.
        Running = "running",
        /// Its output is being reviewed.
        Review = "review",
        /// Its agent works in what the review asked for.
        Revision = "revision",
        /// Somebody has to answer a question about it.
        Waiting = "waiting",
        /// Done.
        Complete = "complete",
        /// Done as far as it went, but not verified.
        Unverified = "unverified",
        /// Left out, because its condition was not true.
        Skipped = "skipped",
        /// It failed.
        Failed = "failed",
    }
}

/// A stage of a run: as a whole, for one item, or for one iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct StageView {
    /// Its path: names with `/` between, `[n]` for an item, `~n` for an iteration.
    pub path: String,
    /// Type of the agent that works on it.
    pub role: Option<String>,
    /// Where it stands.
    pub state: StageState,
    /// The latest verdict of its review.
    pub verdict: Option<ReviewVerdict>,
    /// What the latest review asked for.
    pub issues: Vec<String>,
    /// How often it was revised.
    pub revisions: u32,
    /// Its turns, in order.
    pub turns: Vec<TurnKey>,
    /// What came of it: its structured output, else its text.
    pub output: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Items, iterations or the stages of a group.
    pub children: Vec<StageView>,
}

/// Something whoever began the run has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Names it in the answer.
    pub id: String,
    /// The stage it is about.
    pub stage: String,
    /// What it is about.
    pub words: String,
    /// The possible answers.
    pub options: Vec<Answer>,
}

impl StageView {
    pub(super) fn new(of: &Stage, path: &str, state: StageState) -> Self {
        Self {
            path: path.to_owned(),
            role: of.role.clone(),
            state,
            verdict: None,
            issues: Vec::new(),
            revisions: 0,
            turns: Vec::new(),
            output: None,
            failure: None,
            children: Vec::new(),
        }
    }

    pub(super) fn failed(mut self, failure: Failure) -> (Progress, Self) {
        self.state = StageState::Failed;
        self.failure = Some(failure.clone());
        (Progress::Failed(failure), self)
    }

    pub(super) fn complete(mut self, value: Value) -> (Progress, Self) {
        self.state = StageState::Complete;
        (Progress::Done(value), self)
    }
}
