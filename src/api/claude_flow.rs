//! `/claude-flow` and `/mcp-servers`: what stands beside the gateway's own agents.

use super::{bounded::Bounded, extract::Caller, openapi::responses::Guarded, problem::Problem, router::ApiState};
use crate::{
    app::claude_flow::{ClaudeFlowStatus, McpServerList},
    model::key::Scope,
};
use axum::{extract::State, http::StatusCode};

/// See how claude-flow stands
///
/// Whether it is a backend here, and for each project whether the mirror is connected, how much it has told claude-flow, and what went wrong last.
#[utoipa::path(
    get, path = "/claude-flow", tag = "system", security(("ApiKeyAuth" = [])),
    responses((status = 200, description = "Backend and mirror", body = ClaudeFlowStatus), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_claude_flow_status(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Bounded<ClaudeFlowStatus>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(state.bounded(StatusCode::OK, state.app.get_claude_flow_status()))
}

/// List the MCP servers agents may be given
///
/// The registry of the gateway's operator, by name. Values of variables and headers are not shown.
#[utoipa::path(
    get, path = "/mcp-servers", tag = "system", security(("ApiKeyAuth" = [])),
    responses(
        (status = 200, description = "The registry", body = McpServerList,
         example = json!({"servers": [{"name": "docs", "transport": "stdio", "command": "node", "env": ["DOCS_TOKEN"], "headers": [], "projects": ["shop"]}]})),
        Guarded
    ),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_mcp_servers(State(state): State<ApiState>, caller: Caller) -> Result<Bounded<McpServerList>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(state.bounded(StatusCode::OK, state.app.list_mcp_servers()))
}
