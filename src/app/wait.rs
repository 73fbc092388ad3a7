//! Bounded waits: subscribe before reading, wake on a notification, give up when time is over or at shutdown.

use super::{App, error::AppError};
use crate::{
    bus::{Subscription, Topic},
    model::limits::WAIT_SECONDS,
};
use std::{cell::Cell, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Notifications are hints. Should one get lost between hosts, a waiting reader looks by itself this often.
const POLL: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// What the operation has waited for others to do something.
    static WAITED: Cell<Duration>;
}

/// Runs an operation, and says how much of its time was spent waiting as its caller had asked.
pub async fn with_waits<T>(operation: impl Future<Output = T>) -> (T, Duration) {
    WAITED
        .scope(Cell::default(), async {
            let done = operation.await;
            (done, WAITED.with(Cell::get))
        })
        .await
}

/// Listens to one topic until a deadline.
pub(super) struct Waiter {
    subscription: Subscription,
    deadline: Option<Instant>,
    stop: CancellationToken,
}

impl Waiter {
    /// Sleeps until something may have changed. `false`: time is over or the server stops.
    pub(super) async fn changed(&mut self) -> bool {
        let begun = Instant::now();
        let poll = begun + POLL;
        let (until, last) = match self.deadline {
            Some(deadline) if deadline <= poll => (deadline, true),
            _ => (poll, false),
        };
        // In order of declaration: a stop or an end of time counts even under a storm of notifications.
        let may_have = tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep_until(until) => !last,
            () = self.subscription.changed() => true,
        };
        // Nobody measures the waits of streams.
        let _ = WAITED.try_with(|waited| waited.set(waited.get() + begun.elapsed()));
        may_have
    }
}

impl App {
    /// A waiter that gives up after `seconds`. Make it before the first read, or a change may be missed.
    pub(super) fn waiter(&self, topic: Topic, seconds: u32) -> Waiter {
        let deadline = Instant::now() + Duration::from_secs(seconds.min(WAIT_SECONDS).into());
        Waiter { subscription: self.bus.subscribe(topic), deadline: Some(deadline), stop: self.stop.clone() }
    }

    /// A waiter for streams: only a stop ends it.
    pub(super) fn endless_waiter(&self, topic: Topic) -> Waiter {
        Waiter { subscription: self.bus.subscribe(topic), deadline: None, stop: self.stop.clone() }
    }
}

/// Checks `wait_seconds` as given by a caller.
pub(super) fn wait_seconds(given: Option<i64>, default: u32) -> Result<u32, AppError> {
    match given {
        None => Ok(default),
        Some(seconds) => u32::try_from(seconds).ok().filter(|seconds| *seconds <= WAIT_SECONDS).ok_or_else(|| {
            AppError::field("wait_seconds", format!("{seconds} is outside 0..={WAIT_SECONDS}; wait in several calls instead"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded() {
        assert_eq!(wait_seconds(None, 10), Ok(10));
        assert_eq!(wait_seconds(Some(40), 0), Ok(40));
        for bad in [-1, 41, i64::MAX, i64::MIN] {
            assert!(wait_seconds(Some(bad), 0).is_err(), "{bad}");
        }
    }
}
