//! The gate before every turn: closed while the provider asks to wait, or while one turn after another fails at it.
//!
//! A circuit breaker: after some failures in a row nothing is begun for a while; then one turn is let through as a trial.
//! Once the model answers it the gate is open, if it fails before the pause doubles. A limit with a time of reset closes the gate until then.

use crate::{
    bus::Bus,
    model::{
        run::{Failure, FailureCode},
        runner::Pause,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// What is known about the provider behind the agents' CLI.
#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// Times in a row that the circuit was opened.
    openings: u32,
    pause: Option<Pause>,
    /// Whether one turn has to prove first that it works again.
    is_on_trial: bool,
    /// Since when that turn is under way.
    trial: Option<DateTime<Utc>>,
}

impl State {
    /// The provider works.
    fn recover(&mut self) {
        self.failures = 0;
        self.openings = 0;
        self.is_on_trial = false;
        self.trial = None;
        metrics::gauge!("mas_circuit_open").set(0.0);
    }
}

/// Shared by the claim loop and all actors.
#[derive(Debug)]
pub(super) struct Gate {
    bus: Bus,
    threshold: u32,
    first_pause: TimeDelta,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Gate {
    pub(super) fn new(bus: Bus, threshold: u32, first_pause: TimeDelta) -> Self {
        Self { bus, threshold, first_pause, state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Nothing here panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change of the gate.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// When to look again, while the gate is closed by time.
    pub(super) fn opens_at(&self) -> Option<DateTime<Utc>> {
        self.state().pause.as_ref().map(|pause| pause.until)
    }

    /// Lets a turn through, or not. Who was let through must [`Gate::report`] or [`Gate::give_back`].
    pub(super) fn pass(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        if state.pause.as_ref().is_some_and(|pause| pause.until > now) || (state.is_on_trial && state.trial.is_some()) {
            return false;
        }
        if state.pause.take().is_some() {
            self.bus.set_pause(None);
        }
        state.trial = state.is_on_trial.then_some(now);
        true
    }

    /// The turn that was let through did not take place.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        if state.trial.take().is_some() {
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// The model answers a turn that was begun at this time. A trial need not go on to its end to show that.
    pub(super) fn answered(&self, begun: DateTime<Utc>) {
        let mut state = self.state();
        if state.trial.is_some_and(|since| since <= begun) {
            state.recover();
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// How a turn ended; `None` is a success.
    pub(super) fn report(&self, failure: Option<&Failure>, now: DateTime<Utc>) {
        let mut state = self.state();
        state.trial = None;
        match failure.map(|failure| (failure, is_of_backend(failure.code))) {
            None => state.recover(),
            Some((failure, true)) => {
                state.failures += 1;
                if state.is_on_trial || state.failures >= self.threshold {
                    state.failures = 0;
                    let pause = (self.first_pause * 2_i32.saturating_pow(state.openings.min(20))).min(LONGEST_PAUSE);
                    state.openings += 1;
                    state.is_on_trial = true;
                    metrics::gauge!("mas_circuit_open").set(1.0);
                    metrics::counter!("mas_provider_pauses_total", "cause" => "circuit").increment(1);
                    let reason = format!("too many failures in a row, the last one `{}`: {}", failure.code, failure.detail);
                    self.close(&mut state, now + pause, reason);
                }
            }
            // Says nothing about the provider.
            Some((_, false)) => {}
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// The provider asks to wait.
    pub(super) fn pause(&self, until: DateTime<Utc>, reason: String) {
        let mut state = self.state();
        state.trial = None;
        metrics::counter!("mas_provider_pauses_total", "cause" => "provider").increment(1);
        self.close(&mut state, until, reason);
        drop(state);
        self.changed.send_replace(());
    }

    fn close(&self, state: &mut State, until: DateTime<Utc>, reason: String) {
        if state.pause.as_ref().is_none_or(|pause| pause.until < until) {
            tracing::warn!(%until, reason, "no turn is begun for a while");
            state.pause = Some(Pause { until, reason });
            self.bus.set_pause(state.pause.clone());
        }
    }
}

/// Whether the failure lies with the CLI's start or its provider, so that the next turn would fail too.
const fn is_of_backend(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::ProviderUnavailable
            | FailureCode::RateLimited
            | FailureCode::NotReady
            | FailureCode::StartFailed
            | FailureCode::NoFirstEvent
            | FailureCode::TooManyRetries
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Gate, DateTime<Utc>, Failure) {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("valid");
        let gate = Gate::new(Bus::local(), 3, TimeDelta::seconds(30));
        (gate, now, Failure::new(FailureCode::ProviderUnavailable, "529"))
    }

    #[test]
    fn failures_in_a_row_close_the_gate_and_one_trial_opens_it() {
        let (gate, now, failure) = gate();
        for _ in 0..3 {
            assert!(gate.pass(now));
            gate.report(Some(&failure), now);
        }
        assert!(!gate.pass(now), "closed after three failures");
        assert_eq!(gate.bus.runner_status().pause.expect("told").until, now + TimeDelta::seconds(30));
        let later = now + TimeDelta::seconds(31);
        assert!(gate.pass(later));
        assert!(!gate.pass(later), "one trial at a time");
        gate.report(Some(&failure), later);
        assert!(!gate.pass(later + TimeDelta::seconds(59)), "the pause has doubled");
        let later = later + TimeDelta::seconds(61);
        assert!(gate.pass(later));
        gate.report(None, later);
        assert!(gate.pass(later) && gate.pass(later), "open");
        assert_eq!(gate.bus.runner_status().pause, None);
    }

    #[test]
    fn an_answer_to_the_trial_opens_the_gate_and_one_to_an_older_turn_does_not() {
        let (gate, now, failure) = gate();
        (0..3).for_each(|_| gate.report(Some(&failure), now));
        let later = now + TimeDelta::seconds(31);
        assert!(gate.pass(later) && !gate.pass(later));
        gate.answered(now);
        assert!(!gate.pass(later), "begun before the failures");
        gate.answered(later);
        assert!(gate.pass(later) && gate.pass(later), "open");
    }

    #[test]
    fn other_failures_do_not_close_the_gate_and_a_trial_can_be_given_back() {
        let (gate, now, failure) = gate();
        for _ in 0..10 {
            gate.report(Some(&Failure::new(FailureCode::AgentError, "x")), now);
        }
        assert!(gate.pass(now));
        (0..3).for_each(|_| gate.report(Some(&failure), now));
        let later = now + TimeDelta::seconds(31);
        assert!(gate.pass(later) && !gate.pass(later));
        gate.give_back();
        assert!(gate.pass(later));
    }

    #[test]
    fn a_limit_with_a_reset_closes_the_gate_until_then() {
        let (gate, now, _) = gate();
        gate.pause(now + TimeDelta::hours(5), "five_hour".into());
        gate.pause(now + TimeDelta::hours(1), "sooner".into());
        assert!(!gate.pass(now + TimeDelta::hours(4)), "the later one counts");
        assert!(gate.pass(now + TimeDelta::hours(5)) && gate.pass(now + TimeDelta::hours(5)), "no trial needed");
    }
}
