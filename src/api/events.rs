//! `/tasks/{id}/events` and `/events`: a page as JSON, or a live stream for `Accept: text/event-stream`; all events also over
//! a WebSocket.

mod socket;

use super::{
    extract::{Caller, Id, Params},
    meter::OpenStream,
    openapi::responses::{Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::{
        error::AppError,
        events::{
            EventPage, EventQuery, StreamItem,
            log::{EventLogPage, EventLogQuery, EventReader, LogEvent},
        },
    },
    model::{id::TaskId, key::Scope},
};
use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
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
        return Ok(state.bounded(StatusCode::OK, state.app.list_task_events(who, id, query).await?).into_response());
    }
    let after = match last_event_id(&headers)? {
        Some(seen) => seen,
        None => query.after.unwrap_or(0),
    };
    // Without `take_until` a graceful shutdown would wait for every open stream.
    let items = state.app.stream_task_events(who, id, after).await?.take_until(state.stop.clone().cancelled_owned());
    let open = OpenStream::new("sse");
    let items = items.map(move |item| {
        let _is_open = &open;
        frame(item)
    });
    let stream = Sse::new(items).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

/// Read all events
///
/// All events you may see, oldest first, as a page. Give `next_cursor` as after to read on; with `wait_seconds` the answer comes with the first new event.
#[utoipa::path(
    get, path = "/events", tag = "events", security(("ApiKeyAuth" = [])),
    params(
        ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "With `Accept: text/event-stream` this path streams all events live and does not end: `id` is the event's cursor, `event` its kind, `data` its JSON. Send the last id seen to resume. A WebSocket handshake is answered with one frame {\"cursor\",\"event\"} per event, live; send {\"after\":N} to go on after N."),
        EventLogQuery
    ),
    responses(
        (status = 200, description = "The events",
            content((EventLogPage = "application/json"), (String = "text/event-stream", example = "id: 1207\nevent: message\ndata: {\"cursor\":1207,\"seq\":3,\"kind\":\"message\",\"data\":{\"text\":\"Done.\"}}\n\n"))),
        Missing, Guarded
    ),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn list_events(
    State(state): State<ApiState>,
    caller: Caller,
    Params(mut query): Params<EventLogQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let who = caller.needs(Scope::Read)?;
    let is_socket = wants_socket(&headers);
    if !is_socket && !wants_stream(&headers) {
        return Ok(state.bounded(StatusCode::OK, state.app.list_events(who, &query).await?).into_response());
    }
    if let Some(seen) = last_event_id(&headers)? {
        // A client that comes back wants what it has not seen, wherever it began.
        (query.after, query.last) = (Some(seen), None);
    }
    let reader = state.app.stream_events(who, &query).await?;
    if !is_socket {
        let open = OpenStream::new("sse");
        let frames = events(reader).map(move |item| {
            let _is_open = &open;
            log_frame(item)
        });
        let stream = frames.take_until(state.stop.clone().cancelled_owned());
        return Ok(
            ([("x-accel-buffering", "no")], Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
        );
    }
    let upgrade = upgrade.map_err(|rejection| {
        let detail =
            format!("this is not a WebSocket handshake: {}; leave out the Upgrade header for JSON", rejection.body_text());
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    })?;
    // Counted until it has ended, so that a shutdown waits for its last frames.
    let token = state.sockets.token();
    let upgrade = upgrade.max_message_size(socket::MOST_BYTES).max_frame_size(socket::MOST_BYTES);
    Ok(upgrade.on_upgrade(async move |connection| {
        let _open = OpenStream::new("websocket");
        socket::serve(connection, reader, state.stop).await;
        drop(token);
    }))
}

/// Everything a reader gives, up to its first error.
fn events(reader: EventReader) -> impl Stream<Item = Result<LogEvent, AppError>> + Send + 'static {
    stream::unfold(Some(reader), async |reader| {
        let mut reader = reader?;
        let item = reader.next().await?;
        let rest = item.is_ok().then_some(reader);
        Some((item, rest))
    })
}

fn log_frame(item: Result<LogEvent, AppError>) -> Result<Event, axum::Error> {
    match item {
        Ok(event) => Event::default().id(event.cursor.to_string()).event(event.event.kind.name()).json_data(&event),
        Err(error) => Event::default().event("error").json_data(Problem::from(error)),
    }
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

fn wants_socket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
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
