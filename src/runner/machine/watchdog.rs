//! Notices turns that go nowhere: silence from the start, silence in the middle, endless retries, garbage.

use crate::{
    adapter::claude_code::LOGIN_HINT,
    model::{
        event::EventKind,
        quota::SetBy,
        run::{Failure, FailureCode},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// When a turn counts as going nowhere.
#[derive(Debug, Clone)]
pub(in crate::runner) struct WatchLimits {
    /// From the prompt to the first line.
    pub(in crate::runner) first_event: TimeDelta,
    /// Between two lines.
    pub(in crate::runner) stall: TimeDelta,
    /// Who says so.
    pub(in crate::runner) stall_set_by: SetBy,
    /// Repeated model requests of one turn.
    pub(in crate::runner) retries: u32,
    /// Lines in a row that are not JSON objects.
    pub(in crate::runner) garbage_lines: u32,
}

/// What was seen of the current turn.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Watchdog {
    /// When silence is too long; absent while there is no turn.
    pub(super) quiet_until: Option<DateTime<Utc>>,
    heard: bool,
    retries: u32,
    garbage: u32,
}

impl Watchdog {
    /// A turn begins.
    pub(super) fn begin(&mut self, now: DateTime<Utc>, limits: &WatchLimits) {
        *self = Self { quiet_until: Some(now + limits.first_event), ..Self::default() };
    }

    /// Nothing is watched until the next turn.
    pub(super) fn rest(&mut self) {
        self.quiet_until = None;
    }

    /// A line came. The failure, when there have been too many of its kind.
    pub(super) fn line(&mut self, now: DateTime<Utc>, limits: &WatchLimits, events: &[EventKind]) -> Option<Failure> {
        let until = self.quiet_until.as_mut()?;
        *until = now + limits.stall;
        self.heard = true;
        let is_garbage = |event: &EventKind| matches!(event, EventKind::Raw { line } if !line.starts_with('{'));
        self.garbage = if events.iter().any(is_garbage) { self.garbage + 1 } else { 0 };
        if self.garbage > limits.garbage_lines {
            let detail = format!(
                "the agent wrote more than {} lines in a row that are not its protocol (`runner.max_garbage_lines`); \
                 they are kept as `raw` events",
                limits.garbage_lines
            );
            return Some(Failure::new(FailureCode::GarbageOutput, detail));
        }
        let is_refused = |event: &EventKind| matches!(event, EventKind::Retry { error, .. } if error == "authentication_failed");
        if events.iter().any(is_refused) {
            let detail = format!("the model's provider refused the credentials. {LOGIN_HINT}");
            return Some(Failure::new(FailureCode::AgentUnavailable, detail));
        }
        let retries = events.iter().filter(|event| matches!(event, EventKind::Retry { .. })).count();
        self.retries += u32::try_from(retries).unwrap_or(u32::MAX);
        (self.retries > limits.retries).then(|| {
            let detail = format!(
                "the agent repeated failed model requests more than {} times (`runner.max_retries_per_turn`); \
                 its `retry` events tell the reasons",
                limits.retries
            );
            Failure::new(FailureCode::TooManyRetries, detail)
        })
    }

    /// The failure, when it has been quiet for too long.
    pub(super) fn silence(&self, now: DateTime<Utc>, limits: &WatchLimits) -> Option<Failure> {
        self.quiet_until.filter(|until| *until <= now)?;
        Some(if self.heard {
            let (seconds, set_by) = (limits.stall.num_seconds(), limits.stall_set_by);
            let name = if set_by == SetBy::Gateway { "runner.stall_timeout_seconds" } else { "idle_timeout_seconds" };
            let detail = format!(
                "the agent wrote nothing for {seconds} s in the middle of its turn (`{name}`, set by the {set_by}); the partial result is kept"
            );
            #[expect(clippy::cast_precision_loss, reason = "for display")]
            Failure::new(FailureCode::Stalled, detail).by_limit(name, set_by, seconds as f64)
        } else {
            let detail = format!(
                "the agent wrote nothing within {} s of its prompt (`runner.first_event_timeout_seconds`)",
                limits.first_event.num_seconds()
            );
            Failure::new(FailureCode::NoFirstEvent, detail)
        })
    }
}
