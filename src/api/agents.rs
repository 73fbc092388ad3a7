//! `/agents`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing, Reused},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::{
        agents::{
            AgentPage, AgentQuery, AgentResource, CreateAgent, ForkAgent, GetAgent, InterruptAgent, InterruptAgents,
            InterruptedAgents, OutputPage, OutputQuery, ResumeAgent, SendMessage, TerminateAgent,
        },
        tasks::TaskResource,
    },
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
    Ok(state.bounded(StatusCode::OK, state.app.list_agents(caller.needs(Scope::Read)?, &query).await?))
}

/// Get an agent with what it does now
///
/// Shows one agent: status, task, progress in words, end of its latest text, process facts, waiting messages, session and cost. With `wait_seconds` the answer comes when it has nothing more to do.
#[utoipa::path(
    get, path = "/agents/{id}", tag = "agents", security(("ApiKeyAuth" = [])),
    params(("id" = AgentId, Path, description = "The agent's id"), GetAgent),
    responses((status = 200, description = "The agent", body = AgentResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Params(how): Params<GetAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_agent(caller.needs(Scope::Read)?, id, how).await?))
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
    Ok(state.bounded(StatusCode::OK, state.app.get_agent_output(caller.needs(Scope::Read)?, id, query).await?))
}

/// Create an agent that stays
///
/// The agent keeps its conversation over any number of messages (`send_message`). While it rests it costs nothing. Send an `idempotency_key` so that a repeated call does not make a second one. For one piece of work, `create_task` is enough.
#[utoipa::path(
    post, path = "/agents", tag = "agents", security(("ApiKeyAuth" = [])), request_body = CreateAgent,
    responses(
        (status = 201, description = "The agent was created", body = AgentResource),
        (status = 200, description = "The agent of an earlier request with the same idempotency key", body = AgentResource),
        BadBody, Conflict, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn create_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<CreateAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    let created = state.app.create_agent(caller.needs(Scope::Operate)?, request).await?;
    Ok(state.made(created.is_new, created.agent))
}

/// Send an agent a message
///
/// Queues a turn with the text as prompt; with mode steer the text goes into the running turn. Returns the message's task, with `wait_seconds` as soon as the turn has ended. While it has not, call `get_task` with the task's id and `wait_seconds`.
#[utoipa::path(
    post, path = "/agents/{id}/message", tag = "agents", security(("ApiKeyAuth" = [])), request_body = SendMessage,
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses(
        (status = 201, description = "The message was accepted", body = TaskResource),
        (status = 200, description = "The message of an earlier request with the same idempotency key", body = TaskResource),
        BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn send_message(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(request): Body<SendMessage>,
) -> Result<Bounded<TaskResource>, Problem> {
    let created = state.app.send_message(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.made(created.is_new, created.task))
}

/// Stop an agent's current turn
///
/// Stops the running turn with its tools; the conversation stays and the agent can go on at once. Messages that wait still get their turns. An agent without a running turn gives 409.
#[utoipa::path(
    post, path = "/agents/{id}/interrupt", tag = "agents", security(("ApiKeyAuth" = [])), request_body = InterruptAgent,
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses((status = 200, description = "The agent", body = AgentResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn interrupt_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(request): Body<InterruptAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.interrupt_agent(caller.needs(Scope::Operate)?, id, request).await?))
}

/// Stop the current turns of several agents, or of all
///
/// Stops the running turns of the agents in `agent_ids`, or with `all` of every agent of yours that works. Conversations stay: `send_message` goes on at once, and messages that wait still get their turns. Agents without a running turn are left as they are.
#[utoipa::path(
    post, path = "/agents/interrupt", tag = "agents", security(("ApiKeyAuth" = [])), request_body = InterruptAgents,
    responses((status = 200, description = "Which were stopped", body = InterruptedAgents), BadBody, Reused, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn interrupt_agents(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<InterruptAgents>,
) -> Result<Bounded<InterruptedAgents>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.interrupt_agents(caller.needs(Scope::Operate)?, request).await?))
}

/// End an agent
///
/// Stops its turn, cancels its waiting messages and ends its process, firmly if it does not obey. Its work and its conversation are kept; `resume_agent` brings it back.
#[utoipa::path(
    post, path = "/agents/{id}/terminate", tag = "agents", security(("ApiKeyAuth" = [])), request_body = TerminateAgent,
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses((status = 200, description = "The agent", body = AgentResource), BadBody, Reused, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn terminate_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(request): Body<TerminateAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.terminate_agent(caller.needs(Scope::Operate)?, id, request).await?))
}

/// Bring an ended agent back
///
/// A terminated, failed or lost agent can take messages again, with its conversation. One that has not ended stays as it is.
#[utoipa::path(
    post, path = "/agents/{id}/resume", tag = "agents", security(("ApiKeyAuth" = [])), request_body = ResumeAgent,
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses((status = 200, description = "The agent", body = AgentResource), BadBody, Reused, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn resume_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(request): Body<ResumeAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    let ResumeAgent { idempotency_key: _ } = request; // `once` has seen to it
    Ok(state.bounded(StatusCode::OK, state.app.resume_agent(caller.needs(Scope::Operate)?, id).await?))
}

/// Make a second agent from an agent's conversation
///
/// The new agent knows everything the first one knows, works in a directory of its own where the project is a git repository, and goes on independently. An agent in the middle of a turn gives 409.
#[utoipa::path(
    post, path = "/agents/{id}/fork", tag = "agents", security(("ApiKeyAuth" = [])), request_body = ForkAgent,
    params(("id" = AgentId, Path, description = "The agent's id")),
    responses(
        (status = 201, description = "The agent was created", body = AgentResource),
        (status = 200, description = "The agent of an earlier request with the same idempotency key", body = AgentResource),
        BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn fork_agent(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(request): Body<ForkAgent>,
) -> Result<Bounded<AgentResource>, Problem> {
    let created = state.app.fork_agent(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.made(created.is_new, created.agent))
}
