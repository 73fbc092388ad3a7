//! Counts what was stored, for `/metrics`. Labels come from closed sets; models are bounded by [`model_label`].

use super::Batch;
use crate::model::{
    agent::AgentStatus,
    proposal::ProposalStatus,
    run::{Failure, FailureCode, RunOutcome},
    task::{Task, TaskStatus},
    workflow::run::WorkflowRunStatus,
};
use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Names of models told apart.
const MODELS: usize = 20;
const MODEL_CHARS: usize = 80;

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

/// A task after a change of its status.
pub(super) fn changed(task: &Task) {
    match task.status {
        TaskStatus::InProgress => {
            histogram!("mas_task_queue_seconds").record(seconds(task.created_at, task.started_at.unwrap_or(task.updated_at)));
        }
        status if status.is_terminal() => {
            ended(status, task.failure.as_ref().map(|failure| failure.code), 1);
            if let Some(limit) = task.failure.as_ref().and_then(|failure: &Failure| failure.limit.as_ref()) {
                let set_by = limit.set_by.as_str();
                counter!("mas_limits_reached_total", "name" => limit.name.clone(), "set_by" => set_by).increment(1);
            }
            if let (Some(begin), Some(end)) = (task.started_at, task.ended_at) {
                histogram!("mas_task_duration_seconds", "status" => status.as_str()).record(seconds(begin, end));
            }
        }
        _ => {}
    }
}

/// Tasks that ended in one way.
pub(super) fn ended(status: TaskStatus, code: Option<FailureCode>, tasks: u64) {
    if tasks > 0 {
        let code = code.map_or("", FailureCode::as_str);
        counter!("mas_tasks_ended_total", "status" => status.as_str(), "code" => code).increment(tasks);
    }
}

/// A run of a workflow that has come to its end.
pub(super) fn run_ended(status: WorkflowRunStatus, created_at: DateTime<Utc>, at: DateTime<Utc>) {
    let status = status.as_str();
    counter!("mas_workflow_runs_ended_total", "status" => status).increment(1);
    histogram!("mas_workflow_run_duration_seconds", "status" => status).record(seconds(created_at, at));
}

/// A proposal that has come to its end.
pub(super) fn proposal_ended(status: ProposalStatus, created_at: DateTime<Utc>, at: DateTime<Utc>) {
    let status = status.as_str();
    counter!("mas_proposals_ended_total", "status" => status).increment(1);
    histogram!("mas_proposal_duration_seconds", "status" => status).record(seconds(created_at, at));
}

/// A batch that was stored, with the task it changed and the number of messages that will have no turn.
pub(super) fn stored(batch: &Batch<'_>, task: Option<&Task>, waiting: u64) {
    counter!("mas_events_appended_total").increment(batch.events.len() as u64);
    if let Some(run) = batch.run.filter(|run| run.ended) {
        spent(run.outcome);
    }
    if let Some(task) = task {
        changed(task);
    }
    ended(TaskStatus::Complete, None, u64::from(batch.joined.is_some()));
    match batch.agent_status {
        Some(AgentStatus::Terminated) => ended(TaskStatus::Cancelled, None, waiting),
        _ => ended(TaskStatus::Failed, Some(FailureCode::AgentFailed), waiting),
    }
}

/// A run that is over.
fn spent(outcome: &RunOutcome) {
    let model = model_label(outcome.model.as_deref().unwrap_or("unknown"));
    if let Some(cost) = outcome.cost_usd {
        histogram!("mas_run_cost_usd", "model" => model.clone()).record(cost);
    }
    if let Some(tokens) = outcome.tokens {
        counter!("mas_tokens_total", "model" => model).increment(tokens);
    }
}

/// The name a model is counted under: its own for the first few, `other` for the rest.
fn model_label(name: &str) -> String {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@[]".contains(c);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = !known.contains(name);
    if is_new && (known.len() >= MODELS || name.len() > MODEL_CHARS || !name.chars().all(is_plain)) {
        return "other".into();
    }
    if is_new {
        known.insert(name.to_owned());
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_models_are_few_and_plain() {
        assert_eq!(model_label("claude-sonnet-4-5[1m]"), "claude-sonnet-4-5[1m]");
        assert_eq!(model_label("a \"quoted\" name"), "other");
        assert_eq!(model_label(&"x".repeat(MODEL_CHARS + 1)), "other");
        let labels: BTreeSet<String> = (0..100).map(|n| model_label(&format!("model-{n}"))).collect();
        assert!(labels.len() <= MODELS + 1 && labels.contains("other"), "{labels:?}");
    }
}
