//! The tools by which an agent of a swarm writes to the others and shares what it knows.
//!
//! A call is checked here and carried out by the runner. Every refusal is a sentence for the model that made the call.

mod schema;

pub use schema::tool_list;

use super::{
    id::{MemoryId, MessageId},
    limits::{ARTIFACT_CHARS, MEMORY_CHARS, MEMORY_ITEMS, MESSAGE_CHARS, NAME_CHARS, QUERY_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
    memory::{Confidence, Content, MemoryKind, Verdict},
    task::Priority,
    team::MessageKind,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::{Component, Path};

/// Name of the server that offers the tools; the CLI calls them `mcp__team__…`.
pub const SERVER: &str = "team";

/// A call of a tool as it came, not yet carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// To be repeated in the answer to the CLI.
    pub request_id: String,
    /// To be repeated in the answer to its MCP client.
    pub rpc_id: Value,
    /// The tool.
    pub name: String,
    /// What it is called with.
    pub arguments: Value,
}

/// What the model gets to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// Text; JSON where there is much to tell.
    pub text: String,
    /// Whether the call was refused.
    pub is_error: bool,
}

/// A call that is understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// Writes to other members.
    SendMessage(SendMessage),
    /// Reads one's own messages, and marks them as read.
    ReadMessages(ReadMessages),
    /// Who is in the swarm.
    ListTeam,
    /// Adds a finding or a decision.
    Remember(Content),
    /// Adds a version of an artifact.
    SaveArtifact(SaveArtifact),
    /// Judges a finding or an artifact.
    Judge {
        /// What is judged.
        id: MemoryId,
        /// How.
        verdict: Verdict,
        /// Evidence, or what to change.
        comment: Option<String>,
    },
    /// Looks for what the swarm remembers.
    SearchMemory(SearchMemory),
}

/// Arguments of `send_message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// Id or name of a member, a role, `all` or `user`.
    pub to: String,
    /// What it is about, in a line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// What it is.
    pub kind: Option<MessageKind>,
    /// Whether an answer is wanted.
    #[serde(default)]
    pub requires_response: bool,
    /// Seconds until the answer should be there.
    pub deadline_seconds: Option<u32>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
}

/// Arguments of `read_messages`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadMessages {
    /// Whether messages are given that were read before.
    pub include_read: bool,
    /// Only those of a conversation.
    pub thread_id: Option<MessageId>,
    /// Most messages.
    pub limit: Option<u32>,
}

/// Arguments of `save_artifact`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaveArtifact {
    /// The name all versions share.
    pub name: String,
    /// What it is, in a word.
    pub kind: String,
    /// The text itself.
    pub content: Option<String>,
    /// Or the file it is in.
    pub file: Option<String>,
}

