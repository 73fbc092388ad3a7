//! `/performance/report` and `/metrics`: how the work goes, for people and for Prometheus.

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
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

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

/// Metrics in the text format of Prometheus
///
/// Sums over all users, without names or ids. The key may also come as `Authorization: Bearer`. Counters begin anew with the process.
#[utoipa::path(
    get, path = "/metrics", tag = "system", security(("ApiKeyAuth" = [])),
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain", example = "# TYPE mas_tasks gauge\nmas_tasks{status=\"created\"} 3\n"), Guarded)
)]
pub(super) async fn get_metrics(State(state): State<ApiState>, caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::Read)?;
    state.app.update_gauges().await;
    let text = state.settings.metrics.render();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
