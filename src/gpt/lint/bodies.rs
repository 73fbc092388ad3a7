//! What operations take and answer.

use super::{Linter, entries, examples, has_type, quote, schemas};
use crate::gpt::rules::{
    BODY_CONTENT, BODY_NOT_OBJECT, FILE_REFERENCES, FILE_RESPONSE, RESPONSE_ARRAY, RESPONSE_DESCRIPTION, RESPONSE_MEDIA,
    RESPONSE_SUCCESS,
};
use serde_json::Value;

const FILES_IN: &str = "openaiFileIdRefs";
const FILES_OUT: &str = "openaiFileResponse";

pub(super) fn check_request(linter: &mut Linter, operation: &Value, pointer: &str) {
    let pointer = format!("{pointer}/requestBody");
    let Some(body) = operation.get("requestBody") else { return };
    // One of `components` is checked where it is used, under the pointer of the use.
    let referred = body.get("$ref").is_some();
    let Some(body) = linter.root.pointer(&pointer).and_then(|body| linter.resolve(body)) else { return };
    let content = entries(body.get("content"), &format!("{pointer}/content"));
    let Some((_, media, media_place)) = content.iter().find(|(kind, ..)| is_json(kind)) else {
        let kinds: Vec<&str> = content.iter().map(|(kind, ..)| kind.as_str()).collect();
        let found = if kinds.is_empty() { "no content".to_owned() } else { kinds.join(", ") };
        return linter.report(&BODY_CONTENT, &pointer, found);
    };
    let place = if referred { pointer.clone() } else { format!("{media_place}/schema") };
    let Some(schema) = media.get("schema") else { return linter.report(&BODY_NOT_OBJECT, &pointer, "no schema") };
    let Some(resolved) = linter.resolve(schema) else { return };
    let combined = ["oneOf", "anyOf", "allOf"].into_iter().find(|word| resolved.get(word).is_some());
    if let Some(word) = combined {
        linter.report(&BODY_NOT_OBJECT, &place, format!("`{word}` at the root"));
    } else if !has_type(resolved, "object") {
        let found = resolved.get("type").map_or_else(|| quote(resolved), |word| format!("type {}", quote(word)));
        linter.report(&BODY_NOT_OBJECT, &place, found);
    } else if !referred {
        schemas::check(linter, schema, &place, true);
    }
    check_files_in(linter, resolved, &place, 0);
    if !referred {
        examples::check(linter, media, media_place);
    }
}

pub(super) fn check_responses(linter: &mut Linter, operation: &Value, pointer: &str) {
    let list = format!("{pointer}/responses");
    let mut success = false;
    for (status, response, pointer) in entries(linter.root.pointer(&list), &list) {
        success |= status.starts_with('2') || status == "default";
        let referred = response.get("$ref").is_some();
        let Some(response) = linter.resolve(response) else { continue };
        if !response["description"].is_string() {
            linter.report(&RESPONSE_DESCRIPTION, &pointer, "no `description`");
        }
        if referred {
            continue;
        }
        let content = entries(response.get("content"), &format!("{pointer}/content"));
        for (kind, media, place) in &content {
            if is_text(kind) {
                check_answer(linter, media, place);
            } else if !content.iter().any(|(other, ..)| is_text(other)) {
                linter.report(&RESPONSE_MEDIA, place, *kind);
            }
        }
    }
    if !success {
        let place = if operation.get("responses").is_some() { &list } else { pointer };
        linter.report(&RESPONSE_SUCCESS, place, "no response 2xx");
    }
}

fn check_answer(linter: &mut Linter, media: &Value, pointer: &str) {
    let place = format!("{pointer}/schema");
    let Some(schema) = linter.root.pointer(&place) else { return };
    schemas::check(linter, schema, &place, false);
    if let Some(resolved) = linter.resolve(schema) {
        if has_type(resolved, "array") {
            linter.report(&RESPONSE_ARRAY, &place, "type array at the root");
        }
        check_files_out(linter, resolved, &place, 0);
    }
    examples::check(linter, media, pointer);
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// JSON of any kind, and words.
fn is_text(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let stream = kind == "text/event-stream";
    !stream && (kind.ends_with("json") || kind.starts_with("text/") || kind.ends_with("xml") || kind == "*/*")
}

/// The list of files stands at the top of the body and holds texts.
fn check_files_in(linter: &mut Linter, schema: &Value, place: &str, depth: usize) {
    for (name, property, pointer) in entries(schema.get("properties"), &format!("{place}/properties")) {
        if name == FILES_IN {
            let strings = has_type(property, "array") && has_type(&property["items"], "string");
            if depth > 0 || !strings {
                linter.report(&FILE_REFERENCES, &existing(linter, &pointer, place), quote(property));
            }
        }
        check_files_in(linter, property, &pointer, depth + 1);
    }
    if let Some(items) = schema.get("items") {
        check_files_in(linter, items, &format!("{place}/items"), depth + 1);
    }
}

/// The list of files stands at the top of the answer.
fn check_files_out(linter: &mut Linter, schema: &Value, place: &str, depth: usize) {
    for (name, property, pointer) in entries(schema.get("properties"), &format!("{place}/properties")) {
        if name == FILES_OUT && (depth > 0 || !has_type(property, "array")) {
            linter.report(&FILE_RESPONSE, &existing(linter, &pointer, place), quote(property));
        }
        check_files_out(linter, property, &pointer, depth + 1);
    }
    if let Some(items) = schema.get("items") {
        check_files_out(linter, items, &format!("{place}/items"), depth + 1);
    }
}

/// The pointer, or the one that is surely there when the schema stands behind a reference.
fn existing(linter: &Linter, pointer: &str, place: &str) -> String {
    if linter.root.pointer(pointer).is_some() { pointer.to_owned() } else { place.to_owned() }
}
