//! Turns of a stage: the work, its review, the revisions it asks for.

use super::{Planner, Progress, Question, Scope, StageState, StageView, bad, prompt};
use crate::model::{
    agent::Backend,
    id::AgentId,
    run::{Failure, FailureCode},
    workflow::{OnExhausted, OnRejected, Review, ReviewVerdict, Stage, TURNS, review_schema, run::Answer},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names a turn of a run: the same at every look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TurnKey {
    /// Path of its stage, with item and iteration.
    pub path: String,
    /// Revisions before it.
    pub round: u32,
    /// Work or review.
    pub part: Part,
    /// Failed tries before it.
    pub attempt: u32,
}

/// What a turn of a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It makes the output.
    Work,
    /// It judges it.
    Review,
}

/// What is known of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnState {
    /// An agent works on it, or will.
    Running,
    /// It ended well.
    Done {
        /// The final text.
        text: String,
        /// The structured answer.
        output: Option<Value>,
    },
    /// It failed.
    Failed(Failure),
}

/// A turn to start.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnSpec {
    /// Which.
    pub key: TurnKey,
    /// What its task is called.
    pub title: String,
    /// Type of agent.
    pub role: String,
    /// Model instead of the role's.
    pub model: Option<String>,
    /// CLI instead of the role's.
    pub backend: Option<Backend>,
    /// Who does it.
    pub agent: AgentRef,
    /// The prompt.
    pub prompt: String,
    /// JSON Schema of the answer.
    pub output_schema: Option<Value>,
    /// Seconds it may take.
    pub timeout_seconds: u32,
    /// Whether its result waits for a verdict.
    pub reviewed: bool,
}

/// Who does a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentRef {
    /// An agent for this turn only.
    New,
    /// The run's agent of this name.
    Named(String),
    /// This one.
    Member(AgentId),
}

/// Where a reviewed turn's task stands by its review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Approved, or taken as it is.
    Complete,
    /// Another turn mends what the review found.
    Revision,
    /// Not good enough.
    Failed,
}

