//! The rehearsal model: a scripted Anthropic Messages API on loopback, so that real CLI agents can be
//! run end to end without an account, a cost or a network.
//!
//! How an answer is chosen, first hit wins:
//! 1. A directive in the newest human text: `REHEARSE:` followed by a JSON object, which is a plan
//!    `{"steps":[step, …]}` or a single step. Other text may surround it; the last directive counts.
//! 2. The first rule of the rules file whose pattern matches the newest human text.
//! 3. The request offers a `StructuredOutput` tool that was not used yet: an instance of its schema.
//! 4. A few lines that fit the agent's role and start with "Rehearsal".
//!
//! The step played is the number of answers since that human text, so no conversation state is kept here
//! and retries, resumed sessions and many agents at once work. Fields of a step, all optional:
//!
//! | field | meaning |
//! |---|---|
//! | `text`, `thinking` | a text block, a thinking block before it |
//! | `tool_use` | `{"name", "input", "id"?}` or a list of them, after the text |
//! | `blocks` | raw content blocks instead of the three above |
//! | `stop_reason` | default `tool_use` when a tool is used, else `end_turn` |
//! | `usage` | merged over `{"input_tokens": 10, "output_tokens": 5}` |
//! | `model`, `headers` | the model named in the answer, extra response headers |
//! | `chunks` | pieces per block when streaming; default: text by words, tool input in 2 |
//! | `delay_ms` | pause after each streamed piece |
//! | `first_delay_ms` | pause before the response headers |
//! | `ping_ms` | streaming: send the headers at once and spend `first_delay_ms` on pings this far apart |
//! | `hang` | streaming: after `message_start` only pings for this many seconds, then the end |
//! | `drop_after` | streaming: break the connection after this many pieces |
//! | `stream_error` | `{"type", "message"}`: an error event instead of the end of the message |
//! | `error` | `{"status", "type", "message", "headers"}`: an HTTP error instead of an answer |
//! | `times` | with `error`: only for the first so many attempts in a session |
//!
//! `GET /rehearsal/requests` shows what the last requests held, newest last: what a model would have got to see.
//!
//! Requests that do not stream ignore the streaming fields. A directive with a field that is unknown or of
//! the wrong type is answered with HTTP 400, which CLIs do not retry and do show.

mod answer;
mod choose;
mod conversation;
mod fields;
mod instance;
mod listen;
mod number;
mod plan;
mod reply;
mod routes;
mod rules;
mod stream;
#[cfg(test)]
mod tests;

pub use listen::bind;
pub use rules::{Rule, RulesError, load_rules};

use axum::serve::ListenerExt;
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long connections may take to close after a stop; open streams break off at once.
const GRACE: Duration = Duration::from_millis(500);

/// Answers on `listener` until `stop` is cancelled, then breaks off open streams and returns.
pub async fn serve(listener: TcpListener, rules: Vec<Rule>, stop: CancellationToken) -> io::Result<()> {
    let app = routes::router(Arc::new(routes::Stage::new(rules, stop.clone())));
    // Events are small: without this the kernel would hold them back to fill packets.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "rehearsal: connection without TCP_NODELAY");
        }
    });
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = overdue => Ok(()),
    }
}
