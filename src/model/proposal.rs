//! Proposals: questions put to agents, their voters and their ballots, as stored.

use super::{
    agent::AgentType,
    consensus::{Ballot, Cast, Outcome, OutcomeKind, Phase, Rules, State},
    id::{AgentId, KeyId, ProposalId, RunId, TaskId},
    run::Provenance,
    word::word_enum,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

word_enum! {
    /// Where a proposal stands.
    ProposalStatus {
        /// Voters are being asked.
        Open = "open",
        /// The protocol's rule was met.
        Decided = "decided",
        /// A voter with a veto was against it.
        Rejected = "rejected",
        /// The rule was not met, and could not be any more.
        Inconclusive = "inconclusive",
        /// Time was over first.
        TimedOut = "timed_out",
        /// Ended by request.
        Cancelled = "cancelled",
    }
}

impl From<OutcomeKind> for ProposalStatus {
    fn from(kind: OutcomeKind) -> Self {
        match kind {
            OutcomeKind::Decided => Self::Decided,
            OutcomeKind::Rejected => Self::Rejected,
            OutcomeKind::Inconclusive => Self::Inconclusive,
            OutcomeKind::TimedOut => Self::TimedOut,
            OutcomeKind::Cancelled => Self::Cancelled,
        }
    }
}

/// Who votes at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    /// The agent; none when every question is a task of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its role.
    pub agent_type: AgentType,
    /// The project it works in.
    pub project: String,
    /// The model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the agent was made for the proposal and ends with it.
    #[serde(default)]
    pub is_own: bool,
    /// Why it cannot be asked any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// A proposal as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Its identifier.
    pub id: ProposalId,
    /// The user it belongs to.
    pub owner: String,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// What is to be decided.
    pub question: String,
    /// How.
    pub rules: Rules,
    /// By whom, in the order of their places.
    pub seats: Vec<Seat>,
    /// The project its turns happen in.
    pub project: String,
    /// Where it stands.
    pub status: ProposalStatus,
    /// Raised by every change; a late writer with an older one changes nothing.
    pub generation: i64,
    /// The round or term it is in, from 1.
    pub round: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Seconds it may take.
    pub timeout_seconds: u32,
    /// The caller's key for exact retries.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that made it, in hexadecimal.
    pub request_hash: String,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// Its place in the trace of the request that made it, for its turns.
    pub traceparent: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When time is over.
    pub deadline_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Proposal {
    /// The places that cannot be asked any more.
    pub fn lost(&self) -> BTreeSet<usize> {
        self.seats.iter().enumerate().filter(|(_, seat)| seat.lost.is_some()).map(|(place, _)| place).collect()
    }

    /// The agents that were made for it.
    pub fn own_agents(&self) -> Vec<AgentId> {
        self.seats.iter().filter(|seat| seat.is_own).filter_map(|seat| seat.agent_id).collect()
    }
}

word_enum! {
    /// Where a ballot stands.
    BallotStatus {
        /// The question was put.
        Asked = "asked",
        /// It was answered.
        Cast = "cast",
        /// It was not answered, and will not be.
        Abstained = "abstained",
        /// The answer could not be read; the question was put again.
        Invalid = "invalid",
    }
}

/// A question to a voter and its answer, as stored. At most two attempts of each.
#[derive(Debug, Clone, PartialEq)]
pub struct BallotRecord {
    /// The proposal.
    pub proposal_id: ProposalId,
    /// The round or term, from 1.
    pub round: u32,
    /// What was asked for.
    pub phase: Phase,
    /// The voter.
    pub place: usize,
    /// 1, or 2 when it was asked again.
    pub attempt: u32,
    /// Where it stands.
    pub status: BallotStatus,
    /// The turn.
    pub task_id: TaskId,
    /// The agent, as soon as it is known.
    pub agent_id: Option<AgentId>,
    /// The run the answer comes from.
    pub run_id: Option<RunId>,
    /// The answer.
    pub cast: Option<Cast>,
    /// Why there is none.
    pub reason: Option<String>,
    /// When the question was put.
    pub asked_at: DateTime<Utc>,
    /// When the answer was recorded.
    pub cast_at: Option<DateTime<Utc>>,
}

impl BallotRecord {
    /// The ballot as the rules know it; none for an answer that was asked for again.
    pub fn ballot(&self) -> Option<Ballot> {
        let state = match (self.status, &self.cast) {
            (BallotStatus::Invalid, _) => return None,
            (BallotStatus::Asked, _) => State::Asked,
            (BallotStatus::Cast, Some(cast)) => State::Cast(cast.clone()),
            (BallotStatus::Cast | BallotStatus::Abstained, _) => State::Abstained(self.reason.clone().unwrap_or_default()),
        };
        Some(Ballot { place: self.place, round: self.round, phase: self.phase, state })
    }
}

/// The ballots as the rules know them.
pub fn ballots_of(records: &[BallotRecord]) -> Vec<Ballot> {
    records.iter().filter_map(BallotRecord::ballot).collect()
}

/// Settles the open questions that pass, because nobody needs their answers any more: the ballots as they are then, and
/// the turns to stop.
pub fn close(
    records: &[BallotRecord],
    passes: impl Fn(&BallotRecord) -> bool,
    reason: &str,
    at: DateTime<Utc>,
) -> (Vec<BallotRecord>, Vec<TaskId>) {
    let open = records.iter().filter(|record| record.status == BallotStatus::Asked && passes(record));
    open.map(|record| {
        let reason = Some(reason.to_owned());
        (BallotRecord { status: BallotStatus::Abstained, reason, cast_at: Some(at), ..record.clone() }, record.task_id)
    })
    .unzip()
}
