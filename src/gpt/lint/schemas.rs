//! Schemas: every value typed, every object with its fields, no alternatives.

use super::{Linter, entries, items, parameters::MOST_CHARS, quote};
use crate::gpt::rules::{
    PARAMETER_TEXT_LONG, REFERENCE_SIBLINGS, SCHEMA_ALTERNATIVES, SCHEMA_FREE_MAP, SCHEMA_NULL, SCHEMA_OPEN_REQUEST,
    SCHEMA_PROPERTIES, SCHEMA_REQUIRED, SCHEMA_UNTYPED,
};
use serde_json::Value;

const COMBINATIONS: [&str; 3] = ["oneOf", "anyOf", "allOf"];

/// Component schemas are checked where they stand, once each.
pub(super) fn check_components(linter: &mut Linter) {
    let place = "/components/schemas";
    for (name, schema, pointer) in entries(linter.root.pointer(place), place) {
        let in_request = linter.in_requests.contains(name);
        check(linter, schema, &pointer, in_request);
    }
    for (place, in_request) in [("/components/requestBodies", true), ("/components/responses", false)] {
        for (_, shared, pointer) in entries(linter.root.pointer(place), place) {
            for (_, media, pointer) in entries(shared.get("content"), &format!("{pointer}/content")) {
                if let Some(schema) = media.get("schema") {
                    check(linter, schema, &format!("{pointer}/schema"), in_request);
                }
            }
        }
    }
}

/// Checks a schema and those in it; `in_request` says that the model fills it in.
pub(super) fn check(linter: &mut Linter, schema: &Value, pointer: &str, in_request: bool) {
    let Some(map) = schema.as_object() else {
        return linter.report(&SCHEMA_UNTYPED, pointer, quote(schema));
    };
    if map.contains_key("$ref") {
        let siblings: Vec<&str> = map.keys().filter(|key| *key != "$ref").map(String::as_str).collect();
        if !siblings.is_empty() {
            linter.report(&REFERENCE_SIBLINGS, pointer, siblings.join(", "));
        }
        return;
    }
    let chars = schema["description"].as_str().unwrap_or_default().chars().count();
    if in_request && chars > MOST_CHARS {
        linter.report(&PARAMETER_TEXT_LONG, &format!("{pointer}/description"), format!("{chars} characters"));
    }
    check_kinds(linter, schema, pointer);
    for word in COMBINATIONS {
        for (part, place) in items(schema.get(word), &format!("{pointer}/{word}")) {
            if !is_null(part) {
                check(linter, part, &place, in_request);
            }
        }
    }
    for (_, property, place) in entries(schema.get("properties"), &format!("{pointer}/properties")) {
        let fields = property.get("properties").and_then(Value::as_object);
        if in_request && fields.is_some_and(serde_json::Map::is_empty) {
            linter.report(&SCHEMA_OPEN_REQUEST, &place, quote(property));
        }
        check(linter, property, &place, in_request);
    }
    if let Some(inside) = schema.get("additionalProperties").filter(|inside| inside.is_object()) {
        // `{}` says the same as `true`.
        if inside.as_object().is_some_and(|inside| !inside.is_empty()) {
            check(linter, inside, &format!("{pointer}/additionalProperties"), in_request);
        }
    }
    if let Some(inside) = schema.get("items").filter(|_| schema.get("prefixItems").is_none()) {
        check(linter, inside, &format!("{pointer}/items"), in_request);
    }
}

/// Null, alternatives, and what kind of value it is.
fn check_kinds(linter: &mut Linter, schema: &Value, pointer: &str) {
    let single = schema["type"].as_str();
    let several: Vec<&str> = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let words: Vec<&str> = single.into_iter().chain(several.iter().copied().filter(|word| *word != "null")).collect();
    let null_part = COMBINATIONS.into_iter().find(|word| items(schema.get(word), "").iter().any(|(part, _)| is_null(part)));
    if let Some(word) = null_part {
        linter.report(&SCHEMA_NULL, pointer, format!("`{word}` with null"));
    } else if several.contains(&"null") || single == Some("null") {
        linter.report(&SCHEMA_NULL, pointer, format!("type {}", quote(&schema["type"])));
    } else if schema["nullable"] == true {
        linter.report(&SCHEMA_NULL, pointer, "`nullable: true`");
    }
    let parts = |word: &str| items(schema.get(word), "").into_iter().filter(|(part, _)| !is_null(part)).count();
    let combination = COMBINATIONS.into_iter().find(|word| match null_part {
        // With null taken out, one part is no alternative.
        Some(null_part) if null_part == *word => parts(word) > 1,
        _ => schema.get(word).is_some(),
    });
    if let Some(word) = combination {
        linter.report(&SCHEMA_ALTERNATIVES, pointer, format!("`{word}` of {}", parts(word)));
    } else if words.len() > 1 {
        linter.report(&SCHEMA_ALTERNATIVES, pointer, format!("type {}", quote(&schema["type"])));
    }
    if words.contains(&"object") {
        check_object(linter, schema, pointer);
    }
    if words.contains(&"array") {
        if schema.get("prefixItems").is_some() {
            linter.report(&SCHEMA_UNTYPED, pointer, "a list with `prefixItems`, each of a type of its own");
        } else if schema.get("items").is_none() {
            linter.report(&SCHEMA_UNTYPED, pointer, "a list without `items`");
        }
    }
    let combined = null_part.is_some() || combination.is_some();
    if words.is_empty() && !combined && several.is_empty() {
        linter.report(&SCHEMA_UNTYPED, pointer, quote(schema));
    }
}

fn check_object(linter: &mut Linter, schema: &Value, pointer: &str) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        let open = schema.get("additionalProperties").filter(|open| open.is_object() || **open == Value::Bool(true));
        return match open.or_else(|| schema.get("patternProperties")) {
            Some(open) => linter.report(&SCHEMA_FREE_MAP, pointer, format!("keys of any name, values {}", quote(open))),
            None => linter.report(&SCHEMA_PROPERTIES, pointer, quote(schema)),
        };
    };
    for (name, place) in items(schema.get("required"), &format!("{pointer}/required")) {
        if name.as_str().is_some_and(|name| !properties.contains_key(name)) {
            linter.report(&SCHEMA_REQUIRED, &place, quote(name));
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null"
}
