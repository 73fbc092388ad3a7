//! Appending captured events: all or nothing, once, and whatever agents write comes back.

use super::support::{TestStore, claim, insert, provision, run_of, task, test_store};
use chrono::{DateTime, SubsecRound, Utc};
use mas_gateway::{
    model::{
        agent::AgentStatus,
        event::{Event, EventKind},
        id::ProcessId,
        run::{Failure, FailureCode, RunOutcome, Usage},
        task::TaskStatus,
    },
    store::{Appended, Batch, Process, Provision, RunUpdate, Store, TaskChange},
};
use serde_json::{Value, json};
use std::{
    task::Poll,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A store with one claimed task and its agent.
async fn with_agent() -> (TestStore, Provision) {
    let store = test_store().await;
    let p = add_agent(&store).await;
    (store, p)
}

pub(super) async fn add_agent(store: &Store) -> Provision {
    insert(store, &task("ann")).await;
    let claimed = claim(store).await.expect("there");
    let p = provision(&claimed);
    assert!(store.provision(&p).await.expect("provisioned"));
    p
}

fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

pub(super) fn event(p: &Provision, seq: i64, kind: EventKind) -> Event {
    let (agent_id, task_id, run_id) = (p.agent.id, Some(run_of(p).task_id), Some(run_of(p).id));
    Event { agent_id, seq, task_id, task_seq: Some(seq), run_id, at: now(), kind }
}

pub(super) fn message(text: impl Into<String>) -> EventKind {
    EventKind::Message { text: text.into(), model: None, parent_tool_use_id: None }
}

pub(super) fn batch<'a>(p: &Provision, offsets: (i64, i64), state: &'a Value, events: &'a [Event]) -> Batch<'a> {
    Batch {
        process_id: p.process.id,
        expected_offset: offsets.0,
        offset: offsets.1,
        state,
        events,
        run: None,
        agent_status: None,
        task: None,
        agent_failure: None,
        session_started: false,
        begun: None,
        steering: None,
        joined: None,
        released: None,
        agent_id: p.agent.id,
        run_id: p.run.as_ref().map(|run| run.id),
        process_ended: false,
        team: None,
        next: None,
        at: now(),
    }
}

async fn process(store: &Store) -> Process {
    store.list_open_processes().await.expect("listed").pop().expect("one")
}

#[tokio::test]
async fn a_batch_changes_everything_at_once_and_only_once() {
    let (store, p) = with_agent().await;
    let events: Vec<_> = (1..=300).map(|seq| event(&p, seq, message(format!("n{seq}")))).collect();
    let state = json!({"line": 300});
    let outcome = RunOutcome { usage: Some(Usage { input_tokens: 5, ..Usage::default() }), ..RunOutcome::default() };
    let begun = TaskChange { status: TaskStatus::InProgress, failure: None, dead_letter: false, at: now() };
    let first = Batch {
        run: Some(RunUpdate { id: run_of(&p).id, progress: "a\0b", latest_output: "c\0d", outcome: &outcome, ended: false }),
        agent_status: Some(AgentStatus::Busy),
        task: Some((run_of(&p).task_id, begun.clone())),
        ..batch(&p, (0, 900), &state, &events)
    };
    let Appended::Done { task: Some(task) } = store.append(&first).await.expect("appended") else { panic!("no task") };
    assert_eq!((task.status, task.generation, task.started_at), (TaskStatus::InProgress, 2, Some(begun.at)));

    assert_eq!(store.append(&first).await.expect("tried"), Appended::Stale, "the same again");
    assert_eq!(store.list_agent_events(p.agent.id, 0, 1000, &[]).await.expect("listed"), events);
    assert_eq!(store.get_task(run_of(&p).task_id, None).await.expect("read"), Some(*task));
    let agent = store.get_agent(p.agent.id, None).await.expect("read").expect("there");
    assert_eq!((agent.status, agent.generation), (AgentStatus::Busy, 2));
    let run = store.get_run(run_of(&p).id).await.expect("read").expect("there");
    assert_eq!((run.progress.as_str(), run.latest_output.as_str()), ("a\u{fffd}b", "c\u{fffd}d"));
    assert_eq!((run.outcome, run.ended_at), (outcome.clone(), None));
    assert_eq!(process(&store).await, Process { offset: 900, state, ..p.process.clone() });

    // An overlap by seq is skipped; the end of run, process and task.
    let end = [event(&p, 300, message("again")), event(&p, 301, EventKind::status("done"))];
    let failure = Some(Failure::new(FailureCode::AgentError, "\0"));
    let failed = TaskChange { status: TaskStatus::Failed, failure: failure.clone(), dead_letter: true, at: now() };
    let last = Batch {
        run: Some(RunUpdate { id: run_of(&p).id, progress: "", latest_output: "", outcome: &outcome, ended: true }),
        task: Some((run_of(&p).task_id, failed)),
        process_ended: true,
        next: None,
        ..batch(&p, (900, 1000), &Value::Null, &end)
    };
    let Appended::Done { task: Some(task) } = store.append(&last).await.expect("appended") else { panic!("no task") };
    assert_eq!((task.status, task.failure, task.dead_letter), (TaskStatus::Failed, failure, true));
    assert!(store.get_run(run_of(&p).id).await.expect("read").expect("there").ended_at == Some(last.at));
    assert_eq!(store.list_open_processes().await.expect("listed"), []);
    let stored = store.list_task_events(run_of(&p).task_id, 298, 1000).await.expect("listed");
    assert_eq!(stored, [events[298].clone(), events[299].clone(), end[1].clone()]);
    store.end().await;
}

#[tokio::test]
async fn an_illegal_task_change_leaves_the_task_but_keeps_the_events() {
    let (store, p) = with_agent().await;
    let before = store.get_task(run_of(&p).task_id, None).await.expect("read");
    let events = [event(&p, 1, message("x"))];
    let illegal = TaskChange { status: TaskStatus::Complete, failure: None, dead_letter: false, at: now() };
    let done =
        store.append(&Batch { task: Some((run_of(&p).task_id, illegal)), ..batch(&p, (0, 1), &Value::Null, &events) }).await;
    assert_eq!(done.expect("appended"), Appended::Done { task: None });
    assert_eq!(store.get_task(run_of(&p).task_id, None).await.expect("read"), before);
    assert_eq!(store.list_agent_events(p.agent.id, 0, 9, &[]).await.expect("listed"), events);
    store.end().await;
}

#[tokio::test]
async fn a_batch_that_fails_leaves_no_trace() {
    let (store, p) = with_agent().await;
    let mut clash = vec![event(&p, 1, message("x")), event(&p, 2, message("y"))];
    clash[1].task_seq = Some(1);
    let idle = Batch { agent_status: Some(AgentStatus::Idle), ..batch(&p, (0, 7), &Value::Null, &clash) };
    store.append(&idle).await.expect_err("two events in one place of the task's log");
    assert_eq!(process(&store).await, p.process);
    assert_eq!(store.list_agent_events(p.agent.id, 0, 9, &[]).await.expect("listed"), []);
    assert_eq!(store.get_agent(p.agent.id, None).await.expect("read"), Some(p.agent.clone()));
    clash[1].task_seq = Some(2);
    let good = store.append(&batch(&p, (0, 7), &Value::Null, &clash)).await.expect("appended");
    assert_eq!(good, Appended::Done { task: None }, "the connection is usable afterwards");
    store.end().await;
}

#[tokio::test]
async fn whatever_an_agent_writes_comes_back() {
    let (store, p) = with_agent().await;
    let input = json!({"z": "\u{0}", "a": {"\u{0}k": [1.5, -3, 18_446_744_073_709_551_615_u64, null]}, "quote": "\",\"data\":"});
    let events = [
        event(&p, 1, message("nul \0 quote \" slash \\ line \n emoji 🦀 \u{2028}")),
        event(&p, 2, EventKind::Raw { line: "é".repeat(1_500_000) }),
        event(&p, 3, EventKind::ToolCall { tool_use_id: "t".into(), tool: "Bash".into(), input }),
        Event { task_id: None, task_seq: None, run_id: None, ..event(&p, 4, EventKind::Delta { text: String::new() }) },
    ];
    store.append(&batch(&p, (0, 3_000_000), &json!({"nul": "\0"}), &events)).await.expect("appended");
    let read = store.list_agent_events(p.agent.id, 0, 9, &[]).await.expect("listed");
    for (read, written) in read.iter().zip(&events) {
        assert!(read == written, "event {} differs", written.seq);
    }
    assert_eq!(read.len(), events.len());
    assert_eq!(process(&store).await.state, json!({"nul": "\0"}));
    let seqs = |events: Vec<Event>| events.iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(seqs(store.list_agent_events(p.agent.id, 1, 2, &[]).await.expect("listed")), [2, 3]);
    assert_eq!(seqs(store.list_agent_events(p.agent.id, 0, 9, &["raw", "delta"]).await.expect("listed")), [2, 4]);
    assert_eq!(seqs(store.list_task_events(run_of(&p).task_id, 1, 9).await.expect("listed")), [2, 3]);
    store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_caller_loses_no_acknowledged_write() {
    let (store, p) = with_agent().await;
    let (mut offset, mut acknowledged) = (0, 0);
    for n in 0..200_i64 {
        let events = [event(&p, n + 1, message("x"))];
        let update = batch(&p, (offset, offset + 1), &Value::Null, &events);
        // Dropped after one look, or a few: at the beginning of, within and after the transaction.
        let mut appending = Box::pin(store.append(&update));
        for _ in 0..=n % 8 {
            if let Poll::Ready(appended) = futures::poll!(&mut appending) {
                assert_eq!(appended.expect("appended"), Appended::Done { task: None });
                acknowledged += 1;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(appending);
        let made = task("ann");
        insert(&store, &made).await;
        assert!(store.get_task(made.id, None).await.expect("read").is_some(), "visible to other connections");
        // Once begun, the transaction runs to its end unseen.
        offset += 1;
        let begun = Instant::now();
        while process(&store).await.offset != offset {
            assert!(begun.elapsed() < Duration::from_secs(10), "append {n} was lost");
            tokio::task::yield_now().await;
        }
    }
    assert!(acknowledged < 200, "no caller left");
    store.end().await;
}

#[tokio::test]
async fn a_repeated_take_over_is_one_take_over() {
    let (store, p) = with_agent().await;
    let events = [event(&p, 1, message("lost"))];
    let next = Process { id: ProcessId::generate(), ..p.process.clone() };
    let session = Uuid::new_v4();
    let update = Batch { next: Some((&next, session)), process_ended: true, ..batch(&p, (0, 0), &Value::Null, &events) };
    for _ in 0..2 {
        assert_eq!(store.append(&update).await.expect("appended"), Appended::Done { task: None });
    }
    let open = store.list_open_processes().await.expect("listed");
    assert_eq!(open.iter().map(|process| process.id).collect::<Vec<_>>(), [next.id]);
    let agent = store.get_agent(p.agent.id, None).await.expect("read").expect("there");
    assert_eq!(agent.session_id, session);
    store.end().await;
}
