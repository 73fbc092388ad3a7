//! What a run does next: a pure function of its workflow, its input, the turns made so far and the answers given.
//!
//! The workflow is walked from the beginning each time. A turn that is known is taken as it was; the first one that is
//! not stops the walk on its branch and is to be started. So a run goes on from wherever it was, and nothing but turns
//! and answers has to be kept. For that, templates and expressions must give the same every time: they see nothing but the
//! input and earlier outputs.

mod turn;
mod view;

pub use turn::{AgentRef, Judged, Part, TurnKey, TurnSpec, TurnState};
pub use view::{Question, StageState, StageView, doubts, end_stages};

use super::{
    ITEMS, OnExhausted, OnFailure, Stage, Workflow, prompt,
    run::{Answer, RunInput},
    template,
};
use crate::model::run::{Failure, FailureCode};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, rc::Rc};

/// All that is known of a run.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The workflow.
    pub workflow: &'a Workflow,
    /// What the run was begun with.
    pub input: &'a RunInput,
    /// The turns made so far.
    pub turns: &'a BTreeMap<TurnKey, TurnState>,
    /// Answers by question.
    pub answers: &'a BTreeMap<String, Answer>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Turns to start now.
    pub start: Vec<TurnSpec>,
    /// Where the tasks of reviewed turns stand by their reviews.
    pub judged: Vec<(TurnKey, Judged)>,
    /// Where the run stands.
    pub state: RunState,
    /// Where its stages stand.
    pub stages: Vec<StageView>,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// Agents work, or are to.
    Running,
    /// Nothing goes on until these are answered.
    Waiting(Vec<Question>),
    /// Done, with this result.
    Complete(Value),
    /// It cannot be done.
    Failed(Failure),
}

/// Says what comes next.
pub fn plan(known: &Known<'_>) -> Plan {
    let mut planner =
        Planner { known: *known, start: Vec::new(), judged: Vec::new(), questions: Vec::new(), made: known.turns.len() };
    let (progress, stages) = planner.list(&known.workflow.stages, "", &Scope::default());
    let state = match progress {
        Progress::Failed(failure) => RunState::Failed(failure),
        Progress::Done(done) => match planner.result(&done) {
            Ok(result) => RunState::Complete(result),
            Err(failure) => RunState::Failed(failure),
        },
        Progress::Open => {
            let works = known.turns.values().any(|turn| matches!(turn, TurnState::Running));
            if planner.start.is_empty() && !works && !planner.questions.is_empty() {
                RunState::Waiting(planner.questions)
            } else {
                RunState::Running
            }
        }
    };
    if !matches!(state, RunState::Running) {
        planner.start.clear();
    }
    Plan { start: planner.start, judged: planner.judged, state, stages }
}

/// How far a part has come. What is done is an object: `status`, `output`, `text`, and more by kind.
#[derive(Debug, Clone, PartialEq)]
enum Progress {
    Open,
    Done(Value),
    Failed(Failure),
}

/// What templates see at some place. Outputs may be large and places many, so they are shared.
#[derive(Debug, Clone, Default)]
struct Scope {
    values: BTreeMap<String, Rc<Value>>,
    done: BTreeMap<String, Rc<Value>>,
}

impl Scope {
    fn with<const N: usize>(&self, values: [(&str, Value); N]) -> Self {
        let mut scope = self.clone();
        scope.values.extend(values.map(|(name, value)| (name.to_owned(), Rc::new(value))));
        scope
    }

    /// The values of templates and expressions.
    fn values(&self, input: &RunInput) -> Value {
        let own = |map: &BTreeMap<String, Rc<Value>>| -> Map<String, Value> {
            map.iter().map(|(name, value)| (name.clone(), (**value).clone())).collect()
        };
        let mut values = own(&self.values);
        values.insert("task".into(), json!(input.task));
        values.insert("input".into(), Value::Object(input.values.clone()));
        values.insert("stages".into(), Value::Object(own(&self.done)));
        Value::Object(values)
    }
}

struct Planner<'a> {
    known: Known<'a>,
    start: Vec<TurnSpec>,
    judged: Vec<(TurnKey, Judged)>,
    questions: Vec<Question>,
    /// Turns made or to be started.
    made: usize,
}

impl<'a> Planner<'a> {
    fn values(&self, scope: &Scope) -> Value {
        scope.values(self.known.input)
    }

    fn result(&self, done: &Value) -> Result<Value, Failure> {
        match &self.known.workflow.result {
            None => Ok(done["output"].clone()).map(|output| if output.is_null() { done["text"].clone() } else { output }),
            Some(template) => {
                let mut values = self.values(&Scope::default());
                values["stages"] = done["stages"].clone();
                template::render(template, &values).map(Value::String).map_err(|error| bad("result", "result", &error))
            }
        }
    }

