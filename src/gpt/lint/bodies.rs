//! What operations take and answer.

use super::{Linter, entries, examples, has_type, quote};
use crate::gpt::rules::{BODY_CONTENT, BODY_NOT_OBJECT, RESPONSE_ARRAY, RESPONSE_DESCRIPTION, RESPONSE_MEDIA, RESPONSE_SUCCESS};
use serde_json::Value;

pub(super) fn check_request(linter: &mut Linter, pointer: &str) {
    let Some((body, pointer)) = linter.follow(pointer) else { return };
    let content = entries(body.get("content"), &format!("{pointer}/content"));
    let Some((_, media, media_place)) = content.iter().find(|(kind, ..)| is_json(kind)) else {
        let kinds: Vec<&str> = content.iter().map(|(kind, ..)| kind.as_str()).collect();
        let found = if kinds.is_empty() { "no content".to_owned() } else { kinds.join(", ") };
        return linter.report(&BODY_CONTENT, &pointer, found);
    };
    if media.get("schema").is_none() {
        return linter.report(&BODY_NOT_OBJECT, &pointer, "no schema");
    }
    let place = format!("{media_place}/schema");
    let Some((schema, own_place)) = linter.follow(&place) else { return };
    let combined = ["oneOf", "anyOf", "allOf"].into_iter().find(|word| schema.get(word).is_some());
    if let Some(word) = combined {
        return linter.report(&BODY_NOT_OBJECT, &place, format!("`{word}` at the root"));
    }
    if !has_type(schema, "object") {
        let found = schema.get("type").map_or_else(|| quote(schema), |word| format!("type {}", quote(word)));
        return linter.report(&BODY_NOT_OBJECT, &place, found);
    }
    linter.schemas.add_root(own_place, true);
    examples::check(linter, media, media_place);
}

pub(super) fn check_responses(linter: &mut Linter, operation: &Value, pointer: &str) {
    let list = format!("{pointer}/responses");
    let responses = linter.root.pointer(&list);
    let success = entries(responses, "").iter().any(|(status, ..)| status.starts_with('2') || *status == "default");
    if !success {
        let place = if operation.get("responses").is_some() { &list } else { pointer };
        linter.report(&RESPONSE_SUCCESS, place, "no response 2xx");
    }
    for (_, response, pointer) in linter.entries_behind(responses, &list) {
        if !response["description"].is_string() {
            linter.report(&RESPONSE_DESCRIPTION, &pointer, "no `description`");
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
}

fn check_answer(linter: &mut Linter, media: &Value, pointer: &str) {
    let place = format!("{pointer}/schema");
    let Some((schema, own_place)) = linter.follow(&place) else { return };
    if has_type(schema, "array") {
        linter.report(&RESPONSE_ARRAY, &place, "type array at the root");
    }
    linter.schemas.add_root(own_place, false);
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
