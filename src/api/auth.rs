//! The guard before every route that is not public: who calls, and not too often.

use super::{caller::Caller, problem::Problem, router::ApiState};
use crate::app::error::AppError;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Header that carries the key.
pub(super) const KEY_HEADER: HeaderName = HeaderName::from_static("x-mas-key");

/// Lets a caller with a valid key through, within its rate.
pub(super) async fn guard(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let principal = match state.app.authenticate(secret(request.headers())).await {
        Ok(principal) => principal,
        // Only failing requests are counted and refused by address: behind a tunnel everybody has the same one,
        // and strangers must not lock out the holder of a valid key.
        Err(AppError::InvalidKey) => {
            metrics::counter!("mas_http_refused_total", "reason" => "key").increment(1);
            return match state.failures.check(&Caller::of(&request)) {
                Ok(_) => Problem::from(AppError::InvalidKey).into_response(),
                Err(wait) => {
                    let problem = Problem::too_many(wait, "too many requests without a valid key from this address");
                    let mut response = problem.into_response();
                    state.failures.exhausted(wait).describe(&mut response);
                    response
                }
            };
        }
        Err(error) => return Problem::from(error).into_response(),
    };
    let (standing, mut response) = match state.limits.check(&principal.key_id) {
        Ok(standing) => {
            request.extensions_mut().insert(principal);
            (standing, next.run(request).await)
        }
        Err(wait) => {
            metrics::counter!("mas_http_refused_total", "reason" => "rate").increment(1);
            let problem = Problem::too_many(wait, "this key has used up its requests");
            (state.limits.exhausted(wait), problem.into_response())
        }
    };
    standing.describe(&mut response);
    response
}

/// Scrapers send a key as a bearer token. Takes it over unless there is one in its own header.
pub(super) async fn take_bearer(mut request: Request) -> Request {
    let headers = request.headers_mut();
    if !headers.contains_key(KEY_HEADER) {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        let key = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert(KEY_HEADER, key);
        }
    }
    request
}

/// The key as sent; a missing, repeated or unreadable one is as good as an empty one.
fn secret(headers: &HeaderMap) -> &str {
    let mut values = headers.get_all(KEY_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    }
}
