//! The operations on tasks against a real `SQLite` file and a pretended runner.

use super::*;
use crate::{
    app::{
        events::{EventQuery, StreamItem},
        testing::{TestApp, message, principal},
    },
    model::{event::EventKind, key::Scope, run::RunOutcome, task::Priority},
};
use futures::StreamExt;
use std::{pin::pin, time::Duration};

fn ask(description: &str) -> CreateTask {
    CreateTask { description: description.into(), ..CreateTask::default() }
}

fn ann() -> Principal {
    principal("ann", &[Scope::Operate])
}

#[tokio::test]
async fn the_same_key_and_request_give_the_same_task() {
    let test = TestApp::start().await;
    let request =
        CreateTask { idempotency_key: Some("k".into()), output_schema: Some(serde_json::json!({"type": "object"})), ..ask("a") };
    let first = test.app.create_task(&ann(), request.clone()).await.expect("created");
    let again = test.app.create_task(&ann(), request.clone()).await.expect("found");
    assert!(first.is_new && !again.is_new);
    assert_eq!(first.task.id, again.task.id);
    let other = test.app.create_task(&ann(), CreateTask { description: "b".into(), ..request.clone() }).await;
    assert_eq!(other, Err(AppError::IdempotencyConflict { first: first.task.id.to_string() }));
    let bob = test.app.create_task(&principal("bob", &[Scope::Operate]), request).await.expect("created");
    assert!(bob.is_new, "keys of different users have nothing to do with each other");
}

#[tokio::test]
async fn tasks_belong_to_their_user() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let bob = principal("bob", &[Scope::Operate]);
    assert!(matches!(test.app.get_task(&bob, id, GetTask::default()).await, Err(AppError::NotFound(..))));
    assert!(matches!(test.app.cancel_task(&bob, id, CancelTask::default()).await, Err(AppError::NotFound(..))));
    assert!(matches!(test.app.list_task_events(&bob, id, EventQuery::default()).await, Err(AppError::NotFound(..))));
    assert!(test.app.list_tasks(&bob, &TaskQuery::default()).await.expect("listed").tasks.is_empty());
    let admin = principal("root", &[Scope::Admin]);
    assert_eq!(test.app.get_task(&admin, id, GetTask::default()).await.expect("seen").id, id);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let test = TestApp::start().await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(test.app.create_task(&ann(), ask(&format!("task {n}"))).await.expect("created").task.id);
    }
    made.reverse();
    let (mut seen, mut query) = (Vec::new(), TaskQuery { limit: Some(2), ..TaskQuery::default() });
    loop {
        let page = test.app.list_tasks(&ann(), &query).await.expect("listed");
        assert!(page.tasks.len() <= 2);
        seen.extend(page.tasks.iter().map(|task| task.id));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor.to_string()),
            None => break,
        }
    }
    assert_eq!(seen, made);
    for limit in [0, -1, 201] {
        assert!(test.app.list_tasks(&ann(), &TaskQuery { limit: Some(limit), ..TaskQuery::default() }).await.is_err());
    }
}

#[tokio::test]
async fn a_wait_ends_with_the_task() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let mut work = test.claim().await;
    let who = ann();
    let waiting = test.app.get_task(&who, id, GetTask { wait_seconds: Some(30), after: None });
    let started = std::time::Instant::now();
    let (task, ()) = tokio::join!(waiting, test.complete(&mut work, "done"));
    let task = task.expect("read");
    assert!(started.elapsed() < Duration::from_secs(4), "woken by the notification, not by time");
    assert_eq!((task.status, task.result.as_deref(), task.progress.as_str()), (TaskStatus::Complete, Some("done"), "finished"));
    assert_eq!(task.agent_id, Some(work.agent));
}

#[tokio::test]
async fn a_wait_ends_at_shutdown() {
    let test = TestApp::start().await;
    let who = ann();
    let waiting = test.app.create_task(&who, CreateTask { wait_seconds: Some(40), ..ask("a") });
    let (created, ()) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        test.stop.cancel();
    });
    let task = created.expect("created").task;
    assert_eq!((task.status, task.progress.as_str()), (TaskStatus::Created, "queued"));
    assert!(task.next_step.contains("wait_seconds"), "{}", task.next_step);
}

#[tokio::test]
async fn a_waiting_task_is_cancelled_at_once_and_twice_is_fine() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    for _ in 0..2 {
        let task = test.app.cancel_task(&ann(), id, CancelTask::default()).await.expect("cancelled");
        assert_eq!(task.status, TaskStatus::Cancelled);
    }
    let change = UpdateTask { priority: Some(Priority::High), ..UpdateTask::default() };
    assert!(matches!(test.app.update_task(&ann(), id, change).await, Err(AppError::TaskEnded(_))));
}

