//! Proposals as callers see them. Voters are numbered from 1.

use crate::model::{
    agent::AgentType,
    consensus::{OutcomeKind, Phase, Protocol, Tally, Threshold, WEIGHT_UNIT, canonical, interim},
    id::{AgentId, ProposalId, RunId, TaskId},
    proposal::{BallotRecord, BallotStatus, Proposal, ProposalStatus, ballots_of},
    run::Provenance,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A question for several agents, their ballots, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "proposal_0193f2a87c3e7d10b5a1c2d3e4f50617", "question": "Which database should the service use?", "options": ["SQLite", "PostgreSQL"], "protocol": "quorum", "threshold": "more than half", "project": "default", "status": "decided", "decision": "SQLite", "why": "`SQLite` has 2 of 3 votes, more than half is needed", "round": 1, "max_rounds": 1, "voters": [{"voter": 1, "agent_type": "architect", "weight": 1.0, "veto": false}], "rounds": [{"round": 1, "phase": "vote", "asked": 3, "cast": 3, "tally": [{"choice": "SQLite", "voters": [1, 2], "weight": 2.0}, {"choice": "PostgreSQL", "voters": [3], "weight": 1.0}]}], "ballots": [{"voter": 1, "round": 1, "phase": "vote", "attempt": 1, "status": "cast", "choice": "SQLite", "rationale": "One file, no server.", "confidence": 0.8, "task_id": "task_0193f2a87c3e7d10b5a1c2d3e4f50617", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "run_id": "run_0193f2a87c3e7d10b5a1c2d3e4f50617", "asked_at": "2026-11-20T10:00:00Z", "cast_at": "2026-11-20T10:00:09Z"}], "tally": [{"choice": "SQLite", "voters": [1, 2], "weight": 2.0}, {"choice": "PostgreSQL", "voters": [3], "weight": 1.0}], "dissent": [{"voter": 3, "choice": "PostgreSQL", "rationale": "Several writers."}], "equivocations": [], "silent": [], "timeout_seconds": 300, "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:11Z", "deadline_at": "2026-11-20T10:05:00Z", "ended_at": "2026-11-20T10:00:11Z", "next_step": "It is decided. Report the decision with the dissent, and with who was silent, if there is any."}))]
pub struct ProposalResource {
    /// The proposal's id.
    pub id: ProposalId,
    /// What is to be decided.
    pub question: String,
    /// What there is to choose from; empty: anything. For crdt, the sections of the document.
    pub options: Vec<String>,
    /// How ballots become a decision.
    pub protocol: Protocol,
    /// The share of all weight that decides, in words; only where the protocol leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub threshold: Option<String>,
    /// The project of voters that were made for it.
    pub project: String,
    /// open, or how it ended.
    pub status: ProposalStatus,
    /// What was decided; for crdt the merged document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub decision: Option<String>,
    /// Why it ended as it did, with the figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub why: Option<String>,
    /// The round or term it is in, from 1.
    pub round: u32,
    /// Rounds or terms before it is given up.
    pub max_rounds: u32,
    /// Who decides.
    pub voters: Vec<VoterView>,
    /// What each round came to, in order.
    pub rounds: Vec<RoundView>,
    /// Every question put to a voter and its answer, in order.
    pub ballots: Vec<BallotView>,
    /// The choices as they count now or counted at the end, the heaviest first.
    pub tally: Vec<Choice>,
    /// Who was for something else than what was decided.
    pub dissent: Vec<DissentView>,
    /// Voters that contradicted themselves (byzantine); their ballots do not count.
    pub equivocations: Vec<EquivocationView>,
    /// Voters that gave no answer before time was over; it ended without them.
    pub silent: Vec<usize>,
    /// Seconds it may take.
    pub timeout_seconds: u32,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When time is over.
    pub deadline_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_at: Option<DateTime<Utc>>,
    /// What to do next, in words.
    pub next_step: String,
}

/// A voter.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VoterView {
    /// Its number, from 1.
    pub voter: usize,
    /// The agent; absent where each question goes to a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// Its role.
    pub agent_type: AgentType,
    /// Its weight.
    pub weight: f64,
    /// Whether it may veto.
    pub veto: bool,
    /// Why it cannot be asked any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lost: Option<String>,
}

