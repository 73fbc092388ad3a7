//! Measures every request: how long the answer took, without the time the request itself had asked to wait.

use super::router::ApiState;
use crate::app::with_waits;
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use metrics::{counter, gauge, histogram};
use std::time::Instant;

/// Notes how long the answer took to begin. Streams go on after that.
pub(super) async fn meter(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => method.to_owned(),
        _ => "other".to_owned(),
    };
    // The template: a path may hold ids and secrets, and there are as many as callers like.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let (response, waited) = with_waits(next.run(request)).await;
    let took = begun.elapsed().saturating_sub(waited);
    state.app.add_response(took);
    let labels = [("method", method), ("route", route), ("status", format!("{}xx", response.status().as_u16() / 100))];
    counter!("mas_http_requests_total", &labels).increment(1);
    histogram!("mas_http_request_duration_seconds", &labels).record(took.as_secs_f64());
    response
}

/// Counts an open event stream until dropped.
pub(super) struct OpenStream(&'static str);

impl OpenStream {
    pub(super) fn new(kind: &'static str) -> Self {
        counter!("mas_streams_total", "kind" => kind).increment(1);
        gauge!("mas_streams_open", "kind" => kind).increment(1.0);
        Self(kind)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!("mas_streams_open", "kind" => self.0).decrement(1.0);
    }
}
