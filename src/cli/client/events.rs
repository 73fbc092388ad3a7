//! A stream of events that outlives its connections.

use super::{
    Client, ClientError,
    error::Attempt,
    sse::{Frame, Parser},
};
use reqwest::{Method, Response, Url};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};
use tokio::time::{sleep, timeout};

/// The server says something every 15 s, if only that it is there.
const SILENCE: Duration = Duration::from_secs(50);
/// Waits between the tries to get a broken stream back; after the last one it is given up.
const PAUSES: [u64; 7] = [0, 1, 1, 2, 4, 8, 16];

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct ServerEvent {
    /// Its place, to go on after: the seq in streams of a task, else the cursor. The last word of a stream has none.
    pub(in crate::cli) id: Option<i64>,
    /// Its kind, such as `message`; `end` is the last word of a task's stream.
    pub(in crate::cli) kind: String,
    /// What it says.
    pub(in crate::cli) data: Value,
}

/// Events as they come. Made by [`Client::events`].
#[derive(Debug)]
pub(in crate::cli) struct EventStream {
    client: Client,
    url: Url,
    /// The last one seen.
    after: Option<i64>,
    response: Option<Response>,
    parser: Parser,
    ready: VecDeque<Frame>,
    /// Tries in a row that brought nothing.
    failures: usize,
    has_begun: bool,
    has_ended: bool,
}

impl EventStream {
    pub(super) fn new(client: Client, url: Url, after: Option<i64>) -> Self {
        Self {
            client,
            url,
            after,
            response: None,
            parser: Parser::default(),
            ready: VecDeque::new(),
            failures: 0,
            has_begun: false,
            has_ended: false,
        }
    }

    /// The next event; `None` after the last one, which is an error or `end`. Dropping the future loses nothing, so it may stand in a `select!`.
    pub(in crate::cli) async fn next(&mut self) -> Option<Result<ServerEvent, ClientError>> {
        loop {
            if self.has_ended {
                return None;
            }
            if let Some(frame) = self.ready.pop_front() {
                return Some(self.event(frame));
            }
            if let Err(error) = self.fill().await {
                self.has_ended = true;
                return Some(Err(error));
            }
        }
    }

    fn event(&mut self, frame: Frame) -> Result<ServerEvent, ClientError> {
        let data: Value = serde_json::from_str(&frame.data).unwrap_or(Value::String(frame.data));
        self.after = frame.id.or(self.after);
        self.has_ended = ["end", "error"].contains(&frame.event.as_str()) && frame.id.is_none();
        if self.has_ended && frame.event == "error" {
            let words = data["detail"].as_str().unwrap_or("the server ended the stream").to_owned();
            return Err(ClientError::Broken(words));
        }
        Ok(ServerEvent { id: frame.id, kind: frame.event, data })
    }

    /// Reads what comes next, by a new connection if there is none.
    async fn fill(&mut self) -> Result<(), ClientError> {
        let Some(response) = &mut self.response else { return self.connect().await };
        match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.failures = 0;
                self.ready.extend(self.parser.push(&bytes));
            }
            // Ended, broken or silent: the next one begins after the last event seen.
            Ok(Ok(None) | Err(_)) | Err(_) => self.response = None,
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        if self.has_begun {
            sleep(Duration::from_secs(PAUSES[self.failures.min(PAUSES.len() - 1)])).await;
        }
        let mut request = self.client.request(Method::GET, self.url.clone(), "text/event-stream");
        if let Some(after) = self.after {
            request = request.header("last-event-id", after);
        }
        match self.client.attempt(request).await {
            Ok(response) => {
                self.parser = Parser::default();
                self.has_begun = true;
                // A server that accepts and says nothing counts as well.
                self.failures += 1;
                self.response = Some(response);
                Ok(())
            }
            Err(failed) => {
                self.failures += 1;
                let is_lasting = matches!(&failed, Attempt::Final(ClientError::Refused(_) | ClientError::Broken(_)));
                if !self.has_begun || is_lasting || self.failures >= PAUSES.len() { Err(failed.into_error()) } else { Ok(()) }
            }
        }
    }
}
