//! Raft: a leader drafts, a majority acknowledges, the loss of a leader begins a new term.
//!
//! After Ongaro and Ousterhout, *In search of an understandable consensus algorithm* (USENIX ATC 2014): time is divided into
//! terms with at most one leader each; what the leader of a term proposes is committed once a majority of all voters,
//! itself included, has acknowledged it; a term whose leader fails is followed by another one with a higher number. We agree
//! on one entry instead of a log. What is ours: the leader is not elected by votes and random timeouts but by rule (the voter
//! at place term − 1, or the next after it that is not lost), which is safe because there is one record that says which term
//! it is; and voters may refuse a draft they think wrong. A draft that can no longer get its majority ends the term as well,
//! and the next leader sees the drafts and the reasons of those who refused.

use super::{
    ACCEPT, Next, OutcomeKind, Phase, State, Statement,
    record::{Group, Record, outcome, statement},
};
use std::collections::BTreeMap;

/// Acknowledgements that commit.
const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The acknowledgements of the latest draft, its leader's own draft among them.
pub(super) fn count<'a>(record: &Record<'a>) -> Vec<Group<'a>> {
    let with_draft = (1..=record.round()).rev().find_map(|term| {
        let (place, draft) = record.cast(term, Phase::Draft).pop_first()?;
        Some((term, place, draft))
    });
    let Some((term, leader, draft)) = with_draft else { return Vec::new() };
    let answers = record.cast(term, Phase::Acknowledge);
    let (accepting, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        answers.into_iter().partition(|(_, answer)| answer.choice == ACCEPT);
    let mut groups = record.groups([(leader, draft)]);
    for group in &mut groups {
        for (place, answer) in &accepting {
            group.weight += record.rules.voters.get(*place).map_or(0, |voter| voter.weight);
            group.voters.insert(*place, answer);
        }
    }
    groups.extend(record.groups(others));
    groups
}

pub(super) fn next(record: &Record<'_>) -> Next {
    let term = record.round();
    let Some(draft) = record.of(term, Phase::Draft).next() else { return begin(record, term, "") };
    let leader = draft.place;
    let cast = match &draft.state {
        State::Asked if !record.lost.contains(&leader) => return Next::Wait,
        State::Asked | State::Abstained(_) => return begin(record, term + 1, "the last leader was lost or gave no draft"),
        State::Cast(cast) => cast,
    };
    let voters = record.rules.voters.len();
    let answers = record.cast(term, Phase::Acknowledge);
    let accepted = 1 + answers.values().filter(|answer| answer.choice == ACCEPT).count();
    if accepted >= majority(voters) {
        let why = format!("{accepted} of {voters} voters acknowledged the draft of term {term}; {} are needed", majority(voters));
        return Next::Done(outcome(OutcomeKind::Decided, Some(cast.choice.clone()), why, &count(record)));
    }
    if record.lost.contains(&leader) {
        return begin(record, term + 1, "the last leader was lost before its draft had a majority");
    }
    let unasked: Vec<usize> = record.unasked(term, Phase::Acknowledge).into_iter().filter(|place| *place != leader).collect();
    let open = record
        .of(term, Phase::Acknowledge)
        .filter(|ballot| ballot.state == State::Asked && !record.lost.contains(&ballot.place))
        .count();
    if accepted + unasked.len() + open < majority(voters) {
        return begin(record, term + 1, "the last draft could not get a majority");
    }
    if unasked.is_empty() {
        return Next::Wait;
    }
    let sees = |_| vec![statement(leader, term, Phase::Draft, cast)];
    Next::Ask(Record::questions(unasked, term, Phase::Acknowledge, sees))
}

/// Asks the leader of a term for its draft.
fn begin(record: &Record<'_>, term: u32, reason: &str) -> Next {
    let (voters, living) = (record.rules.voters.len(), record.living().count());
    let failed = |why| Next::Done(outcome(OutcomeKind::Inconclusive, None, why, &count(record)));
    if living < majority(voters) {
        return failed(format!("{living} of {voters} voters are left; {} are needed", majority(voters)));
    }
    if term > record.rules.max_rounds {
        return failed(format!("no draft was committed in {} terms: {reason}", record.rules.max_rounds));
    }
    let first = (term as usize - 1) % voters;
    let leader = (0..voters).map(|step| (first + step) % voters).find(|place| !record.lost.contains(place));
    let sees = |_| earlier(record, term);
    Next::Ask(Record::questions(leader, term, Phase::Draft, sees))
}

/// The drafts of earlier terms with what was said against them.
fn earlier(record: &Record<'_>, before: u32) -> Vec<Statement> {
    let mut seen = Vec::new();
    for term in 1..before {
        seen.extend(record.cast(term, Phase::Draft).iter().map(|(place, cast)| statement(*place, term, Phase::Draft, cast)));
        let answers = record.cast(term, Phase::Acknowledge);
        let refusals = answers.iter().filter(|(_, answer)| answer.choice != ACCEPT);
        seen.extend(refusals.map(|(place, cast)| statement(*place, term, Phase::Acknowledge, cast)));
    }
    seen
}
