//! CRDT: everybody contributes edits to one document; merging loses nothing and needs no vote.
//!
//! After Shapiro, Preguiça, Baquero and Zawirski, *Conflict-free replicated data types* (SSS 2011): states that form a
//! join-semilattice, merged by their least upper bound, converge whatever the order, grouping and repetition of merges. Ours
//! is a map from a unique key (voter, number) to a last-writer-wins register. A key belongs to the voter that made it, so
//! nobody can overwrite or withdraw what another one contributed; in a later round a voter may rewrite or withdraw its own. Time
//! is the round, and two writes of one round are ordered by their content, so that even those merge the same way everywhere. Every
//! contribution counts, so it ends when all have answered, or when time is over; then the document is of those who have.

use super::{
    Next, OutcomeKind, Phase, Statement,
    record::{Group, Record, canonical, outcome},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
};

/// A contribution. Without text: its item is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edit {
    /// Number of the voter's item, from 1.
    pub number: u32,
    /// The part of the document it belongs to.
    pub section: String,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Whose item, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// The voter.
    pub place: usize,
    /// Number of its item.
    pub number: u32,
}

/// The latest write to an item; the order of the fields is the order of writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Register {
    round: u32,
    section: String,
    text: Option<String>,
}

/// The shared document: a state that merges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    items: BTreeMap<EntryKey, Register>,
}

impl Document {
    /// The document of one voter's edits in one round.
    pub fn of(place: usize, round: u32, edits: &[Edit]) -> Self {
        let mut document = Self::default();
        for edit in edits {
            let register = Register { round, section: edit.section.clone(), text: edit.text.clone() };
            document.write(EntryKey { place, number: edit.number }, register);
        }
        document
    }

    /// The least upper bound of both: of each item the latest write. Commutative, associative, idempotent.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (key, register) in other.items {
            self.write(key, register);
        }
        self
    }

    fn write(&mut self, key: EntryKey, register: Register) {
        match self.items.entry(key) {
            Entry::Vacant(place) => {
                place.insert(register);
            }
            Entry::Occupied(mut place) if *place.get() < register => {
                place.insert(register);
            }
            Entry::Occupied(_) => {}
        }
    }

    /// How many items are in it, withdrawn ones left out.
    pub fn len(&self) -> usize {
        self.items.values().filter(|register| register.text.is_some()).count()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The document as Markdown: sections in the order of `order`, then of their names; in each the items by voter and number.
    /// What several contributed in the same words stands there once.
    pub fn render(&self, order: &[String]) -> String {
        let place_of = |section: &str| order.iter().position(|known| known == section).unwrap_or(order.len());
        let mut sections: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
        for register in self.items.values() {
            let Some(text) = register.text.as_deref() else { continue };
            let lines = sections.entry((place_of(&register.section), &register.section)).or_default();
            if !lines.iter().any(|line| canonical(line) == canonical(text)) {
                lines.push(text);
            }
        }
        let mut text = String::new();
        for ((_, section), lines) in sections {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}## {section}\n");
            for line in lines {
                let _ = writeln!(text, "- {}", line.trim().replace('\n', "\n  "));
            }
        }
        text.trim_end().to_owned()
    }

    /// The items of one voter, as it wrote them last.
    pub fn of_voter(&self, place: usize) -> impl Iterator<Item = (u32, &str, &str)> {
        let own = self.items.iter().filter(move |(key, _)| key.place == place);
        own.filter_map(|(key, register)| Some((key.number, register.section.as_str(), register.text.as_deref()?)))
    }
}

fn document(record: &Record<'_>, until: u32) -> Document {
    (1..=until)
        .flat_map(|round| {
            record.cast(round, Phase::Edit).into_iter().map(move |(place, cast)| Document::of(place, round, &cast.edits))
        })
        .fold(Document::default(), Document::merge)
}

pub(super) fn count<'a>(record: &Record<'a>) -> Vec<Group<'a>> {
    let contributed = (1..=record.round()).flat_map(|round| record.cast(round, Phase::Edit));
    record.groups(contributed.collect::<BTreeMap<_, _>>())
}

pub(super) fn next(record: &Record<'_>) -> Next {
    let round = record.round();
    let unasked = record.unasked(round, Phase::Edit);
    if !unasked.is_empty() {
        return ask(record, unasked, round);
    }
    if record.is_open(round, Phase::Edit) {
        return Next::Wait;
    }
    let living: Vec<usize> = record.living().collect();
    if round < record.rules.max_rounds && !living.is_empty() && !record.cast(round, Phase::Edit).is_empty() {
        return ask(record, living, round + 1);
    }
    let merged = document(record, round);
    let contributors = count(record).iter().map(|group| group.voters.len()).sum::<usize>();
    let voters = record.rules.voters.len();
    let why = format!("{} items of {contributors} of {voters} voters, merged; nobody is outvoted", merged.len());
    let kind = if merged.is_empty() { OutcomeKind::Inconclusive } else { OutcomeKind::Decided };
    let mut outcome = outcome(kind, None, why, &count(record));
    outcome.choice = (!merged.is_empty()).then(|| merged.render(&record.rules.options));
    Next::Done(outcome)
}

fn ask(record: &Record<'_>, places: Vec<usize>, round: u32) -> Next {
    let merged = document(record, round - 1);
    let sees = |place: usize| -> Vec<Statement> {
        if merged.is_empty() {
            return Vec::new();
        }
        let everybody = Statement {
            place: None,
            round: round - 1,
            phase: Phase::Edit,
            text: merged.render(&record.rules.options),
            rationale: String::new(),
        };
        let own = merged.of_voter(place).map(|(number, section, text)| Statement {
            place: Some(place),
            round: round - 1,
            phase: Phase::Edit,
            text: format!("{number}. [{section}] {text}"),
            rationale: String::new(),
        });
        [everybody].into_iter().chain(own).collect()
    };
    Next::Ask(Record::questions(places, round, Phase::Edit, sees))
}
