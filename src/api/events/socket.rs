//! The log of all events over a WebSocket: one frame per event, pulled from the store as the client takes them.

use super::KEEP_ALIVE;
use crate::{
    api::problem::Problem,
    app::{
        error::AppError,
        events::log::{EventReader, LogEvent},
    },
};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde::Deserialize;
use serde_json::json;
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Longest message a client may send.
pub(super) const MOST_BYTES: usize = 1 << 16;
/// How long a client may take to hear why the connection ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a client may say: where to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    after: i64,
}

/// Why the connection ends.
enum End {
    /// The client went away.
    Gone,
    /// The server stops.
    Shutdown,
    /// Something is wrong, and the client is told what.
    Told(u16, Problem),
}

impl From<AppError> for End {
    fn from(error: AppError) -> Self {
        let code = match error {
            AppError::InvalidKey | AppError::Validation(_) => close_code::POLICY,
            _ => close_code::ERROR,
        };
        Self::Told(code, error.into())
    }
}

/// Sends events and follows the client's wishes until one of the two ends it.
pub(super) async fn serve(mut socket: WebSocket, mut reader: EventReader, stop: CancellationToken) {
    let Err(end) = talk(&mut socket, &mut reader, &stop).await;
    let (code, reason) = match &end {
        End::Gone => (None, ""),
        End::Shutdown => (Some(close_code::AWAY), "the server stops; connect again and go on after the last cursor"),
        End::Told(code, problem) => (Some(*code), problem.code),
    };
    let farewell = async {
        if let End::Told(_, problem) = &end {
            let error = json!({ "error": { "code": problem.code, "detail": problem.detail } });
            let _ = socket.send(Message::text(error.to_string())).await;
        }
        if let Some(code) = code {
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        }
        // Unread input would make the system take back what was just sent.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    // A client that takes nothing does not hold up anybody.
    let _ = timeout(FAREWELL, farewell).await;
}

async fn talk(
    socket: &mut WebSocket,
    reader: &mut EventReader,
    stop: &CancellationToken,
) -> Result<std::convert::Infallible, End> {
    let mut pings = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    loop {
        let message = tokio::select! {
            // Wishes before events, so that a client that wants to be elsewhere gets there.
            biased;
            () = stop.cancelled() => return Err(End::Shutdown),
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => { follow(&text, reader)?; continue }
                Some(Ok(Message::Binary(_))) => return Err(refusal()),
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
            },
            _ = pings.tick() => Message::Ping(axum::body::Bytes::new()),
            event = reader.next() => match event {
                Some(Ok(event)) => frame(&event)?,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(End::Shutdown),
            },
        };
        send(socket, message, reader, stop).await?;
    }
}

/// Sends, as long as the client takes and may.
async fn send(socket: &mut WebSocket, message: Message, reader: &mut EventReader, stop: &CancellationToken) -> Result<(), End> {
    let mut sending = pin!(socket.send(message));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(End::Shutdown),
            sent = &mut sending => return sent.map_err(|_| End::Gone),
            () = sleep_until(reader.key_due()) => reader.check_key().await?,
        }
    }
}

fn frame(event: &LogEvent) -> Result<Message, End> {
    let text = serde_json::to_string(&json!({ "cursor": event.cursor, "event": event }));
    text.map(Message::text).map_err(|error| AppError::Internal(format!("an event is not JSON: {error}")).into())
}

fn follow(text: &str, reader: &mut EventReader) -> Result<(), End> {
    // serde would take an array for the fields in order.
    let seek = serde_json::from_str(text).ok().filter(|_| text.trim_start().starts_with('{'));
    let Seek { after } = seek.ok_or_else(refusal)?;
    Ok(reader.seek(after)?)
}

fn refusal() -> End {
    AppError::field("", "send {\"after\": N} to go on after cursor N, and nothing else; connect again").into()
}
