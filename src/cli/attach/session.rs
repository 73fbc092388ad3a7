//! What is known of the agent, and what each piece of news adds to the transcript. Pure: news in, lines out.

use super::{
    line::Line,
    render::{self, Turn, bad, faint, plain, remark, warning},
    view::{AgentEvent, AgentView},
};
use crate::{
    cli::client::ClientError,
    model::{agent::AgentStatus, event::EventKind},
};
use crossterm::style::Stylize;

/// Characters kept of a text that is being written; more is never shown at once.
const LIVE_CHARS: usize = 4_000;

/// Something new.
#[derive(Debug)]
pub(super) enum News {
    /// The agent as it stands now.
    Agent(Box<AgentView>),
    /// An event of it.
    Event(Box<AgentEvent>),
    /// A text has come to the agent.
    Prompt {
        text: String,
        /// Whether into the running turn.
        joined: bool,
    },
    /// There are earlier events that are not shown.
    Skipped,
    /// Whether the server can be reached.
    Connected(bool),
    /// What came of something the user did.
    Told(Told),
    /// The agent has ended, and everything of it was told.
    Ended,
    /// It is of no use to go on; the last news.
    Failed(ClientError),
}

/// What came of something the user did.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A text has reached the server.
    Sent,
    /// A turn was stopped.
    Interrupted {
        /// It has not stopped in time.
        is_stopping: bool,
        /// Something else was sent that has its turn now.
        has_more: bool,
    },
    /// There was no turn to stop.
    WasIdle,
    /// It did not work.
    Refused(String),
}

/// How the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Connection {
    /// It has not been yet.
    #[default]
    New,
    Live,
    Lost,
}

/// The state of a look at an agent.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) agent: Option<AgentView>,
    pub(super) connection: Connection,
    /// The model that answers, as it says.
    pub(super) model: Option<String>,
    /// The text that is being written.
    pub(super) live: String,
    /// Whether the user has asked to stop the turn and has no answer yet.
    pub(super) is_interrupting: bool,
    /// What the CLI said of itself at the beginning of the last turn.
    started: Option<String>,
    turn: Turn,
    /// Whether its result has come. How the agent stands is known a little later.
    is_turn_over: bool,
    cursor: i64,
}

impl Session {
    /// Takes in news; the lines they add to the transcript.
    pub(super) fn take(&mut self, news: News) -> Vec<Line> {
        match news {
            News::Agent(agent) => self.agent(*agent),
            News::Event(event) => self.event(*event),
            News::Prompt { text, joined } => {
                if !joined {
                    self.turn = Turn::default();
                    self.live.clear();
                }
                render::prompt(&text, joined)
            }
            News::Skipped => vec![remark("earlier events are left out; --history N shows more", faint())],
            News::Connected(is_connected) => self.connected(is_connected),
            News::Told(told) => self.told(told),
            News::Ended => self.ended(),
            // Whoever asked for the look is told.
            News::Failed(_) => vec![],
        }
    }

    /// Whether the agent has a turn to stop.
    pub(super) fn is_working(&self) -> bool {
        self.agent.as_ref().is_some_and(AgentView::is_working)
    }

    fn agent(&mut self, agent: AgentView) -> Vec<Line> {
        let before = self.agent.as_ref().map(|agent| agent.status);
        let mut lines = vec![];
        if before.is_none() {
            let rehearsed = if agent.provenance == "rehearsal" { ", in rehearsal: scripted answers" } else { "" };
            let words = format!("{} · {} in project {}{rehearsed}", agent.name, agent.agent_type, agent.project);
            lines.push(Line::styled(words, plain().bold()));
            lines.push(Line::styled(agent.id.as_str(), faint()));
        } else if before != Some(agent.status) && agent.status == AgentStatus::Parked {
            lines.push(remark("parked: it rests without a process and goes on with its next message", faint()));
        }
        if !agent.is_working() {
            self.live.clear();
        }
        self.agent = Some(agent);
        lines
    }

    fn event(&mut self, event: AgentEvent) -> Vec<Line> {
        // A resumed stream may begin with what was seen.
        if event.cursor <= self.cursor {
            return vec![];
        }
        self.cursor = event.cursor;
        let Some(kind) = event.kind else {
            return vec![remark("an event that this version of mas does not know", faint())];
        };
        let mut lines = render::event(&kind, &self.turn);
        match kind {
            // The CLI says so with every turn.
            EventKind::Status { state, detail } if state == "session_started" => {
                if self.started == detail {
                    lines.clear();
                }
                self.started = detail;
            }
            EventKind::Delta { text } => {
                self.live.push_str(&text);
                let surplus = self.live.chars().count().saturating_sub(LIVE_CHARS);
                if surplus > 0 {
                    self.live = self.live.chars().skip(surplus).collect();
                }
            }
            EventKind::Message { text, model, parent_tool_use_id: None } => {
                self.model = model.or(self.model.take());
                self.turn.last_text = text;
                self.live.clear();
            }
            EventKind::Status { state, .. } if state == "cancelling" => self.turn.is_stopped = true,
            EventKind::Status { state, .. } if state == "assigned" => self.is_turn_over = false,
            EventKind::Result { .. } => {
                self.is_turn_over = true;
                self.turn = Turn::default();
                self.live.clear();
            }
            _ => {}
        }
        lines
    }

    fn connected(&mut self, is_connected: bool) -> Vec<Line> {
        let now = if is_connected { Connection::Live } else { Connection::Lost };
        match (std::mem::replace(&mut self.connection, now), now) {
            (Connection::Live, Connection::Lost) => {
                vec![remark("the connection to the server is lost; the agent goes on without us", warning())]
            }
            (Connection::Lost, Connection::Live) => vec![remark("connected again", faint())],
            _ => vec![],
        }
    }

    fn told(&mut self, told: Told) -> Vec<Line> {
        vec![match told {
            Told::Sent if self.is_working() && !self.is_turn_over => {
                remark("sent into the running turn; it is read between two steps, else as the next turn", faint())
            }
            Told::Sent => return vec![],
            Told::Interrupted { is_stopping, has_more } => {
                self.is_interrupting = false;
                let words = match (is_stopping, has_more) {
                    (true, _) => "the turn does not stop by itself; its process is being ended, the conversation stays",
                    (false, true) => "interrupted; the conversation is kept, and what was sent meanwhile comes next",
                    (false, false) => "interrupted; the conversation is kept: type to go on",
                };
                remark(words, warning())
            }
            Told::WasIdle => {
                self.is_interrupting = false;
                remark("nothing runs that could be interrupted", faint())
            }
            Told::Refused(words) => {
                self.is_interrupting = false;
                remark(words.replace('\n', " "), bad())
            }
        }]
    }

    fn ended(&mut self) -> Vec<Line> {
        self.live.clear();
        let Some(agent) = &self.agent else { return vec![] };
        let words = match agent.status {
            AgentStatus::Terminated => "the agent was ended".to_owned(),
            AgentStatus::Lost => "the agent was lost".to_owned(),
            AgentStatus::Failed => "the agent failed".to_owned(),
            other => format!("the agent is {other}"),
        };
        let why = agent.failure.as_ref().map(|failure| format!(": {}", failure.detail.replace('\n', " "))).unwrap_or_default();
        let style = if agent.status == AgentStatus::Terminated { plain() } else { bad() };
        vec![Line::default(), Line::styled(format!("{words}{why}"), style.bold()).behind("■ ", style)]
    }
}

#[cfg(test)]
pub(super) mod tests;
