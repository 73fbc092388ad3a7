//! Requests under one idempotency key whose making takes a while: one at a time.
//!
//! This is within one process, and saves work. What keeps two tasks from being made is the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, by owner and key.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<(String, String), Weak<tokio::sync::Mutex<()>>>>);

/// A turn, which is over when this is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits until nobody else has the turn for this key.
    pub(super) async fn take(&self, owner: &str, key: &str) -> Turn {
        let turn = {
            // Nothing here panics while it holds the lock.
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.entry((owner.to_owned(), key.to_owned())).or_default();
            known.upgrade().unwrap_or_else(|| {
                let new = Arc::default();
                *known = Arc::downgrade(&new);
                new
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_has_the_turn_and_nothing_is_left_of_it() {
        let turns = Turns::default();
        let first = turns.take("ann", "k").await;
        assert!(turns.take("ann", "k").now_or_never().is_none());
        assert!(turns.take("bob", "k").now_or_never().is_some(), "keys are their user's own");
        let mut second = std::pin::pin!(turns.take("ann", "k"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second.await);
        drop(turns.take("ann", "other").await);
        assert_eq!(turns.0.lock().expect("unpoisoned").len(), 1, "only the latest is remembered");
    }
}
