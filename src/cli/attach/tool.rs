//! Calls of tools and their results in a few words.

use super::line::cut;
use serde_json::Value;

/// Columns shown of a call's argument.
const ARGUMENT: usize = 160;
/// Rows shown of a result, and columns of each.
const RESULT_ROWS: usize = 4;
const RESULT_COLUMNS: usize = 300;

/// The fields that tell most about a call, in this order.
const TELLING: [&str; 18] = [
    "command",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "url",
    "query",
    "claim",
    "decision",
    "subject",
    "to",
    "name",
    "id",
    "description",
    "prompt",
    "question",
    "text",
    "skill",
];

/// What a call is about, in one line.
pub(super) fn argument(input: &Value) -> String {
    let telling = TELLING.iter().filter_map(|field| input[*field].as_str()).find(|text| !text.trim().is_empty());
    let text = match (telling, input) {
        (Some(text), _) => text.to_owned(),
        (None, Value::Object(fields)) if fields.is_empty() => String::new(),
        (None, Value::Null) => String::new(),
        // Questions to people come as a list.
        (None, _) => input["questions"][0]["question"].as_str().map_or_else(|| input.to_string(), str::to_owned),
    };
    let mut lines = text.trim().lines();
    let first = cut(lines.next().unwrap_or_default().trim_end(), ARGUMENT);
    match lines.count() {
        0 => first,
        more => format!("{first} (+{more} lines)"),
    }
}

/// The beginning of a result, row by row; the last row says how much there is besides.
pub(super) fn result(text: &str) -> Vec<String> {
    let text = text.trim_end();
    if text.trim().is_empty() {
        return vec!["(nothing)".into()];
    }
    let all = text.lines().count();
    // One row more needs no more room than saying that there is one.
    let shown = if all <= RESULT_ROWS + 1 { all } else { RESULT_ROWS };
    let mut rows: Vec<String> = text.lines().take(shown).map(|row| cut(row.trim_end(), RESULT_COLUMNS)).collect();
    if all > shown {
        rows.push(format!("… {} more lines, {all} in all", all - shown));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_shows_what_it_is_about() {
        assert_eq!(argument(&json!({"description": "List", "command": "ls -l"})), "ls -l");
        assert_eq!(argument(&json!({"file_path": "/a/b.rs", "content": "x"})), "/a/b.rs");
        assert_eq!(argument(&json!({"command": "one\ntwo\nthree"})), "one (+2 lines)");
        assert_eq!(argument(&json!({"questions": [{"question": "Which?"}]})), "Which?");
        assert_eq!(argument(&json!({"count": 3})), "{\"count\":3}");
        assert_eq!(argument(&json!({})), "");
        assert_eq!(argument(&json!({"command": "x".repeat(500)})).chars().count(), ARGUMENT);
    }

    #[test]
    fn a_long_result_is_shortened_and_says_so() {
        assert_eq!(result("a\nb\n"), ["a", "b"]);
        assert_eq!(result(" \n"), ["(nothing)"]);
        assert_eq!(result("1\n2\n3\n4\n5").len(), 5);
        let long = (1..=40).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(result(&long), ["1", "2", "3", "4", "… 36 more lines, 40 in all"]);
    }
}
