//! Bounded waits: subscribe before reading, wake on a notification, give up when time is over or at shutdown.
//!
//! A request has one deadline, however its time is spent: what comes before a wait leaves less of it.

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
/// Every wait is over so long after its request came. Callers may ask for [`WAIT_SECONDS`] and have their answer within them:
/// the rest is for reading and writing it.
const ANSWER_WITHIN: Duration = Duration::from_millis(39_500);

tokio::task_local! {
    static REQUEST: Request;
}

/// The request that is being answered.
struct Request {
    arrived: Instant,
    /// What the operation has waited for others to do something.
    waited: Cell<Duration>,
}

/// Runs the operation of a request that comes now, and says how much of its time was spent waiting as its caller had asked.
pub async fn with_waits<T>(operation: impl Future<Output = T>) -> (T, Duration) {
    REQUEST
        .scope(Request { arrived: Instant::now(), waited: Cell::default() }, async {
            let done = operation.await;
            (done, REQUEST.with(|request| request.waited.get()))
        })
        .await
}

/// When the request has to be answered. Work that goes on elsewhere ([`super::detached`]) has to be told.
pub(super) fn answer_by() -> Instant {
    REQUEST.try_with(|request| request.arrived).unwrap_or_else(|_| Instant::now()) + ANSWER_WITHIN
}

/// When a wait of so many seconds is over that begins now.
fn deadline(now: Instant, answer_by: Instant, seconds: u32) -> Instant {
    answer_by.min(now + Duration::from_secs(seconds.min(WAIT_SECONDS).into()))
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
        let _ = REQUEST.try_with(|request| request.waited.set(request.waited.get() + begun.elapsed()));
        may_have
    }
}

impl App {
    /// A waiter that gives up after `seconds`, or when the request has to be answered. Make it before the first read, or a
    /// change may be missed.
    pub(super) fn waiter(&self, topic: Topic, seconds: u32) -> Waiter {
        let deadline = Some(deadline(Instant::now(), answer_by(), seconds));
        Waiter { subscription: self.bus.subscribe(topic), deadline, stop: self.stop.clone() }
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

    #[tokio::test]
    async fn what_comes_before_a_wait_leaves_less_of_it() {
        let second = Duration::from_secs(1);
        let before = Instant::now();
        let ((), waited) = with_waits(async {
            let (arrived, by) = (Instant::now(), answer_by());
            assert!(by >= before + ANSWER_WITHIN && by <= arrived + ANSWER_WITHIN);
            assert_eq!(deadline(arrived, by, 10), arrived + 10 * second);
            assert_eq!(deadline(arrived, by, WAIT_SECONDS), by);
            assert!(by < arrived + WAIT_SECONDS * second, "there is time to answer");
            assert_eq!(deadline(arrived + 15 * second, by, 10), arrived + 25 * second, "short waits are not cut");
            assert_eq!(deadline(arrived + 15 * second, by, 30), by);
            assert_eq!(deadline(arrived + 50 * second, by, 1), by, "the time is over");
            tokio::task::yield_now().await;
            assert_eq!(answer_by(), by, "it is the request's, not the wait's");
        })
        .await;
        assert_eq!(waited, Duration::ZERO, "nothing was waited for");
    }
}
