//! Byzantine: a decision although some voters contradict themselves.
//!
//! After Castro and Liskov, *Practical Byzantine fault tolerance* (OSDI 1999): of n ≥ 3f + 1 voters, f may behave in any way.
//! In the prepare phase everybody states a choice without knowing the others'; in the commit phase everybody sees all
//! statements and commits to the choice that a quorum prepared, and a quorum of equal commits decides. A quorum is
//! ⌊(n + f) / 2⌋ + 1 voters, which is 2f + 1 when n = 3f + 1: two quorums have an honest voter in common. Rounds take the
//! place of views: when a phase has no quorum, a new round begins, in which everybody sees the statements of the last.
//! Signatures are not needed, because ballots come in through one record that knows whose they are.
//!
//! What is lied about here is one's own word, and the record can tell: a commit that repeats another statement than
//! the one on record, a commit to a choice that no quorum prepared, and two different ballots in one phase. Such a voter
//! is reported, none of its ballots counts in the phase, and it is not asked again.

use super::{
    Cast, Equivocation, Next, OutcomeKind, Phase, State, Statement,
    record::{Group, Record, canonical, outcome, statement},
};
use std::collections::{BTreeMap, BTreeSet};

/// How many of `voters` may lie.
pub const fn faults_tolerated(voters: usize) -> usize {
    voters.saturating_sub(1) / 3
}

/// Equal ballots that are enough.
pub const fn quorum_of(voters: usize) -> usize {
    usize::midpoint(voters, faults_tolerated(voters)) + 1
}

/// The choice that a quorum prepared in a round. Whoever had lied in an earlier round does not count.
fn prepared(record: &Record<'_>, round: u32, liars: &BTreeSet<usize>) -> Option<String> {
    let quorum = quorum_of(record.rules.voters.len());
    let groups = record.groups(honest(record.cast(round, Phase::Prepare), liars));
    groups.into_iter().find(|group| group.voters.len() >= quorum).map(|group| group.choice.clone())
}

fn honest<'a>(cast: BTreeMap<usize, &'a Cast>, liars: &BTreeSet<usize>) -> BTreeMap<usize, &'a Cast> {
    cast.into_iter().filter(|(place, _)| !liars.contains(place)).collect()
}

/// Everybody who contradicted itself, with the first time it did.
pub(super) fn equivocations(record: &Record<'_>) -> Vec<Equivocation> {
    let mut found: BTreeMap<usize, Equivocation> = BTreeMap::new();
    for round in 1..=record.round() {
        let earlier: BTreeSet<usize> = found.keys().copied().collect();
        let statements = record.cast(round, Phase::Prepare);
        let choice = prepared(record, round, &earlier);
        let mut add = |place: usize, detail: String| {
            found.entry(place).or_insert(Equivocation { place, round, detail });
        };
        for (place, words) in twice(record, round, Phase::Prepare).into_iter().chain(twice(record, round, Phase::Commit)) {
            add(place, words);
        }
        for (place, commit) in record.cast(round, Phase::Commit) {
            let said = statements.get(&place).map(|cast| cast.choice.as_str());
            let repeats = commit.prepared.as_deref();
            if repeats.map(canonical) != said.map(canonical) {
                let (repeats, said) = (repeats.unwrap_or("nothing"), said.unwrap_or("nothing"));
                add(place, format!("prepared `{said}`, but told later that it had prepared `{repeats}`"));
            } else if choice.as_deref().map(canonical) != Some(canonical(&commit.choice)) {
                add(place, format!("committed to `{}`, which no quorum had prepared", commit.choice));
            }
        }
    }
    found.into_values().collect()
}

/// Voters with two different ballots in one phase.
fn twice(record: &Record<'_>, round: u32, phase: Phase) -> Vec<(usize, String)> {
    let mut first: BTreeMap<usize, &Cast> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for ballot in record.of(round, phase) {
        let State::Cast(cast) = &ballot.state else { continue };
        let earlier = first.entry(ballot.place).or_insert(cast);
        if canonical(&earlier.choice) != canonical(&cast.choice) {
            let words = format!("cast two different ballots of phase {phase}: `{}` and `{}`", earlier.choice, cast.choice);
            found.entry(ballot.place).or_insert(words);
        }
    }
    found.into_iter().collect()
}

