//! Reads a Messages request: what the human last said, what was answered since, which role was given.

use crate::model::agent::AgentType;
use serde_json::Value;

/// The tool through which a CLI collects structured output.
pub(super) const STRUCTURED_OUTPUT: &str = "StructuredOutput";

/// How texts begin that the CLI itself adds in the user's name. They do not end a directive's life.
const SYNTHETIC: [&str; 8] = [
    "[Request interrupted",
    "[structured-output-enforce",
    "Continue from where you left off",
    "Output token limit hit.",
    "<task-notification>",
    "<local-command",
    "Stop hook feedback",
    "This session is being continued",
];
/// What the CLI writes in the model's name when it resumes a cut-off turn; no answer of ours.
const NO_ANSWER: &str = "No response requested.";
const REMINDER: (&str, &str) = ("<system-reminder>", "</system-reminder>");

/// The newest human text and what happened after it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Newest {
    /// The text without reminders; empty when there is none.
    pub(super) text: String,
    /// Assistant messages since.
    pub(super) answers: usize,
    /// Whether one of them gave structured output.
    pub(super) structured: bool,
}

/// Finds the newest human text. Looks at text blocks, not messages, because the CLI merges adjacent user
/// messages into one.
pub(super) fn newest(request: &Value) -> Newest {
    let mut newest = Newest::default();
    for message in list(&request["messages"]).iter().rev() {
        let content = &message["content"];
        match message["role"].as_str() {
            Some("assistant") if texts(content).ne([NO_ANSWER]) => {
                newest.answers += 1;
                newest.structured |= list(content).iter().any(|block| block["name"] == STRUCTURED_OUTPUT);
            }
            Some("user") => {
                let human = texts(content).rev().map(without_reminders).find(|text| is_human(text));
                if let Some(text) = human {
                    newest.text = text;
                    break;
                }
            }
            _ => {}
        }
    }
    newest
}

/// The input schema of the structured output tool, if the request offers it.
pub(super) fn output_schema(request: &Value) -> Option<&Value> {
    list(&request["tools"]).iter().find(|tool| tool["name"] == STRUCTURED_OUTPUT).map(|tool| &tool["input_schema"])
}

/// How a role begins what is added to the system prompt.
const INTRODUCTION: &str = "You are the ";

/// The shipped role named in the system prompt; the last one, since roles are appended to the CLI's own prompt.
pub(super) fn role(request: &Value) -> Option<AgentType> {
    let system: Vec<_> = texts(&request["system"]).collect();
    let system = system.join("\n");
    let names = system.rmatch_indices(INTRODUCTION).map(|(at, _)| {
        let rest = &system[at + INTRODUCTION.len()..];
        rest.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-' || char == '_')).next().unwrap_or_default()
    });
    names.filter_map(|name| AgentType::SHIPPED.iter().find(|role| role.as_str() == name)).copied().next()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a content: the string itself, or its text blocks.
fn texts(content: &Value) -> impl DoubleEndedIterator<Item = &str> {
    let blocks = list(content).iter().filter(|block| block["type"] == "text").filter_map(|block| block["text"].as_str());
    content.as_str().into_iter().chain(blocks)
}

fn is_human(text: &str) -> bool {
    !text.is_empty() && !SYNTHETIC.iter().any(|start| text.starts_with(start))
}

fn without_reminders(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(REMINDER.0) {
        let Some((_, after)) = inside.split_once(REMINDER.1) else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role::Catalogue;
    use serde_json::json;

    #[test]
    fn tool_results_and_synthetic_texts_do_not_end_a_human_text() {
        let request = json!({"messages": [
            {"role": "user", "content": "older"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>a</system-reminder> do it <system-reminder>b</system-reminder>"},
                {"type": "text", "text": "<system-reminder>c</system-reminder>"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "StructuredOutput", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"},
                {"type": "text", "text": "Continue from where you left off."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "No response requested."}]},
            {"role": "user", "content": "[structured-output-enforce] call it"}]});
        assert_eq!(newest(&request), Newest { text: "do it".to_owned(), answers: 1, structured: true });
    }

    #[test]
    fn odd_requests_have_no_human_text() {
        for odd in [json!(null), json!([]), json!({"messages": 5}), json!({"messages": [1, {"role": "user"}, {"content": []}]})] {
            assert_eq!(newest(&odd), Newest::default());
            assert_eq!((output_schema(&odd), role(&odd)), (None, None));
        }
    }

    #[test]
    fn role_is_found_in_both_shapes_of_system_prompt() {
        let roles = Catalogue::shipped(vec![], None);
        for &role in AgentType::SHIPPED {
            let prompt = roles.get(role).expect("shipped").system_prompt();
            assert_eq!(super::role(&json!({"system": prompt})), Some(role));
            let blocks = json!({"system": [{"type": "text", "text": "You are a CLI."}, {"type": "text", "text": prompt}]});
            assert_eq!(super::role(&blocks), Some(role));
        }
        assert_eq!(super::role(&json!({"system": "You are the coder-in-chief."})), None);
    }
}
