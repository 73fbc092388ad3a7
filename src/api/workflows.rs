//! `/workflows`, `/workflow-runs` and `/sparc`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::{
        sparc::RunSparc,
        workflows::{
            AnswerWorkflowRun, CancelWorkflowRun, GetWorkflowRun, RunFile, RunFileQuery, RunWorkflow, WorkflowList,
            WorkflowRunPage, WorkflowRunQuery, WorkflowRunResource,
        },
    },
    model::{id::WorkflowRunId, key::Scope},
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};

/// List workflows
///
/// Shows what `run_workflow` can run: each workflow's stages, agent types and inputs. Files of the data directory that cannot be used are named with the reason.
#[utoipa::path(
    get, path = "/workflows", tag = "workflows", security(("ApiKeyAuth" = [])),
    responses((status = 200, description = "The workflows", body = WorkflowList), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_workflows(State(state): State<ApiState>, caller: Caller) -> Result<Bounded<WorkflowList>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(state.bounded(StatusCode::OK, state.app.list_workflows()))
}

/// Run a workflow
///
/// Has a team of agents work through the stages of a workflow: `code_development`, `deep_research`, `system_planning` and others (`list_workflows`). Returns at once; call `get_workflow_run` with `wait_seconds` until it has ended.
#[utoipa::path(
    post, path = "/workflows/{name}/run", tag = "workflows", security(("ApiKeyAuth" = [])), request_body = RunWorkflow,
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 201, description = "The run was begun", body = WorkflowRunResource),
        (status = 200, description = "The run of an earlier request with the same idempotency key", body = WorkflowRunResource),
        BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn run_workflow(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Body(request): Body<RunWorkflow>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    let begun = state.app.run_workflow(caller.needs(Scope::Operate)?, &name, request).await?;
    Ok(state.made(begun.is_new, begun.run))
}

/// List workflow runs, newest first
///
/// Shows your runs without their stages. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/workflow-runs", tag = "workflows", security(("ApiKeyAuth" = [])), params(WorkflowRunQuery),
    responses((status = 200, description = "A page of runs", body = WorkflowRunPage), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_workflow_runs(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<WorkflowRunQuery>,
) -> Result<Bounded<WorkflowRunPage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.list_workflow_runs(caller.needs(Scope::Read)?, &query).await?))
}

/// Get a workflow run with its stages
///
/// Shows where every stage stands, reviews with their issues, outputs, cost, and what the run waits for. With `wait_seconds` the answer comes when it has ended or waits for an answer.
#[utoipa::path(
    get, path = "/workflow-runs/{id}", tag = "workflows", security(("ApiKeyAuth" = [])),
    params(("id" = WorkflowRunId, Path, description = "The run's id"), GetWorkflowRun),
    responses((status = 200, description = "The run", body = WorkflowRunResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_workflow_run(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<WorkflowRunId>,
    Params(how): Params<GetWorkflowRun>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_workflow_run(caller.needs(Scope::Read)?, id, how).await?))
}

/// Stop a workflow run
///
/// Stops its open turns and ends its own agents. What is done so far stays readable.
#[utoipa::path(
    post, path = "/workflow-runs/{id}/cancel", tag = "workflows", security(("ApiKeyAuth" = [])), request_body = CancelWorkflowRun,
    params(("id" = WorkflowRunId, Path, description = "The run's id")),
    responses((status = 200, description = "The run", body = WorkflowRunResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn cancel_workflow_run(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<WorkflowRunId>,
    Body(request): Body<CancelWorkflowRun>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    let run = state.app.cancel_workflow_run(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.bounded(StatusCode::OK, run))
}

/// Answer what a workflow run waits for
///
/// A run whose status is waiting goes on with one of the options of each question in `waits_for`. Ask the user first.
#[utoipa::path(
    post, path = "/workflow-runs/{id}/answer", tag = "workflows", security(("ApiKeyAuth" = [])), request_body = AnswerWorkflowRun,
    params(("id" = WorkflowRunId, Path, description = "The run's id")),
    responses((status = 200, description = "The run", body = WorkflowRunResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn answer_workflow_run(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<WorkflowRunId>,
    Body(request): Body<AnswerWorkflowRun>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    let run = state.app.answer_workflow_run(caller.needs(Scope::Operate)?, id, request).await?;
    Ok(state.bounded(StatusCode::OK, run))
}

/// Read a file a workflow run left
///
/// Reads `summary.md` or another of the run's files as text. Long files come in parts: give `next_cursor` as after to read on.
#[utoipa::path(
    get, path = "/workflow-runs/{id}/file", tag = "workflows", security(("ApiKeyAuth" = [])),
    params(("id" = WorkflowRunId, Path, description = "The run's id"), RunFileQuery),
    responses((status = 200, description = "Part of the file", body = RunFile), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn read_workflow_run_file(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<WorkflowRunId>,
    Params(query): Params<RunFileQuery>,
) -> Result<Bounded<RunFile>, Problem> {
    let file = state.app.read_workflow_run_file(caller.needs(Scope::Read)?, id, &query).await?;
    Ok(state.bounded(StatusCode::OK, file))
}

/// Run SPARC
///
/// Has a team of agents work through specification, pseudocode, architecture, refinement with tests first, and completion; a reviewer judges every phase. Returns at once; call `get_workflow_run` with `wait_seconds` until it has ended.
#[utoipa::path(
    post, path = "/sparc/run", tag = "workflows", security(("ApiKeyAuth" = [])), request_body = RunSparc,
    responses(
        (status = 201, description = "The run was begun", body = WorkflowRunResource),
        (status = 200, description = "The run of an earlier request with the same idempotency key", body = WorkflowRunResource),
        BadBody, Conflict, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn run_sparc(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<RunSparc>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    let begun = state.app.run_sparc(caller.needs(Scope::Operate)?, request).await?;
    Ok(state.made(begun.is_new, begun.run))
}

/// Get a SPARC run with its phases
///
/// Shows where every phase stands, its reviews and outputs, cost, and what the run waits for. With `wait_seconds` the answer comes when it has ended or waits for an answer.
#[utoipa::path(
    get, path = "/sparc/{id}", tag = "workflows", security(("ApiKeyAuth" = [])),
    params(("id" = WorkflowRunId, Path, description = "The run's id"), GetWorkflowRun),
    responses((status = 200, description = "The run", body = WorkflowRunResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_sparc(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<WorkflowRunId>,
    Params(how): Params<GetWorkflowRun>,
) -> Result<Bounded<WorkflowRunResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_sparc(caller.needs(Scope::Read)?, id, how).await?))
}
