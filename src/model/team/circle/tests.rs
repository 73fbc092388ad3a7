//! Which requests close a circle, and that chains of requests end.

use super::*;
use proptest::prelude::*;

const KINDS: [MessageKind; 2] = [MessageKind::Task, MessageKind::Question];

fn agents<const N: usize>() -> [AgentId; N] {
    std::array::from_fn(|_| AgentId::generate())
}

fn request(from: AgentId, to: AgentId, kind: MessageKind) -> Request {
    Request { id: MessageId::generate(), from, to, kind }
}

fn task(from: AgentId, to: AgentId) -> Request {
    request(from, to, MessageKind::Task)
}

#[test]
fn who_is_asked_by_those_it_waits_for_closes_a_circle() {
    let [a, b, c, d] = agents();
    let behind = [task(a, b), task(b, c)];
    for kind in KINDS {
        assert_eq!(circle(&behind, c, a, kind).map(|circle| circle.agents), Some(vec![a, b, c]), "{kind}");
        assert_eq!(circle(&behind, c, d, kind), None, "{kind}: somebody new");
        assert_eq!(circle(&[], c, a, kind), None, "{kind}: of its own accord");
    }
    assert_eq!(in_hand(&behind, c), [behind[1].id]);
    assert_eq!(circle(&[task(a, b), task(d, c)], c, a, MessageKind::Task), None, "waits for somebody else");
    let two_ways = [task(a, b), task(b, c), task(a, c)];
    assert_eq!(circle(&two_ways, c, a, MessageKind::Task).map(|circle| circle.agents), Some(vec![a, c]), "the shortest");
}

#[test]
fn work_is_not_given_back_but_one_may_ask_once_what_is_meant() {
    let [a, b] = agents();
    let given = task(a, b);
    assert_eq!(circle(&[given], b, a, MessageKind::Task).map(|circle| circle.agents), Some(vec![a, b]));
    assert_eq!(circle(&[given], b, a, MessageKind::Status).map(|circle| circle.agents), Some(vec![a, b]));
    assert_eq!(circle(&[given], b, a, MessageKind::Question), None);
    let asked_back = [given, request(b, a, MessageKind::Question)];
    for kind in KINDS {
        assert_eq!(circle(&asked_back, a, b, kind).map(|circle| circle.agents), Some(vec![b, a]), "{kind}");
    }
}

proptest! {
    #[test]
    fn a_circle_is_one(edges in proptest::collection::vec((0..6_usize, 0..6_usize, 0..2_usize), 0..14), from in 0..6_usize, to in 0..6_usize) {
        let agents: [AgentId; 6] = agents();
        let edges = edges.into_iter().filter(|(one, other, _)| one != other);
        let behind: Vec<Request> = edges.map(|(one, other, kind)| request(agents[one], agents[other], KINDS[kind])).collect();
        prop_assume!(from != to);
        if let Some(circle) = circle(&behind, agents[from], agents[to], MessageKind::Task) {
            let on_it = &circle.agents;
            prop_assert_eq!((on_it.first(), on_it.last()), (Some(&agents[to]), Some(&agents[from])));
            prop_assert_eq!(on_it.iter().collect::<BTreeSet<_>>().len(), on_it.len(), "each once");
            for pair in on_it.windows(2) {
                prop_assert!(behind.iter().any(|request| (request.from, request.to) == (pair[0], pair[1])));
            }
        }
    }

    /// Nobody ever answers, and everybody who is asked asks somebody else, as the numbers have it.
    #[test]
    fn requests_that_lead_to_one_another_come_to_an_end(count in 2..7_usize, choices in proptest::collection::vec((0..7_usize, 0..2_usize), 200)) {
        let agents: Vec<AgentId> = (0..count).map(|_| AgentId::generate()).collect();
        let (mut behind, mut at) = (vec![], 0);
        for (choice, kind) in choices {
            let to = choice % count;
            if to == at || circle(&behind, agents[at], agents[to], KINDS[kind]).is_some() {
                continue;
            }
            behind.push(request(agents[at], agents[to], KINDS[kind]));
            at = to;
        }
        prop_assert!(behind.len() <= 2 * (count - 1), "{} requests between {count} agents", behind.len());
    }
}
