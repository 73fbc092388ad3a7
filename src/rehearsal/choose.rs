//! Chooses the step that answers a request, and counts attempts at steps that fail a few times first.

use super::{
    answer::unscripted,
    conversation::newest,
    plan::{Step, directive},
    rules::Rule,
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Most attempt counters kept; the oldest go first.
const ATTEMPT_KEYS: usize = 10_000;

/// A step of a script, told apart by session, script and index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StepKey {
    session: String,
    script: u64,
    index: usize,
}

/// What answers a request.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) step: Step,
    /// Absent when no script covers the request.
    pub(super) key: Option<StepKey>,
}

/// Chooses the answer to a request; an error names what is wrong with the directive in it.
pub(super) fn choose(request: &Value, body_bytes: usize, session: &str, rules: &[Rule]) -> Result<Choice, String> {
    let newest = newest(request);
    let key = |script: u64, index| Some(StepKey { session: session.to_owned(), script, index });
    if let Some(found) = directive(&newest.text) {
        let (plan, source) = found?;
        let (step, index) = plan.step(newest.answers);
        return Ok(Choice { step: step.clone(), key: key(hash(source), index) });
    }
    if let Some((n, rule)) = rules.iter().enumerate().find(|(_, rule)| rule.matches(&newest.text)) {
        let (step, index) = rule.step(newest.answers);
        return Ok(Choice { step: step.clone(), key: key(hash(n), index) });
    }
    Ok(Choice { step: unscripted(request, &newest, body_bytes), key: None })
}

fn hash(script: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    hasher.finish()
}

/// Attempts made at steps, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    made: HashMap<StepKey, u32>,
    oldest_first: VecDeque<StepKey>,
}

impl Attempts {
    /// Counts an attempt and returns how many came before it.
    pub(super) fn count(&mut self, key: &StepKey) -> u32 {
        if let Some(made) = self.made.get_mut(key) {
            let before = *made;
            *made = made.saturating_add(1);
            return before;
        }
        if self.oldest_first.len() == ATTEMPT_KEYS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.made.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.made.insert(key.clone(), 1);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_and_counted_per_key() {
        let key = |index| StepKey { session: "s".to_owned(), script: 1, index };
        let mut attempts = Attempts::default();
        assert_eq!((attempts.count(&key(0)), attempts.count(&key(0)), attempts.count(&key(1))), (0, 1, 0));
        for index in 2..=ATTEMPT_KEYS {
            attempts.count(&key(index));
        }
        assert_eq!((attempts.made.len(), attempts.oldest_first.len()), (ATTEMPT_KEYS, ATTEMPT_KEYS));
        assert_eq!(attempts.count(&key(0)), 0, "the oldest was forgotten");
    }
}
