//! Consensus: how ballots become a decision, as pure rules.
//!
//! A proposal has [`Rules`] and the ballots recorded so far; [`next`] says what has to happen: questions to put to voters,
//! waiting, or the [`Outcome`]. It looks at nothing else, so the same record gives the same answer after any restart. One
//! file per protocol, each with the paper it follows and where it differs: voters here are agents that answer questions,
//! and there is one record that all ballots go into.

mod answer;
mod byzantine;
mod crdt;
mod gossip;
mod quorum;
mod raft;
mod record;
#[cfg(test)]
mod tests;

pub use answer::{Answer, CHOICE_CHARS, EDIT_CHARS, EDITS, RATIONALE_CHARS, SECTION_CHARS, read_answer, schema_of};
pub use byzantine::{faults_tolerated, quorum_of};
pub use crdt::{Document, Edit, EntryKey};
pub use gossip::peers_of;
pub use record::{Group, canonical};

use super::word::word_enum;
use record::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

word_enum! {
    /// The rule by which ballots become a decision.
    Protocol {
        /// One round of votes; a share of the weight decides, some voters may veto.
        Quorum = "quorum",
        /// A leader drafts the decision, a majority acknowledges it; a lost leader is followed by the next.
        Raft = "raft",
        /// Two rounds that tolerate a third of voters who contradict themselves.
        Byzantine = "byzantine",
        /// Voters look at a few others' opinions and may change theirs, until they agree.
        Gossip = "gossip",
        /// Everybody contributes to one document; nothing is lost, nobody is outvoted.
        Crdt = "crdt",
    }
}

impl Protocol {
    /// Fewest voters the protocol makes sense with.
    pub const fn least_voters(self) -> usize {
        match self {
            Self::Quorum | Self::Gossip | Self::Crdt => 2,
            Self::Raft => 3,
            Self::Byzantine => 4,
        }
    }

    /// Rounds (terms of Raft) when the proposal names none.
    pub const fn default_rounds(self) -> u32 {
        match self {
            Self::Quorum | Self::Crdt => 1,
            Self::Byzantine => 2,
            Self::Raft => 3,
            Self::Gossip => 5,
        }
    }

    /// Whether a voter may be asked more than once, and has to be the same one then.
    pub const fn asks_again(self, max_rounds: u32) -> bool {
        match self {
            Self::Quorum => false,
            Self::Crdt => max_rounds > 1,
            Self::Raft | Self::Byzantine | Self::Gossip => true,
        }
    }
}

word_enum! {
    /// What a voter is asked for.
    Phase {
        /// Quorum: its choice.
        Vote = "vote",
        /// Raft: the leader's draft of the decision.
        Draft = "draft",
        /// Raft: whether it accepts the draft.
        Acknowledge = "acknowledge",
        /// Byzantine: its choice, before it knows of others.
        Prepare = "prepare",
        /// Byzantine: the choice it commits to, and what it said before.
        Commit = "commit",
        /// Gossip: its opinion.
        Opinion = "opinion",
        /// CRDT: its contributions to the document.
        Edit = "edit",
    }
}

word_enum! {
    /// How a proposal ended.
    OutcomeKind {
        /// The protocol's rule was met.
        Decided = "decided",
        /// A voter with a veto was against it.
        Rejected = "rejected",
        /// The rule was not met, and cannot be any more.
        Inconclusive = "inconclusive",
        /// Time was over first.
        TimedOut = "timed_out",
        /// Somebody ended it.
        Cancelled = "cancelled",
    }
}

/// Parts of a weight: weights are counted in thousandths, so that sums are exact.
pub const WEIGHT_UNIT: u64 = 1_000;
/// Parts of a share.
pub const SHARE_UNIT: u64 = 1_000_000;
/// Most voters of a proposal.
pub const VOTERS: usize = 64;

/// The share of all weight that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// More than half.
    Majority,
    /// At least two thirds.
    TwoThirds,
    /// All of it.
    Unanimous,
    /// At least so many millionths.
    Share(u64),
}

impl Threshold {
    /// Whether `part` of `whole` is enough. Abstentions and lost voters belong to the whole.
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        let (part, whole) = (u128::from(part), u128::from(whole));
        whole > 0
            && match self {
                Self::Majority => 2 * part > whole,
                Self::TwoThirds => 3 * part >= 2 * whole,
                Self::Unanimous => part == whole,
                Self::Share(share) => part * u128::from(SHARE_UNIT) >= whole * u128::from(share),
            }
    }

    /// What is needed, in words.
    pub fn words(self) -> String {
        match self {
            Self::Majority => "more than half".into(),
            Self::TwoThirds => "at least two thirds".into(),
            Self::Unanimous => "all".into(),
            Self::Share(share) => format!("at least {} %", decimal(share, SHARE_UNIT / 100)),
        }
    }
}

/// `parts` of `unit` as a decimal number without needless zeros.
pub(crate) fn decimal(parts: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", parts / unit, parts % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What counts of a voter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Its weight in thousandths; more than 0.
    pub weight: u64,
    /// Whether it may veto.
    pub veto: bool,
}

/// The rules of one proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How ballots become a decision.
    pub protocol: Protocol,
    /// What is enough; counts for quorum and gossip, the others have a rule of their own.
    pub threshold: Threshold,
    /// What there is to choose from; empty: anything. For the CRDT, the sections of the document.
    pub options: Vec<String>,
    /// The voters; their place is their index.
    pub voters: Vec<Voter>,
    /// Rounds, or terms, before it is given up.
    pub max_rounds: u32,
    /// Gossip: how many others a voter sees in a round.
    pub fanout: usize,
    /// Gossip: what the choice of those others is drawn from.
    pub seed: u64,
}

