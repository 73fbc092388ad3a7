//! Drives open proposals: asks voters for turns, reads what came of them, and ends the proposal by its rules.

mod prompt;
mod step;
mod turn;

use super::Orchestrator;
use crate::{
    bus::{Subscription, Topic},
    model::id::{ProposalId, TaskId},
};
use chrono::{DateTime, Utc};
use futures::future::select_all;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::task::{Id, JoinSet};

/// Notifications are hints; this often somebody looks without one.
const POLL: Duration = Duration::from_secs(3);
/// After an error of the store.
const RETRY: Duration = Duration::from_secs(1);

/// What a look at a proposal came to.
enum Progress {
    /// Something was stored.
    Moved,
    /// These turns are under way.
    Waiting { tasks: HashSet<TaskId>, deadline: DateTime<Utc> },
    /// It is over.
    Ended,
}

/// Gives every open proposal an actor, until stopped.
pub(super) async fn drive_all(orchestrator: Orchestrator) {
    let mut news = orchestrator.bus.subscribe(Topic::Orchestrate);
    let (mut actors, mut driven) = (JoinSet::new(), HashMap::<Id, ProposalId>::new());
    loop {
        match orchestrator.store.list_open_proposals().await {
            Ok(open) => {
                let known: HashSet<ProposalId> = driven.values().copied().collect();
                for id in open.into_iter().filter(|id| !known.contains(id)) {
                    driven.insert(actors.spawn(drive(orchestrator.clone(), id)).id(), id);
                }
            }
            Err(error) => tracing::warn!(%error, "open proposals cannot be listed"),
        }
        tokio::select! {
            () = orchestrator.stop.cancelled() => break,
            () = news.changed() => {}
            Some(ended) = actors.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => {
                        tracing::error!(%error, "a proposal's actor failed and is started again");
                        error.id()
                    }
                };
                driven.remove(&id);
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
    // They stop by themselves; a step that has begun is finished.
    while actors.join_next().await.is_some() {}
}

async fn drive(orchestrator: Orchestrator, id: ProposalId) {
    let mut own = orchestrator.bus.subscribe(Topic::Proposal(id));
    let mut turns = HashMap::<TaskId, Subscription>::new();
    while !orchestrator.stop.is_cancelled() {
        match orchestrator.step_proposal(id).await {
            Ok(Progress::Moved) => {}
            Ok(Progress::Ended) => return,
            Ok(Progress::Waiting { tasks, deadline }) => {
                turns.retain(|task, _| tasks.contains(task));
                let before = turns.len();
                for task in tasks {
                    turns.entry(task).or_insert_with(|| orchestrator.bus.subscribe(Topic::Task(task)));
                }
                // What changed before the subscription is seen by another look.
                if turns.len() == before {
                    let left = (deadline - Utc::now()).to_std().unwrap_or_default();
                    let changed = turns.values_mut().map(|turn| Box::pin(turn.changed()));
                    let any =
                        async { if changed.len() == 0 { std::future::pending().await } else { select_all(changed).await.0 } };
                    tokio::select! {
                        () = orchestrator.stop.cancelled() => return,
                        () = own.changed() => {}
                        () = any => {}
                        () = tokio::time::sleep(left.min(POLL)) => {}
                    }
                }
            }
            Err(error) => {
                tracing::warn!(proposal = %id, %error, "a proposal cannot be moved on");
                tokio::select! {
                    () = orchestrator.stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}
