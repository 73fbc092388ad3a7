//! What the tools are, as a model reads it.

use crate::model::{
    limits::{ARTIFACT_CHARS, MEMORY_CHARS, MESSAGE_CHARS, QUERY_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
    memory::{Confidence, MemoryKind},
    task::Priority,
    team::MessageKind,
};
use serde_json::{Value, json};

/// The answer to `tools/list`: name, description and JSON Schema of the input of each tool.
pub fn tool_list() -> Vec<Value> {
    vec![
        tool(
            "send_message",
            "Write to other members of your team. The message waits in their inbox; with requires_response they are woken to answer it.",
            &json!({
                "to": {"type": "string", "description": "Id or name of a member, a role such as coder (everybody with it), `all`, or `user` (who gave the team its work). list_team shows whom you may write to."},
                "subject": {"type": "string", "maxLength": TITLE_CHARS, "description": "What it is about, in a line."},
                "body": {"type": "string", "maxLength": MESSAGE_CHARS},
                "priority": {"enum": words(Priority::ALL), "description": "How urgent it is. Left out: normal."},
                "kind": {"enum": words(MessageKind::ALL), "description": "Left out: status. To ask back whoever asked you for something: question."},
                "requires_response": {"type": "boolean", "description": "Whether you need an answer. Left out: false."},
                "deadline_seconds": {"type": "integer", "minimum": 1, "maximum": TIMEOUT_SECONDS, "description": "Seconds until the answer should be there."},
                "in_reply_to": {"type": "string", "pattern": "^msg_[0-9a-f]{32}$", "description": "Id of the message you answer."},
            }),
            &["to", "subject", "body"],
        ),
        tool(
            "read_messages",
            "Read your messages, the most urgent first, and mark them as read.",
            &json!({
                "include_read": {"type": "boolean", "description": "Also those you have read before. Left out: false."},
                "thread_id": {"type": "string", "pattern": "^msg_[0-9a-f]{32}$", "description": "Only those of one conversation."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "description": "Most messages. Left out: 20."},
            }),
            &[],
        ),
        tool(
            "list_team",
            "See who is in your team: names, ids, roles, what they do, and whom you may write to.",
            &json!({}),
            &[],
        ),
        tool(
            "remember_finding",
            "Share something you found out with the team.",
            &json!({
                "claim": {"type": "string", "maxLength": MEMORY_CHARS, "description": "What you found, as a statement that can be checked."},
                "confidence": {"enum": words(Confidence::ALL), "description": "high: seen or measured. medium: likely. low: a guess."},
                "sources": {"type": "array", "items": {"type": "string"}, "maxItems": 20, "description": "Where it comes from: files with lines, commands, links."},
            }),
            &["claim", "confidence"],
        ),
        tool(
            "verify_finding",
            "Say whether a finding of somebody else holds, after you have checked it.",
            &json!({
                "id": id("Id of the finding."),
                "verdict": {"enum": ["confirmed", "contradicted"]},
                "evidence": {"type": "string", "maxLength": MEMORY_CHARS, "description": "What you saw; needed to contradict."},
            }),
            &["id", "verdict"],
        ),
        tool(
            "save_artifact",
            "Keep something you made for the team: a text, or the path of a file in the project. The same name again is its next version.",
            &json!({
                "name": {"type": "string", "maxLength": TITLE_CHARS},
                "kind": {"type": "string", "maxLength": 100, "description": "What it is, in a word: design, report, code, test."},
                "content": {"type": "string", "maxLength": ARTIFACT_CHARS, "description": "The text. Give this or file."},
                "file": {"type": "string", "maxLength": 1000, "description": "Path of the file. Give this or content."},
            }),
            &["name", "kind"],
        ),
        tool(
            "review_artifact",
            "Judge a version of an artifact of somebody else.",
            &json!({
                "id": id("Id of the version."),
                "status": {"enum": ["approved", "needs_revision", "rejected"]},
                "comment": {"type": "string", "maxLength": MEMORY_CHARS, "description": "What to change, or why not; needed unless approved."},
            }),
            &["id", "status"],
        ),
        tool(
            "record_decision",
            "Write down what was decided, so that nobody decides it again.",
            &json!({
                "decision": {"type": "string", "maxLength": MEMORY_CHARS},
                "rationale": {"type": "string", "maxLength": MEMORY_CHARS, "description": "Why."},
                "alternatives": {"type": "array", "items": {"type": "string"}, "maxItems": 20, "description": "What else there was."},
            }),
            &["decision", "rationale"],
        ),
        tool(
            "search_memory",
            "Find what the team remembers: findings, artifacts and decisions, newest first. Look here before you begin.",
            &json!({
                "query": {"type": "string", "maxLength": QUERY_CHARS, "description": "Words that must all be there; \"quoted words\" as they stand. Left out: everything."},
                "kind": {"enum": words(MemoryKind::ALL), "description": "Only this kind."},
                "id": id("One of them, whole."),
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "description": "Most results. Left out: 10."},
            }),
            &[],
        ),
    ]
}

fn tool(name: &str, description: &str, properties: &Value, required: &[&str]) -> Value {
    let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    json!({"name": name, "description": description, "inputSchema": schema})
}

fn id(description: &str) -> Value {
    json!({"type": "string", "pattern": "^mem_[0-9a-f]{32}$", "description": description})
}

fn words<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(T::to_string).collect()
}
