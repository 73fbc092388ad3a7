//! Schemas: every value typed, every object with its fields, no alternatives.

use super::{Linter, entries, has_type, items, parameters::MOST_CHARS, quote};
use crate::gpt::rules::{
    FILE_REFERENCES, FILE_RESPONSE, PARAMETER_TEXT_LONG, SCHEMA_ALTERNATIVES, SCHEMA_FREE_MAP, SCHEMA_NULL, SCHEMA_OPEN_REQUEST,
    SCHEMA_PROPERTIES, SCHEMA_REQUIRED, SCHEMA_UNTYPED,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const COMBINATIONS: [&str; 3] = ["oneOf", "anyOf", "allOf"];
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "object", "array"];
const FILES_IN: &str = "openaiFileIdRefs";
const FILES_OUT: &str = "openaiFileResponse";

/// Pointers of the schemas to be checked. `true` says that the model fills the schema in.
#[derive(Default)]
pub(super) struct Places {
    waiting: Vec<(String, bool)>,
    met: BTreeSet<(String, bool)>,
    /// Those that are a whole body or answer.
    roots: BTreeSet<String>,
}

impl Places {
    pub(super) fn add(&mut self, pointer: String, in_request: bool) {
        if self.met.insert((pointer.clone(), in_request)) {
            self.waiting.push((pointer, in_request));
        }
    }

    pub(super) fn add_root(&mut self, pointer: String, in_request: bool) {
        self.roots.insert(pointer.clone());
        self.add(pointer, in_request);
    }

    /// One that no operation uses; it is imported all the same.
    fn add_unused(&mut self, pointer: String, in_request: bool) {
        if [true, false].iter().all(|way| !self.met.contains(&(pointer.clone(), *way))) {
            self.add_root(pointer, in_request);
        }
    }
}

/// Checks the schemas that operations have led to, those they refer to, and the other components.
pub(super) fn check(linter: &mut Linter) {
    check_waiting(linter);
    let root = linter.root;
    for (_, _, pointer) in entries(root.pointer("/components/schemas"), "/components/schemas") {
        linter.schemas.add_unused(pointer, false);
    }
    for (place, in_request) in [("/components/requestBodies", true), ("/components/responses", false)] {
        for (_, shared, pointer) in entries(root.pointer(place), place) {
            for (_, _, pointer) in entries(shared.get("content"), &format!("{pointer}/content")) {
                linter.schemas.add_unused(format!("{pointer}/schema"), in_request);
            }
        }
    }
    check_waiting(linter);
}

fn check_waiting(linter: &mut Linter) {
    while let Some((pointer, in_request)) = linter.schemas.waiting.pop() {
        if let Some(schema) = linter.root.pointer(&pointer) {
            check_schema(linter, schema, &pointer, in_request);
        }
    }
}

/// Checks a schema and those in it.
fn check_schema(linter: &mut Linter, schema: &Value, pointer: &str, in_request: bool) {
    if !schema.is_object() {
        return linter.report(&SCHEMA_UNTYPED, pointer, quote(schema));
    }
    if schema.get("$ref").is_some() {
        // What contains this place is reported as a circle.
        if let Some((_, target)) = linter.follow(pointer).filter(|(_, target)| !pointer.starts_with(&format!("{target}/"))) {
            linter.schemas.add(target, in_request);
        }
        return;
    }
    let chars = schema["description"].as_str().unwrap_or_default().chars().count();
    if in_request && chars > MOST_CHARS {
        linter.report(&PARAMETER_TEXT_LONG, &format!("{pointer}/description"), format!("{chars} characters"));
    }
    if is_null(schema) {
        return linter.report(&SCHEMA_NULL, pointer, quote(schema));
    }
    check_kinds(linter, schema, pointer, in_request);
    for word in COMBINATIONS {
        for (part, place) in items(schema.get(word), &format!("{pointer}/{word}")).iter().filter(|(part, _)| !is_null(part)) {
            if linter.schemas.roots.contains(pointer) {
                linter.schemas.roots.insert(linter.follow(place).map_or_else(|| place.clone(), |(_, target)| target));
            }
            check_schema(linter, part, place, in_request);
        }
    }
    for (name, property, place) in entries(schema.get("properties"), &format!("{pointer}/properties")) {
        check_files(linter, name, &place, in_request, linter.schemas.roots.contains(pointer));
        check_schema(linter, property, &place, in_request);
    }
    // `{}` says the same as `true`.
    if let Some(inside) = schema.get("additionalProperties").filter(|inside| inside.is_object() && **inside != json!({})) {
        check_schema(linter, inside, &format!("{pointer}/additionalProperties"), in_request);
    }
    if let Some(inside) = schema.get("items").filter(|_| schema.get("prefixItems").is_none()) {
        check_schema(linter, inside, &format!("{pointer}/items"), in_request);
    }
}

