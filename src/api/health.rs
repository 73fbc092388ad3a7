//! `/health` and `/ready`: public, for supervisors and load balancers.

use super::{bounded::Bounded, router::ApiState};
use crate::app::health::{Health, Readiness};
use axum::{extract::State, http::StatusCode};

/// Check that the gateway answers
///
/// Needs no key and touches no database.
#[utoipa::path(
    get, path = "/health", tag = "system", security(()),
    responses((status = 200, description = "The gateway answers", body = Health)),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_health(State(state): State<ApiState>) -> Bounded<Health> {
    state.bounded(StatusCode::OK, state.app.get_health())
}

/// Check that tasks can be done
///
/// Looks at the database, the supervisor of agents and the agent CLI. Needs no key.
#[utoipa::path(
    get, path = "/ready", tag = "system", security(()),
    responses(
        (status = 200, description = "Everything is in order", body = Readiness),
        (status = 503, description = "Something is not in order; the checks say what", body = Readiness)
    ),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_readiness(State(state): State<ApiState>) -> Bounded<Readiness> {
    let readiness = state.app.get_readiness().await;
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    state.bounded(status, readiness)
}
