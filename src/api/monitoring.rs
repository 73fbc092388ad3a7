//! `/performance/report`: how the work goes.

use super::{
    bounded::Bounded,
    extract::{Caller, Params},
    openapi::responses::Guarded,
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::report::{PerformanceReport, ReportQuery},
    model::key::Scope,
};
use axum::{extract::State, http::StatusCode};

/// Report how the work goes
///
/// Completion rate, agent utilisation, response times, task durations, queue waits, cost, tokens and failures of your tasks; of everybody's for an admin. Each figure says its unit, source and window; what was not measured is absent.
#[utoipa::path(
    get, path = "/performance/report", tag = "system", security(("ApiKeyAuth" = [])), params(ReportQuery),
    responses((status = 200, description = "The figures", body = PerformanceReport), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_performance_report(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<ReportQuery>,
) -> Result<Bounded<PerformanceReport>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_performance_report(caller.needs(Scope::Read)?, query).await?))
}
