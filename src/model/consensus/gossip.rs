//! Gossip: voters look at a few others' opinions and may change theirs, round after round, until they agree.
//!
//! After Demers et al., *Epidemic algorithms for replicated database maintenance* (PODC 1987): in each round everybody
//! contacts a few partners chosen at random and takes over what convinces it; what spreads reaches everybody in a number
//! of rounds that grows with the logarithm of their number. Here voters pull: in round 1 each states its opinion alone, in every
//! later round it sees the opinions that `fanout` others had in the round before. Partners are drawn from the proposal's seed, the
//! round and the voter, and rounds are synchronous, so neither a restart nor the order in which answers arrive matters.
//! It is decided when the opinions of the voters that are left, more than half of all, meet the threshold; who is lost is
//! heard no more.

use super::{
    Cast, Next, OutcomeKind, Phase, Statement, WEIGHT_UNIT, decimal,
    record::{Group, Record, outcome, statement},
};
use std::collections::BTreeMap;

/// One step of `SplitMix64`, a well mixed function of its argument.
const fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The others that `place` looks at in a round: at most `fanout` of `candidates`, drawn from the seed.
pub fn peers_of(seed: u64, round: u32, place: usize, candidates: impl Iterator<Item = usize>, fanout: usize) -> Vec<usize> {
    let base = mixed(mixed(mixed(seed) ^ u64::from(round)) ^ place as u64);
    let mut drawn: Vec<(u64, usize)> =
        candidates.filter(|peer| *peer != place).map(|peer| (mixed(base ^ peer as u64), peer)).collect();
    drawn.sort_unstable();
    let mut peers: Vec<usize> = drawn.into_iter().take(fanout).map(|(_, peer)| peer).collect();
    peers.sort_unstable();
    peers
}

/// Everybody's latest opinion up to a round, with the round it is from.
fn opinions<'a>(record: &Record<'a>, until: u32) -> BTreeMap<usize, (u32, &'a Cast)> {
    let mut latest = BTreeMap::new();
    for round in 1..=until {
        latest.extend(record.cast(round, Phase::Opinion).into_iter().map(|(place, cast)| (place, (round, cast))));
    }
    latest
}

/// The latest opinions of the voters that are not lost.
pub(super) fn count<'a>(record: &Record<'a>) -> Vec<Group<'a>> {
    let latest = opinions(record, record.round()).into_iter().filter(|(place, _)| !record.lost.contains(place));
    record.groups(latest.map(|(place, (_, cast))| (place, cast)))
}

pub(super) fn next(record: &Record<'_>) -> Next {
    let round = record.round();
    let unasked = record.unasked(round, Phase::Opinion);
    if !unasked.is_empty() {
        return ask(record, unasked, round);
    }
    if record.is_open(round, Phase::Opinion) {
        return Next::Wait;
    }
    let rules = record.rules;
    let living: Vec<usize> = record.living().collect();
    let whole: u64 = living.iter().map(|place| rules.voters[*place].weight).sum();
    let groups = count(record);
    if 2 * living.len() <= rules.voters.len() {
        let why = format!("{} of {} voters are left, too few to speak for all", living.len(), rules.voters.len());
        return Next::Done(outcome(OutcomeKind::Inconclusive, None, why, &groups));
    }
    let needed = rules.threshold.words();
    let rounds = if round == 1 { "1 round".to_owned() } else { format!("{round} rounds") };
    let figures = groups.first().map_or_else(
        || "nobody has an opinion".to_owned(),
        |first| {
            let (part, all) = (decimal(first.weight, WEIGHT_UNIT), decimal(whole, WEIGHT_UNIT));
            format!("after {rounds} {part} of {all} voters are for `{}`; {needed} is needed", first.choice)
        },
    );
    let reached = groups.first().filter(|first| rules.threshold.is_reached(first.weight, whole));
    if let Some(first) = reached {
        let choice = first.choice.clone();
        return Next::Done(outcome(OutcomeKind::Decided, Some(choice), figures, &groups));
    }
    if round >= rules.max_rounds || groups.is_empty() {
        return Next::Done(outcome(OutcomeKind::Inconclusive, None, figures, &groups));
    }
    ask(record, living, round + 1)
}

fn ask(record: &Record<'_>, places: Vec<usize>, round: u32) -> Next {
    let rules = record.rules;
    let known = opinions(record, round - 1);
    let sees = |place: usize| -> Vec<Statement> {
        let own = known.get(&place).map(|(of, cast)| statement(place, *of, Phase::Opinion, cast));
        let candidates = known.keys().copied().filter(|peer| !record.lost.contains(peer));
        let peers = peers_of(rules.seed, round, place, candidates, rules.fanout);
        let others =
            peers.into_iter().filter_map(|peer| known.get(&peer).map(|(of, cast)| statement(peer, *of, Phase::Opinion, cast)));
        own.into_iter().chain(others).collect()
    };
    Next::Ask(Record::questions(places, round, Phase::Opinion, sees))
}
