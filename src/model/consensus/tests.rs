//! The rules, example by example and as properties over arbitrary voters.

mod ending;
mod properties;

use super::*;
use std::collections::BTreeMap;

/// Voters of equal weight without a veto.
pub(super) fn rules(protocol: Protocol, voters: usize) -> Rules {
    Rules {
        protocol,
        threshold: if protocol == Protocol::Gossip { Threshold::Unanimous } else { Threshold::Majority },
        options: Vec::new(),
        voters: vec![Voter { weight: WEIGHT_UNIT, veto: false }; voters],
        max_rounds: protocol.default_rounds(),
        fanout: 2,
        seed: 7,
    }
}

pub(super) fn cast(choice: &str) -> State {
    State::Cast(Cast {
        choice: choice.to_owned(),
        rationale: format!("because of {choice}"),
        confidence: 0.5,
        prepared: None,
        edits: Vec::new(),
    })
}

fn commit(prepared: &str, choice: &str) -> State {
    let State::Cast(cast) = cast(choice) else { unreachable!() };
    State::Cast(Cast { prepared: Some(prepared.to_owned()), ..cast })
}

pub(super) fn edit(texts: &[&str]) -> State {
    let State::Cast(cast) = cast("contributed") else { unreachable!() };
    let edits = texts.iter().zip(1..).map(|(text, number)| Edit { number, section: "s".into(), text: Some((*text).to_owned()) });
    State::Cast(Cast { edits: edits.collect(), ..cast })
}

/// Plays a proposal to its end. `answer` speaks for the voters; `None` is a voter that is lost. `pick` chooses which of the
/// open questions is answered next.
pub(super) fn play(
    rules: &Rules,
    answer: impl Fn(&Question) -> Option<State>,
    mut pick: impl FnMut(usize) -> usize,
) -> (Outcome, Vec<Ballot>) {
    let (mut ballots, mut lost) = (Vec::<Ballot>::new(), BTreeSet::new());
    let mut questions: Vec<(usize, Question)> = Vec::new();
    for _ in 0..10_000 {
        match next(rules, &ballots, &lost) {
            Next::Done(outcome) => return (outcome, ballots),
            Next::Ask(asked) => {
                assert!(!asked.is_empty(), "asks nobody");
                for question in asked {
                    assert!(!lost.contains(&question.place), "asks a lost voter");
                    let (place, round, phase) = (question.place, question.round, question.phase);
                    let is_known = ballots.iter().any(|known| (known.place, known.round, known.phase) == (place, round, phase));
                    assert!(!is_known, "asks twice: {question:?}");
                    questions.push((ballots.len(), question));
                    ballots.push(Ballot { place, round, phase, state: State::Asked });
                }
            }
            Next::Wait => {
                assert!(!questions.is_empty(), "waits for nobody");
                let (index, question) = questions.remove(pick(questions.len()) % questions.len());
                match answer(&question) {
                    Some(state) => ballots[index].state = state,
                    None => {
                        lost.insert(question.place);
                    }
                }
            }
        }
    }
    panic!("never ends");
}

fn first(_: usize) -> usize {
    0
}

