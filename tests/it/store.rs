//! The store, on the engine the environment names: `SQLite`, or `PostgreSQL` when `MAS_TEST_POSTGRES_URL` is set.

mod append;
mod log;
mod races;
mod scaling;
mod schema;
pub(crate) mod support;
pub(crate) mod team;
mod upgrade;

use chrono::{SubsecRound, Utc};
use mas_gateway::{
    model::{
        agent::AgentType,
        id::{AgentId, KeyId, TaskId},
        key::{ApiKey, Scope},
        quota::KeyLimits,
        run::{Failure, FailureCode},
        task::{Priority, Task, TaskStatus},
    },
    store::{AgentFilter, Inserted, TaskChange, TaskFilter},
};
use std::collections::HashSet;
use support::{claim, insert, provision, run_of, task, test_store};

const ALL: TaskFilter<'_> = TaskFilter {
    owner: None,
    status: None,
    agent: None,
    dead_letter: None,
    agent_type: None,
    project: None,
    before: None,
    limit: 100,
};

fn change(status: TaskStatus) -> TaskChange {
    TaskChange { status, failure: None, dead_letter: false, at: Utc::now().trunc_subsecs(6) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_idempotency_key_makes_one_task_under_concurrency() {
    let store = test_store().await;
    let inserts: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let task = Task { idempotency_key: Some("same".into()), ..task("ann") };
                (task.id, insert(&store, &task).await)
            })
        })
        .collect();
    let (mut new, mut existing) = (Vec::new(), HashSet::new());
    for insert in inserts {
        match insert.await.expect("no panic") {
            (id, Inserted::New) => new.push(id),
            (_, Inserted::Existing(task)) => _ = existing.insert(task.id),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(new.len(), 1);
    assert_eq!(existing, HashSet::from([new[0]]));
    assert_eq!(store.list_tasks(&ALL).await.expect("listed").len(), 1);
    let other = Task { idempotency_key: Some("same".into()), ..task("bob") };
    assert_eq!(insert(&store, &other).await, Inserted::New, "keys belong to their owner");
    for _ in 0..2 {
        assert_eq!(insert(&store, &task("ann")).await, Inserted::New, "no key, no conflict");
    }
    store.end().await;
}

#[tokio::test]
async fn a_task_comes_back_as_it_was() {
    let store = test_store().await;
    let full = Task {
        model: Some("haiku".into()),
        budget_usd: Some(0.1),
        output_schema: Some(serde_json::json!({"z": 1, "a": {"const": "\u{0}"}})),
        idempotency_key: Some("k".into()),
        failure: Some(Failure::new(FailureCode::Timeout, "too \u{0} long")),
        agent_id: Some(AgentId::generate()),
        started_at: Some(Utc::now().trunc_subsecs(6)),
        cancel_requested: true,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ..task("ann")
    };
    insert(&store, &full).await;
    assert_eq!(store.get_task(full.id, None).await.expect("read"), Some(full.clone()));
    assert_eq!(store.get_task(full.id, Some("ann")).await.expect("read").map(|task| task.id), Some(full.id));
    assert_eq!(store.get_task(full.id, Some("bob")).await.expect("read"), None, "somebody else's");
    assert_eq!(store.get_task(TaskId::generate(), None).await.expect("read"), None);
    let nul = Task { title: "a\0b".into(), ..task("ann") };
    insert(&store, &nul).await;
    assert_eq!(store.get_task(nul.id, None).await.expect("read").expect("there").title, "a\u{fffd}b");
    store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_task_is_claimed_once() {
    let store = test_store().await;
    for _ in 0..200 {
        insert(&store, &task("ann")).await;
    }
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                while let Some(task) = claim(&store).await {
                    assert_eq!((task.status, task.generation), (TaskStatus::Assigned, 1));
                    claimed.push(task.id);
                }
                claimed
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.expect("no panic"));
    }
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), 200);
    let status = Some(TaskStatus::Assigned);
    let assigned = TaskFilter { status, limit: 1000, ..ALL };
    assert_eq!(store.list_tasks(&assigned).await.expect("listed").len(), 200);
    store.end().await;
}

