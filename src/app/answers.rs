//! Exact retries: what was answered under an idempotency key is answered again.

use super::{App, error::AppError, now};
use crate::model::{answer::Answer, key::Principal};

impl App {
    /// What the caller was answered under this key before. `IdempotencyConflict` when the request was another one.
    pub async fn earlier_answer(&self, who: &Principal, key: &str, request_hash: &str) -> Result<Option<Answer>, AppError> {
        match self.store.get_answer(&who.user, key).await? {
            Some(answer) if answer.request_hash != request_hash => {
                Err(AppError::IdempotencyConflict { first: "an earlier request".into() })
            }
            earlier => Ok(earlier),
        }
    }

    /// Keeps what the caller is answered under this key.
    pub async fn keep_answer(&self, who: &Principal, key: &str, answer: &Answer) -> Result<(), AppError> {
        Ok(self.store.keep_answer(&who.user, key, answer, now()).await?)
    }
}
