//! The GPT's instructions fit the builder and the actions document.

use super::{actions, operations, resolved, walk};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const INSTRUCTIONS: &str = include_str!("../../../../gpt-instructions.md");
/// What the builder's field takes.
const MOST_CHARS: usize = 8_000;

/// Of each operation, the arguments it takes.
fn arguments() -> BTreeMap<String, BTreeSet<String>> {
    let document = actions();
    let arguments = |operation: &Value| -> BTreeSet<String> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let parameters = parameters.map(|parameter| parameter["name"].as_str().expect("a name").to_owned());
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let fields = resolved(&document, schema)["properties"].as_object().into_iter().flatten();
        parameters.chain(fields.map(|(name, _)| name.clone())).collect()
    };
    let name = |operation: &Value| operation["operationId"].as_str().expect("an id").to_owned();
    operations(&document).iter().map(|(_, operation)| (name(operation), arguments(operation))).collect()
}

/// Every name that may stand in backticks: operations, arguments, fields of answers, words of closed sets.
fn vocabulary() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    walk(&actions(), "", &mut |_, value| {
        words.extend(value["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        words.extend(value["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        words.extend(["operationId", "name"].into_iter().filter_map(|key| value[key].as_str()).map(str::to_owned));
    });
    words
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn they_fit_the_builders_field() {
    let chars = INSTRUCTIONS.chars().count();
    assert!(chars <= MOST_CHARS, "{chars} characters; the builder takes {MOST_CHARS}");
}

#[test]
fn they_name_every_operation_and_nothing_else() {
    let (arguments, vocabulary) = (arguments(), vocabulary());
    let named: BTreeSet<&str> = in_backticks(INSTRUCTIONS).collect();
    for operation in arguments.keys() {
        assert!(named.contains(operation.as_str()), "{operation} is not mentioned");
    }
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    for word in named.into_iter().filter(is_name) {
        // Words of JSON Schema, which the instructions explain.
        let of_schemas = ["properties", "required"].contains(&word);
        assert!(of_schemas || vocabulary.contains(word), "`{word}` is in no operation");
    }
}

#[test]
fn the_examples_are_three_conversations_of_valid_calls() {
    let (_, examples) = INSTRUCTIONS.split_once("\n# Examples\n").expect("examples");
    let arguments = arguments();
    let conversations = examples.trim().split("\n\n").filter(|part| part.starts_with("User: ")).count();
    assert!(conversations >= 3, "{conversations} conversations");
    let mut calls = 0;
    for line in examples.lines().filter(|line| line.starts_with("→ ")) {
        let Some((before, json)) = line.split_once("` {") else { continue };
        let operation = before.rsplit('`').next().expect("a name");
        let known = arguments.get(operation).unwrap_or_else(|| panic!("{operation} is no operation"));
        let call: Value = serde_json::from_str(&format!("{{{json}")).unwrap_or_else(|error| panic!("{error}: {json}"));
        for name in call.as_object().expect("arguments").keys() {
            assert!(known.contains(name), "{operation} takes no {name}");
        }
        calls += 1;
    }
    assert!(calls >= 5, "{calls} calls with arguments");
}

#[test]
fn they_say_when_to_stop_and_to_invent_nothing() {
    for part in ["# When to stop", "# Risky steps", "Never invent ids, results", "Never ask the user\n   for ids", "clear yes"] {
        assert!(INSTRUCTIONS.contains(part), "{part}");
    }
}
