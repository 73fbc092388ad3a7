//! Measures every request: how long the answer took, without the time the request itself had asked to wait.

use super::router::ApiState;
use crate::app::with_waits;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use std::time::Instant;

/// Notes how long the answer took to begin. Streams go on after that.
pub(super) async fn meter(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (response, waited) = with_waits(next.run(request)).await;
    let took = begun.elapsed().saturating_sub(waited);
    state.app.add_response(took);
    response
}
