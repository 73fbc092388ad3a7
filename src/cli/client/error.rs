//! What can go wrong on the way to a server, in words for people, and what is worth another try.

use crate::cli::output::harmless;
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use std::{error::Error, fmt, time::Duration};

/// Longest wait for another try that a server may ask for.
const MOST_PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// Nothing answers, or the connection broke.
    #[error("no server answers at {url} ({reason}); start one with `mas serve`, or give --url")]
    NoServer {
        /// Where one was looked for.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// What came is no answer of our API, or nothing was asked.
    #[error("{0}")]
    Broken(String),
}

/// A refusal as the server words it.
#[derive(Debug)]
pub(in crate::cli) struct Refusal {
    /// HTTP status.
    pub(in crate::cli) status: u16,
    /// The problem document.
    pub(in crate::cli) problem: Value,
    /// What only this side knows.
    hint: Option<String>,
}

impl Refusal {
    /// The stable code, such as `not_found`.
    pub(in crate::cli) fn code(&self) -> &str {
        self.problem["code"].as_str().unwrap_or_default()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |name: &str| self.problem[name].as_str().map(harmless);
        let detail = word("detail").unwrap_or_else(|| format!("the server answers with status {}", self.status));
        write!(f, "{detail}")?;
        for error in self.problem["errors"].as_array().into_iter().flatten() {
            let (field, message) = (&error["field"], harmless(error["message"].as_str().unwrap_or_default()));
            // Mostly the detail has said so.
            if !detail.contains(&message) {
                write!(f, "\n  {}: {message}", harmless(field.as_str().unwrap_or_default()))?;
            }
        }
        if let Some(next) = word("next_step") {
            write!(f, "\nnext: {next}")?;
        }
        if let Some(instance) = word("instance") {
            write!(f, "\nrequest: {instance}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

/// One try that failed.
pub(super) enum Attempt {
    /// Trying again is of no use.
    Final(ClientError),
    /// The same request may well succeed after this time.
    Again {
        /// What to say if it does not.
        error: ClientError,
        /// How long to wait.
        after: Duration,
    },
}

impl Attempt {
    pub(super) fn into_error(self) -> ClientError {
        match self {
            Self::Final(error) | Self::Again { error, .. } => error,
        }
    }
}

/// What an answer with a bad status means.
pub(super) async fn refusal(response: Response, key_origin: &str, base: &Url) -> Attempt {
    let status = response.status();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if status.is_redirection() {
        let place = header("location").map_or("elsewhere".into(), |place| harmless(&place));
        return Attempt::Final(ClientError::Broken(format!("{base} redirects to {place}; give the right --url")));
    }
    let after = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let text = response.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let hint = (status == StatusCode::UNAUTHORIZED || problem["code"] == "invalid_key")
        .then(|| format!("The key was taken from {key_origin}."));
    let error = ClientError::Refused(Box::new(Refusal { status: status.as_u16(), problem, hint }));
    match after {
        Some(after) if retryable(status) && after <= MOST_PATIENCE => Attempt::Again { error, after },
        None if status == StatusCode::SERVICE_UNAVAILABLE => Attempt::Again { error, after: Duration::from_secs(1) },
        _ => Attempt::Final(error),
    }
}

fn retryable(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY].contains(&status)
}

/// The innermost reason; the outer ones repeat the URL.
pub(super) fn root(error: &reqwest::Error) -> String {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_says_each_thing_once_and_what_to_do() {
        let problem = json!({
            "detail": "project: there is no such project", "next_step": "Correct it.", "code": "validation_failed",
            "errors": [
                { "field": "project", "message": "there is no such project" },
                { "field": "model", "message": "is not allowed\u{1b}[31m" },
            ],
        });
        let refusal = Refusal { status: 422, problem, hint: None };
        let words = "project: there is no such project\n  model: is not allowed\nnext: Correct it.";
        assert_eq!((refusal.to_string().as_str(), refusal.code()), (words, "validation_failed"));
    }

    #[test]
    fn an_answer_without_a_problem_still_says_something() {
        let refusal = Refusal { status: 502, problem: Value::Null, hint: Some("Look there.".into()) };
        assert_eq!(refusal.to_string(), "the server answers with status 502\nLook there.");
    }
}