    /// The stages of a list, each as soon as those it needs are settled.
    fn list(&mut self, stages: &'a [Stage], prefix: &str, scope: &Scope) -> (Progress, Vec<StageView>) {
        let (mut scope, mut views) = (scope.clone(), Vec::with_capacity(stages.len()));
        let (mut settled, mut failure, mut before) = (BTreeMap::new(), None, None);
        for stage in stages {
            let previous = before.replace(stage.name.as_str());
            let needs = stage.needs(previous);
            let path = if prefix.is_empty() { stage.name.clone() } else { format!("{prefix}/{}", stage.name) };
            let waits = needs.iter().any(|name| stages.iter().any(|other| other.name == *name) && !settled.contains_key(name));
            if waits || failure.is_some() {
                views.push(StageView::new(stage, &path, StageState::Pending));
                continue;
            }
            let (progress, view) = self.stage(stage, &path, &scope, previous);
            views.push(view);
            match progress {
                Progress::Done(value) => {
                    let value = Rc::new(value);
                    scope.done.insert(stage.name.clone(), value.clone());
                    settled.insert(stage.name.as_str(), value);
                }
                Progress::Failed(reason) => failure = Some(reason),
                Progress::Open => {}
            }
        }
        if let Some(failure) = failure {
            return (Progress::Failed(failure), views);
        }
        if settled.len() < stages.len() {
            return (Progress::Open, views);
        }
        let last = stages.last().and_then(|stage| settled.get(stage.name.as_str())).cloned().unwrap_or_default();
        let verified = settled.values().all(|value| value["verified"] != json!(false));
        let all: Map<String, Value> = settled.iter().map(|(name, value)| ((*name).to_owned(), (**value).clone())).collect();
        let done =
            json!({"status": "complete", "output": last["output"], "text": last["text"], "verified": verified, "stages": all});
        (Progress::Done(done), views)
    }