/// A question put to a voter, and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BallotView {
    /// The voter's number.
    pub voter: usize,
    /// The round or term.
    pub round: u32,
    /// What was asked for.
    pub phase: Phase,
    /// 2: asked again, because the first answer could not be read.
    pub attempt: u32,
    /// asked: the voter is at it; invalid: the answer could not be read.
    pub status: BallotStatus,
    /// Its choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub choice: Option<String>,
    /// Why, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rationale: Option<String>,
    /// How sure it is by its own account, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub confidence: Option<f64>,
    /// What it says it had stated before (byzantine commits).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub prepared: Option<String>,
    /// Contributions to the document (crdt).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub edits: Option<usize>,
    /// Why there is no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// The turn.
    pub task_id: TaskId,
    /// The agent that had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// The run the answer comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub run_id: Option<RunId>,
    /// When it was asked.
    pub asked_at: DateTime<Utc>,
    /// When the answer was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cast_at: Option<DateTime<Utc>>,
}

/// A choice and who was for it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Choice {
    /// The choice, in the words of the first who made it.
    pub choice: String,
    /// The numbers of the voters.
    pub voters: Vec<usize>,
    /// Their weight.
    pub weight: f64,
}

/// A step of a round.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RoundView {
    /// The round or term.
    pub round: u32,
    /// What was asked for.
    pub phase: Phase,
    /// Voters asked.
    pub asked: usize,
    /// Answers.
    pub cast: usize,
    /// What they were.
    pub tally: Vec<Choice>,
}

/// A voter that was for something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DissentView {
    /// The voter's number.
    pub voter: usize,
    /// What it was for.
    pub choice: String,
    /// Why.
    pub rationale: String,
}

/// A voter that contradicted itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EquivocationView {
    /// The voter's number.
    pub voter: usize,
    /// The round.
    pub round: u32,
    /// What it did.
    pub detail: String,
}

impl ProposalResource {
    pub(super) fn new(proposal: Proposal, ballots: Vec<BallotRecord>) -> Self {
        let (rules, lost) = (&proposal.rules, proposal.lost());
        let voters = proposal.seats.iter().zip(&rules.voters).enumerate();
        let voters = voters.map(|(place, (seat, voter))| VoterView {
            voter: place + 1,
            agent_id: seat.agent_id,
            agent_type: seat.agent_type,
            weight: weight(voter.weight),
            veto: voter.veto,
            lost: seat.lost.clone(),
        });
        let voters = voters.collect();
        let has_threshold = matches!(rules.protocol, Protocol::Quorum | Protocol::Gossip);
        let is_open = proposal.status == ProposalStatus::Open;
        let count = || interim(rules, &ballots_of(&ballots), &lost, OutcomeKind::Inconclusive, String::new());
        let outcome = proposal.outcome.clone().unwrap_or_else(count);
        let dissent = outcome.dissent.into_iter().map(|dissent| DissentView {
            voter: dissent.place + 1,
            choice: dissent.choice,
            rationale: dissent.rationale,
        });
        let equivocations = outcome.equivocations.into_iter().map(|found| EquivocationView {
            voter: found.place + 1,
            round: found.round,
            detail: found.detail,
        });
        Self {
            threshold: has_threshold.then(|| Threshold::words(rules.threshold)),
            voters,
            rounds: rounds(&proposal, &ballots),
            tally: outcome.tally.iter().map(Choice::from).collect(),
            dissent: dissent.collect(),
            equivocations: equivocations.collect(),
            silent: outcome.silent.iter().map(|place| place + 1).collect(),
            decision: outcome.choice,
            why: Some(outcome.why).filter(|_| !is_open),
            next_step: next_step(proposal.status).to_owned(),
            id: proposal.id,
            protocol: proposal.rules.protocol,
            max_rounds: proposal.rules.max_rounds,
            options: proposal.rules.options,
            question: proposal.question,
            project: proposal.project,
            status: proposal.status,
            round: proposal.round,
            ballots: ballots.into_iter().map(BallotView::from).collect(),
            timeout_seconds: proposal.timeout_seconds,
            provenance: proposal.provenance,
            created_at: proposal.created_at,
            updated_at: proposal.updated_at,
            deadline_at: proposal.deadline_at,
            ended_at: proposal.ended_at,
        }
    }
}

