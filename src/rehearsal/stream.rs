//! Streams a message as server-sent events, with the pauses, hangs and breaks its step asks for.

use super::{plan::Step, reply::Message};
use axum::body::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use std::{collections::VecDeque, io, num::NonZeroUsize, time::Duration};
use tokio_util::sync::CancellationToken;

/// The signature of thinking blocks: "rehearsal" in base64.
pub(super) const SIGNATURE: &str = "cmVoZWFyc2Fs";
/// How far apart pings are while hanging.
const HANG_PING: Duration = Duration::from_secs(1);

/// One thing to do while streaming.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cue {
    /// Send an event.
    Say(Bytes),
    /// Do nothing for a while.
    Wait(Duration),
    /// Send pings until `left` is over.
    Pings { every: Duration, left: Duration },
    /// Break the connection.
    Drop,
}

fn say(data: &Value) -> Cue {
    let name = data["type"].as_str().unwrap_or_default();
    Cue::Say(format!("event: {name}\ndata: {data}\n\n").into())
}

/// Everything to do for a message, in order.
pub(super) fn cues(message: &Message, step: &Step) -> VecDeque<Cue> {
    let mut cues = VecDeque::new();
    if let Some(every) = step.ping_ms {
        cues.push_back(Cue::Pings {
            every: Duration::from_millis(every.get()),
            left: Duration::from_millis(step.first_delay_ms),
        });
    }
    let mut usage = message.usage.clone();
    usage.insert("output_tokens".to_owned(), json!(1));
    cues.push_back(say(&json!({"type": "message_start", "message": {"id": message.id, "type": "message", "role": "assistant",
        "model": message.model, "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}})));
    if let Some(left) = step.hang {
        cues.push_back(Cue::Pings { every: HANG_PING, left });
        return cues;
    }
    let mut sent = 0;
    for (index, block) in message.blocks.iter().enumerate() {
        let (start, deltas) = pieces(block, step.chunks);
        cues.push_back(say(&json!({"type": "content_block_start", "index": index, "content_block": start})));
        for delta in deltas {
            if step.drop_after == Some(sent) {
                break;
            }
            cues.push_back(say(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
            sent += 1;
            if step.delay_ms > 0 {
                cues.push_back(Cue::Wait(Duration::from_millis(step.delay_ms)));
            }
        }
        if step.drop_after == Some(sent) {
            cues.push_back(Cue::Drop);
            return cues;
        }
        if block["type"] == "thinking" {
            let signature = block["signature"].as_str().unwrap_or(SIGNATURE);
            let delta = json!({"type": "signature_delta", "signature": signature});
            cues.push_back(say(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
        }
        cues.push_back(say(&json!({"type": "content_block_stop", "index": index})));
    }
    if let Some(error) = &step.stream_error {
        cues.push_back(say(&json!({"type": "error", "error": {"type": error.kind, "message": error.message}})));
        return cues;
    }
    let output = message.usage.get("output_tokens").unwrap_or(&Value::Null);
    cues.push_back(say(&json!({"type": "message_delta", "usage": {"output_tokens": output},
        "delta": {"stop_reason": message.stop_reason, "stop_sequence": null}})));
    cues.push_back(say(&json!({"type": "message_stop"})));
    cues
}

/// A block as it starts, and the deltas that complete it.
fn pieces(block: &Value, chunks: Option<NonZeroUsize>) -> (Value, Vec<Value>) {
    let split = |field: &str| {
        let text = block[field].as_str().unwrap_or_default();
        chunks.map_or_else(|| words(text), |count| cut(text, count))
    };
    match block["type"].as_str() {
        Some("text") => {
            let deltas = split("text").into_iter().map(|piece| json!({"type": "text_delta", "text": piece}));
            (json!({"type": "text", "text": ""}), deltas.collect())
        }
        Some("thinking") => {
            let deltas = split("thinking").into_iter().map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas.collect())
        }
        Some("tool_use") => {
            let input = block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            let count = chunks.or(NonZeroUsize::new(2)).unwrap_or(NonZeroUsize::MIN);
            let deltas = cut(&input, count).into_iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            (json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}), deltas.collect())
        }
        _ => (block.clone(), Vec::new()),
    }
}

/// Words, each with the white space after it; at least one piece.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut after_space = false;
    for (at, character) in text.char_indices() {
        if after_space && !character.is_whitespace() {
            words.push(&text[start..at]);
            start = at;
        }
        after_space = character.is_whitespace();
    }
    words.push(&text[start..]);
    words
}

/// At most `count` pieces of equal length in characters; at least one piece.
fn cut(text: &str, count: NonZeroUsize) -> Vec<&str> {
    let size = text.chars().count().div_ceil(count.get()).max(1);
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(size) {
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces.push(rest);
    pieces
}

/// Does what the cues say. An error makes the HTTP server break the connection without ending the body;
/// that happens on [`Cue::Drop`] and on `stop`.
pub(super) fn play(cues: VecDeque<Cue>, stop: CancellationToken) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((cues, stop)), async |state| {
        let (mut cues, stop) = state?;
        let broken = |why: &str| Some((Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)), None));
        loop {
            if stop.is_cancelled() {
                return broken("the rehearsal model stops");
            }
            match cues.pop_front()? {
                Cue::Say(event) => return Some((Ok(event), Some((cues, stop)))),
                Cue::Wait(time) => sleep(time, &stop).await,
                Cue::Pings { left: Duration::ZERO, .. } => {}
                Cue::Pings { every, left } => {
                    let nap = every.min(left);
                    sleep(nap, &stop).await;
                    cues.push_front(Cue::Pings { every, left: left.saturating_sub(nap) });
                    cues.push_front(say(&json!({"type": "ping"})));
                }
                Cue::Drop => {
                    // The server discards what it has not written yet when a body fails; this lets it write.
                    tokio::task::yield_now().await;
                    return broken("rehearsed break of the connection");
                }
            }
        }
    })
}

/// Sleeps, but no longer than until `stop`.
pub(super) async fn sleep(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_without_loss() {
        assert_eq!(words("a bc \n d"), ["a ", "bc \n ", "d"]);
        assert_eq!(words("  a"), ["  ", "a"]);
        assert_eq!(words(""), [""]);
        let cut = |text, count| cut(text, NonZeroUsize::new(count).unwrap());
        assert_eq!(cut("äbcde", 2), ["äbc", "de"]);
        assert_eq!(cut("ab", 9), ["a", "b"]);
        assert_eq!(cut("", 3), [""]);
    }
}
