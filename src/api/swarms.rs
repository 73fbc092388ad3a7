//! `/swarm`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::{
        swarms::{GetSwarms, RunSwarm, ScaleSwarm, SpawnSwarm, StopSwarm, SwarmResource, SwarmStatusReport},
        workflows::WorkflowRunResource,
    },
    model::{id::SwarmId, key::Scope},
};
use axum::{extract::State, http::StatusCode};

/// Spawn a swarm
///
/// Makes a team of agents that work together in a topology and, with an objective, begins to work on it at once. Its agents rest at no cost until they have a turn. For one piece of work by one agent, `create_task` is enough.
#[utoipa::path(
    post, path = "/swarm/spawn", tag = "swarm", security(("ApiKeyAuth" = [])), request_body = SpawnSwarm,
    responses(
        (status = 201, description = "The swarm was made", body = SwarmResource),
        (status = 200, description = "The swarm of an earlier request with the same idempotency key", body = SwarmResource),
        BadBody, Conflict, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn spawn_swarm(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<SpawnSwarm>,
) -> Result<Bounded<SwarmResource>, Problem> {
    let spawned = state.app.spawn_swarm(caller.needs(Scope::Operate)?, request).await?;
    Ok(state.made(spawned.is_new, spawned.swarm))
}

/// Make a swarm
///
/// The same as `spawn_swarm`, under the name some clients know it by.
#[utoipa::path(
    post, path = "/swarm/init", tag = "swarm", security(("ApiKeyAuth" = [])), request_body = SpawnSwarm,
    responses(
        (status = 201, description = "The swarm was made", body = SwarmResource),
        (status = 200, description = "The swarm of an earlier request with the same idempotency key", body = SwarmResource),
        BadBody, Conflict, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn init_swarm(
    state: State<ApiState>,
    caller: Caller,
    body: Body<SpawnSwarm>,
) -> Result<Bounded<SwarmResource>, Problem> {
    spawn_swarm(state, caller, body).await
}

/// Look at swarms
///
/// Shows health with its reasons, agents, tasks, messages, cost and open runs: of one swarm with `swarm_id`, else of all. With `swarm_id` and `wait_seconds` the answer comes when none of its runs is open.
#[utoipa::path(
    get, path = "/swarm/status", tag = "swarm", security(("ApiKeyAuth" = [])), params(GetSwarms),
    responses((status = 200, description = "The swarms", body = SwarmStatusReport), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_swarm_status(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<GetSwarms>,
) -> Result<Bounded<SwarmStatusReport>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_swarm_status(caller.needs(Scope::Read)?, &query).await?))
}

/// Give a swarm an objective
///
/// Has the swarm's agents work on it the way of their topology. Returns the run at once; call `get_workflow_run` with `wait_seconds` until it has ended.
#[utoipa::path(
    post, path = "/swarm/{id}/run", tag = "swarm", security(("ApiKeyAuth" = [])), request_body = RunSwarm,
    params(("id" = SwarmId, Path, description = "The swarm's id")),
    responses(
        (status = 201, description = "The run was begun", body = WorkflowRunResource),
        (status = 200, description = "The run of an earlier request with the same idempotency key", body = WorkflowRunResource),
        BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn run_swarm(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Body(request): Body<RunSwarm>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    let begun = state.app.run_swarm(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.made(begun.is_new, begun.run))
}

/// Change how many agents a swarm has
///
/// Brings each named type to the number given: new agents join, idle ones end, the last to join first. Open runs go on with the agents they began with.
#[utoipa::path(
    post, path = "/swarm/{id}/scale", tag = "swarm", security(("ApiKeyAuth" = [])), request_body = ScaleSwarm,
    params(("id" = SwarmId, Path, description = "The swarm's id")),
    responses((status = 200, description = "The swarm", body = SwarmResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn scale_swarm(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Body(request): Body<ScaleSwarm>,
) -> Result<Bounded<SwarmResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.scale_swarm(caller.needs(Scope::Operate)?, id, request).await?))
}

/// Stop a swarm
///
/// Stops its runs and ends its agents, for good. What they made and found stays readable.
#[utoipa::path(
    post, path = "/swarm/{id}/stop", tag = "swarm", security(("ApiKeyAuth" = [])), request_body = StopSwarm,
    params(("id" = SwarmId, Path, description = "The swarm's id")),
    responses((status = 200, description = "The swarm", body = SwarmResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn stop_swarm(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<SwarmId>,
    Body(request): Body<StopSwarm>,
) -> Result<Bounded<SwarmResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.stop_swarm(caller.needs(Scope::Operate)?, id, request).await?))
}