#[tokio::test]
async fn urgent_tasks_are_claimed_first_then_older_ones_and_never_cancelled_ones() {
    let store = test_store().await;
    let mut tasks = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::Normal, Priority::High, Priority::Critical, Priority::Critical] {
        let task = Task { priority, ..task("ann") };
        insert(&store, &task).await;
        tasks.push(task.id);
    }
    let cancelled = store.request_cancel(tasks[4], Utc::now()).await.expect("marked").expect("there");
    assert!(cancelled.cancel_requested && cancelled.status == TaskStatus::Created && cancelled.generation == 0);
    store.edit_task(tasks[0], None, Some(Priority::Critical), Utc::now()).await.expect("edited").expect("there");
    let mut order = Vec::new();
    while let Some(task) = claim(&store).await {
        order.push(task.id);
    }
    assert_eq!(order, [tasks[0], tasks[5], tasks[3], tasks[1], tasks[2]]);
    let waiting: Vec<_> = store.list_unprovisioned_tasks().await.expect("listed").iter().map(|task| task.id).collect();
    assert_eq!(waiting, [tasks[0], tasks[1], tasks[2], tasks[3], tasks[5]], "claimed, without a run");
    store.end().await;
}

#[tokio::test]
async fn a_late_or_illegal_change_touches_nothing() {
    let store = test_store().await;
    let made = task("ann");
    insert(&store, &made).await;
    let claimed = claim(&store).await.expect("there");
    assert_eq!(store.change_task(made.id, 0, &change(TaskStatus::Cancelled)).await.expect("tried"), None, "stale");
    assert_eq!(store.change_task(made.id, 1, &change(TaskStatus::Complete)).await.expect("tried"), None, "illegal");
    assert_eq!(store.get_task(made.id, None).await.expect("read"), Some(claimed));

    let begun = change(TaskStatus::InProgress);
    let task = store.change_task(made.id, 1, &begun).await.expect("changed").expect("current");
    assert_eq!((task.status, task.generation, task.started_at, task.ended_at), (TaskStatus::InProgress, 2, Some(begun.at), None));
    let failed = TaskChange { failure: Some(Failure::new(FailureCode::AgentError, "no")), ..change(TaskStatus::Failed) };
    let task = store.change_task(made.id, 2, &failed).await.expect("changed").expect("current");
    assert_eq!((task.started_at, task.ended_at, task.failure), (Some(begun.at), Some(failed.at), failed.failure));

    let ended = store.request_cancel(made.id, Utc::now()).await.expect("tried").expect("there");
    assert!(!ended.cancel_requested && ended.updated_at == failed.at, "ended tasks stay as they are");
    assert_eq!(store.request_cancel(TaskId::generate(), Utc::now()).await.expect("tried"), None);
    assert_eq!(store.edit_task(TaskId::generate(), Some("x"), None, Utc::now()).await.expect("tried"), None);
    let renamed = store.edit_task(made.id, Some("new"), None, Utc::now()).await.expect("edited").expect("there");
    assert_eq!((renamed.title.as_str(), renamed.generation), ("new", 3));
    store.end().await;
}

#[tokio::test]
async fn lists_are_filtered_newest_first_and_paged() {
    let store = test_store().await;
    let mut ids = Vec::new();
    for n in 0..6_u8 {
        let made = Task {
            agent_type: if n % 2 == 0 { AgentType::CODER } else { AgentType::TESTER },
            project: if n < 3 { "shop" } else { "site" }.into(),
            ..task(if n == 5 { "bob" } else { "ann" })
        };
        insert(&store, &made).await;
        ids.push(made.id);
    }
    claim(&store).await;
    for (filter, expected) in [
        (ALL, vec![5, 4, 3, 2, 1, 0]),
        (TaskFilter { owner: Some("ann"), ..ALL }, vec![4, 3, 2, 1, 0]),
        (TaskFilter { owner: Some("ann"), before: Some(ids[3]), limit: 2, ..ALL }, vec![2, 1]),
        (TaskFilter { status: Some(TaskStatus::Assigned), ..ALL }, vec![0]),
        (TaskFilter { agent_type: Some(AgentType::TESTER), project: Some("site"), ..ALL }, vec![5, 3]),
        (TaskFilter { owner: Some("bob"), status: Some(TaskStatus::Created), project: Some("site"), ..ALL }, vec![5]),
        (TaskFilter { project: Some("' OR 1=1 --\0"), ..ALL }, vec![]),
    ] {
        let listed: Vec<_> = store.list_tasks(&filter).await.expect("listed").iter().map(|task| task.id).collect();
        assert_eq!(listed, expected.iter().map(|n: &usize| ids[*n]).collect::<Vec<_>>(), "{filter:?}");
    }
    store.end().await;
}