    /// A stage with its condition and its fan-out.
    fn stage(&mut self, stage: &'a Stage, path: &str, scope: &Scope, before: Option<&'a str>) -> (Progress, StageView) {
        let mut view = StageView::new(stage, path, StageState::Running);
        if let Some(when) = &stage.when {
            match template::is_true(when, &self.values(scope)) {
                Ok(true) => {}
                Ok(false) => {
                    view.state = StageState::Skipped;
                    return (Progress::Done(json!({"status": "skipped", "output": null, "text": "", "verified": true})), view);
                }
                Err(error) => return view.failed(bad(path, "when", &error)),
            }
        }
        let Some(each) = &stage.for_each else { return self.settled(stage, path, scope, before) };
        let items = match template::evaluate(&each.items, &self.values(scope)) {
            Ok(Value::Array(items)) if items.len() <= ITEMS => items,
            Ok(Value::Array(items)) => {
                return view.failed(bad(path, "for_each", &format!("{} items; at most {ITEMS} are allowed", items.len())));
            }
            Ok(other) => return view.failed(bad(path, "for_each", &format!("`{}` gives {other}, not a list", each.items))),
            Err(error) => return view.failed(bad(path, "for_each", &error)),
        };
        let (mut open, mut done) = (0, Vec::with_capacity(items.len()));
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            if open >= each.max_parallel {
                view.children.push(StageView::new(stage, &path, StageState::Pending));
                continue;
            }
            let scope = scope.with([(each.name.as_str(), item), ("index", json!(index))]);
            let (progress, child) = self.settled(stage, &path, &scope, before);
            view.children.push(child);
            match progress {
                Progress::Done(value) => done.push(value),
                Progress::Open => open += 1,
                Progress::Failed(failure) => return view.failed(failure),
            }
        }
        if done.len() < view.children.len() {
            return (Progress::Open, view);
        }
        view.state = StageState::Complete;
        let outputs: Vec<&Value> =
            done.iter().map(|value| if value["output"].is_null() { &value["text"] } else { &value["output"] }).collect();
        let texts: Vec<&str> = done.iter().filter_map(|value| value["text"].as_str()).collect();
        let verified = done.iter().all(|value| value["verified"] != json!(false));
        let value =
            json!({"status": "complete", "output": outputs, "text": texts.join("\n\n"), "verified": verified, "items": done});
        (Progress::Done(value), view)
    }

    /// A stage for one item, with what its failure means.
    fn settled(&mut self, stage: &'a Stage, path: &str, scope: &Scope, before: Option<&'a str>) -> (Progress, StageView) {
        let (progress, mut view) = self.repeated(stage, path, scope, before);
        let Progress::Failed(failure) = progress else { return (progress, view) };
        let answer = match stage.on_failure {
            OnFailure::Fail => Some(Answer::Fail),
            OnFailure::Skip => Some(Answer::Skip),
            OnFailure::Ask => {
                let id = format!("{path}:failed-{}", self.asked_again(path) + 1);
                let is_turn = stage.stages.is_empty() && stage.repeat.is_none() && stage.review.is_none();
                let options = [Answer::Retry, Answer::Skip, Answer::Fail];
                self.ask(id, path, &failure.detail, if is_turn { &options } else { &options[1..] })
            }
        };
        match answer {
            None => {
                view.state = StageState::Waiting;
                (Progress::Open, view)
            }
            Some(Answer::Skip) => {
                let text = format!("This stage failed and was left out: {}", failure.detail);
                view.state = StageState::Unverified;
                view.failure = Some(failure);
                (Progress::Done(json!({"status": "failed", "output": null, "text": text, "verified": false})), view)
            }
            Some(_) => view.failed(failure),
        }
    }

    fn repeated(&mut self, stage: &'a Stage, path: &str, scope: &Scope, before: Option<&'a str>) -> (Progress, StageView) {
        let Some(repeat) = &stage.repeat else { return self.body(stage, path, scope, before) };
        let mut view = StageView::new(stage, path, StageState::Running);
        let mut previous = Value::Null;
        for iteration in 1..=repeat.max_iterations {
            let inner = scope.with([("iteration", json!(iteration)), ("previous", previous.clone())]);
            let (progress, child) = self.body(stage, &format!("{path}~{iteration}"), &inner, before);
            view.children.push(child);
            let Progress::Done(current) = progress else {
                return match progress {
                    Progress::Failed(failure) => view.failed(failure),
                    _ => (Progress::Open, view),
                };
            };
            let seen = inner.with([("current", current.clone())]);
            match template::is_true(&repeat.until, &self.values(&seen)) {
                Ok(true) => return view.complete(current),
                Ok(false) => previous = current,
                Err(error) => return view.failed(bad(path, "repeat.until", &error)),
            }
        }
        let words = format!("`{}` was still not so after {} iterations", repeat.until, repeat.max_iterations);
        let answer = match repeat.on_exhausted {
            OnExhausted::Fail => Some(Answer::Fail),
            OnExhausted::Accept => Some(Answer::Accept),
            OnExhausted::Ask => self.ask(format!("{path}:exhausted"), path, &words, &[Answer::Accept, Answer::Fail]),
        };
        match answer {
            None => {
                view.state = StageState::Waiting;
                (Progress::Open, view)
            }
            Some(Answer::Accept) => {
                previous["verified"] = json!(false);
                let (progress, mut view) = view.complete(previous);
                view.state = StageState::Unverified;
                (progress, view)
            }
            Some(_) => view.failed(Failure::new(FailureCode::WorkflowFailed, format!("stage `{path}`: {words}"))),
        }
    }

    fn body(&mut self, stage: &'a Stage, path: &str, scope: &Scope, before: Option<&'a str>) -> (Progress, StageView) {
        if stage.stages.is_empty() {
            return self.turn(stage, path, scope, before);
        }
        let (progress, children) = self.list(&stage.stages, path, scope);
        let mut view = StageView::new(stage, path, StageState::Running);
        view.children = children;
        match progress {
            Progress::Done(value) => view.complete(value),
            Progress::Failed(failure) => view.failed(failure),
            Progress::Open => (Progress::Open, view),
        }
    }

    /// How often somebody wanted a failed turn of the stage made again.
    fn asked_again(&self, path: &str) -> u32 {
        let mut times = 0;
        while self.known.answers.get(&format!("{path}:failed-{}", times + 1)) == Some(&Answer::Retry) {
            times += 1;
        }
        times
    }

    /// The answer to a question; without one the question is open.
    fn ask(&mut self, id: String, path: &str, words: &str, options: &[Answer]) -> Option<Answer> {
        let answer = self.known.answers.get(&id).copied().filter(|answer| options.contains(answer));
        if answer.is_none() {
            self.questions.push(Question { id, stage: path.to_owned(), words: words.to_owned(), options: options.to_vec() });
        }
        answer
    }
}

fn bad(path: &str, field: &str, error: &str) -> Failure {
    Failure::new(FailureCode::WorkflowFailed, format!("stage `{path}`, {field}: {error}"))
}

#[cfg(test)]
mod tests;
