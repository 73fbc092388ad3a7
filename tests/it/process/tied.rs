//! Processes that end with the server.

use super::*;

#[tokio::test]
async fn a_tied_process_is_stopped_with_all_it_started_when_the_server_lets_go() {
    let case = Case::new("trap 'echo asked; exit 3' INT; setsid sleep 1000 & echo up; while :; do sleep 0.05; done");
    let (launched, lifeline) = soon(case.launcher.launch_tied(&case.dir, case.spec.clone(), &case.env)).await.expect("launches");
    assert!(matches!(launched, Launched::Running(_)), "{launched:?}");
    wait_until("it runs", || case.stdout() == "up\n").await;
    assert!(matches!(case.dir.inspect().expect("inspects"), Liveness::Running(_)), "it lives as long as it is held");
    drop(lifeline.expect("a lifeline"));
    let exit = case.exit().await;
    assert_eq!((exit.reason, exit.code), (ExitReason::Stopped, Some(3)), "{exit:?}");
    assert_eq!(case.stdout(), "up\nasked\n");
}

#[tokio::test]
async fn both_outputs_can_be_followed() {
    let case = Case::new("echo out; echo err >&2; printf half >&2");
    case.start().await;
    let mut tail = Tail::open_stderr(&case.dir, case.watcher.watch(&case.dir)).await.expect("opens");
    let TailBatch::Lines { lines, .. } = soon(tail.next()).await.expect("reads") else { panic!("no lines") };
    assert_eq!(lines, ["err"]);
    let end = soon(tail.next()).await.expect("reads");
    assert!(matches!(&end, TailBatch::End { partial_tail: Some(half), .. } if half == "half"), "{end:?}");
}
