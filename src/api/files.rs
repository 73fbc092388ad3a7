//! `/tasks/{id}/files`, and `/files/…`: what came of tasks, as files.

use super::{
    bounded::Bounded,
    docs::public_url,
    extract::{Caller, Id, Params},
    openapi::responses::{Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::artifacts::{FileText, ReadTaskFile, TaskFiles, TaskFilesQuery},
    model::{id::TaskId, key::Scope},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// List the files that came of a task
///
/// The result, the structured answer and the diff of the changes as files with links that expire; with path also a file of the agent's workspace. Shows them as files to the user.
#[utoipa::path(
    get, path = "/tasks/{id}/files", tag = "tasks", security(("ApiKeyAuth" = [])),
    params(("id" = TaskId, Path, description = "The task's id"), TaskFilesQuery),
    responses((status = 200, description = "The files there are", body = TaskFiles), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_task_files(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
    Params(query): Params<TaskFilesQuery>,
) -> Result<Bounded<TaskFiles>, Problem> {
    let base = public_url(&state, &headers);
    Ok(state.bounded(StatusCode::OK, state.app.list_task_files(caller.needs(Scope::Read)?, id, query, &base).await?))
}

/// Read a file that came of a task, as text
///
/// For the whole of a result or diff that was shortened in an answer (see its `truncated`), or for a file of the agent's workspace. Give `next_cursor` as after to read on.
#[utoipa::path(
    get, path = "/tasks/{id}/files/text", tag = "tasks", security(("ApiKeyAuth" = [])),
    params(("id" = TaskId, Path, description = "The task's id"), ReadTaskFile),
    responses((status = 200, description = "A part of the file", body = FileText), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn read_task_file(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Params(query): Params<ReadTaskFile>,
) -> Result<Bounded<FileText>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.read_task_file(caller.needs(Scope::Read)?, id, query).await?))
}

/// Gives out a file by a link that has not expired. Not in the documents: links come with answers.
pub(super) async fn linked(
    State(state): State<ApiState>,
    Path((token, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let file = state.app.linked_file(&token, &name).await?;
    let header = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let plain: String =
        file.name.chars().map(|char| if char.is_ascii_graphic() && char != '"' && char != '\\' { char } else { '_' }).collect();
    let headers = [
        (header::CONTENT_TYPE, header(&file.mime_type)),
        // Never shown by a browser as a page of this origin.
        (header::CONTENT_DISPOSITION, header(&format!("attachment; filename=\"{plain}\""))),
    ];
    Ok((headers, file.bytes).into_response())
}
