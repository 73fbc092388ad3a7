//! When a proposal ends although voters have not answered: early, and at its deadline.

use super::*;

/// Where a quorum stands when its voters have said so much, of those who have been asked.
fn voted(rules: &Rules, votes: &[Option<&str>]) -> (Next, Vec<Ballot>) {
    let state = |vote: Option<&str>| vote.map_or(State::Asked, cast);
    let ballots: Vec<Ballot> = votes
        .iter()
        .enumerate()
        .map(|(place, vote)| Ballot { place, round: 1, phase: Phase::Vote, state: state(*vote) })
        .collect();
    (next(rules, &ballots, &BTreeSet::new()), ballots)
}

#[test]
fn a_quorum_ends_as_soon_as_no_missing_vote_can_change_it() {
    let four = rules(Protocol::Quorum, 4);
    let kind = |rules: &Rules, votes: &[Option<&str>]| match voted(rules, votes).0 {
        Next::Done(outcome) => Some(outcome.kind),
        _ => None,
    };
    assert_eq!(kind(&four, &[Some("a"), Some("a"), None, None]), None, "half is not more than half");
    assert_eq!(kind(&four, &[Some("a"), Some("a"), Some("a"), None]), Some(OutcomeKind::Decided));
    assert_eq!(kind(&four, &[Some("a"), Some("b"), Some("c"), None]), Some(OutcomeKind::Inconclusive));
    assert_eq!(kind(&four, &[Some("a"), Some("b"), None, None]), None, "the others may both be for `a`");
    let unanimous = Rules { threshold: Threshold::Unanimous, ..four.clone() };
    assert_eq!(kind(&unanimous, &[Some("a"), Some("b"), None, None]), Some(OutcomeKind::Inconclusive));
    // A heavy voter decides by itself, or is waited for.
    let mut heavy = four.clone();
    heavy.voters[0].weight = 4 * WEIGHT_UNIT;
    assert_eq!(kind(&heavy, &[Some("a"), None, None, None]), Some(OutcomeKind::Decided));
    assert_eq!(kind(&heavy, &[None, Some("b"), Some("b"), Some("b")]), None);
    // Who may veto is waited for, unless somebody else has vetoed it.
    let mut strict = four.clone();
    strict.voters[3].veto = true;
    assert_eq!(kind(&strict, &[Some("a"), Some("a"), Some("a"), None]), None);
    assert_eq!(kind(&strict, &[Some("a"), None, Some("a"), Some("a")]), Some(OutcomeKind::Decided));
    strict.voters[2].veto = true;
    let five = Rules { voters: [strict.voters.clone(), vec![four.voters[0]]].concat(), ..strict };
    assert_eq!(kind(&five, &[Some("a"), Some("a"), Some("b"), None, Some("a")]), Some(OutcomeKind::Rejected));
}

#[test]
fn at_the_deadline_the_silent_count_as_lost_and_are_named() {
    let mut strict = rules(Protocol::Quorum, 4);
    strict.voters[3].veto = true;
    let at = |rules: &Rules, votes: &[Option<&str>]| at_deadline(rules, &voted(rules, votes).1, &BTreeSet::new(), 60);
    let outcome = at(&strict, &[Some("a"), Some("a"), Some("a"), None]);
    assert_eq!((outcome.kind, outcome.choice.as_deref()), (OutcomeKind::Decided, Some("a")));
    assert_eq!(outcome.silent, [3]);
    assert_eq!(outcome.why, "`a` has 3 of 4 votes, more than half is needed; voter 4 gave no answer within 60 seconds");
    let outcome = at(&strict, &[Some("a"), Some("a"), None, None]);
    assert_eq!((outcome.kind, outcome.choice, outcome.tally[0].weight), (OutcomeKind::TimedOut, None, 2 * WEIGHT_UNIT));
    assert_eq!(outcome.why, "no decision within 60 seconds; voter 3 and voter 4 gave no answer within 60 seconds");
}

#[test]
fn at_the_deadline_a_document_is_what_has_been_contributed() {
    let ballot = |place, round, state| Ballot { place, round, phase: Phase::Edit, state };
    let none = BTreeSet::new();
    for (protocol_rounds, late) in [(1, vec![]), (3, vec![ballot(0, 2, edit(&["a", "b"])), ballot(1, 2, State::Asked)])] {
        let rules = Rules { max_rounds: protocol_rounds, ..rules(Protocol::Crdt, 2) };
        let first = if late.is_empty() { State::Asked } else { edit(&["c"]) };
        let ballots = [vec![ballot(0, 1, edit(&["a"])), ballot(1, 1, first)], late].concat();
        assert_eq!(next(&rules, &ballots, &none), Next::Wait);
        let outcome = at_deadline(&rules, &ballots, &none, 9);
        assert_eq!((outcome.kind, outcome.silent.as_slice()), (OutcomeKind::Decided, &[1][..]), "{outcome:?}");
        assert!(outcome.choice.is_some_and(|text| text.contains("- a")), "the document");
    }
    let nobody = [ballot(0, 1, State::Asked), ballot(1, 1, State::Asked)];
    let outcome = at_deadline(&rules(Protocol::Crdt, 2), &nobody, &none, 9);
    assert_eq!((outcome.kind, outcome.silent.as_slice()), (OutcomeKind::TimedOut, &[0, 1][..]));
}

#[test]
fn at_the_deadline_commits_of_a_quorum_are_enough() {
    let four = rules(Protocol::Byzantine, 4);
    let ballot = |place, phase, state| Ballot { place, round: 1, phase, state };
    let mut ballots: Vec<Ballot> = (0..4).map(|place| ballot(place, Phase::Prepare, cast("a"))).collect();
    ballots.extend((0..3).map(|place| ballot(place, Phase::Commit, commit("a", "a"))));
    ballots.push(ballot(3, Phase::Commit, State::Asked));
    let outcome = at_deadline(&four, &ballots, &BTreeSet::new(), 9);
    assert_eq!((outcome.choice.as_deref(), outcome.silent.as_slice()), (Some("a"), &[3][..]));
    ballots[6].state = State::Asked;
    let outcome = at_deadline(&four, &ballots, &BTreeSet::new(), 9);
    assert_eq!((outcome.kind, outcome.silent.as_slice()), (OutcomeKind::TimedOut, &[2, 3][..]));
}
