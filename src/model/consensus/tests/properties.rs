//! What holds whatever voters say, whoever is lost, and in whichever order answers arrive.

use super::*;
use proptest::prelude::*;

/// What one voter does: its own choice (none: it is lost), whether it follows others, whether it lies.
#[derive(Debug, Clone, Copy)]
struct Character {
    choice: Option<u8>,
    follows: bool,
    lies: bool,
}

fn characters(least: usize) -> impl Strategy<Value = Vec<Character>> {
    let character = (proptest::option::weighted(0.85, 0..3_u8), any::<bool>(), proptest::bool::weighted(0.2));
    let character = character.prop_map(|(choice, follows, lies)| Character { choice, follows, lies });
    proptest::collection::vec(character, least..9)
}

const WORDS: [&str; 3] = ["a", "b", "c"];

fn answer(characters: &[Character], question: &Question) -> Option<State> {
    let character = characters[question.place];
    let own = WORDS[usize::from(character.choice?)];
    let seen = question.sees.iter().map(|seen| seen.text.as_str()).min().unwrap_or(own);
    Some(match question.phase {
        Phase::Edit => edit(&[own]),
        Phase::Acknowledge => cast(if character.follows { ACCEPT } else { REFUSE }),
        Phase::Commit if character.lies => commit("z", "z"),
        Phase::Commit => {
            let mine = question.sees.iter().find(|seen| seen.place == Some(question.place));
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            question.sees.iter().for_each(|seen| *counts.entry(seen.text.as_str()).or_default() += 1);
            let most = counts.iter().max_by_key(|(_, count)| **count).map_or(own, |(word, _)| word);
            commit(mine.map_or(own, |mine| mine.text.as_str()), most)
        }
        _ if character.follows => cast(seen),
        _ => cast(own),
    })
}

/// Order of arrival from a seed.
fn shuffled(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |open| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("small") % open
    }
}

fn played(protocol: Protocol, characters: &[Character], order: u64) -> Outcome {
    let rules = Rules { max_rounds: protocol.default_rounds().max(2), ..rules(protocol, characters.len()) };
    let rules = if protocol == Protocol::Quorum { Rules { max_rounds: 1, ..rules } } else { rules };
    play(&rules, |question| answer(characters, question), shuffled(order)).0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_order_of_arrival_does_not_matter(characters in characters(4), one: u64, other: u64) {
        let (first, second) = (played(Protocol::Quorum, &characters, one), played(Protocol::Quorum, &characters, other));
        prop_assert_eq!((first.kind, first.choice), (second.kind, second.choice), "votes that cannot change it may be missing");
        for protocol in [Protocol::Byzantine, Protocol::Gossip, Protocol::Crdt] {
            prop_assert_eq!(played(protocol, &characters, one), played(protocol, &characters, other), "{}", protocol);
        }
    }

    #[test]
    fn every_proposal_ends_and_a_decision_has_its_majority(characters in characters(4), order: u64) {
        for protocol in Protocol::ALL.iter().copied().filter(|protocol| *protocol != Protocol::Crdt) {
            let outcome = played(protocol, &characters, order);
            let needed = match protocol {
                Protocol::Byzantine => quorum_of(characters.len()),
                _ => characters.len() / 2 + 1,
            };
            if outcome.kind == OutcomeKind::Decided {
                prop_assert!(outcome.tally[0].places.len() >= needed, "{}: {:?}", protocol, outcome);
                prop_assert_eq!(Some(&outcome.tally[0].choice), outcome.choice.as_ref());
            } else {
                prop_assert_eq!(outcome.choice, None);
            }
        }
    }

    #[test]
    fn honest_byzantine_voters_who_agree_are_not_stopped_by_a_third_of_liars(faults in 1..4_usize, order: u64) {
        let honest = Character { choice: Some(1), follows: false, lies: false };
        let mut all = vec![honest; 3 * faults + 1];
        for liar in 0..faults {
            all[liar * 3].lies = true;
        }
        let outcome = played(Protocol::Byzantine, &all, order);
        prop_assert_eq!(outcome.choice.as_deref(), Some("b"));
        prop_assert_eq!(outcome.equivocations.len(), faults);
    }

    #[test]
    fn peers_are_others_without_repetition_and_the_same_again(seed: u64, round in 1..9_u32, place in 0..9_usize, fanout in 1..5_usize) {
        let peers = peers_of(seed, round, place, 0..9, fanout);
        prop_assert_eq!(&peers, &peers_of(seed, round, place, (0..9).rev(), fanout));
        prop_assert_eq!(peers.iter().collect::<BTreeSet<_>>().len(), fanout);
        prop_assert!(!peers.contains(&place));
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in document(), b in document(), c in document()) {
        let merge = |left: &Document, right: &Document| left.clone().merge(right.clone());
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        prop_assert_eq!(merge(&a, &a), a);
    }

    #[test]
    fn duplicates_and_order_leave_the_document_as_it_is(
        parts in proptest::collection::vec(document(), 1..6), again in proptest::collection::vec(0..6_usize, 0..6),
    ) {
        let once = parts.iter().cloned().fold(Document::default(), Document::merge);
        let more = again.iter().filter_map(|index| parts.get(*index)).chain(parts.iter().rev()).cloned();
        let twice = more.fold(Document::default(), Document::merge);
        prop_assert_eq!(twice.render(&[]), once.render(&[]));
        prop_assert_eq!(twice, once);
    }
}

/// Edits of a few voters to a few items, so that writes meet.
fn document() -> impl Strategy<Value = Document> {
    let edit = (1..4_u32, 0..2_usize, proptest::option::of(0..3_usize)).prop_map(|(number, section, text)| Edit {
        number,
        section: WORDS[section].to_owned(),
        text: text.map(|text| WORDS[text].to_owned()),
    });
    let writes = (0..3_usize, 1..3_u32, proptest::collection::vec(edit, 0..4));
    let parts = proptest::collection::vec(writes, 0..4);
    parts.prop_map(|parts| {
        parts.iter().map(|(place, round, edits)| Document::of(*place, *round, edits)).fold(Document::default(), Document::merge)
    })
}