impl Planner<'_> {
    /// Starts a turn unless it is known. `None`: it has not ended.
    fn attempts(
        &mut self,
        of: &TurnKey,
        retries: u32,
        view: &mut StageView,
        spec: impl FnOnce(TurnKey) -> Result<TurnSpec, Failure>,
    ) -> Option<Result<(String, Option<Value>), Failure>> {
        for attempt in 0.. {
            let key = TurnKey { attempt, ..of.clone() };
            match self.known.turns.get(&key) {
                Some(TurnState::Running) => {
                    view.turns.push(key);
                    return None;
                }
                Some(TurnState::Done { text, output }) => {
                    view.turns.push(key);
                    return Some(Ok((text.clone(), output.clone())));
                }
                Some(TurnState::Failed(failure)) => {
                    view.turns.push(key);
                    let may_help = !matches!(failure.code, FailureCode::TurnCancelled | FailureCode::BudgetExceeded);
                    if attempt >= retries || !may_help {
                        return Some(Err(failure.clone()));
                    }
                }
                None => {
                    let most = self.known.workflow.max_turns.min(TURNS) as usize;
                    if self.made >= most {
                        let words = format!("the run has made {most} turns, the most its workflow allows (max_turns)");
                        return Some(Err(Failure::new(FailureCode::WorkflowFailed, words)));
                    }
                    match spec(key) {
                        Ok(spec) => {
                            self.made += 1;
                            self.start.push(spec);
                            return None;
                        }
                        Err(failure) => return Some(Err(failure)),
                    }
                }
            }
        }
        None
    }

    pub(super) fn turn(&mut self, stage: &Stage, path: &str, scope: &Scope, before: Option<&str>) -> (Progress, StageView) {
        let mut view = StageView::new(stage, path, StageState::Running);
        let mut asked = Value::Null;
        for round in 0.. {
            let key = TurnKey { path: path.to_owned(), round, part: Part::Work, attempt: 0 };
            let retries = stage.retries + self.asked_again(path);
            let work = {
                let (known, asked) = (self.known, &asked);
                self.attempts(&key, retries, &mut view, |key| {
                    let values = scope.with([("review", asked.clone()), ("revision", json!(round))]).values(known.input);
                    let prompt = prompt::work(known.workflow, stage, path, &values, asked, before);
                    Ok(TurnSpec {
                        title: prompt::title(known.workflow, &key),
                        key,
                        role: stage.role.clone().unwrap_or_default(),
                        model: stage.model.clone(),
                        backend: stage.backend,
                        agent: agent_of(stage, path),
                        prompt: prompt.map_err(|error| bad(path, "prompt", &error))?,
                        output_schema: stage.output_schema.clone(),
                        timeout_seconds: stage.timeout_seconds.unwrap_or(known.input.timeout_seconds),
                        reviewed: stage.review.is_some(),
                    })
                })
            };
            view.revisions = round;
            let (text, output) = match work {
                None => {
                    view.state = if round > 0 { StageState::Revision } else { StageState::Running };
                    return (Progress::Open, view);
                }
                Some(Err(failure)) => {
                    self.judge(&view, None, Judged::Failed);
                    return view.failed(failure);
                }
                Some(Ok(made)) => made,
            };
            view.output = Some(output.clone().unwrap_or_else(|| json!(text)));
            let value = json!({"status": "complete", "output": output, "text": text, "verified": stage.review.is_some()});
            let Some(review) = &stage.review else {
                // Nobody had to look at it; that is not a doubt.
                let mut value = value;
                value["verified"] = json!(true);
                return view.complete(value);
            };
            match self.review(stage, review, &key, scope, &value, &mut view) {
                Gate::Open => return (Progress::Open, view),
                Gate::Pass { verified } => {
                    self.judge(&view, None, Judged::Complete);
                    let mut value = value;
                    value["verified"] = json!(verified);
                    value["revisions"] = json!(round);
                    let (progress, mut view) = view.complete(value);
                    if !verified {
                        view.state = StageState::Unverified;
                    }
                    return (progress, view);
                }
                Gate::Revise(answer) => {
                    self.judge(&view, Some(round), Judged::Revision);
                    asked = answer;
                }
                Gate::Fail(failure) => {
                    self.judge(&view, None, Judged::Failed);
                    return view.failed(failure);
                }
            }
        }
        (Progress::Open, view)
    }

    /// Says where the tasks of the stage's work stand: of one round, or of all.
    fn judge(&mut self, view: &StageView, round: Option<u32>, judged: Judged) {
        let of = |key: &&TurnKey| key.part == Part::Work && round.is_none_or(|round| key.round == round);
        let keys: Vec<TurnKey> = view.turns.iter().filter(of).cloned().collect();
        self.judged.retain(|(key, _)| !keys.contains(key));
        self.judged.extend(keys.into_iter().map(|key| (key, judged)));
    }

    fn review(
        &mut self,
        stage: &Stage,
        review: &Review,
        of: &TurnKey,
        scope: &Scope,
        made: &Value,
        view: &mut StageView,
    ) -> Gate {
        let key = TurnKey { part: Part::Review, attempt: 0, ..of.clone() };
        let path = of.path.as_str();
        let outcome = {
            let known = self.known;
            self.attempts(&key, stage.retries.max(1), view, |key| {
                let values = scope
                    .with([("made", made.clone()), ("review", Value::Null), ("revision", json!(of.round))])
                    .values(known.input);
                let prompt = prompt::review(known.workflow, stage, review, path, &values, made);
                Ok(TurnSpec {
                    title: prompt::title(known.workflow, &key),
                    key,
                    role: review.role.clone(),
                    model: None,
                    backend: None,
                    agent: reviewer_of(review, path),
                    prompt: prompt.map_err(|error| bad(path, "review.prompt", &error))?,
                    output_schema: Some(review_schema()),
                    timeout_seconds: stage.timeout_seconds.unwrap_or(known.input.timeout_seconds),
                    reviewed: false,
                })
            })
        };
        let answer = match outcome {
            None => {
                view.state = StageState::Review;
                return Gate::Open;
            }
            Some(Err(failure)) => {
                let words = format!("stage `{path}`: its review failed: {}", failure.detail);
                return Gate::Fail(Failure::new(failure.code, words));
            }
            Some(Ok((_, answer))) => answer.unwrap_or_default(),
        };
        let Some(verdict) = answer["verdict"].as_str().and_then(|word| word.parse::<ReviewVerdict>().ok()) else {
            return Gate::Fail(Failure::new(FailureCode::WorkflowFailed, format!("stage `{path}`: its review gave no verdict")));
        };
        view.verdict = Some(verdict);
        view.issues = answer["issues"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let words = || format!("stage `{path}`: {verdict} after {} revisions: {}", of.round, view.issues.join("; "));
        let (choice, options) = match verdict {
            ReviewVerdict::Approved => return Gate::Pass { verified: true },
            ReviewVerdict::Rejected if review.on_rejected == OnRejected::Fail => (Some(Answer::Fail), &[][..]),
            ReviewVerdict::Rejected if review.on_rejected == OnRejected::Ask => {
                (None, &[Answer::Revise, Answer::Accept, Answer::Fail][..])
            }
            _ if of.round < review.max_revisions => (Some(Answer::Revise), &[][..]),
            _ => match review.on_exhausted {
                OnExhausted::Fail => (Some(Answer::Fail), &[][..]),
                OnExhausted::Accept => (Some(Answer::Accept), &[][..]),
                OnExhausted::Ask => (None, &[Answer::Revise, Answer::Accept, Answer::Fail][..]),
            },
        };
        let words = words();
        match choice.or_else(|| self.ask(format!("{path}:review-{}", of.round), path, &words, options)) {
            None => {
                view.state = StageState::Waiting;
                Gate::Open
            }
            Some(Answer::Revise) => Gate::Revise(answer),
            Some(Answer::Accept) => Gate::Pass { verified: false },
            Some(_) => Gate::Fail(Failure::new(FailureCode::NotApproved, words)),
        }
    }
}

/// What a review leads to.
enum Gate {
    Open,
    Pass { verified: bool },
    Revise(Value),
    Fail(Failure),
}

fn agent_of(stage: &Stage, path: &str) -> AgentRef {
    match (&stage.agent_id, &stage.agent) {
        (Some(id), _) => AgentRef::Member(*id),
        (None, Some(name)) => AgentRef::Named(name.clone()),
        // A revision needs the conversation of the first try.
        (None, None) if stage.review.is_some() => AgentRef::Named(path.to_owned()),
        (None, None) => AgentRef::New,
    }
}

fn reviewer_of(review: &Review, path: &str) -> AgentRef {
    match (&review.agent_id, &review.agent) {
        (Some(id), _) => AgentRef::Member(*id),
        (None, Some(name)) => AgentRef::Named(name.clone()),
        (None, None) => AgentRef::Named(format!("{path}:review")),
    }
}

impl Question {
    /// The answers as words.
    pub fn words_of_options(&self) -> Vec<&'static str> {
        self.options.iter().map(|option| option.as_str()).collect()
    }
}
