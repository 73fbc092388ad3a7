//! How long the API took to answer, measured in this process: the latest requests, each as it was.

use chrono::{DateTime, Utc};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Requests remembered.
const KEPT: usize = 10_000;

/// The latest requests.
#[derive(Debug)]
pub(super) struct Responses {
    since: DateTime<Utc>,
    latest: Mutex<VecDeque<(DateTime<Utc>, Duration)>>,
}

impl Responses {
    pub(super) fn new(since: DateTime<Utc>) -> Self {
        Self { since, latest: Mutex::default() }
    }

    /// Nothing here panics while it holds the lock.
    fn latest(&self) -> MutexGuard<'_, VecDeque<(DateTime<Utc>, Duration)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, at: DateTime<Utc>, took: Duration) {
        let mut latest = self.latest();
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back((at, took));
    }

    /// What the requests since `from` took, in seconds, and from when on they are all there.
    pub(super) fn since(&self, from: DateTime<Utc>) -> (DateTime<Utc>, Vec<f64>) {
        let latest = self.latest();
        let complete = match latest.front() {
            Some((oldest, _)) if latest.len() == KEPT => *oldest,
            _ => self.since,
        };
        let took = latest.iter().filter(|(at, _)| *at >= from).map(|(_, took)| took.as_secs_f64()).collect();
        (complete.max(from), took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_the_answer_says_since_when() {
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).expect("valid");
        let responses = Responses::new(at(0));
        responses.add(at(10), Duration::from_millis(250));
        responses.add(at(20), Duration::from_millis(500));
        assert_eq!(responses.since(at(-100)), (at(0), vec![0.25, 0.5]));
        assert_eq!(responses.since(at(15)), (at(15), vec![0.5]));
        for _ in 0..KEPT {
            responses.add(at(30), Duration::ZERO);
        }
        let (since, took) = responses.since(at(-100));
        assert_eq!((since, took.len()), (at(30), KEPT), "the oldest were forgotten");
    }
}
