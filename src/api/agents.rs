//! `/agents`

use super::{
    bounded::Bounded,
    extract::{Caller, Id, Params},
    openapi::responses::{Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::agents::{AgentPage, AgentQuery, AgentResource, OutputPage, OutputQuery},
    model::{id::AgentId, key::Scope},
};
use axum::{extract::State, http::StatusCode};

/// List agents, newest first
///
/// Shows your agents. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/agents", tag = "agents", security(("ApiKeyAuth" = [])), params(AgentQuery),
    responses((status = 200, description = "A page of agents", body = AgentPage), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_agents(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<AgentQuery>,
) -> Result<Bounded<AgentPage>, Problem> {
    Ok(Bounded(StatusCode::OK, state.app.list_agents(caller.needs(Scope::Read)?, &query).await?))
}

/// Get an agent with what it does now
///
/// Shows one agent: its status, the task it works or last worked on, its progress in words and the end of its latest text.
#[utoipa::path(
    get, path = "/agents/{id}", tag = "agents", security(("ApiKeyAuth" = [])),
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses((status = 200, description = "The agent", body = AgentResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Bounded<AgentResource>, Problem> {
    Ok(Bounded(StatusCode::OK, state.app.get_agent(caller.needs(Scope::Read)?, id).await?))
}

/// Read what an agent wrote and did, as text
///
/// Texts, tool calls, tool results and turn results in order. Give `next_cursor` as after to read on; with `wait_seconds` the answer comes as soon as there is something new.
#[utoipa::path(
    get, path = "/agents/{id}/output", tag = "agents", security(("ApiKeyAuth" = [])),
    params(("id" = AgentId, Path, description = "The agent's id"), OutputQuery),
    responses((status = 200, description = "A page of output", body = OutputPage), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_agent_output(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Params(query): Params<OutputQuery>,
) -> Result<Bounded<OutputPage>, Problem> {
    Ok(Bounded(StatusCode::OK, state.app.get_agent_output(caller.needs(Scope::Read)?, id, query).await?))
}
