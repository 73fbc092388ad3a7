//! A question as a turn of an agent, and what came of it.

use crate::model::{
    consensus::{Answer, Cast, Phase, Rules, read_answer, schema_of},
    proposal::{BallotRecord, Proposal},
    run::{FailureCode, Run},
    task::{MessageMode, OnLost, Task, TaskStatus},
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
    // A voter that says nothing must not take the time of the steps that follow. Where none follow, the
    // proposal ends first, and stops it.
    let asks_again = proposal.rules.protocol.asks_again(proposal.rules.max_rounds);
    let timeout_seconds = if asks_again { (left / 2).max(1) } else { left + GRACE_SECONDS };
    Task {
        key_id: proposal.key_id,
        title: format!("{} of voter {}: {question}", record.phase, record.place + 1),
        description: words,
        project: seat.project.clone(),
        model: seat.model.clone().filter(|_| seat.agent_id.is_none()),
        mode: seat.agent_id.map(|_| MessageMode::Queue),
        traceparent: proposal.traceparent.clone(),
        // A leader whose process dies is a lost leader: the next term is quicker than its recovery.
        on_lost: if record.phase == Phase::Draft { OnLost::Fail } else { OnLost::Resume },
        output_schema: Some(schema_of(&proposal.rules, record.phase)),
        agent_id: seat.agent_id,
        ..Task::new(proposal.owner.clone(), seat.agent_type, timeout_seconds, proposal.provenance, now)
    }
}
