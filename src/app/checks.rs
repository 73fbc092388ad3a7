//! Checks of what callers send. One answer names everything that is wrong.

use super::{
    AppSettings,
    error::{AppError, FieldError},
};
use crate::model::{
    agent::{AgentType, Backend},
    limits::{
        BUDGET_TOKENS, BUDGET_USD, IDEMPOTENCY_KEY_CHARS, MEMORY_BYTES, OUTPUT_BYTES, PROCESSES, TIMEOUT_SECONDS, TITLE_CHARS,
    },
    pattern::any_matches,
    quota::WorkLimits,
};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use std::ops::RangeInclusive;

/// Limits as callers give them, not yet checked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LimitFields {
    pub(super) budget_tokens: Option<i64>,
    pub(super) idle_timeout_seconds: Option<i64>,
    pub(super) max_output_bytes: Option<i64>,
    pub(super) max_memory_bytes: Option<i64>,
    pub(super) max_processes: Option<i64>,
}

/// Collects refusals, so that one answer names all of them.
#[derive(Default)]
pub(super) struct Refusals(pub(super) Vec<FieldError>);

impl Refusals {
    pub(super) fn check(&mut self, ok: bool, field: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.0.push(FieldError::new(field, message()));
        }
    }

    pub(super) fn text(&mut self, field: &str, text: &str, limit: usize) {
        let chars = text.chars().count();
        self.check(!text.trim().is_empty(), field, || "must not be blank".into());
        self.check(chars <= limit, field, || format!("has {chars} characters; at most {limit} are allowed"));
        self.no_nul(field, text);
    }

    pub(super) fn no_nul(&mut self, field: &str, text: &str) {
        self.check(!text.contains('\0'), field, || "contains a NUL character; remove it".into());
    }

    pub(super) fn line(&mut self, field: &str, text: &str, limit: usize) {
        self.text(field, text, limit);
        self.check(!text.contains(['\n', '\r']), field, || "must be one line".into());
        let drives = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\0');
        self.check(!text.contains(drives), field, || "contains control characters; remove them".into());
    }

    /// Takes over what is wrong with `given`; a value to go on with.
    pub(super) fn absorb<T: Default>(&mut self, given: Result<T, AppError>) -> T {
        match given {
            Ok(value) => value,
            Err(AppError::Validation(fields)) => {
                self.0.extend(fields);
                T::default()
            }
            Err(other) => {
                self.0.push(FieldError::new("", other.to_string()));
                T::default()
            }
        }
    }

    pub(super) fn model(&mut self, field: &str, model: &str, allowed: &[String]) {
        self.check(any_matches(allowed, model), field, || {
            format!("is not allowed; use one of: {} (a trailing * stands for any ending)", allowed.join(", "))
        });
        self.no_nul(field, model);
        self.check(model.chars().count() <= TITLE_CHARS, field, || format!("has more than {TITLE_CHARS} characters"));
    }

    pub(super) fn project(&mut self, name: &str, settings: &AppSettings) {
        self.check(settings.projects.contains_key(name), "project", || {
            let known = settings.projects.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("there is no such project; use one of: {known}")
        });
    }

    /// The CLI to do the work: the one asked for, else the role's.
    pub(super) fn backend(&mut self, field: &str, asked: Option<Backend>, role: AgentType, settings: &AppSettings) -> Backend {
        let backend = asked.unwrap_or_else(|| settings.roles.get().backend_of(role));
        self.check(backend != Backend::ClaudeFlow || settings.has_claude_flow, field, || {
            "`claude-flow` is not set up on this gateway; use `claude-code`, or ask its operator to set `claude_flow.command`"
                .into()
        });
        backend
    }

    /// The role that work is to be done in, `coder` when it names none.
    pub(super) fn role(&mut self, field: &str, name: Option<AgentType>, settings: &AppSettings) -> AgentType {
        let name = name.unwrap_or(AgentType::CODER);
        self.check(settings.roles.get().get(name).is_some(), field, || settings.roles.get().why_not(name));
        name
    }

    pub(super) fn budget_usd(&mut self, usd: Option<f64>) {
        self.check(usd.is_none_or(|usd| usd > 0.0 && usd <= BUDGET_USD), "budget_usd", || {
            format!("must be more than 0 and at most {BUDGET_USD}")
        });
    }

    /// A whole number within bounds, as the type it is kept in.
    pub(super) fn within<T: TryFrom<i64>>(&mut self, field: &str, given: Option<i64>, bounds: RangeInclusive<i64>) -> Option<T> {
        let given = given?;
        let value = T::try_from(given).ok().filter(|_| bounds.contains(&given));
        self.check(value.is_some(), field, || format!("is outside {bounds:?}"));
        value
    }

    /// The limits tasks and agents have in common.
    pub(super) fn limits(&mut self, given: &LimitFields) -> WorkLimits {
        WorkLimits {
            timeout_seconds: None,
            budget_usd: None,
            budget_tokens: self.within("budget_tokens", given.budget_tokens, 1..=BUDGET_TOKENS),
            idle_timeout_seconds: self.within("idle_timeout_seconds", given.idle_timeout_seconds, 1..=TIMEOUT_SECONDS.into()),
            max_output_bytes: self.within("max_output_bytes", given.max_output_bytes, 1..=OUTPUT_BYTES),
            max_memory_bytes: self.within("max_memory_bytes", given.max_memory_bytes, MEMORY_BYTES),
            max_processes: self.within("max_processes", given.max_processes, PROCESSES),
        }
    }

    pub(super) fn finish(self) -> Result<(), AppError> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError::Validation(self.0)) }
    }
}

/// Refuses filters a database could not even be asked about.
pub(super) fn check_filter(field: &str, text: Option<&str>) -> Result<(), AppError> {
    let mut refusals = Refusals::default();
    refusals.no_nul(field, text.unwrap_or_default());
    refusals.finish()
}

/// Refuses an idempotency key that cannot be kept.
pub fn check_idempotency_key(key: &str) -> Result<(), AppError> {
    let mut refusals = Refusals::default();
    refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
    refusals.finish()
}

/// JSON knows one kind of number, and models write `20.0` when they mean 20.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let converted = number.as_i64().or_else(|| whole.map(|value| value as i64));
    converted.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{number} is not a whole number")))
}

/// SHA-256 of what was asked for, in hexadecimal: tells a repeated request from another one under the same key.
pub fn request_hash(asked: &serde_json::Value) -> String {
    super::keys::hexadecimal(&Sha256::digest(asked.to_string()))
}
