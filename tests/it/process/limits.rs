//! What ends a CLI that goes too far, and what leaves one alone that does not.

use super::{Case, alive, lines, soon, wait_until};
use chrono::{DateTime, TimeDelta, Utc};
use mas_gateway::process::{ExitReason, ExitRecord, tree, tree_facts};
use std::{fs, time::Duration};

#[tokio::test]
async fn the_output_cap_is_exact() {
    let mut case = Case::new("yes");
    case.spec.max_output_bytes = 1_000_001;
    case.start().await;
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.stdout_bytes), (ExitReason::OutputLimit, 1_000_001));
    assert_eq!(exit.detail.as_deref(), Some("the output exceeded 1000001 bytes"));

    let mut exact = Case::new("head -c 1000 /dev/zero");
    exact.spec.max_output_bytes = 1000;
    exact.start().await;
    let exit = exact.exit().await;
    assert_eq!((exit.reason, exit.stdout_bytes), (ExitReason::Exited, 1000));
}

#[test]
fn the_deadline_holds_without_any_server() {
    let mut case = Case::new("trap '' INT TERM; echo up; while :; do sleep 1; done");
    case.spec.deadline = Some(Utc::now() + Duration::from_millis(700));
    case.spec.stop_grace_ms = 100;
    // The whole runtime goes: as far as the shim can tell, the server has died.
    tokio::runtime::Runtime::new().expect("runtime").block_on(case.start());
    tokio::runtime::Runtime::new().expect("runtime").block_on(async {
        let exit = case.exit().await;
        assert_eq!((exit.reason, exit.signal), (ExitReason::Deadline, Some(9)));
        assert!(case.spec.deadline.is_some_and(|deadline| exit.ended_at >= deadline));
    });
}

const HOUR: TimeDelta = TimeDelta::hours(1);

#[tokio::test]
async fn a_deadline_that_is_moved_later_or_removed_ends_nothing() {
    let outlives = async |moved: Option<TimeDelta>| {
        let mut case = Case::new("exec cat");
        case.spec.deadline = Some(Utc::now() + HOUR);
        case.start().await;
        let spec = fs::read(case.dir.path().join("spec.json")).expect("reads");
        let (mut input, mut tail) = (case.input(), case.tail(0).await);
        let near = Utc::now() + Duration::from_secs(2);
        input.set_deadline(Some(near)).await.expect("sends");
        input.sync().await.expect("the shim knows it");
        input.set_deadline(moved.map(|moved| near + moved)).await.expect("sends");
        case.raw(b"\n!deadline 2000-01-01\n!deadline soon\n");
        wait_until("the deadline passes that holds no more", || Utc::now() > near).await;
        input.send_line(r#"{"n":1}"#).await.expect("sends");
        assert_eq!(lines(&mut tail, 1).await, [r#"{"n":1}"#]);
        input.close_stdin().await.expect("closes");
        let exit = case.exit().await;
        assert_eq!((exit.reason, exit.code), (ExitReason::Exited, Some(0)), "{moved:?}");
        assert_eq!(fs::read(case.dir.path().join("spec.json")).expect("reads"), spec);
        let log = fs::read_to_string(case.dir.shim_log()).expect("reads");
        assert_eq!(log.matches("ignored a deadline").count(), 2, "{log}");
        assert!(!case.dir.sent_lines().expect("reads").iter().any(|line| line.contains("soon")));
    };
    soon(async { tokio::join!(outlives(Some(HOUR)), outlives(None)) }).await;
}

#[tokio::test]
async fn a_deadline_that_is_moved_earlier_or_given_late_holds() {
    for first in [Some(Utc::now() + HOUR), None] {
        let mut case = Case::new("trap '' INT TERM; while :; do sleep 1; done");
        case.spec.deadline = first;
        case.spec.stop_grace_ms = 100;
        let started = case.start().await;
        let mut input = case.input();
        let impossible = input.set_deadline(Some(DateTime::<Utc>::MAX_UTC)).await;
        assert!(impossible.is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidInput));
        let near = Utc::now() + Duration::from_millis(300);
        input.set_deadline(Some(near)).await.expect("sends");
        let exit = case.exit().await;
        assert_eq!((exit.reason, exit.signal), (ExitReason::Deadline, Some(9)));
        assert!(exit.ended_at.timestamp_millis() >= near.timestamp_millis());
        wait_until("the shim is gone", || !alive(started.shim_pid)).await;
        let late = input.set_deadline(None).await;
        assert!(late.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe));
    }
}

/// Two processes, out of sight and in sessions of their own, that keep 50 MB each; without an end of their own.
const HOARDERS: &str = "for i in 1 2; do \
        (setsid sh -c '{ head -c 50000000 /dev/zero; exec sleep 1000; } | tail -n 1' &) ; \
    done; read -r line && exit 3; exec sleep 1000";
/// Twenty processes, half of them out of sight.
const SLEEPERS: &str = "i=0; while [ $i -lt 10 ]; do sleep 1000 & (setsid sleep 1000 &) ; i=$((i+1)); done; \
    read -r line && exit 3; exec sleep 1000";

/// Runs `script` within the limits until it is `full`, then beyond them: how the second one ended.
async fn within_and_beyond(script: &str, full: impl Fn(&Case) -> bool, limit: impl Fn(&mut Case, bool)) -> Vec<ExitRecord> {
    let mut ends = vec![];
    for parent in [None, tree::cgroup_parent()] {
        let mut within = Case::new(script);
        let mut beyond = Case::new(script);
        for (case, is_enough) in [(&mut within, true), (&mut beyond, false)] {
            case.launcher.cgroup_parent.clone_from(&parent);
            limit(case, is_enough);
        }
        within.start().await;
        wait_until("all is in use", || full(&within)).await;
        beyond.start().await;
        ends.push(beyond.exit().await);
        // By now its shim has looked at the first one as well, which is just as big.
        assert!(full(&within));
        within.raw(b"\n{}\n");
        let exit = within.exit().await;
        assert_eq!((exit.reason, exit.code, exit.detail), (ExitReason::Exited, Some(3), None));
    }
    ends
}

#[tokio::test]
async fn too_much_memory_of_all_together_ends_them_all() {
    let full = |case: &Case| tree_facts(&case.dir).is_some_and(|facts| facts.rss_bytes > 100_000_000);
    let limit = |case: &mut Case, is_enough| case.spec.max_memory_bytes = Some(if is_enough { 200_000_000 } else { 80_000_000 });
    for exit in within_and_beyond(HOARDERS, full, limit).await {
        assert_eq!((exit.reason, exit.signal), (ExitReason::MemoryLimit, Some(9)));
        assert!(exit.detail.as_deref().is_some_and(|detail| detail.contains("the limit is 80000000")), "{exit:?}");
    }
}

#[tokio::test]
async fn too_many_processes_end_all_together() {
    let full = |case: &Case| tree_facts(&case.dir).is_some_and(|facts| facts.processes == 21);
    let limit = |case: &mut Case, is_enough| case.spec.max_processes = Some(if is_enough { 40 } else { 20 });
    for exit in within_and_beyond(SLEEPERS, full, limit).await {
        assert_eq!((exit.reason, exit.signal), (ExitReason::ProcessLimit, Some(9)));
        assert!(exit.detail.as_deref().is_some_and(|detail| detail.ends_with(" processes; the limit is 20")), "{exit:?}");
    }
}
