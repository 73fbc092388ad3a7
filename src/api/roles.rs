//! `/roles`

use super::{
    bounded::Bounded,
    extract::{Caller, Id, Params},
    openapi::responses::{Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::roles::{RolePage, RoleQuery, RoleResource},
    model::{agent::AgentType, key::Scope},
};
use axum::{extract::State, http::StatusCode};

/// List roles
///
/// Shows what `agent_type` can be: each role's purpose, model and tools. Files of the data directory that cannot be used are named with the reason. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/roles", tag = "roles", security(("ApiKeyAuth" = [])), params(RoleQuery),
    responses((status = 200, description = "A page of roles", body = RolePage), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_roles(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<RoleQuery>,
) -> Result<Bounded<RolePage>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(state.bounded(StatusCode::OK, state.app.list_roles(query)))
}

/// Get a role with its persona
///
/// Shows all of a role: what its agents are told about themselves, their model, their tools, and the schema of their answers.
#[utoipa::path(
    get, path = "/roles/{name}", tag = "roles", security(("ApiKeyAuth" = [])),
    params(("name" = AgentType, Path, description = "The role's name")),
    responses((status = 200, description = "The role", body = RoleResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_role(
    State(state): State<ApiState>,
    caller: Caller,
    Id(name): Id<AgentType>,
) -> Result<Bounded<RoleResource>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(state.bounded(StatusCode::OK, state.app.get_role(name)?))
}
