//! What a team remembers: found by its words on either engine, in versions, with what others say of it.

use super::{pair, store_team};
use chrono::{SubsecRound, Utc};
use mas_gateway::{
    model::{
        agent::{Agent, AgentType},
        id::MemoryId,
        memory::{Confidence, Content, Memory, MemoryKind, MemoryVerdict, Scope, Verdict, words::Search},
        swarm::{Swarm, Topology},
    },
    store::{MemoryFilter, Store, TeamChange},
};
use uuid::Uuid;

pub(super) fn memory(swarm: &Swarm, agent: &Agent, content: Content) -> Memory {
    Memory {
        id: MemoryId::generate(),
        owner: swarm.owner.clone(),
        scope: Scope::Swarm(swarm.id),
        agent_id: Some(agent.id),
        thread_id: None,
        created_at: Utc::now().trunc_subsecs(6),
        content,
    }
}

pub(super) fn artifact(name: &str, version: u32) -> Content {
    Content::Artifact {
        name: name.into(),
        version,
        kind: "design".into(),
        content: Some("Sketch of the cache".into()),
        file: None,
    }
}

fn finding(claim: &str) -> Content {
    Content::Finding { claim: claim.into(), confidence: Confidence::High, sources: vec!["src/main.rs:7".into()] }
}

fn filter(swarm: &Swarm, query: &str) -> MemoryFilter {
    let (scope, search) = (Scope::Swarm(swarm.id), Search::parse(query));
    MemoryFilter { scope, search, kind: None, id: None, before: None, limit: 100 }
}

pub(super) async fn found(store: &Store, swarm: &Swarm, query: &str) -> Vec<MemoryId> {
    store.search_memory(&filter(swarm, query)).await.expect("searched").iter().map(|memory| memory.id).collect()
}

#[tokio::test]
async fn words_and_phrases_find_the_same_on_both_engines() {
    let (store, swarm, one, _) = pair().await;
    let (elsewhere, others) = store_team(&store, Topology::Ring, &[AgentType::CODER], "bob").await;
    let decision = Content::Decision {
        decision: "Sessions live in the database".into(),
        rationale: "They must survive a restart, 100% of them".into(),
        alternatives: vec!["signed cookies".into()],
    };
    let contents =
        [finding("The Cache is never emptied; see RFC-9111, Ärger x86_64"), artifact("cache-plan", 1), decision, finding("x")];
    let memories: Vec<Memory> = contents.into_iter().map(|content| memory(&swarm, &one, content)).collect();
    for memory in &memories {
        for _ in 0..2 {
            assert!(store.change_team(TeamChange::Remember(Box::new(memory.clone()))).await.expect("stored"));
        }
    }
    let foreign = memory(&elsewhere, &others[0], finding("a cache elsewhere"));
    assert!(store.change_team(TeamChange::Remember(Box::new(foreign))).await.expect("stored"));
    for (query, expected) in [
        ("", vec![3, 2, 1, 0]),
        ("cache", vec![1, 0]),
        ("CACHE emptied", vec![0]),
        ("emptied cache", vec![0]),
        ("\"emptied cache\"", vec![]),
        ("\"never emptied\" cache", vec![0]),
        ("cach", vec![]),
        ("cache-plan", vec![1]),
        ("src/main.rs", vec![3, 0]),
        ("\"main rs 7\"", vec![3, 0]),
        ("rfc 9111", vec![0]),
        ("x86_64 ärger", vec![0]),
        ("100%", vec![2]),
        ("cookies", vec![2]),
        ("\"foo OR NEAR(", vec![]),
        ("cache OR cookies", vec![]),
        ("NOT cache", vec![]),
        ("cache*", vec![1, 0]),
        ("' OR 1=1 --", vec![]),
        ("scope:cache", vec![]),
        ("\"\" ()", vec![]),
        ("\u{0}", vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|n: usize| memories[n].id).collect();
        assert_eq!(found(&store, &swarm, query).await, expected, "{query}");
    }
    let kind = MemoryFilter { kind: Some(MemoryKind::Artifact), ..filter(&swarm, "cache") };
    assert_eq!(store.search_memory(&kind).await.expect("searched"), [memories[1].clone()], "as it was stored");
    let page = MemoryFilter { before: Some(memories[3].id), limit: 2, ..filter(&swarm, "") };
    assert_eq!(store.search_memory(&page).await.expect("searched"), [memories[2].clone(), memories[1].clone()]);
    store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versions_are_rows_and_each_number_is_given_once() {
    let (store, swarm, one, two) = pair().await;
    let scope = Scope::Swarm(swarm.id);
    let savers = [&one, &two, &one, &two].map(|agent| {
        let (store, swarm, agent) = (store.clone(), swarm.clone(), agent.clone());
        tokio::spawn(async move {
            let mut saved = 0;
            while saved < 5 {
                let version = store.artifact_version(scope, "plan").await.expect("read") + 1;
                let memory = memory(&swarm, &agent, artifact("plan", version));
                saved += u32::from(store.change_team(TeamChange::Remember(Box::new(memory))).await.expect("tried"));
            }
        })
    });
    for saver in savers {
        saver.await.expect("no panic");
    }
    assert_eq!(store.artifact_version(scope, "plan").await.expect("read"), 20);
    assert_eq!(store.artifact_version(scope, "other").await.expect("read"), 0);
    assert_eq!(found(&store, &swarm, "plan").await.len(), 20, "what was not stored is not found");
    store.end().await;
}

#[tokio::test]
async fn verdicts_stand_beside_what_they_are_about() {
    let (store, swarm, one, two) = pair().await;
    let known = memory(&swarm, &one, finding("The sky is blue"));
    assert!(store.change_team(TeamChange::Remember(Box::new(known.clone()))).await.expect("stored"));
    let said = |verdict, comment: Option<&str>| MemoryVerdict {
        id: Uuid::now_v7(),
        memory_id: known.id,
        agent_id: Some(two.id),
        verdict,
        comment: comment.map(str::to_owned),
        created_at: Utc::now().trunc_subsecs(6),
    };
    let both = [said(Verdict::Contradicted, Some("not at night")), said(Verdict::Confirmed, None)];
    for verdict in &both {
        for _ in 0..2 {
            assert!(store.change_team(TeamChange::Judge(verdict.clone())).await.expect("stored"));
        }
    }
    assert_eq!(store.list_verdicts(&[known.id]).await.expect("listed"), both);
    assert_eq!(found(&store, &swarm, "").await, [known.id]);
    store.end().await;
}
