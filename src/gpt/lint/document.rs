//! The document as a whole: version, size, what must stand at its root.

use super::{Linter, entries, items, quote};
use crate::gpt::{
    read::Document,
    rules::{DOCUMENT_SIZE, DUPLICATE_KEY, INFO_INCOMPLETE, NESTED_OPENAPI, OPENAPI_VERSION, SCHEMAS_MISSING},
};
use serde_json::Value;

const MOST_BYTES: usize = 1_000_000;

pub(super) fn check(linter: &mut Linter, document: &Document) {
    let root = linter.root;
    if !matches!(root["openapi"].as_str(), Some("3.1.0" | "3.1.1")) {
        linter.report(&OPENAPI_VERSION, "/openapi", quote(&root["openapi"]));
    }
    if document.bytes > MOST_BYTES {
        linter.report(&DOCUMENT_SIZE, "", format!("{} bytes", document.bytes));
    }
    for pointer in &document.duplicates {
        linter.report(&DUPLICATE_KEY, pointer, "the key more than once in the same object");
    }
    let missing: Vec<&str> = ["title", "version"].into_iter().filter(|key| !root["info"][key].is_string()).collect();
    if !missing.is_empty() {
        let place = if root["info"].is_null() { "" } else { "/info" };
        linter.report(&INFO_INCOMPLETE, place, format!("no text in {}", missing.join(" and ")));
    }
    // Documents without any `components`, such as OpenAI's own examples, are imported.
    let schemas = root.pointer("/components/schemas");
    if root.get("components").is_some() && !schemas.is_some_and(Value::is_object) {
        let place = if schemas.is_some() { "/components/schemas" } else { "/components" };
        linter.report(&SCHEMAS_MISSING, place, schemas.map_or("it is missing".to_owned(), quote));
    }
    for (_, inside, pointer) in entries(Some(root), "") {
        find_nested(linter, inside, &pointer);
    }
}

fn find_nested(linter: &mut Linter, value: &Value, pointer: &str) {
    for (key, inside, place) in entries(Some(value), pointer) {
        if key == "openapi" {
            linter.report(&NESTED_OPENAPI, &place, quote(inside));
        }
        find_nested(linter, inside, &place);
    }
    for (item, place) in items(Some(value), pointer) {
        find_nested(linter, item, &place);
    }
}
