//! Answers without a script: structured output where it is asked for, else a few lines that fit the role.

use super::{
    conversation::{Newest, STRUCTURED_OUTPUT, output_schema, role},
    instance::instance,
    plan::{Step, ToolUse},
};
use crate::model::agent::AgentType;
use serde_json::{Map, Value, json};

/// Most characters of the request that are quoted.
const QUOTE_CHARS: usize = 80;

/// The answer to a request that no script covers; the same request always gets the same answer.
pub(super) fn unscripted(request: &Value, newest: &Newest, body_bytes: usize) -> Step {
    let given = output_schema(request).filter(|_| !newest.structured).map(instance);
    let (mut step, written) = if let Some(Value::Object(input)) = given {
        let written = Value::Object(input.clone()).to_string();
        let tool = ToolUse { name: STRUCTURED_OUTPUT.to_owned(), input, id: None };
        (Step { tool_use: vec![tool], ..Step::default() }, written)
    } else {
        let text = text(role(request), &newest.text);
        (Step { text: Some(text.clone()), ..Step::default() }, text)
    };
    step.usage = usage(body_bytes, written.chars().count());
    step
}

/// An estimate: a quarter of the characters (of the request's bytes, for the input).
fn usage(body_bytes: usize, answer_chars: usize) -> Map<String, Value> {
    let usage = [("input_tokens", body_bytes / 4), ("output_tokens", answer_chars / 4)];
    usage.into_iter().map(|(name, tokens)| (name.to_owned(), json!(tokens.max(1)))).collect()
}

/// Says what it is and claims nothing that did not happen.
fn text(role: Option<AgentType>, asked: &str) -> String {
    let who = role.map(|role| format!(" ({role})")).unwrap_or_default();
    let asked = if asked.is_empty() { "a request without text".to_owned() } else { format!("\"{}\"", quote(asked)) };
    let lines = role.map_or("Nothing was read, changed or run.", lines);
    format!("Rehearsal{who}: a canned answer to {asked}; no model thought about it.\n{lines}")
}

fn lines(role: AgentType) -> &'static str {
    match role.as_str() {
        "planner" => {
            "1. Read what is there.\n2. Make the smallest change.\n3. Check it.\nRisk: steps that suit any goal fit none."
        }
        "coder" => "No file was changed.\nA model would make the change here and leave the code working.",
        "reviewer" => "No file was read, so no defect is named.\nA model would list defects with file and line here.",
        "tester" => "No test was written or run.\nA model would report here exactly what it saw.",
        "researcher" => "Known: only the request itself.\nGuessed: nothing.\nSources: none were opened.",
        "architect" => "Components, boundaries, data flow: not examined.\nA model would give its design and reasons here.",
        "analyst" => "Findings: none; no data was examined.\nFigures: none, because nothing was measured.",
        "optimizer" => "Before: not measured.\nChange: none.\nAfter: not measured.",
        "documenter" => "No document was written.\nA model would describe here what the reader has to do.",
        "coordinator" => "Goal: as quoted.\nParts: not assigned.\nResults to put together: none yet.",
        _ => "Nothing was read, changed or run.",
    }
}

/// The beginning of a text on one line.
fn quote(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_own_short_answer() {
        let texts: std::collections::BTreeSet<_> = AgentType::SHIPPED.iter().map(|role| text(Some(*role), "fix\n it")).collect();
        assert_eq!(texts.len(), AgentType::SHIPPED.len());
        assert!(
            texts.iter().all(|text| text.starts_with("Rehearsal (") && text.contains("\"fix it\"") && text.lines().count() <= 5)
        );
    }

    #[test]
    fn quotes_are_cut_between_characters() {
        let quoted = quote(&"é".repeat(90));
        assert_eq!(quoted, format!("{}…", "é".repeat(80)));
    }
}
