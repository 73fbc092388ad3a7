//! The log of all events: owners, filters, pages and readers.

use super::*;
use crate::{
    app::{
        keys::NewKey,
        tasks::CreateTask,
        testing::{TestApp, Work, message, principal},
    },
    model::{key::Scope, run::RunOutcome},
};
use futures::FutureExt;

fn user(name: &str) -> Principal {
    principal(name, &[Scope::Read])
}

async fn work_of(test: &TestApp, user: &str) -> Work {
    let ask = CreateTask { description: "x".into(), ..CreateTask::default() };
    test.app.create_task(&principal(user, &[Scope::Operate]), ask).await.expect("created");
    test.claim().await
}

fn query(change: impl FnOnce(&mut EventLogQuery)) -> EventLogQuery {
    let mut query = EventLogQuery::default();
    change(&mut query);
    query
}

async fn cursors(test: &TestApp, who: &Principal, query: &EventLogQuery) -> Vec<i64> {
    let page = test.app.list_events(who, query).await.expect("read");
    page.events.iter().map(|event| event.cursor).collect()
}

#[tokio::test]
async fn the_last_events_are_found_whatever_lies_between() {
    let test = TestApp::start().await;
    let (mut ann, mut bob) = (work_of(&test, "ann").await, work_of(&test, "bob").await);
    for n in 0..4 {
        test.say(&mut ann, &n.to_string()).await;
        test.say(&mut bob, "other").await;
    }
    let who = user("ann");
    let all = cursors(&test, &who, &EventLogQuery::default()).await;
    for (last, skipped) in [(1, all.len() - 1), (3, all.len() - 3), (1_000, 0)] {
        let found = cursors(&test, &who, &query(|query| query.last = Some(last))).await;
        assert_eq!(found, all[skipped..], "the last {last}");
    }
    let said = query(|query| (query.last, query.kind) = (Some(2), Some("message".into())));
    let page = test.app.list_events(&who, &said).await.expect("read");
    assert!(page.events.len() == 2 && page.events.iter().all(|event| event.event.kind.name() == "message"), "{page:?}");
    let mut reader = test.app.stream_events(&who, &query(|query| query.last = Some(1))).await.expect("a reader");
    assert_eq!(reader.next().await.expect("an event").expect("read").cursor, all[all.len() - 1]);
    for wrong in [
        query(|query| query.last = Some(0)),
        query(|query| query.last = Some(1_001)),
        query(|query| (query.last, query.after) = (Some(1), Some(0))),
    ] {
        let refused = test.app.list_events(&who, &wrong).await;
        assert!(matches!(&refused, Err(AppError::Validation(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn everybody_sees_their_own_and_the_admin_everything() {
    let test = TestApp::start().await;
    let (mut ann, mut bob) = (work_of(&test, "ann").await, work_of(&test, "bob").await);
    for n in 0..3 {
        test.say(&mut ann, &n.to_string()).await;
        test.say(&mut bob, &n.to_string()).await;
    }
    let all = EventLogQuery::default();
    assert_eq!(cursors(&test, &user("ann"), &all).await, [1, 3, 5]);
    assert_eq!(cursors(&test, &user("bob"), &all).await, [2, 4, 6]);
    assert_eq!(cursors(&test, &principal("root", &[Scope::Admin]), &all).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(cursors(&test, &user("eve"), &all).await, [0; 0]);
    let page = test.app.list_events(&user("ann"), &query(|query| query.after = Some(3))).await.expect("read");
    assert_eq!((page.events.len(), page.next_cursor, page.has_more), (1, 6, false), "the cursor passes what others did");
    assert_eq!(page.events[0].task_id, Some(ann.task.id));

    let of_bob = query(|query| query.task_id = Some(bob.task.id));
    assert!(matches!(test.app.list_events(&user("ann"), &of_bob).await, Err(AppError::NotFound(..))));
    assert!(matches!(test.app.stream_events(&user("ann"), &of_bob).await, Err(AppError::NotFound(..))));
    let of_bob = query(|query| query.agent_id = Some(bob.agent));
    assert!(matches!(test.app.list_events(&user("ann"), &of_bob).await, Err(AppError::NotFound(..))));
    assert_eq!(cursors(&test, &user("bob"), &of_bob).await, [2, 4, 6]);
}

#[tokio::test]
async fn filters_combine_and_pages_follow_each_other() {
    let test = TestApp::start().await;
    let (mut one, mut two) = (work_of(&test, "ann").await, work_of(&test, "ann").await);
    for n in 0..40 {
        let delta = EventKind::Delta { text: n.to_string() };
        test.emit(&mut one, vec![delta, EventKind::status("s"), message("m")], None, RunOutcome::default()).await;
        test.say(&mut two, &n.to_string()).await;
    }
    let ann = user("ann");
    let read_all = async |filter: EventLogQuery| {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = test.app.list_events(&ann, &EventLogQuery { after: Some(after), ..filter.clone() }).await.expect("read");
            seen.extend(page.events.iter().map(|event| event.cursor));
            assert!(page.next_cursor >= after);
            after = page.next_cursor;
            if !page.has_more {
                return seen;
            }
        }
    };
    assert_eq!(read_all(query(|query| query.limit = Some(7))).await, (1..=160).collect::<Vec<_>>());
    let first = read_all(query(|query| query.task_id = Some(one.task.id))).await;
    assert_eq!(first, (1..=160).filter(|cursor| cursor % 4 != 0).collect::<Vec<_>>());
    let messages = query(|query| {
        query.kind = Some("message, delta".into());
        query.agent_id = Some(one.agent);
        query.limit = Some(9);
    });
    let expected: Vec<i64> = (1..=160).filter(|cursor| cursor % 4 == 1 || cursor % 4 == 3).collect();
    assert_eq!(read_all(messages).await, expected);
    let both = query(|query| (query.task_id, query.agent_id) = (Some(one.task.id), Some(two.agent)));
    assert_eq!(read_all(both).await, [0; 0]);
    for bad in ["", "massage", "message,", "message;delta", "Message"] {
        let error = test.app.list_events(&ann, &query(|query| query.kind = Some(bad.into()))).await.expect_err(bad);
        assert!(matches!(&error, AppError::Validation(fields) if fields[0].field == "kind"), "{error:?}");
        assert!(error.to_string().contains("tool_call"), "{error}");
    }
}

#[tokio::test]
async fn a_reader_replays_goes_live_and_can_be_sent_elsewhere() {
    let test = TestApp::start().await;
    let mut work = work_of(&test, "ann").await;
    for n in 0..100 {
        test.say(&mut work, &n.to_string()).await;
    }
    let mut reader = test.app.stream_events(&user("ann"), &query(|query| query.after = Some(40))).await.expect("a reader");
    for cursor in 41..=100 {
        assert_eq!(reader.next().await.expect("goes on").expect("an event").cursor, cursor);
    }
    assert!(reader.next().now_or_never().is_none(), "nothing yet");
    let read = async {
        for cursor in 101..=150 {
            assert_eq!(reader.next().await.expect("goes on").expect("an event").cursor, cursor);
        }
    };
    let write = async {
        for n in 0..50 {
            test.say(&mut work, &n.to_string()).await;
        }
    };
    tokio::join!(read, write);
    for (after, expected) in [(0, 1), (148, 149), (70, 71)] {
        reader.seek(after).expect("a cursor");
        assert_eq!(reader.next().await.expect("goes on").expect("an event").cursor, expected);
    }
    assert!(reader.seek(-1).is_err());
    test.stop.cancel();
    reader.seek(150).expect("a cursor");
    assert!(reader.next().await.is_none(), "the end of the server is the end of the stream");
}

#[tokio::test]
async fn a_reader_ends_with_its_key() {
    let test = TestApp::start().await;
    let mut work = work_of(&test, "ann").await;
    let new = NewKey {
        user: "ann".into(),
        name: "laptop".into(),
        scopes: vec![Scope::Read],
        expires_at: None,
        limits: crate::model::quota::KeyLimits::default(),
    };
    let (key, secret) = test.app.create_key(new).await.expect("made");
    let who = test.app.authenticate(&secret).await.expect("opens");
    let mut reader = test.app.stream_events(&who, &EventLogQuery::default()).await.expect("a reader");
    test.emit(&mut work, vec![message("a"), message("b")], None, RunOutcome::default()).await;
    assert!(reader.next().await.expect("goes on").is_ok());
    test.app.revoke_key(key.id).await.expect("revoked");
    reader.hurry();
    assert_eq!(reader.next().await, Some(Err(AppError::InvalidKey)), "not even what was read before");
}

#[tokio::test]
async fn rare_kinds_are_found_however_far_away() {
    let test = TestApp::start().await;
    let mut work = work_of(&test, "ann").await;
    let deltas = || vec![EventKind::Delta { text: "x".into() }; 15_000];
    test.emit(&mut work, deltas(), None, RunOutcome::default()).await;
    test.say(&mut work, "found").await;
    let rare = query(|query| query.kind = Some("message".into()));
    let page = test.app.list_events(&user("ann"), &rare).await.expect("read");
    assert_eq!((page.events.len(), page.next_cursor, page.has_more), (1, 15_001, false));
    let mut reader = test.app.stream_events(&user("ann"), &rare).await.expect("a reader");
    assert_eq!(reader.next().await.expect("goes on").expect("an event").cursor, 15_001);
}
