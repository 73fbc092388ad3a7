//! Quorum: one round of votes, weighed; a share of all weight decides.
//!
//! Weighted voting after Gifford, *Weighted voting for replicated data* (SOSP 1979): the threshold is a share of the weight
//! of all voters, those who abstain or are lost included, and is always above one half, so that no two choices can reach
//! it. Ours is the veto: when a voter that has one voted for something else than the choice that reached the threshold, the
//! proposal is rejected. Voters see nothing of each other. How it ends stands as soon as no vote that is still to come can change it;
//! those who are at work are then heard for a while longer.

use super::{
    Next, OutcomeKind, Phase, WEIGHT_UNIT, decimal,
    record::{Group, Record, outcome},
};
use std::collections::BTreeSet;

const ROUND: u32 = 1;

pub(super) fn count<'a>(record: &Record<'a>) -> Vec<Group<'a>> {
    record.groups(record.cast(ROUND, Phase::Vote))
}

pub(super) fn next(record: &Record<'_>) -> Next {
    let unasked = record.unasked(ROUND, Phase::Vote);
    if !unasked.is_empty() {
        return Next::Ask(Record::questions(unasked, ROUND, Phase::Vote, |_| Vec::new()));
    }
    let rules = record.rules;
    let weight_of = |place: &usize| rules.voters.get(*place).map_or(0, |voter| voter.weight);
    let may_veto = |place: &usize| rules.voters.get(*place).is_some_and(|voter| voter.veto);
    let whole: u64 = rules.voters.iter().map(|voter| voter.weight).sum();
    let open: BTreeSet<usize> = record.open(ROUND, Phase::Vote).collect();
    let to_come: u64 = open.iter().map(weight_of).sum();
    let groups = count(record);
    let best = groups.first().map_or(0, |first| first.weight);
    if !rules.threshold.is_reached(best, whole) && rules.threshold.is_reached(best + to_come, whole) {
        return Next::Wait;
    }
    let needed = rules.threshold.words();
    let Some(first) = groups.first() else {
        return Next::Done(outcome(OutcomeKind::Inconclusive, None, "nobody voted".into(), &groups));
    };
    let choice = first.choice.clone();
    let figures = format!("`{choice}` has {} of {} votes", decimal(first.weight, WEIGHT_UNIT), decimal(whole, WEIGHT_UNIT));
    if !rules.threshold.is_reached(first.weight, whole) {
        let why = if open.is_empty() {
            format!("no choice reached the threshold: {figures}, {needed} is needed")
        } else {
            format!("no choice can reach the threshold any more: {figures}, {needed} is needed")
        };
        return Next::Done(outcome(OutcomeKind::Inconclusive, None, why, &groups));
    }
    let against = groups[1..].iter().flat_map(|group| group.voters.keys()).filter(|place| may_veto(place));
    let vetoes: Vec<String> = against.map(|place| format!("voter {}", place + 1)).collect();
    if vetoes.is_empty() && open.iter().any(may_veto) {
        return Next::Wait;
    }
    if vetoes.is_empty() {
        let why = format!("{figures}, {needed} is needed");
        return Next::Done(outcome(OutcomeKind::Decided, Some(choice), why, &groups));
    }
    let why = format!("{figures}, but {} voted otherwise and may veto", vetoes.join(" and "));
    // Whoever was against it is the dissent, although nothing was decided.
    let mut outcome = outcome(OutcomeKind::Rejected, Some(choice), why, &groups);
    outcome.choice = None;
    Next::Done(outcome)
}
