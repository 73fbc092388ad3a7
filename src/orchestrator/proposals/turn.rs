//! A question as a turn of an agent, and what came of it.

use crate::model::{
    agent::Backend,
    consensus::{Answer, Cast, Phase, Rules, read_answer, schema_of},
    id::TaskId,
    proposal::{BallotRecord, Proposal},
    quota::WorkLimits,
    run::{FailureCode, Run},
    task::{MessageMode, OnLost, Priority, Task, TaskStatus},
};
use chrono::{DateTime, Utc};

/// Seconds a turn may take beyond the proposal that stops it.
const GRACE_SECONDS: u32 = 60;
/// Characters of the question in a title.
const TITLE_CHARS: usize = 80;

/// What a turn came to.
pub(super) enum Judged {
    /// An answer.
    Cast(Cast),
    /// The voter chose not to answer.
    Abstained(String),
    /// An answer that cannot be read.
    Invalid(String),
    /// None; the voter is gone.
    Lost(String),
}

/// Judges a turn that has ended.
pub(super) fn judge(rules: &Rules, record: &BallotRecord, task: &Task, run: Option<&Run>) -> Judged {
    match (task.status, &task.failure) {
        (TaskStatus::Complete, _) => {
            let Some(given) = run.and_then(|run| run.outcome.structured_output.as_ref()) else {
                return Judged::Invalid("it had no structured output".into());
            };
            match read_answer(rules, record.phase, record.round, given) {
                Ok(Answer::Cast(cast)) => Judged::Cast(cast),
                Ok(Answer::Abstained(reason)) => Judged::Abstained(reason),
                Err(problem) => Judged::Invalid(problem),
            }
        }
        (_, Some(failure)) if failure.code == FailureCode::InvalidStructuredOutput => Judged::Invalid(failure.detail.clone()),
        (_, Some(failure)) => Judged::Lost(format!("{} ({})", failure.detail, failure.code)),
        (_, None) => Judged::Lost("its turn was cancelled".into()),
    }
}

/// The turn in which a question is put.
pub(super) fn task_of(proposal: &Proposal, record: &BallotRecord, words: String, now: DateTime<Utc>) -> Task {
    let seat = &proposal.seats[record.place];
    let question: String = proposal.question.chars().take(TITLE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let left = u32::try_from((proposal.deadline_at - now).num_seconds()).unwrap_or(0);
    // A voter that says nothing must not take the time of the steps that follow. Where none follow, the proposal ends first.
    let asks_again = proposal.rules.protocol.asks_again(proposal.rules.max_rounds);
    let timeout_seconds = if asks_again { (left / 2).max(1) } else { left + GRACE_SECONDS };
    Task {
        id: TaskId::generate(),
        owner: proposal.owner.clone(),
        key_id: proposal.key_id,
        title: format!("{} of voter {}: {question}", record.phase, record.place + 1),
        description: words,
        agent_type: seat.agent_type,
        backend: Backend::ClaudeCode,
        project: seat.project.clone(),
        model: seat.model.clone().filter(|_| seat.agent_id.is_none()),
        priority: Priority::Normal,
        timeout_seconds,
        budget_usd: None,
        limits: WorkLimits::default(),
        mode: seat.agent_id.map(|_| MessageMode::Queue),
        workflow_run_id: None,
        swarm_id: None,
        workspace_name: None,
        reviewed: false,
        traceparent: proposal.traceparent.clone(),
        joined_task_id: None,
        // A leader whose process dies is a lost leader: the next term is quicker than its recovery.
        on_lost: if record.phase == Phase::Draft { OnLost::Fail } else { OnLost::Resume },
        output_schema: Some(schema_of(&proposal.rules, record.phase)),
        idempotency_key: None,
        request_hash: String::new(),
        status: TaskStatus::Created,
        generation: 0,
        cancel_requested: false,
        agent_id: seat.agent_id,
        run_id: None,
        failure: None,
        dead_letter: false,
        provenance: proposal.provenance,
        created_at: now,
        updated_at: now,
        started_at: None,
        ended_at: None,
    }
}