#[tokio::test]
async fn a_running_task_is_asked_to_stop_and_a_complete_one_refuses() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let mut work = test.claim().await;
    let task =
        test.app.cancel_task(&ann(), id, CancelTask { wait_seconds: Some(0), ..CancelTask::default() }).await.expect("asked");
    assert!(task.cancel_requested && task.status == TaskStatus::InProgress && task.progress == "stopping", "{task:?}");
    test.complete(&mut work, "too late").await;
    let refused =
        test.app.update_task(&ann(), id, UpdateTask { status: Some(TaskStatus::Cancelled), ..UpdateTask::default() }).await;
    let expected = AppError::IllegalTransition { from: TaskStatus::Complete, to: TaskStatus::Cancelled, legal: vec![] };
    assert_eq!(refused, Err(expected));
}

#[tokio::test]
async fn title_and_priority_change_but_other_statuses_do_not() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let change = UpdateTask { title: Some("new".into()), priority: Some(Priority::Low), ..UpdateTask::default() };
    let task = test.app.update_task(&ann(), id, change).await.expect("changed");
    assert_eq!((task.title.as_str(), task.priority), ("new", Priority::Low));
    let change = UpdateTask { title: Some("never".into()), status: Some(TaskStatus::Complete), ..UpdateTask::default() };
    let refused = test.app.update_task(&ann(), id, change).await;
    assert!(
        matches!(refused, Err(AppError::IllegalTransition { ref legal, .. }) if legal == &[TaskStatus::Cancelled]),
        "{refused:?}"
    );
    assert_eq!(test.app.get_task(&ann(), id, GetTask::default()).await.expect("read").title, "new", "nothing is half-done");
}

#[tokio::test]
async fn a_cursor_gives_what_is_new_without_single_pieces() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let mut work = test.claim().await;
    let pieces = (0..100).map(|_| EventKind::Delta { text: "x".into() }).chain([message("whole")]).collect();
    test.emit(&mut work, pieces, None, RunOutcome::default()).await;
    let task = test.app.get_task(&ann(), id, GetTask { wait_seconds: Some(5), after: Some(0) }).await.expect("read");
    let events = task.events.expect("events");
    assert_eq!((events.len(), events[0].seq, task.next_cursor), (1, 101, Some(101)));
    let who = ann();
    let waiting = test.app.get_task(&who, id, GetTask { wait_seconds: Some(30), after: Some(101) });
    let (task, ()) = tokio::join!(waiting, test.say(&mut work, "more"));
    assert_eq!(task.expect("read").next_cursor, Some(102));
}

#[tokio::test]
async fn large_events_are_read_in_pages_within_the_limit() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let mut work = test.claim().await;
    for _ in 0..10 {
        test.say(&mut work, &"x".repeat(12_000)).await;
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let query = EventQuery { after: Some(after), ..EventQuery::default() };
        let page = test.app.list_task_events(&ann(), id, query).await.expect("read");
        assert!(crate::app::size::json_chars(&page) <= 30_000);
        seen.extend(page.events.iter().map(|event| event.seq));
        after = page.next_cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_replays_goes_live_and_ends_with_the_task() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let mut work = test.claim().await;
    for n in 0..100 {
        test.say(&mut work, &n.to_string()).await;
    }
    let who = ann();
    let mut stream = pin!(test.app.stream_task_events(&who, id, 40).await.expect("a stream"));
    let mut seen = Vec::new();
    let live = async {
        while let Some(item) = stream.next().await {
            match item {
                StreamItem::Event(event) => seen.push(event.seq),
                StreamItem::End(status) => assert_eq!(status, TaskStatus::Complete),
                StreamItem::Broken(error) => panic!("{error}"),
            }
        }
    };
    let writer = async {
        for n in 0..50 {
            test.say(&mut work, &n.to_string()).await;
        }
        test.complete(&mut work, "done").await;
    };
    tokio::join!(live, writer);
    assert_eq!(seen, (41..=151).collect::<Vec<_>>(), "no hole, no duplicate");
}

#[tokio::test]
async fn a_stream_ends_at_shutdown() {
    let test = TestApp::start().await;
    let id = test.app.create_task(&ann(), ask("a")).await.expect("created").task.id;
    let who = ann();
    let mut stream = pin!(test.app.stream_task_events(&who, id, 0).await.expect("a stream"));
    test.stop.cancel();
    assert_eq!(stream.next().await, None);
}