/// What a voter said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    /// Its choice, draft or opinion; `accept` or `refuse` of a draft.
    pub choice: String,
    /// Why.
    pub rationale: String,
    /// How sure it is, 0 to 1, by its own account.
    pub confidence: f64,
    /// Byzantine commits: what it says it had said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<String>,
    /// CRDT: its contributions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
}

/// Word for having accepted a draft.
pub const ACCEPT: &str = "accept";
/// Word for having refused a draft.
pub const REFUSE: &str = "refuse";

/// Where a question stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Put, not answered.
    Asked,
    /// Answered.
    Cast(Cast),
    /// Not answered, and will not be; with the reason.
    Abstained(String),
}

/// A question to a voter and what became of it. An answer that was not acceptable and is asked for again is still `Asked`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ballot {
    /// The voter.
    pub place: usize,
    /// The round or term, from 1.
    pub round: u32,
    /// What was asked for.
    pub phase: Phase,
    /// What became of it.
    pub state: State,
}

/// Something a voter gets to see of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Whose it is; none for what is everybody's.
    pub place: Option<usize>,
    /// From which round.
    pub round: u32,
    /// What kind of statement it is.
    pub phase: Phase,
    /// The choice, draft, opinion or document.
    pub text: String,
    /// Why.
    pub rationale: String,
}

/// A question to put to a voter.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The voter.
    pub place: usize,
    /// The round or term, from 1.
    pub round: u32,
    /// What is asked for.
    pub phase: Phase,
    /// Everything the protocol shows the voter of others.
    pub sees: Vec<Statement>,
}

/// A choice and who was for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The choice, in the words of the first who made it.
    pub choice: String,
    /// Who made it.
    pub places: Vec<usize>,
    /// Their weight in thousandths.
    pub weight: u64,
}

/// A voter whose last word was another one than the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dissent {
    /// The voter.
    pub place: usize,
    /// What it was for.
    pub choice: String,
    /// Why.
    pub rationale: String,
}

/// A voter that contradicted itself; its ballots do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocation {
    /// The voter.
    pub place: usize,
    /// The round in which it did.
    pub round: u32,
    /// What it did.
    pub detail: String,
}

/// How a proposal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Why, with the figures.
    pub why: String,
    /// The choices of the last count, the heaviest first.
    pub tally: Vec<Tally>,
    /// Who was for something else.
    pub dissent: Vec<Dissent>,
    /// Who contradicted itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equivocations: Vec<Equivocation>,
    /// Who owed an answer when time was over; counted as lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<usize>,
}

/// What has to happen next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Put these questions; none of them is on record.
    Ask(Vec<Question>),
    /// Questions are open.
    Wait,
    /// That is it.
    Done(Outcome),
}

/// What has to happen next with a proposal. `lost`: voters that cannot be asked any more.
///
/// Never says [`Next::Wait`] unless a voter that is not lost owes an answer.
pub fn next(rules: &Rules, ballots: &[Ballot], lost: &BTreeSet<usize>) -> Next {
    let record = Record { rules, ballots, lost };
    match rules.protocol {
        Protocol::Quorum => quorum::next(&record),
        Protocol::Raft => raft::next(&record),
        Protocol::Byzantine => byzantine::next(&record),
        Protocol::Gossip => gossip::next(&record),
        Protocol::Crdt => crdt::next(&record),
    }
}

/// How a proposal ends whose time is over after `seconds`. Voters who owe an answer are lost by that, as those are whose turn
/// takes too long; what the others said may be enough. A document is what has been contributed to it.
pub fn at_deadline(rules: &Rules, ballots: &[Ballot], lost: &BTreeSet<usize>, seconds: u32) -> Outcome {
    let owing = ballots.iter().filter(|ballot| ballot.state == State::Asked).map(|ballot| ballot.place);
    let silent: BTreeSet<usize> = owing.filter(|place| !lost.contains(place)).collect();
    // No round is left.
    let without_more = Rules { max_rounds: Record { rules, ballots, lost }.round(), ..rules.clone() };
    let outcome = match next(&without_more, ballots, &(lost | &silent)) {
        Next::Done(outcome) if matches!(outcome.kind, OutcomeKind::Decided | OutcomeKind::Rejected) => outcome,
        _ => interim(rules, ballots, lost, OutcomeKind::TimedOut, format!("no decision within {seconds} seconds")),
    };
    let names: Vec<String> = silent.iter().map(|place| format!("voter {}", place + 1)).collect();
    let why = if names.is_empty() {
        outcome.why
    } else {
        format!("{}; {} gave no answer within {seconds} seconds", outcome.why, names.join(" and "))
    };
    Outcome { why, silent: silent.into_iter().collect(), ..outcome }
}

/// The count as it stands, without a decision: for the time in between, and for proposals that are ended from outside.
pub fn interim(rules: &Rules, ballots: &[Ballot], lost: &BTreeSet<usize>, kind: OutcomeKind, why: String) -> Outcome {
    let record = Record { rules, ballots, lost };
    let groups = match rules.protocol {
        Protocol::Quorum => quorum::count(&record),
        Protocol::Raft => raft::count(&record),
        Protocol::Byzantine => byzantine::count(&record),
        Protocol::Gossip => gossip::count(&record),
        Protocol::Crdt => crdt::count(&record),
    };
    let mut outcome = record::outcome(kind, None, why, &groups);
    if rules.protocol == Protocol::Byzantine {
        outcome.equivocations = byzantine::equivocations(&record);
    }
    outcome
}
