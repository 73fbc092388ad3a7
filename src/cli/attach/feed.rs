//! News of an agent, from its last events on and then as they come, over any number of connections: no event is missed, and none
//! comes twice.

use super::{link::Link, session::News, view::AgentEvent};
use crate::cli::{client::ClientError, harmless::harmless_value};
use serde_json::Value;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Kinds that make up the transcript. Pieces of text are for those who see it being written.
const KINDS: &str = "message,thinking,tool_call,tool_result,status,retry,rate_limit,result,process,raw";
/// When to look at the agent: events say what it does, but not all of how it stands.
const AFTER_AN_EVENT: Duration = Duration::from_millis(100);
const WHILE_IT_WORKS: Duration = Duration::from_secs(1);
const WHILE_IT_RESTS: Duration = Duration::from_secs(3);
/// Between two tries to reach the server again.
const PAUSE: Duration = Duration::from_millis(500);

/// Why there is no more news.
enum Stop {
    /// Nobody listens.
    Unheard,
    /// The server may come back.
    Lost(ClientError),
    /// It is of no use to ask again.
    Refused(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused(refusal) if refusal.status < 500 && refusal.status != 429 => Self::Refused(error),
            _ => Self::Lost(error),
        }
    }
}

/// Where news come from.
pub(super) struct Feed {
    link: Link,
    /// Events to begin with.
    history: u32,
    news: mpsc::Sender<News>,
    /// The last event told of.
    cursor: Option<i64>,
    is_connected: bool,
}

impl Feed {
    pub(super) fn new(link: Link, history: u32, news: mpsc::Sender<News>) -> Self {
        Self { link, history, news, cursor: None, is_connected: false }
    }

    /// Tells of what there is so far.
    pub(super) async fn up_to_now(mut self) {
        match self.begin().await {
            Ok(true) => drop(self.tell(News::Ended).await),
            Ok(false) | Err(Stop::Unheard) => {}
            Err(Stop::Lost(error) | Stop::Refused(error)) => drop(self.tell(News::Failed(error)).await),
        }
    }

    /// Tells of everything until the agent has ended.
    pub(super) async fn follow(mut self) {
        loop {
            match self.listen().await {
                Ok(()) => return drop(self.tell(News::Ended).await),
                Err(Stop::Unheard) => return,
                // What was there a moment ago comes back; what never was may be the wrong address.
                Err(Stop::Lost(_)) if self.cursor.is_some() => {
                    self.is_connected = false;
                    if self.tell(News::Connected(false)).await.is_err() {
                        return;
                    }
                    sleep(PAUSE).await;
                    self.link.look_again();
                }
                Err(Stop::Lost(error) | Stop::Refused(error)) => return drop(self.tell(News::Failed(error)).await),
            }
        }
    }

    /// One connection, until it is lost or the agent has ended.
    async fn listen(&mut self) -> Result<(), Stop> {
        if self.begin().await? {
            return Ok(());
        }
        let mut stream = self.link.stream(self.cursor.unwrap_or_default())?;
        let mut look = Instant::now() + WHILE_IT_WORKS;
        loop {
            tokio::select! {
                event = stream.next() => match event {
                    Some(event) => {
                        let event = harmless_value(event?.data);
                        if event["kind"] != "delta" {
                            look = look.min(Instant::now() + AFTER_AN_EVENT);
                        }
                        self.event(&event).await?;
                    }
                    None => return Err(Stop::Lost(ClientError::Broken("the stream of events ended".into()))),
                },
                () = sleep_until(look) => {
                    let agent = self.link.agent().await?;
                    let (has_ended, is_working) = (agent.status.is_ended(), agent.is_working());
                    self.tell(News::Agent(Box::new(agent))).await?;
                    if has_ended {
                        return self.catch_up().await;
                    }
                    look = Instant::now() + if is_working { WHILE_IT_WORKS } else { WHILE_IT_RESTS };
                }
            }
        }
    }

    /// Tells how the agent stands and what happened since the last event told of; whether it has ended.
    async fn begin(&mut self) -> Result<bool, Stop> {
        // The agent before its events: an ended one then comes with all of them.
        let agent = self.link.agent().await?;
        let has_ended = agent.status.is_ended();
        self.tell(News::Agent(Box::new(agent))).await?;
        self.catch_up().await?;
        if !self.is_connected {
            self.is_connected = true;
            self.tell(News::Connected(true)).await?;
        }
        Ok(has_ended)
    }

    /// Tells of all events after the last one told of, page by page.
    async fn catch_up(&mut self) -> Result<(), Stop> {
        loop {
            let begin = match self.cursor {
                Some(after) => ("after", after.to_string()),
                None => ("last", self.history.max(1).to_string()),
            };
            let query = [("agent_id", self.link.id().to_owned()), ("kind", KINDS.into()), ("limit", "200".into()), begin];
            let page = self.link.events(&query).await?;
            let events = page["events"].as_array().map_or(&[][..], Vec::as_slice);
            let is_first = self.cursor.is_none();
            if is_first && events.first().is_some_and(|event| event["agent_seq"].as_i64() > Some(1)) {
                self.tell(News::Skipped).await?;
            }
            if !is_first || self.history > 0 {
                for event in events {
                    self.event(event).await?;
                }
            }
            self.cursor = self.cursor.max(page["next_cursor"].as_i64());
            if page["has_more"] != true {
                return Ok(());
            }
        }
    }

    async fn event(&mut self, event: &Value) -> Result<(), Stop> {
        let Some(event) = AgentEvent::read(event).filter(|event| self.cursor < Some(event.cursor)) else { return Ok(()) };
        let cursor = event.cursor;
        if let Some((task, joined)) = event.prompt()
            && let Some(text) = self.link.prompt(&task).await?
        {
            self.tell(News::Prompt { text, joined }).await?;
        }
        self.tell(News::Event(Box::new(event))).await?;
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Stop> {
        self.news.send(news).await.map_err(|_| Stop::Unheard)
    }
}