/// Every voter says the same each time.
fn voices<'a>(choices: &'a [&'a str]) -> impl Fn(&Question) -> Option<State> + 'a {
    |question| Some(cast(choices[question.place]))
}

#[test]
fn a_majority_decides_and_the_rest_dissents() {
    let last = |open: usize| open - 1;
    let (outcome, _) = play(&rules(Protocol::Quorum, 3), voices(&["Tabs", "tabs. ", "spaces"]), last);
    assert_eq!((outcome.kind, outcome.choice.as_deref()), (OutcomeKind::Decided, Some("Tabs")));
    assert_eq!((outcome.tally[0].places.as_slice(), outcome.dissent[0].place), (&[0, 1][..], 2));
    assert_eq!(outcome.why, "`Tabs` has 2 of 3 votes, more than half is needed");
    let (outcome, _) = play(&rules(Protocol::Quorum, 4), voices(&["a", "a", "b", "b"]), first);
    assert_eq!(outcome.kind, OutcomeKind::Inconclusive, "half is not more than half");
}

#[test]
fn thresholds_are_exact() {
    let reached = |threshold: Threshold, part, whole| threshold.is_reached(part, whole);
    assert!(reached(Threshold::TwoThirds, 2, 3) && !reached(Threshold::TwoThirds, 65, 98));
    assert!(reached(Threshold::Unanimous, 3, 3) && !reached(Threshold::Unanimous, 2_999, 3_000));
    assert!(reached(Threshold::Share(750_000), 3, 4) && !reached(Threshold::Share(750_001), 3, 4));
    assert!(!reached(Threshold::Majority, 0, 0));
    assert_eq!(Threshold::Share(750_000).words(), "at least 75 %");
    assert_eq!((decimal(1_500, WEIGHT_UNIT), decimal(2_000, WEIGHT_UNIT)), ("1.5".into(), "2".into()));
}

#[test]
fn weights_count_and_abstentions_belong_to_the_whole() {
    let mut weighed = rules(Protocol::Quorum, 3);
    weighed.voters[0].weight = 3 * WEIGHT_UNIT;
    let (outcome, _) = play(&weighed, voices(&["a", "b", "b"]), first);
    assert_eq!(outcome.choice.as_deref(), Some("a"));
    let silent = |question: &Question| Some(if question.place == 0 { cast("a") } else { State::Abstained("no idea".into()) });
    let (outcome, _) = play(&rules(Protocol::Quorum, 3), silent, first);
    assert_eq!(outcome.kind, OutcomeKind::Inconclusive);
    let (outcome, _) = play(&rules(Protocol::Quorum, 3), |_| None, first);
    assert_eq!((outcome.kind, outcome.why.as_str()), (OutcomeKind::Inconclusive, "nobody voted"));
}

#[test]
fn a_veto_rejects_what_would_have_been_decided() {
    let mut strict = rules(Protocol::Quorum, 4);
    strict.voters[3].veto = true;
    let (outcome, _) = play(&strict, voices(&["a", "a", "a", "b"]), first);
    assert_eq!((outcome.kind, outcome.choice.as_deref()), (OutcomeKind::Rejected, None));
    assert!(outcome.why.contains("voter 4"), "{}", outcome.why);
    assert_eq!(outcome.dissent[0].place, 3);
    let (outcome, _) = play(&strict, voices(&["a", "a", "b", "a"]), first);
    assert_eq!(outcome.kind, OutcomeKind::Decided, "only those who may veto do");
}

fn raft_answer(question: &Question, draft: &str, accepts: bool) -> State {
    match question.phase {
        Phase::Draft => cast(draft),
        _ => cast(if accepts { ACCEPT } else { REFUSE }),
    }
}

#[test]
fn a_draft_is_committed_by_a_majority() {
    let (outcome, ballots) = play(&rules(Protocol::Raft, 3), |question| Some(raft_answer(question, "plan", true)), first);
    assert_eq!((outcome.kind, outcome.choice.as_deref()), (OutcomeKind::Decided, Some("plan")));
    assert_eq!(outcome.tally[0].places, [0, 1], "the second acknowledgement was not waited for");
    assert_eq!(ballots.last().map(|ballot| ballot.round), Some(1));
}

#[test]
fn a_lost_leader_begins_a_new_term_with_the_next_one() {
    let answer = |question: &Question| {
        let is_lost = question.place == 0 && question.phase == Phase::Draft;
        (!is_lost).then(|| raft_answer(question, "plan B", true))
    };
    let (outcome, ballots) = play(&rules(Protocol::Raft, 3), answer, first);
    assert_eq!(outcome.choice.as_deref(), Some("plan B"));
    assert!(outcome.why.contains("term 2"), "{}", outcome.why);
    let draft = ballots.iter().rfind(|ballot| ballot.phase == Phase::Draft).map(|ballot| (ballot.place, ballot.round));
    assert_eq!(draft, Some((1, 2)));
}

#[test]
fn a_refused_draft_goes_to_the_next_leader_with_the_reasons() {
    let answer = |question: &Question| {
        if question.phase == Phase::Draft && question.round == 2 {
            assert_eq!(question.sees.iter().filter(|seen| seen.text == REFUSE).count(), 2, "{question:?}");
        }
        Some(raft_answer(question, &format!("draft {}", question.round), question.round == 2))
    };
    let (outcome, _) = play(&rules(Protocol::Raft, 3), answer, first);
    assert_eq!(outcome.choice.as_deref(), Some("draft 2"));
    let (outcome, _) = play(&rules(Protocol::Raft, 3), |question| Some(raft_answer(question, "x", false)), first);
    assert_eq!(outcome.kind, OutcomeKind::Inconclusive);
    assert!(outcome.why.contains("3 terms"), "{}", outcome.why);
    let (outcome, _) = play(&rules(Protocol::Raft, 3), |_| None, first);
    assert!(outcome.why.contains("are left"), "{}", outcome.why);
}

/// Honest voters are for `a` and commit to what most prepared; liars deny what they said.
fn byzantine(liars: &[usize]) -> (Outcome, Vec<Ballot>) {
    let liars = liars.to_vec();
    play(
        &rules(Protocol::Byzantine, 4),
        move |question| {
            Some(match (question.phase, liars.contains(&question.place)) {
                (Phase::Prepare, _) => cast("a"),
                (_, false) => commit("a", "a"),
                (_, true) => commit("b", "b"),
            })
        },
        first,
    )
}

#[test]
fn one_liar_of_four_is_tolerated_and_named() {
    let (outcome, _) = byzantine(&[]);
    assert_eq!((outcome.kind, outcome.choice.as_deref(), outcome.equivocations.len()), (OutcomeKind::Decided, Some("a"), 0));
    let (outcome, _) = byzantine(&[2]);
    assert_eq!((outcome.kind, outcome.choice.as_deref()), (OutcomeKind::Decided, Some("a")));
    assert_eq!(outcome.equivocations[0].place, 2);
    assert!(outcome.equivocations[0].detail.contains("`b`"), "{outcome:?}");
    assert_eq!(outcome.tally[0].places, [0, 1, 3], "its ballot does not count");
}

#[test]
fn two_liars_of_four_are_too_many() {
    let (outcome, _) = byzantine(&[1, 3]);
    assert_eq!((outcome.kind, outcome.choice.as_deref(), outcome.equivocations.len()), (OutcomeKind::Inconclusive, None, 2));
    assert!(outcome.why.contains("up to 1 may lie"), "{}", outcome.why);
}

#[test]
fn every_kind_of_equivocation_is_found() {
    let four = rules(Protocol::Byzantine, 4);
    let ballot = |place, phase, state| Ballot { place, round: 1, phase, state };
    let prepares = ["a", "a", "a", "b"].into_iter().enumerate();
    let mut ballots: Vec<_> = prepares.map(|(place, choice)| ballot(place, Phase::Prepare, cast(choice))).collect();
    ballots.push(ballot(0, Phase::Commit, commit("a", "a")));
    ballots.push(ballot(1, Phase::Commit, commit("b", "a")));
    ballots.push(ballot(2, Phase::Commit, commit("a", "a")));
    ballots.push(ballot(2, Phase::Commit, commit("a", "b")));
    ballots.push(ballot(3, Phase::Commit, commit("b", "b")));
    let Next::Done(outcome) = next(&four, &ballots, &BTreeSet::new()) else { panic!("goes on") };
    let found: BTreeMap<usize, &str> = outcome.equivocations.iter().map(|found| (found.place, found.detail.as_str())).collect();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert!(found[&1].contains("told later"), "{found:?}");
    assert!(found[&2].contains("two different ballots"), "{found:?}");
    assert!(found[&3].contains("no quorum had prepared"), "{found:?}");
}

#[test]
fn quorums_of_byzantine_voters_share_an_honest_one() {
    for voters in 4..=VOTERS {
        let (faults, quorum) = (faults_tolerated(voters), quorum_of(voters));
        assert!(2 * quorum > voters + faults, "{voters}: two quorums share more than the liars");
        assert!(quorum <= voters - faults, "{voters}: the honest ones are enough");
        if voters == 3 * faults + 1 {
            assert_eq!(quorum, 2 * faults + 1, "{voters}");
        }
    }
}

#[test]
fn without_a_prepared_quorum_a_new_round_begins() {
    let answer = |question: &Question| {
        Some(match (question.phase, question.round) {
            (Phase::Prepare, 1) => cast(if question.place < 2 { "a" } else { "b" }),
            (Phase::Prepare, _) => {
                assert_eq!(question.sees.len(), 4, "everybody sees the statements of the last round");
                cast("a")
            }
            _ => commit("a", "a"),
        })
    };
    let (outcome, _) = play(&rules(Protocol::Byzantine, 4), answer, first);
    assert_eq!(outcome.choice.as_deref(), Some("a"));
    assert!(outcome.why.contains("round 2"), "{}", outcome.why);
}

/// Everybody takes over the opinion that comes first in the alphabet.
fn infected(question: &Question) -> State {
    let own = ["d", "c", "b", "a"][question.place % 4];
    cast(question.sees.iter().map(|seen| seen.text.as_str()).chain([own]).min().expect("one"))
}

#[test]
fn gossip_converges_and_shows_only_a_few() {
    let eight = Rules { max_rounds: 20, ..rules(Protocol::Gossip, 8) };
    let answer = |question: &Question| {
        assert!(question.sees.len() <= 3, "its own and two others': {question:?}");
        assert_eq!(question.sees.is_empty(), question.round == 1, "{question:?}");
        Some(infected(question))
    };
    let (outcome, ballots) = play(&eight, answer, first);
    assert_eq!(outcome.choice.as_deref(), Some("a"), "{outcome:?}");
    assert!(ballots.iter().any(|ballot| ballot.round > 1), "the history is kept");
    let stubborn = |question: &Question| Some(cast(["a", "b"][question.place % 2]));
    let (outcome, ballots) = play(&rules(Protocol::Gossip, 4), stubborn, first);
    assert_eq!((outcome.kind, ballots.len()), (OutcomeKind::Inconclusive, 20));
}

#[test]
fn a_document_is_merged_from_everybody_and_ones_own_can_be_rewritten() {
    let two = Rules { max_rounds: 2, ..rules(Protocol::Crdt, 2) };
    let answer = |question: &Question| {
        Some(match (question.round, question.place) {
            (1, 0) => edit(&["keep", "drop"]),
            (1, _) => edit(&["other", "Keep."]),
            (_, 0) => {
                assert_eq!(question.sees.len(), 3, "the document and two items of its own: {question:?}");
                let State::Cast(cast) = cast("contributed") else { unreachable!() };
                State::Cast(Cast { edits: vec![Edit { number: 2, section: "s".into(), text: None }], ..cast })
            }
            _ => edit(&["other, better"]),
        })
    };
    let (outcome, _) = play(&two, answer, first);
    assert_eq!(outcome.choice.as_deref(), Some("## s\n\n- keep\n- other, better"));
    let (outcome, _) = play(&rules(Protocol::Crdt, 2), |_| Some(State::Abstained("none".into())), first);
    assert_eq!(outcome.kind, OutcomeKind::Inconclusive);
}

#[test]
fn answers_are_read_strictly_and_in_the_proposals_words() {
    use serde_json::json;
    let asked = Rules { options: vec!["Tabs".into(), "Spaces".into()], ..rules(Protocol::Quorum, 2) };
    let given = json!({"choice": "tabs", "rationale": "wide", "confidence": 1});
    let Ok(Answer::Cast(cast)) = read_answer(&asked, Phase::Vote, 1, &given) else { panic!("refused") };
    assert_eq!((cast.choice.as_str(), cast.confidence), ("Tabs", 1.0));
    for (wrong, word) in [
        (json!({"choice": "both", "rationale": "x", "confidence": 1}), "Tabs, Spaces"),
        (json!({"choice": "Tabs", "confidence": 1}), "rationale"),
        (json!({"choice": "Tabs", "rationale": "x", "confidence": 2}), "confidence"),
        (json!("Tabs"), "rationale"),
    ] {
        let problem = read_answer(&asked, Phase::Vote, 1, &wrong).expect_err("refused");
        assert!(problem.contains(word), "{problem}");
    }
    let silent = json!({"choice": "Tabs", "rationale": "cannot tell", "confidence": 0, "can_judge": false});
    assert_eq!(read_answer(&asked, Phase::Vote, 1, &silent), Ok(Answer::Abstained("cannot tell".into())));
    let edits = json!({"edits": [{"section": "tabs", "text": "wide"}], "rationale": "x", "confidence": 1});
    let Ok(Answer::Cast(cast)) = read_answer(&asked, Phase::Edit, 2, &edits) else { panic!("refused") };
    assert_eq!((cast.edits[0].number, cast.edits[0].section.as_str()), (101, "Tabs"));
}
