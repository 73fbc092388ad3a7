//! The record of ballots and the questions all protocols put to it.

use super::{Ballot, Cast, Dissent, Outcome, OutcomeKind, Phase, Question, Rules, State, Statement, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// A form of `choice` in which equal choices are equal: differences in case, spacing and closing punctuation do not count.
pub fn canonical(choice: &str) -> String {
    let words = choice.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    words.trim_end_matches(['.', '!', ',', ';']).trim().to_owned()
}

/// Voters who said the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<'a> {
    /// The form they have in common.
    pub key: String,
    /// The choice in the words of the first.
    pub choice: String,
    /// Who, and what exactly; by place.
    pub voters: BTreeMap<usize, &'a Cast>,
    /// Their weight in thousandths.
    pub weight: u64,
}

/// What is known of a proposal.
pub(super) struct Record<'a> {
    pub(super) rules: &'a Rules,
    pub(super) ballots: &'a [Ballot],
    pub(super) lost: &'a BTreeSet<usize>,
}

impl<'a> Record<'a> {
    /// The voters that can still be asked, in order.
    pub(super) fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.rules.voters.len()).filter(|place| !self.lost.contains(place))
    }

    /// The round it is in.
    pub(super) fn round(&self) -> u32 {
        self.ballots.iter().map(|ballot| ballot.round).max().unwrap_or(1)
    }

    pub(super) fn of(&self, round: u32, phase: Phase) -> impl Iterator<Item = &'a Ballot> {
        self.ballots.iter().filter(move |ballot| ballot.round == round && ballot.phase == phase)
    }

    /// The first answer of each voter.
    pub(super) fn cast(&self, round: u32, phase: Phase) -> BTreeMap<usize, &'a Cast> {
        let mut cast = BTreeMap::new();
        for ballot in self.of(round, phase) {
            if let State::Cast(answer) = &ballot.state {
                cast.entry(ballot.place).or_insert(answer);
            }
        }
        cast
    }

    /// The voters to be asked who have not been, of those that can be.
    pub(super) fn unasked(&self, round: u32, phase: Phase) -> Vec<usize> {
        let asked: BTreeSet<usize> = self.of(round, phase).map(|ballot| ballot.place).collect();
        self.living().filter(|place| !asked.contains(place)).collect()
    }

    /// The voters whose answers are still to come.
    pub(super) fn open(&self, round: u32, phase: Phase) -> impl Iterator<Item = usize> {
        let open = self.of(round, phase).filter(|ballot| ballot.state == State::Asked);
        open.map(|ballot| ballot.place).filter(|place| !self.lost.contains(place))
    }

    /// Whether an answer is still to come.
    pub(super) fn is_open(&self, round: u32, phase: Phase) -> bool {
        self.open(round, phase).next().is_some()
    }

    /// Who said the same (given by place), the heaviest first; equal weights in the order of the choices, so that no arrival counts.
    pub(super) fn groups<'b>(&self, cast: impl IntoIterator<Item = (usize, &'b Cast)>) -> Vec<Group<'b>> {
        let mut groups: BTreeMap<String, Group<'b>> = BTreeMap::new();
        for (place, cast) in cast {
            let key = canonical(&cast.choice);
            let new = || Group { key: key.clone(), choice: cast.choice.clone(), voters: BTreeMap::new(), weight: 0 };
            let group = groups.entry(key.clone()).or_insert_with(new);
            group.weight += self.rules.voters.get(place).map_or(0, |voter| voter.weight);
            group.voters.insert(place, cast);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.key.cmp(&b.key)));
        groups
    }

    /// The same question to several voters.
    pub(super) fn questions(
        places: impl IntoIterator<Item = usize>,
        round: u32,
        phase: Phase,
        sees: impl Fn(usize) -> Vec<Statement>,
    ) -> Vec<Question> {
        places.into_iter().map(|place| Question { place, round, phase, sees: sees(place) }).collect()
    }
}

/// An outcome with its count; `choice` is the decision, and whoever was for something else dissents.
pub(super) fn outcome(kind: OutcomeKind, choice: Option<String>, why: String, groups: &[Group<'_>]) -> Outcome {
    let decided = choice.as_deref().map(canonical);
    let mut dissent: Vec<Dissent> = groups
        .iter()
        .filter(|group| decided.as_ref().is_some_and(|decided| *decided != group.key))
        .flat_map(|group| &group.voters)
        .map(|(place, cast)| Dissent { place: *place, choice: cast.choice.clone(), rationale: cast.rationale.clone() })
        .collect();
    dissent.sort_by_key(|dissent| dissent.place);
    let tally = groups.iter().map(|group| Tally {
        choice: group.choice.clone(),
        places: group.voters.keys().copied().collect(),
        weight: group.weight,
    });
    Outcome { kind, choice, why, tally: tally.collect(), dissent, equivocations: Vec::new(), silent: Vec::new() }
}

/// What others get to see of an answer.
pub(super) fn statement(place: usize, round: u32, phase: Phase, cast: &Cast) -> Statement {
    Statement { place: Some(place), round, phase, text: cast.choice.clone(), rationale: cast.rationale.clone() }
}
