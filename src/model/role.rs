//! Roles: what kind of worker an agent is, as a file says it.
//!
//! A role is a Markdown file named after it, such as `roles/coder.md`: settings in YAML between two lines `---`, then the
//! persona, which is added to the system prompt of the CLI.
//!
//! | setting | meaning |
//! |---|---|
//! | `description` | what it is for, in a line; required |
//! | `backend` | the CLI behind its agents; claude-code when absent |
//! | `model` | their model, when the request names none and the gateway allows it |
//! | `allowed_tools` | the tools they are limited to, in the CLI's permission syntax; see [`tools`] |
//! | `output_schema` | JSON Schema of the answer to a task that brings none |
//! | `mcp_servers` | names of MCP servers they get |

mod catalogue;
mod front;
pub mod tools;

pub use catalogue::Catalogue;

use super::{
    agent::{AgentType, Backend},
    limits::{OUTPUT_SCHEMA_BYTES, ROLE_BYTES, ROLE_DESCRIPTION_CHARS, ROLE_ITEMS, SYSTEM_PROMPT_CHARS, TITLE_CHARS},
    workflow::{check::schema, file::FileFlaw},
};
use front::Front;
use serde_json::Value;

/// A role.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: AgentType,
    /// What it is for, in a line.
    pub description: String,
    /// The CLI behind its agents.
    pub backend: Backend,
    /// The model its file names, whether the gateway allows it or not.
    pub model: Option<String>,
    /// The tools its agents are limited to; what their project allows when absent.
    pub allowed_tools: Option<Vec<String>>,
    /// What the answer to a task must satisfy that brings no schema of its own.
    pub output_schema: Option<Value>,
    /// MCP servers its agents get, by name.
    pub mcp_servers: Vec<String>,
    /// What its agents are told about themselves.
    pub persona: String,
}

impl Role {
    /// What is added to the CLI's system prompt.
    pub fn system_prompt(&self) -> String {
        format!("You are the {}.\n\n{}", self.name, self.persona)
    }

    /// The role in the text of a file, or everything that is wrong with it.
    pub fn parse(name: AgentType, text: &str) -> Result<Self, Vec<FileFlaw>> {
        if text.len() > ROLE_BYTES {
            return Err(vec![flaw(None, format!("has {} bytes; at most {ROLE_BYTES} are allowed", text.len()))]);
        }
        let (front, persona) = split(text).map_err(|flaw| vec![flaw])?;
        let settings = Front::read(front).map_err(|flaw| vec![flaw])?;
        let mut flaws = settings.flaws();
        let persona_line = 1 + front.lines().count() as u64 + 2;
        let (chars, persona) = (persona.chars().count(), persona.trim());
        if persona.is_empty() {
            flaws.push(flaw(Some(persona_line), "there is no persona; say below the second --- what the agent is told".into()));
        }
        if chars > SYSTEM_PROMPT_CHARS {
            let words = format!("the persona has {chars} characters; at most {SYSTEM_PROMPT_CHARS} are allowed");
            flaws.push(flaw(Some(persona_line), words));
        }
        if let Some(at) = text.find('\0') {
            let line = 1 + text[..at].matches('\n').count() as u64;
            flaws.push(flaw(Some(line), "there is a NUL character; remove it".into()));
        }
        if flaws.is_empty() { Ok(settings.role(name, persona)) } else { Err(flaws) }
    }
}

fn flaw(line: Option<u64>, words: String) -> FileFlaw {
    FileFlaw { line, words }
}

/// Settings and persona. The settings begin at line 2.
fn split(text: &str) -> Result<(&str, &str), FileFlaw> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_fence = line.trim_end() == "---";
        match (index, is_fence) {
            (0, false) => break,
            (1.., true) => {
                let begin = text.find('\n').map_or(at, |end| end + 1);
                return Ok((&text[begin..at], &text[at + line.len()..]));
            }
            (0, true) | (_, false) => {}
        }
        at += line.len();
    }
    Err(match at {
        0 => flaw(Some(1), "the first line must be ---, with the settings below it".into()),
        _ => flaw(Some(1), "the settings have no end; put a line --- below them, then the persona".into()),
    })
}

#[cfg(test)]
mod tests;
