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
        /// Left out: its condition was not true, or the run ended before it.
        Skipped = "skipped",
        /// It failed.
        Failed = "failed",
        /// The run ended in the middle of it.
        Cancelled = "cancelled",
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

/// Makes the stages those of a run that has ended: none works or waits any more.
pub fn end_stages(stages: &mut [StageView]) {
    for stage in stages {
        end_stages(&mut stage.children);
        let is_begun = !stage.turns.is_empty() || stage.children.iter().any(|child| child.state != StageState::Skipped);
        stage.state = match stage.state {
            StageState::Pending => StageState::Skipped,
            // It was its turn, but nobody had begun.
            StageState::Running if !is_begun => StageState::Skipped,
            StageState::Running | StageState::Review | StageState::Revision | StageState::Waiting => StageState::Cancelled,
            ended => ended,
        };
    }
}

/// What speaks against taking the result for good, a line for each stage that is not verified: what its review asked for, or
/// why it was left out.
pub fn doubts(stages: &[StageView]) -> Vec<String> {
    let mut found = Vec::new();
    for stage in stages {
        if stage.state == StageState::Unverified {
            let issues = if stage.issues.is_empty() { String::new() } else { format!(": {}", stage.issues.join("; ")) };
            let why = match (&stage.failure, stage.verdict) {
                (Some(failure), _) => format!("failed and was left out: {}", failure.detail),
                (None, Some(verdict)) => format!("its review said {verdict}{issues}"),
                (None, None) => "was taken as it is, although what it repeats for was not reached".into(),
            };
            found.push(format!("`{}` {why}", stage.path));
        }
        // Of iterations the last one counts.
        let is_iteration = |child: &StageView| child.path.strip_prefix(&stage.path).is_some_and(|rest| rest.starts_with('~'));
        let iterations = stage.children.iter().filter(|child| is_iteration(child)).count();
        found.extend(doubts(&stage.children[iterations.saturating_sub(1)..]));
    }
    found
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