fn liars(record: &Record<'_>) -> BTreeSet<usize> {
    equivocations(record).iter().map(|equivocation| equivocation.place).collect()
}

/// The commits of the latest round that has any, else its statements.
pub(super) fn count<'a>(record: &Record<'a>) -> Vec<Group<'a>> {
    let (round, liars) = (record.round(), liars(record));
    let commits = honest(record.cast(round, Phase::Commit), &liars);
    record.groups(if commits.is_empty() { honest(record.cast(round, Phase::Prepare), &liars) } else { commits })
}

pub(super) fn next(record: &Record<'_>) -> Next {
    let (voters, round) = (record.rules.voters.len(), record.round());
    let (faults, quorum) = (faults_tolerated(voters), quorum_of(voters));
    let equivocations = equivocations(record);
    let liars: BTreeSet<usize> = equivocations.iter().map(|equivocation| equivocation.place).collect();
    let done = |kind, choice, why| {
        let outcome = outcome(kind, choice, why, &count(record));
        Next::Done(super::Outcome { equivocations: equivocations.clone(), ..outcome })
    };
    let bounds = format!("{quorum} of {voters} have to agree, up to {faults} may lie");
    // Also when it is known already that a liar is among them: what it says next is part of the record.
    if record.is_open(round, Phase::Prepare) || record.is_open(round, Phase::Commit) {
        return Next::Wait;
    }
    let earlier: BTreeSet<usize> = equivocations.iter().filter(|found| found.round < round).map(|found| found.place).collect();
    let commits = record.groups(honest(record.cast(round, Phase::Commit), &liars));
    if let Some(group) = commits.iter().find(|group| group.voters.len() >= quorum) {
        let why = format!("{} voters committed to `{}` in round {round}; {bounds}", group.voters.len(), group.choice);
        return done(OutcomeKind::Decided, Some(group.choice.clone()), why);
    }
    let counting = record.living().filter(|place| !liars.contains(place)).count();
    let ask = |places: Vec<usize>, round, phase, sees: &dyn Fn(usize) -> Vec<Statement>| {
        let places: Vec<usize> = places.into_iter().filter(|place| !liars.contains(place)).collect();
        (!places.is_empty()).then(|| Next::Ask(Record::questions(places, round, phase, sees)))
    };
    let statements = |of: u32| {
        let all = honest(record.cast(of, Phase::Prepare), &earlier);
        all.into_iter().map(|(place, cast)| statement(place, of, Phase::Prepare, cast)).collect::<Vec<_>>()
    };
    let seen_before = |_| if round > 1 { statements(round - 1) } else { Vec::new() };
    if counting + committed_by_lost(record, round, &liars) >= quorum {
        if let Some(asked) = ask(record.unasked(round, Phase::Prepare), round, Phase::Prepare, &seen_before) {
            return asked;
        }
        if prepared(record, round, &earlier).is_some()
            && let Some(asked) = ask(record.unasked(round, Phase::Commit), round, Phase::Commit, &|_| statements(round))
        {
            return asked;
        }
    }
    if counting < quorum {
        let why = format!("{counting} voters are left whose word can be counted; {bounds}");
        return done(OutcomeKind::Inconclusive, None, why);
    }
    if round < record.rules.max_rounds {
        let places: Vec<usize> = record.living().collect();
        if let Some(asked) = ask(places, round + 1, Phase::Prepare, &|_| statements(round)) {
            return asked;
        }
    }
    let phase = if prepared(record, round, &earlier).is_some() { "commit to" } else { "prepare" };
    done(OutcomeKind::Inconclusive, None, format!("no quorum to {phase} one choice in {round} rounds; {bounds}"))
}

/// Voters that are lost by now, after they had committed.
fn committed_by_lost(record: &Record<'_>, round: u32, liars: &BTreeSet<usize>) -> usize {
    honest(record.cast(round, Phase::Commit), liars).keys().filter(|place| record.lost.contains(place)).count()
}