/// Arguments of `search_memory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchMemory {
    /// Words that must all be there; quoted ones as they stand.
    pub query: String,
    /// Only this kind.
    pub kind: Option<MemoryKind>,
    /// Only this one, whole.
    pub id: Option<MemoryId>,
    /// Most results.
    pub limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingArguments {
    claim: String,
    confidence: Confidence,
    #[serde(default)]
    sources: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionArguments {
    decision: String,
    rationale: String,
    #[serde(default)]
    alternatives: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyArguments {
    id: MemoryId,
    verdict: Verdict,
    evidence: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviewArguments {
    id: MemoryId,
    status: Verdict,
    comment: Option<String>,
}

impl Tool {
    /// Understands a call, or says what is wrong with it.
    pub fn parse(name: &str, arguments: &Value) -> Result<Self, String> {
        match name {
            "send_message" => {
                let given: SendMessage = read(arguments)?;
                text("subject", &given.subject, TITLE_CHARS)?;
                text("body", &given.body, MESSAGE_CHARS)?;
                within("deadline_seconds", given.deadline_seconds, TIMEOUT_SECONDS)?;
                Ok(Self::SendMessage(given))
            }
            "read_messages" => {
                let given: ReadMessages = read(arguments)?;
                within("limit", given.limit, 50)?;
                Ok(Self::ReadMessages(given))
            }
            "list_team" => read::<NoArguments>(arguments).map(|NoArguments {}| Self::ListTeam),
            "remember_finding" => {
                let FindingArguments { claim, confidence, sources } = read(arguments)?;
                text("claim", &claim, MEMORY_CHARS)?;
                list("sources", &sources)?;
                Ok(Self::Remember(Content::Finding { claim, confidence, sources }))
            }
            "record_decision" => {
                let DecisionArguments { decision, rationale, alternatives } = read(arguments)?;
                text("decision", &decision, MEMORY_CHARS)?;
                text("rationale", &rationale, MEMORY_CHARS)?;
                list("alternatives", &alternatives)?;
                Ok(Self::Remember(Content::Decision { decision, rationale, alternatives }))
            }
            "save_artifact" => save_artifact(read(arguments)?).map(Self::SaveArtifact),
            "verify_finding" => {
                let VerifyArguments { id, verdict, evidence } = read(arguments)?;
                judge(id, verdict, MemoryKind::Finding, evidence, "evidence", "`verdict` is `confirmed` or `contradicted`")
            }
            "review_artifact" => {
                let ReviewArguments { id, status, comment } = read(arguments)?;
                let words = "`status` is `approved`, `needs_revision` or `rejected`";
                judge(id, status, MemoryKind::Artifact, comment, "comment", words)
            }
            "search_memory" => {
                let given: SearchMemory = read(arguments)?;
                let chars = given.query.chars().count();
                refuse_unless(chars <= QUERY_CHARS, || format!("`query` has {chars} characters; at most {QUERY_CHARS}"))?;
                within("limit", given.limit, 50)?;
                Ok(Self::SearchMemory(given))
            }
            other => {
                let known = tool_list().iter().filter_map(|tool| tool["name"].as_str()).collect::<Vec<_>>().join(", ");
                Err(format!("there is no tool `{other}`; the tools are: {known}"))
            }
        }
    }
}

fn judge(
    id: MemoryId,
    verdict: Verdict,
    kind: MemoryKind,
    comment: Option<String>,
    field: &str,
    accepted: &str,
) -> Result<Tool, String> {
    refuse_unless(verdict.kind() == kind, || accepted.to_owned())?;
    if let Some(comment) = &comment {
        text(field, comment, MEMORY_CHARS)?;
    }
    let needs_words = matches!(verdict, Verdict::Contradicted | Verdict::NeedsRevision | Verdict::Rejected);
    refuse_unless(!needs_words || comment.is_some(), || format!("`{field}` is needed with `{verdict}`: say why"))?;
    Ok(Tool::Judge { id, verdict, comment })
}

fn save_artifact(given: SaveArtifact) -> Result<SaveArtifact, String> {
    text("name", &given.name, TITLE_CHARS)?;
    text("kind", &given.kind, NAME_CHARS)?;
    refuse_unless(given.content.is_some() != given.file.is_some(), || {
        "give either `content` (the text itself) or `file` (the path of a file in the project)".to_owned()
    })?;
    if let Some(content) = &given.content {
        text("content", content, ARTIFACT_CHARS)?;
    }
    if let Some(file) = &given.file {
        text("file", file, 1_000)?;
        let is_within = Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        refuse_unless(is_within, || "`file` has to be a path below the project, without `..` and not from the root".to_owned())?;
    }
    Ok(given)
}

fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, String> {
    let empty = Value::Object(serde_json::Map::new());
    let arguments = if arguments.is_null() { &empty } else { arguments };
    // serde would also take a list of field values.
    refuse_unless(arguments.is_object(), || "the arguments must be one JSON object".to_owned())?;
    T::deserialize(arguments).map_err(|error| error.to_string())
}

fn refuse_unless(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

fn text(field: &str, text: &str, limit: usize) -> Result<(), String> {
    let chars = text.chars().count();
    refuse_unless(!text.trim().is_empty(), || format!("`{field}` must not be blank"))?;
    refuse_unless(chars <= limit, || format!("`{field}` has {chars} characters; at most {limit} are allowed"))
}

fn list(field: &str, items: &[String]) -> Result<(), String> {
    refuse_unless(items.len() <= MEMORY_ITEMS, || format!("`{field}` has more than {MEMORY_ITEMS} entries"))?;
    items.iter().try_for_each(|item| text(field, item, 1_000))
}

fn within(field: &str, given: Option<u32>, most: u32) -> Result<(), String> {
    refuse_unless(given.is_none_or(|given| (1..=most).contains(&given)), || format!("`{field}` must be 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_name_the_field_and_what_would_be_right() {
        let id = MemoryId::generate();
        for (name, arguments, words) in [
            ("send_message", json!({"to": "all", "subject": "x"}), "missing field `body`"),
            ("send_message", json!({"to": "all", "subject": " ", "body": "x"}), "`subject` must not be blank"),
            ("send_message", json!({"to": "all", "subject": "x", "body": "x", "urgent": true}), "unknown field `urgent`"),
            ("send_message", json!({"to": "all", "subject": "x", "body": "x", "priority": "asap"}), "`critical`"),
            ("send_message", json!({"to": "all", "subject": "x", "body": "x", "deadline_seconds": 0}), "must be 1 to"),
            ("send_message", json!({"to": "all", "subject": "x", "body": "x", "in_reply_to": "7"}), "is not an id like `msg_`"),
            ("send_message", json!(["all"]), "one JSON object"),
            ("read_messages", json!({"limit": 51}), "1 to 50"),
            ("list_team", json!({"all": 1}), "unknown field `all`"),
            ("remember_finding", json!({"claim": "x", "confidence": "sure"}), "`high`"),
            ("verify_finding", json!({"id": id, "verdict": "approved"}), "`confirmed` or `contradicted`"),
            ("verify_finding", json!({"id": id, "verdict": "contradicted"}), "say why"),
            ("review_artifact", json!({"id": id, "status": "rejected"}), "`comment` is needed"),
            ("save_artifact", json!({"name": "x", "kind": "x"}), "either `content`"),
            ("save_artifact", json!({"name": "x", "kind": "x", "file": "/etc/passwd"}), "below the project"),
            ("save_artifact", json!({"name": "x", "kind": "x", "file": "a/../../b"}), "below the project"),
            ("search_memory", json!({"query": "x".repeat(501)}), "at most 500"),
            ("rm", json!({}), "send_message, read_messages"),
        ] {
            let refusal = Tool::parse(name, &arguments).expect_err(name);
            assert!(refusal.contains(words), "{name} {arguments}: {refusal}");
        }
        assert_eq!(Tool::parse("list_team", &Value::Null), Ok(Tool::ListTeam));
    }

    #[test]
    fn every_listed_tool_takes_the_arguments_of_its_schema_and_no_other() {
        for tool in tool_list() {
            let (name, schema) = (tool["name"].as_str().expect("a name"), &tool["inputSchema"]);
            assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)), "{name}");
            let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
            let properties = schema["properties"].as_object().expect("properties");
            let sample = |schema: &Value| match (schema["enum"].get(0), schema["type"].as_str()) {
                (Some(word), _) => word.clone(),
                (None, Some("boolean")) => json!(true),
                (None, Some("integer")) => json!(1),
                (None, Some("array")) => json!(["x"]),
                _ => schema["pattern"]
                    .as_str()
                    .map_or(json!("x"), |pattern| json!(format!("{}{}", &pattern[1..5], "0".repeat(32)))),
            };
            let all: serde_json::Map<_, _> = properties
                .iter()
                .filter(|(property, _)| !(name == "save_artifact" && *property == "file"))
                .map(|(property, schema)| (property.clone(), sample(schema)))
                .collect();
            Tool::parse(name, &Value::Object(all.clone())).unwrap_or_else(|error| panic!("{name}: {error} {all:?}"));
            for property in required {
                let mut without = all.clone();
                without.remove(property.as_str().expect("a name")).expect("a required property that is there");
                assert!(Tool::parse(name, &Value::Object(without)).is_err(), "{name} without {property}");
            }
        }
    }
}
