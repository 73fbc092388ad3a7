//! `/tasks`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::tasks::{CancelTask, CreateTask, GetTask, TaskPage, TaskQuery, TaskResource, UpdateTask},
    model::{id::TaskId, key::Scope},
};
use axum::{extract::State, http::StatusCode};

/// Create a task for an agent
///
/// Returns at once with the task, or, with `wait_seconds`, as soon as it has ended within that time. While status is not complete, failed or cancelled, call `get_task` with `wait_seconds`. Send an `idempotency_key` so that a repeated call does not start the work twice.
#[utoipa::path(
    post, path = "/tasks", tag = "tasks", security(("ApiKeyAuth" = [])), request_body = CreateTask,
    responses(
        (status = 201, description = "The task was created", body = TaskResource),
        (status = 200, description = "The task of an earlier request with the same idempotency_key", body = TaskResource),
        BadBody, Conflict, Guarded
    ),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn create_task(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<CreateTask>,
) -> Result<Bounded<TaskResource>, Problem> {
    let created = state.app.create_task(caller.needs(Scope::Operate)?, request).await?;
    Ok(state.made(created.is_new, created.task))
}

/// List tasks, newest first
///
/// Shows your tasks without their results; `get_task` shows one completely. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/tasks", tag = "tasks", security(("ApiKeyAuth" = [])), params(TaskQuery),
    responses((status = 200, description = "A page of tasks", body = TaskPage), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_tasks(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<TaskQuery>,
) -> Result<Bounded<TaskPage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.list_tasks(caller.needs(Scope::Read)?, &query).await?))
}

/// Get a task with its progress and result
///
/// With `wait_seconds` (up to 40) the answer comes when the task ends or the time is over. With after it also holds the events after that cursor and comes as soon as there are some. Call again while status is not complete, failed or cancelled.
#[utoipa::path(
    get, path = "/tasks/{id}", tag = "tasks", security(("ApiKeyAuth" = [])),
    params(("id" = TaskId, Path, description = "The task's id"), GetTask),
    responses((status = 200, description = "The task", body = TaskResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_task(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Params(how): Params<GetTask>,
) -> Result<Bounded<TaskResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_task(caller.needs(Scope::Read)?, id, how).await?))
}

/// Change the title or priority of a task, or cancel it
///
/// The only status that can be asked for is cancelled. A change the task's status does not allow gives 409 and says what is allowed.
#[utoipa::path(
    patch, path = "/tasks/{id}", tag = "tasks", security(("ApiKeyAuth" = [])), request_body = UpdateTask,
    params(("id" = TaskId, Path, description = "The task's id")),
    responses((status = 200, description = "The task after the change", body = TaskResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn update_task(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Body(change): Body<UpdateTask>,
) -> Result<Bounded<TaskResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.update_task(caller.needs(Scope::Operate)?, id, change).await?))
}

/// Cancel a task
///
/// A waiting task ends at once; a running agent is told to stop and the answer comes when it has, or after `wait_seconds`. Cancelling a cancelled task is fine; a complete or failed one gives 409.
#[utoipa::path(
    post, path = "/tasks/{id}/cancel", tag = "tasks", security(("ApiKeyAuth" = [])), request_body = CancelTask,
    params(("id" = TaskId, Path, description = "The task's id")),
    responses((status = 200, description = "The task, cancelled or being stopped", body = TaskResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn cancel_task(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Body(how): Body<CancelTask>,
) -> Result<Bounded<TaskResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.cancel_task(caller.needs(Scope::Operate)?, id, how).await?))
}