impl From<BallotRecord> for BallotView {
    fn from(ballot: BallotRecord) -> Self {
        let (choice, rationale, confidence, prepared, edits) = match ballot.cast {
            Some(cast) => {
                let edits = (ballot.phase == Phase::Edit).then_some(cast.edits.len());
                (Some(cast.choice), Some(cast.rationale), Some(cast.confidence), cast.prepared, edits)
            }
            None => (None, None, None, None, None),
        };
        Self {
            voter: ballot.place + 1,
            round: ballot.round,
            phase: ballot.phase,
            attempt: ballot.attempt,
            status: ballot.status,
            choice,
            rationale,
            confidence,
            prepared,
            edits,
            reason: ballot.reason,
            task_id: ballot.task_id,
            agent_id: ballot.agent_id,
            run_id: ballot.run_id,
            asked_at: ballot.asked_at,
            cast_at: ballot.cast_at,
        }
    }
}

impl From<&Tally> for Choice {
    fn from(tally: &Tally) -> Self {
        Self {
            choice: tally.choice.clone(),
            voters: tally.places.iter().map(|place| place + 1).collect(),
            weight: weight(tally.weight),
        }
    }
}

/// What was said in each step of each round, in the order of asking.
fn rounds(proposal: &Proposal, ballots: &[BallotRecord]) -> Vec<RoundView> {
    let mut steps: Vec<RoundView> = Vec::new();
    let mut tallies: Vec<BTreeMap<String, (Tally, usize)>> = Vec::new();
    for ballot in ballots.iter().filter(|ballot| ballot.status != BallotStatus::Invalid) {
        let known = steps.iter().position(|step| (step.round, step.phase) == (ballot.round, ballot.phase));
        let at = known.unwrap_or_else(|| {
            steps.push(RoundView { round: ballot.round, phase: ballot.phase, asked: 0, cast: 0, tally: Vec::new() });
            tallies.push(BTreeMap::new());
            steps.len() - 1
        });
        steps[at].asked += 1;
        let Some(cast) = &ballot.cast else { continue };
        steps[at].cast += 1;
        let order = tallies[at].len();
        let new = || (Tally { choice: cast.choice.clone(), places: Vec::new(), weight: 0 }, order);
        let (tally, _) = tallies[at].entry(canonical(&cast.choice)).or_insert_with(new);
        tally.places.push(ballot.place);
        tally.weight += proposal.rules.voters.get(ballot.place).map_or(0, |voter| voter.weight);
    }
    for (step, tally) in steps.iter_mut().zip(tallies) {
        let mut tally: Vec<_> = tally.into_values().collect();
        tally.sort_by_key(|(tally, order)| (std::cmp::Reverse(tally.weight), *order));
        step.tally = tally.iter().map(|(tally, _)| Choice::from(tally)).collect();
    }
    steps
}

#[expect(clippy::cast_precision_loss, reason = "at most 64 voters of weight 1000")]
fn weight(thousandths: u64) -> f64 {
    thousandths as f64 / WEIGHT_UNIT as f64
}

const fn next_step(status: ProposalStatus) -> &'static str {
    match status {
        ProposalStatus::Open => "Voters are being asked. Call get_proposal with wait_seconds=40 to see the outcome.",
        ProposalStatus::Decided => {
            "It is decided. Report the decision with the dissent, and with who was silent, if there is any."
        }
        ProposalStatus::Rejected => "A voter with a veto was against it. Read why and the dissent; propose something else.",
        ProposalStatus::Inconclusive => {
            "There is no decision. Read why and the ballots; ask more precisely, or with other voters."
        }
        ProposalStatus::TimedOut => {
            "Time was over, and what was said by then is no decision. Propose it again with a larger timeout_seconds, or without \
                                     those in silent."
        }
        ProposalStatus::Cancelled => "It was cancelled. Propose it again if it is still to be decided.",
    }
}
