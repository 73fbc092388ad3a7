//! Answers that were given under an idempotency key, for exact retries.

use super::{
    Store, StoreError,
    db::{micros, on, text},
};
use crate::model::answer::Answer;
use chrono::{DateTime, Utc};

impl Store {
    /// The answer this owner got under the key.
    pub async fn get_answer(&self, owner: &str, key: &str) -> Result<Option<Answer>, StoreError> {
        const SQL: &str = "SELECT request_hash, status, body FROM answer WHERE owner = $1 AND idempotency_key = $2";
        let row: Option<(String, i32, String)> =
            on!(read & self.db, |p| sqlx::query_as(SQL).bind(text(owner)).bind(text(key)).fetch_optional(p).await?);
        let answer = row.map(|(request_hash, status, body)| {
            Ok(Answer { request_hash, status: u16::try_from(status).map_err(StoreError::internal)?, body })
        });
        answer.transpose()
    }

    /// Keeps an answer; the first one under a key stays.
    pub async fn keep_answer(&self, owner: &str, key: &str, answer: &Answer, at: DateTime<Utc>) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO answer (owner, idempotency_key, request_hash, status, body, created_at) \
                           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner, idempotency_key) DO NOTHING";
        on!(write & self.db, |p| sqlx::query(SQL)
            .bind(text(owner))
            .bind(text(key))
            .bind(&answer.request_hash)
            .bind(i32::from(answer.status))
            .bind(text(&answer.body))
            .bind(micros(at))
            .execute(p)
            .await
            .map(drop)?);
        Ok(())
    }

    /// Forgets answers given before this time.
    pub async fn delete_answers_before(&self, time: DateTime<Utc>) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM answer WHERE created_at < $1";
        Ok(on!(write & self.db, |p| sqlx::query(SQL).bind(micros(time)).execute(p).await?.rows_affected()))
    }
}
