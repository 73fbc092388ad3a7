//! What a tree uses is that of all its members, and of nobody else.

use super::{Case, lines, wait_until};
use mas_gateway::process::{process_facts, tree, tree_facts};

/// Works for half a second of CPU time in a process that is gone afterwards; then keeps 60 MB, out of sight.
const WORKER: &str = "\
    sh -c 'while times >times; read -r user rest <times; do \
        case $user in 0m0.[0-4]*) ;; *) exit ;; esac; i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done; \
    done'; echo worked; \
    (setsid sh -c '{ head -c 60000000 /dev/zero; exec sleep 1000; } | tail -n 1' &) ; \
    read -r line";
const HELD: u64 = 60_000_000;

#[tokio::test]
async fn a_tree_counts_with_its_children_and_their_past() {
    for parent in [None, tree::cgroup_parent()] {
        let mut case = Case::new(WORKER);
        case.launcher.cgroup_parent = parent;
        assert_eq!(tree_facts(&case.dir), None, "not started");
        let started = case.start().await;
        assert_eq!(lines(&mut case.tail(0).await, 1).await, ["worked"]);
        let mut seen = None;
        wait_until("the child holds its memory, and all are counted", || {
            let marked = u32::try_from(case.marked().len()).expect("few");
            seen = tree_facts(&case.dir);
            marked >= 4 && seen.is_some_and(|facts| facts.rss_bytes >= HELD && facts.processes == marked)
        })
        .await;
        let facts = seen.expect("set");
        assert_eq!((facts.pid, facts.started_at), (started.pid, started.started_at));
        let own = process_facts(started.pid).expect("lives");
        assert!(own.rss_bytes < HELD && own.cpu_seconds < 0.4, "{own:?} is the CLI alone");
        assert!(facts.rss_bytes < 2 * HELD && facts.cpu_seconds >= 0.4, "{facts:?}");
        case.input().kill().await.expect("kills");
        case.exit().await;
        assert_eq!(tree_facts(&case.dir), None, "ended");
    }
}
