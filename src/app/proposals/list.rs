//! Proposals in lists.

use crate::{
    app::size::excerpt,
    model::{
        consensus::Protocol,
        id::ProposalId,
        proposal::{Proposal, ProposalStatus},
        run::Provenance,
    },
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Characters of question and decision in lists.
const EXCERPT_CHARS: usize = 300;

/// How many proposals stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProposalCounts {
    /// Voters are being asked.
    pub open: i64,
    /// The protocol's rule was met.
    pub decided: i64,
    /// A voter with a veto was against it.
    pub rejected: i64,
    /// The rule was not met.
    pub inconclusive: i64,
    /// Time was over first.
    pub timed_out: i64,
    /// Ended by request.
    pub cancelled: i64,
}

/// A proposal in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProposalSummary {
    /// The proposal's id.
    pub id: ProposalId,
    /// The beginning of the question.
    pub question: String,
    /// How ballots become a decision.
    pub protocol: Protocol,
    /// Number of voters.
    pub voters: usize,
    /// open, or how it ended.
    pub status: ProposalStatus,
    /// The beginning of what was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub decision: Option<String>,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_at: Option<DateTime<Utc>>,
}

/// How proposals stand, and a page of them, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"counts": {"open": 0, "decided": 1, "rejected": 0, "inconclusive": 0, "timed_out": 0, "cancelled": 0}, "proposals": [{"id": "proposal_0193f2a87c3e7d10b5a1c2d3e4f50617", "question": "Which database should the service use?", "protocol": "quorum", "voters": 3, "status": "decided", "decision": "SQLite", "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "ended_at": "2026-11-20T10:00:11Z"}]}))]
pub struct ProposalPage {
    /// How many of your proposals stand where, whatever the filter.
    pub counts: ProposalCounts,
    /// The proposals.
    pub proposals: Vec<ProposalSummary>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<ProposalId>,
}

impl ProposalCounts {
    pub(super) fn of(counted: &[(ProposalStatus, i64)]) -> Self {
        let of = |wanted| counted.iter().filter(|(status, _)| *status == wanted).map(|(_, count)| count).sum();
        Self {
            open: of(ProposalStatus::Open),
            decided: of(ProposalStatus::Decided),
            rejected: of(ProposalStatus::Rejected),
            inconclusive: of(ProposalStatus::Inconclusive),
            timed_out: of(ProposalStatus::TimedOut),
            cancelled: of(ProposalStatus::Cancelled),
        }
    }
}

impl From<Proposal> for ProposalSummary {
    fn from(proposal: Proposal) -> Self {
        Self {
            id: proposal.id,
            question: excerpt(&proposal.question, EXCERPT_CHARS),
            protocol: proposal.rules.protocol,
            voters: proposal.seats.len(),
            status: proposal.status,
            decision: proposal.outcome.and_then(|outcome| outcome.choice).map(|choice| excerpt(&choice, EXCERPT_CHARS)),
            provenance: proposal.provenance,
            created_at: proposal.created_at,
            ended_at: proposal.ended_at,
        }
    }
}