/// Files have names of their own, which stand at the top of a body or an answer.
fn check_files(linter: &mut Linter, name: &str, place: &str, in_request: bool, at_top: bool) {
    let Some((list, own_place)) = linter.follow(place) else { return };
    let (rule, fits) = match (name, in_request) {
        (FILES_IN, true) => {
            let item = linter.follow(&format!("{own_place}/items"));
            (&FILE_REFERENCES, has_type(list, "array") && item.is_some_and(|(item, _)| has_type(item, "string")))
        }
        (FILES_OUT, false) => (&FILE_RESPONSE, has_type(list, "array")),
        _ => return,
    };
    if !(fits && at_top) {
        linter.report(rule, place, quote(list));
    }
}

/// Null, alternatives, and what kind of value it is.
fn check_kinds(linter: &mut Linter, schema: &Value, pointer: &str, in_request: bool) {
    let kinds: Vec<&Value> = match schema.get("type") {
        None => vec![],
        Some(Value::Array(several)) => several.iter().collect(),
        Some(single) => vec![single],
    };
    // YAML reads `[string, null]` as a list with null itself.
    let (nulls, words): (Vec<&Value>, Vec<&Value>) = kinds.iter().partition(|kind| kind.is_null() || **kind == "null");
    let null_part = COMBINATIONS.into_iter().find(|word| items(schema.get(word), "").iter().any(|(part, _)| is_null(part)));
    if let Some(word) = null_part {
        linter.report(&SCHEMA_NULL, pointer, format!("`{word}` with null"));
    } else if !nulls.is_empty() {
        linter.report(&SCHEMA_NULL, pointer, format!("type {}", quote(&schema["type"])));
    } else if schema["nullable"] == true {
        linter.report(&SCHEMA_NULL, pointer, "`nullable: true`");
    } else if items(schema.get("enum"), "").iter().any(|(value, _)| value.is_null()) {
        linter.report(&SCHEMA_NULL, pointer, format!("enum {}", quote(&schema["enum"])));
    } else if schema.get("default").is_some_and(Value::is_null) {
        linter.report(&SCHEMA_NULL, pointer, "`default: null`");
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
    if words.iter().any(|word| **word == "object") {
        check_object(linter, schema, pointer, in_request);
    }
    if words.iter().any(|word| **word == "array") {
        if schema.get("prefixItems").is_some() {
            linter.report(&SCHEMA_UNTYPED, pointer, "a list with `prefixItems`, each of a type of its own");
        } else if schema.get("items").is_none() {
            linter.report(&SCHEMA_UNTYPED, pointer, "a list without `items`");
        }
    }
    let combined = null_part.is_some() || combination.is_some();
    if words.iter().any(|word| TYPES.iter().all(|known| *word != known)) {
        linter.report(&SCHEMA_UNTYPED, pointer, format!("type {}", quote(&schema["type"])));
    } else if kinds.is_empty() && !combined {
        linter.report(&SCHEMA_UNTYPED, pointer, quote(schema));
    }
}

fn check_object(linter: &mut Linter, schema: &Value, pointer: &str, in_request: bool) {
    let (fields, others) = (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties"));
    // Beside listed fields, `true` says that the reader may meet more; what they are, only a schema says.
    let named = |map: &&Value| map.as_object().is_some_and(|map| !map.is_empty());
    let open = match fields {
        Some(_) => others.filter(named),
        None => others.filter(|others| others.is_object() || **others == true),
    };
    let open = open.or_else(|| schema.get("patternProperties").filter(named));
    if in_request && fields.is_some_and(Map::is_empty) && others != Some(&Value::Bool(false)) {
        linter.report(&SCHEMA_OPEN_REQUEST, pointer, quote(schema));
    } else if let Some(open) = open {
        linter.report(&SCHEMA_FREE_MAP, pointer, format!("keys of any name, values {}", quote(open)));
    } else if fields.is_none() {
        linter.report(&SCHEMA_PROPERTIES, pointer, quote(schema));
    }
    let Some(fields) = fields else { return };
    for (name, place) in items(schema.get("required"), &format!("{pointer}/required")) {
        if name.as_str().is_some_and(|name| !fields.contains_key(name)) {
            linter.report(&SCHEMA_REQUIRED, &place, quote(name));
        }
    }
}

/// Nothing but null.
fn is_null(schema: &Value) -> bool {
    schema["type"] == "null" || schema.get("const").is_some_and(Value::is_null) || schema["enum"] == json!([null])
}