#[tokio::test]
async fn agents_runs_and_processes_are_made_together_or_not_at_all() {
    let store = test_store().await;
    insert(&store, &task("ann")).await;
    let claimed = claim(&store).await.expect("there");
    let mut p = provision(&claimed);
    p.task = Some((claimed.id, 0));
    assert!(!store.provision(&p).await.expect("tried"), "stale");
    assert_eq!(store.get_agent(p.agent.id, None).await.expect("read"), None);
    p.task = Some((claimed.id, claimed.generation));
    let good = p.process.clone();
    p.process.run_id = Some(mas_gateway::model::id::RunId::generate());
    store.provision(&p).await.expect_err("a process of no run");
    assert_eq!(store.get_agent(p.agent.id, None).await.expect("read"), None, "rolled back");
    assert_eq!(store.get_task(claimed.id, None).await.expect("read").expect("there").run_id, None);
    p.process = good;
    assert!(store.provision(&p).await.expect("provisioned"));

    let tied = store.get_task(claimed.id, None).await.expect("read").expect("there");
    assert_eq!((tied.agent_id, tied.run_id, tied.generation), (Some(p.agent.id), Some(run_of(&p).id), claimed.generation));
    assert_eq!(store.get_agent(p.agent.id, Some("ann")).await.expect("read"), Some(p.agent.clone()));
    assert_eq!(store.get_agent(p.agent.id, Some("bob")).await.expect("read"), None);
    assert_eq!(store.get_run(run_of(&p).id).await.expect("read"), p.run.clone());
    assert_eq!(store.latest_run_of_agent(p.agent.id).await.expect("read"), p.run.clone());
    assert_eq!(store.list_open_processes().await.expect("listed"), [p.process.clone()]);
    assert_eq!(store.list_unprovisioned_tasks().await.expect("listed"), []);

    let all = AgentFilter { owner: None, status: None, agent_type: None, before: None, limit: 9 };
    for (filter, found) in [
        (all, true),
        (AgentFilter { owner: Some("ann"), status: Some(p.agent.status), ..all }, true),
        (AgentFilter { owner: Some("bob"), ..all }, false),
        (AgentFilter { before: Some(p.agent.id), ..all }, false),
    ] {
        assert_eq!(store.list_agents(&filter).await.expect("listed").len(), usize::from(found), "{filter:?}");
    }
    store.end().await;
}

#[tokio::test]
async fn keys_are_found_by_hash_and_end_when_revoked() {
    let store = test_store().await;
    let now = Utc::now().trunc_subsecs(6);
    let key = ApiKey {
        id: KeyId::generate(),
        user: "ann".into(),
        name: "laptop".into(),
        scopes: vec![Scope::Operate, Scope::Read],
        limits: KeyLimits { max_agents: Some(3), usd_per_day: Some(0.5), ..KeyLimits::default() },
        created_at: now,
        expires_at: Some(now),
        revoked_at: None,
    };
    let hash: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).expect("small"));
    store.insert_key(&key, &hash).await.expect("inserted");
    let twin = ApiKey { id: KeyId::generate(), ..key.clone() };
    store.insert_key(&twin, &hash).await.expect_err("the hash is taken");
    assert_eq!(store.find_key(&[0, 1, 2, 3, 4, 5, 6, 7]).await.expect("read"), Some((key.clone(), hash)));
    assert_eq!(store.find_key(&[9; 8]).await.expect("read"), None);
    assert_eq!(store.list_keys().await.expect("listed"), std::slice::from_ref(&key));
    assert!(store.revoke_key(key.id, now).await.expect("revoked"));
    assert!(store.revoke_key(key.id, Utc::now() + chrono::TimeDelta::days(1)).await.expect("revoked again"));
    assert!(!store.revoke_key(twin.id, now).await.expect("tried"));
    assert_eq!(store.list_keys().await.expect("listed")[0].revoked_at, Some(now), "the first time counts");
    store.ping().await.expect("answers");
    store.end().await;
}
