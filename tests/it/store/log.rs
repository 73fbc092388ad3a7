//! The log of all events: cursors become visible in their order, whoever writes at the same time.

use super::{
    append::{add_agent, batch, event, message},
    support::{run_of, test_store},
};
use mas_gateway::{
    model::{event::EventKind, run::Provenance},
    store::{Appended, EventFilter, Store},
};
use serde_json::Value;

const ALL: EventFilter<'_> = EventFilter { owner: None, task: None, agent: None, kinds: &[] };

async fn cursors(store: &Store, filter: &EventFilter<'_>) -> Vec<i64> {
    let events = store.list_events(filter, 0..=i64::MAX, 10_000).await.expect("listed");
    events.iter().map(|event| event.cursor).collect()
}

#[tokio::test]
async fn the_same_events_again_change_nothing_and_later_ones_come_later() {
    let store = test_store().await;
    let (one, two) = (add_agent(&store).await, add_agent(&store).await);
    assert_eq!(store.last_cursor().await.expect("read"), 0);
    let events: Vec<_> = (1..=300).map(|seq| event(&one, seq, message("one"))).collect();
    let first = batch(&one, (0, 1), &Value::Null, &events);
    assert!(matches!(store.append(&first).await.expect("appended"), Appended::Done { .. }));
    assert_eq!(store.append(&first).await.expect("tried"), Appended::Stale);
    assert_eq!(store.last_cursor().await.expect("read"), 300, "a repeat takes no cursors");
    let nothing = batch(&one, (1, 2), &Value::Null, &[]);
    assert!(matches!(store.append(&nothing).await.expect("appended"), Appended::Done { .. }));
    assert_eq!(store.last_cursor().await.expect("read"), 300, "neither does a batch without events");

    // An overlap by seq: the stored events keep their cursors, the new one is behind them.
    let overlap = [event(&one, 300, message("again")), event(&one, 301, message("new"))];
    store.append(&batch(&one, (2, 3), &Value::Null, &overlap)).await.expect("appended");
    let other = [event(&two, 1, EventKind::Delta { text: "two".into() })];
    store.append(&batch(&two, (0, 1), &Value::Null, &other)).await.expect("appended");
    let all = store.list_events(&ALL, 300..=i64::MAX, 10).await.expect("listed");
    let of_one: Vec<_> = all.iter().filter(|logged| logged.event.agent_id == one.agent.id).collect();
    assert_eq!(of_one.iter().map(|logged| logged.event.seq).collect::<Vec<_>>(), [300, 301]);
    assert_eq!((of_one[0].cursor, &of_one[0].event.kind), (300, &message("one")));
    assert!(all.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    let last = all.last().expect("an event");
    assert_eq!((last.cursor, last.provenance), (store.last_cursor().await.expect("read"), Provenance::Rehearsal));
    assert_eq!(last.event, other[0]);

    assert_eq!(cursors(&store, &EventFilter { agent: Some(two.agent.id), ..ALL }).await, [last.cursor]);
    assert_eq!(cursors(&store, &EventFilter { task: Some(run_of(&two).task_id), ..ALL }).await, [last.cursor]);
    assert_eq!(cursors(&store, &EventFilter { kinds: &["raw", "delta"], ..ALL }).await, [last.cursor]);
    assert_eq!(cursors(&store, &EventFilter { owner: Some("ann"), ..ALL }).await.len(), 302);
    assert_eq!(cursors(&store, &EventFilter { owner: Some("bob"), ..ALL }).await, [0; 0]);
    store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_beside_many_writers_misses_nothing() {
    const WRITERS: usize = 6;
    const BATCHES: i64 = 60;
    const SIZE: i64 = 5;
    let store = test_store().await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let p = add_agent(&store).await;
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..BATCHES {
                let events: Vec<_> = (1..=SIZE).map(|k| event(&p, n * SIZE + k, message("x"))).collect();
                store.append(&batch(&p, (n, n + 1), &Value::Null, &events)).await.expect("appended");
            }
        }));
    }
    let total = WRITERS * usize::try_from(BATCHES * SIZE).expect("small");
    let (mut seen, mut after) = (Vec::new(), 0);
    while seen.len() < total {
        let written = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let head = store.last_cursor().await.expect("read");
        // Small pages, and only up to what was promised: both are where an event could slip by.
        let events = store.list_events(&ALL, after + 1..=head, 7).await.expect("listed");
        after = if events.len() == 7 { events[6].cursor } else { head.max(after) };
        assert!(!(written && events.is_empty()), "{} of {total} seen, cursor {after}", seen.len());
        seen.extend(events.into_iter().map(|logged| (logged.cursor, logged.event.agent_id, logged.event.seq)));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    let all = store.list_events(&ALL, 0..=i64::MAX, 10_000).await.expect("listed");
    let all: Vec<_> = all.into_iter().map(|logged| (logged.cursor, logged.event.agent_id, logged.event.seq)).collect();
    assert_eq!(seen, all, "in order, nothing missed, nothing twice");
    store.end().await;
}
