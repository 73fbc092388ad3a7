//! What each agent CLI speaks: how to start it, what to write to it, and what its lines mean. Pure: no I/O.
//!
//! The runner sees only the types here. The lines themselves are described in the adapter of each CLI.

pub mod claude_code;
pub mod claude_flow;
pub mod mcp;

use crate::model::{
    event::EventKind,
    project::PermissionMode,
    run::{Failure, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};
use uuid::Uuid;

/// What is needed to start a CLI.
#[derive(Debug, Clone)]
pub struct LaunchRequest<'a> {
    /// Absolute path of the executable.
    pub executable: &'a Path,
    /// Session to create, or to go on with.
    pub session_id: Uuid,
    /// Whether there is such a session, and what to do with it.
    pub session: Session<'a>,
    /// Model to use; the CLI's own default when absent.
    pub model: Option<&'a str>,
    /// What is allowed without asking.
    pub permission_mode: PermissionMode,
    /// Tool rules allowed without asking.
    pub allowed_tools: &'a [String],
    /// The file with the MCP servers it is to use; none when absent.
    pub mcp_config: Option<&'a Path>,
    /// Tools the agent does not have.
    pub denied_tools: &'a [String],
    /// Whether the agent gets the tools of a team.
    pub team: bool,
    /// US dollars the process may spend, turns before it not counted.
    pub budget_usd: Option<f64>,
    /// Times the CLI repeats a failed model request.
    pub max_retries: u32,
    /// The CLI's own configuration directory.
    pub config_dir: &'a Path,
    /// What agents inherit.
    pub inherited: &'a BTreeMap<String, String>,
    /// Where the rehearsal model listens, and the home directory to use with it.
    pub rehearsal: Option<(&'a str, &'a Path)>,
}

/// How a process comes to its session.
#[derive(Debug, Clone, Copy)]
pub enum Session<'a> {
    /// It creates the session.
    New,
    /// It goes on with the session and waits for a prompt.
    Resume,
    /// It goes on with the session's interrupted turn by itself. What it has to know is given at the start, because
    /// there is no handshake before the turn.
    ResumeTurn {
        /// File that holds what is added to the system prompt.
        system_prompt: &'a Path,
        /// What the answer must satisfy.
        schema: Option<&'a Value>,
    },
}

/// How to start a CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments. Holds neither user text nor secrets.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Files it needs in the directory of the process: names and contents.
    pub files: Vec<(&'static str, String)>,
}

/// One line for the CLI's stdin, known by an id so that a restarted server can tell whether it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Occurs in the line and nowhere else.
    pub id: String,
    /// One JSON object, without newline.
    pub line: String,
}

/// What the adapter remembers between the lines of one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// The CLI's running total at the last result, to tell one turn's cost from the next.
    pub total_cost_usd: f64,
    /// Tokens of all models at the last result, likewise.
    #[serde(default)]
    pub total_tokens: u64,
    /// The id of the last message of the conversation that came.
    #[serde(default)]
    pub last_message_id: Option<String>,
    /// The CLI's word for the last failed model request.
    pub last_error: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
}

/// What one line means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// Facts to keep.
    pub events: Vec<EventKind>,
    /// What the runner has to act on.
    pub signal: Option<Signal>,
}

/// What a line asks the runner to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// The CLI answered the handshake.
    Ready {
        /// Whether it has credentials.
        logged_in: bool,
    },
    /// The CLI refused the handshake.
    Refused(String),
    /// The CLI asks for something and waits.
    Asked(Question),
    /// The CLI has taken up the prompt with this id.
    TookUp(String),
    /// What was spent since the last result, as far as the CLI says.
    Spent {
        /// US dollars.
        cost_usd: Option<f64>,
        /// Tokens of all models.
        tokens: Option<u64>,
    },
    /// A turn is over.
    TurnEnded(Box<TurnEnd>),
}

/// A question of the CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// May this tool run?
    Permission {
        /// To be repeated in the answer.
        request_id: String,
        /// The tool.
        tool: String,
        /// What it is called with.
        input: Value,
    },
    /// A message of the CLI's MCP client to the server that offers the tools of a team.
    Mcp {
        /// To be repeated in the answer.
        request_id: String,
        /// JSON-RPC.
        message: Value,
    },
    /// Something this gateway does not offer.
    Unsupported {
        /// To be repeated in the answer.
        request_id: String,
        /// The CLI's word for it.
        subtype: String,
    },
}

/// The end of a turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnEnd {
    /// Why it failed; absent when it succeeded.
    pub failure: Option<Failure>,
    /// Final text.
    pub text: Option<String>,
    /// Structured answer, not validated.
    pub structured_output: Option<Value>,
    /// Tokens of the turn.
    pub usage: Option<Usage>,
    /// US dollars of the turn.
    pub cost_usd: Option<f64>,
    /// Tokens of the turn, of all models.
    pub tokens: Option<u64>,
    /// Wall time of the turn in milliseconds.
    pub duration_ms: Option<u64>,
}
