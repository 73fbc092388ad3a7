//! Answers kept for exact retries.

/// The first answer to a request under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Tells the same request from another one under the same key.
    pub request_hash: String,
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}
