//! `/tasks/{id}/events`: a page as JSON, or a live stream for `Accept: text/event-stream`.

use super::{
    bounded::Bounded,
    extract::{Caller, Id, Params},
    openapi::responses::{Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::events::{EventPage, EventQuery, StreamItem},
    model::{id::TaskId, key::Scope},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::StreamExt;
use std::time::Duration;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: &str = "last-event-id";

/// Read the events of a task
///
/// A page of captured events, oldest first. Give `next_cursor` as after to read on; with `wait_seconds` the answer comes as soon as there is a new event or the task has ended.
#[utoipa::path(
    get, path = "/tasks/{id}/events", tag = "tasks", security(("ApiKeyAuth" = [])),
    params(
        ("id" = TaskId, Path, description = "The task's id"),
        ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "With `Accept: text/event-stream` this path streams all events live: `id` is the event's seq, `event` its kind, `data` its JSON; a last `end` event without id carries the final status. Send the last id seen to resume."),
        EventQuery
    ),
    responses(
        (status = 200, description = "The events",
            content((EventPage = "application/json"), (String = "text/event-stream", example = "id: 3\nevent: message\ndata: {\"seq\":3,\"kind\":\"message\",\"data\":{\"text\":\"Done.\"}}\n\n"))),
        Missing, Guarded
    ),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_task_events(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<TaskId>,
    Params(query): Params<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let who = caller.needs(Scope::Read)?;
    if !wants_stream(&headers) {
        return Ok(Bounded(StatusCode::OK, state.app.list_task_events(who, id, query).await?).into_response());
    }
    let after = match last_event_id(&headers)? {
        Some(seen) => seen,
        None => query.after.unwrap_or(0),
    };
    // Without `take_until` a graceful shutdown would wait for every open stream.
    let items = state.app.stream_task_events(who, id, after).await?.take_until(state.stop.clone().cancelled_owned());
    let stream = Sse::new(items.map(frame)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

fn frame(item: StreamItem) -> Result<Event, axum::Error> {
    match item {
        StreamItem::Event(event) => Event::default().id(event.seq.to_string()).event(event.kind.name()).json_data(&event),
        StreamItem::End(status) => Event::default().event("end").json_data(serde_json::json!({ "status": status })),
        StreamItem::Broken(error) => Event::default().event("error").json_data(Problem::from(error)),
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.split(',').any(|part| part.trim().to_ascii_lowercase().starts_with("text/event-stream")))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let seen = text.parse().ok().filter(|seen| *seen >= 0);
    seen.map(Some)
        .ok_or_else(|| Problem::invalid("Last-Event-ID", "is not an event id; ids are whole numbers from 1, as in the stream"))
}
