//! `/swarm/{id}/messages`, `/swarm/{id}/memory` and `/agents/{id}/inbox`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::{
        memory::{MemoryPage, MemoryQuery},
        team::{InboxPage, InboxQuery, SendTeamMessage, TeamMessagePage, TeamMessageQuery, TeamMessageResource},
    },
    model::{
        id::{AgentId, SwarmId},
        key::Scope,
    },
};
use axum::{extract::State, http::StatusCode};

/// List the messages within a swarm, newest first
///
/// Shows what the agents wrote to each other and to you, who has read it and who has answered. A message whose deadline has passed without an answer is overdue. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/swarm/{id}/messages", tag = "swarms", security(("ApiKeyAuth" = [])),
    params(("id" = SwarmId, Path, description = "The swarm's id"), TeamMessageQuery),
    responses((status = 200, description = "A page of messages", body = TeamMessagePage), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_team_messages(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Params(query): Params<TeamMessageQuery>,
) -> Result<Bounded<TeamMessagePage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.list_team_messages(caller.needs(Scope::Read)?, id, &query).await?))
}

/// Write to members of a swarm
///
/// Puts a message into the inboxes of a member, of everybody with a role, or of all. They read it in their next turn; with `requires_response` each is given a turn to answer. Use `send_message` to give one agent a prompt instead.
#[utoipa::path(
    post, path = "/swarm/{id}/messages", tag = "swarms", security(("ApiKeyAuth" = [])), request_body = SendTeamMessage,
    params(("id" = SwarmId, Path, description = "The swarm's id")),
    responses(
        (status = 201, description = "The message was sent", body = TeamMessageResource),
        (status = 200, description = "The message of an earlier request with the same idempotency key", body = TeamMessageResource),
        BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn send_team_message(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Body(request): Body<SendTeamMessage>,
) -> Result<Bounded<TeamMessageResource>, Problem> {
    let sent = state.app.send_team_message(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.made(sent.is_new, sent.message))
}

/// Look into an agent's inbox
///
/// Shows the messages an agent of a swarm has got and not read, in the order in which it reads them; with `include_read` all of them. Looking does not mark them as read.
#[utoipa::path(
    get, path = "/agents/{id}/inbox", tag = "agents", security(("ApiKeyAuth" = [])),
    params(("id" = AgentId, Path, description = "The agent's id"), InboxQuery),
    responses((status = 200, description = "A page of the inbox", body = InboxPage), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_agent_inbox(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Params(query): Params<InboxQuery>,
) -> Result<Bounded<InboxPage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_agent_inbox(caller.needs(Scope::Read)?, id, &query).await?))
}

/// Search what a swarm remembers
///
/// Finds findings, artifacts and decisions of a swarm's agents by their words, newest first, with what others said of them. Without a query it lists everything.
#[utoipa::path(
    get, path = "/swarm/{id}/memory", tag = "swarms", security(("ApiKeyAuth" = [])),
    params(("id" = SwarmId, Path, description = "The swarm's id"), MemoryQuery),
    responses((status = 200, description = "A page of what was found", body = MemoryPage), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn search_memory(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Params(query): Params<MemoryQuery>,
) -> Result<Bounded<MemoryPage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.search_memory(caller.needs(Scope::Read)?, id, &query).await?))
}
