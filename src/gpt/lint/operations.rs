//! Operations: how many, their names and words, whether they ask first.

use super::{Linter, bodies, entries, parameters, quote};
use crate::gpt::rules::{
    CONSEQUENTIAL_DELETE, CONSEQUENTIAL_GET, CONSEQUENTIAL_MISSING, CONSEQUENTIAL_TYPE, METHOD, NO_OPERATIONS,
    OPERATION_DUPLICATE, OPERATION_ID_DUPLICATE, OPERATION_ID_INVALID, OPERATION_ID_MISSING, OPERATION_LIMIT,
    OPERATION_TEXT_LONG, OPERATION_TEXT_MISSING, PATH_REFERENCE, PATH_SLASH, SERVER_NESTED,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Methods actions have.
pub(super) const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// What else stands beside them.
const FIELDS: [&str; 4] = ["summary", "description", "servers", "parameters"];
const MOST: usize = 30;
const MOST_CHARS: usize = 300;
const MOST_ID_CHARS: usize = 64;

pub(super) fn check(linter: &mut Linter) {
    let (mut count, mut ids, mut shapes) = (0, BTreeSet::new(), BTreeMap::new());
    for (path, item, pointer) in entries(linter.root.get("paths"), "/paths") {
        if path.starts_with("x-") {
            continue;
        }
        if !path.starts_with('/') {
            linter.report(&PATH_SLASH, &pointer, path);
        }
        if let Some(earlier) = shapes.insert(shape(path), path) {
            linter.report(&OPERATION_DUPLICATE, &pointer, format!("the same as {earlier}"));
        }
        if let Some(reference) = item.get("$ref") {
            linter.report(&PATH_REFERENCE, &pointer, quote(reference));
        }
        let Some((item, pointer)) = linter.follow(&pointer) else { continue };
        if item.get("servers").is_some() {
            linter.report(&SERVER_NESTED, &format!("{pointer}/servers"), quote(&item["servers"]));
        }
        let shared = parameters::check(linter, &format!("{pointer}/parameters"));
        for (method, operation, pointer) in entries(Some(item), &pointer) {
            if !METHODS.contains(&method.as_str()) {
                if !FIELDS.contains(&method.as_str()) && !method.starts_with("x-") {
                    linter.report(&METHOD, &pointer, method);
                }
                continue;
            }
            count += 1;
            check_names(linter, operation, &pointer, &mut ids);
            check_consequential(linter, method, operation, &pointer);
            if operation.get("servers").is_some() {
                linter.report(&SERVER_NESTED, &format!("{pointer}/servers"), quote(&operation["servers"]));
            }
            let mut declared = parameters::check(linter, &format!("{pointer}/parameters"));
            declared.extend(shared.iter().cloned());
            parameters::check_path(linter, path, &declared, &pointer);
            bodies::check_request(linter, &format!("{pointer}/requestBody"));
            bodies::check_responses(linter, operation, &pointer);
        }
    }
    let place = if linter.root.get("paths").is_some() { "/paths" } else { "" };
    if count == 0 {
        linter.report(&NO_OPERATIONS, place, "no operation");
    } else if count > MOST {
        linter.report(&OPERATION_LIMIT, place, format!("{count} operations"));
    }
}

/// The path with its parameters' names taken out.
fn shape(path: &str) -> String {
    let parts = path.split_inclusive('}').map(|part| match part.find('{') {
        Some(start) if part.ends_with('}') => format!("{}{{}}", &part[..start]),
        _ => part.to_owned(),
    });
    parts.collect()
}

fn check_names<'a>(linter: &mut Linter<'a>, operation: &'a Value, pointer: &str, ids: &mut BTreeSet<&'a str>) {
    let place = format!("{pointer}/operationId");
    match operation.get("operationId") {
        Some(Value::String(id)) if !id.is_empty() => {
            linter.operations.insert(pointer.to_owned(), id.clone());
            let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if !plain || id.chars().count() > MOST_ID_CHARS {
                linter.report(
                    &OPERATION_ID_INVALID,
                    &place,
                    format!("{} ({} characters)", quote(&operation["operationId"]), id.chars().count()),
                );
            }
            if !ids.insert(id.as_str()) {
                linter.report(&OPERATION_ID_DUPLICATE, &place, id);
            }
        }
        Some(other) => linter.report(&OPERATION_ID_MISSING, &place, quote(other)),
        None => linter.report(&OPERATION_ID_MISSING, pointer, "no `operationId`"),
    }
    let mut words = false;
    for key in ["summary", "description"] {
        let chars = operation[key].as_str().unwrap_or_default().chars().count();
        words |= chars > 0;
        if chars > MOST_CHARS {
            linter.report(&OPERATION_TEXT_LONG, &format!("{pointer}/{key}"), format!("{chars} characters"));
        }
    }
    if !words {
        linter.report(&OPERATION_TEXT_MISSING, pointer, "neither `summary` nor `description`");
    }
}

fn check_consequential(linter: &mut Linter, method: &str, operation: &Value, pointer: &str) {
    let key = "x-openai-isConsequential";
    let place = format!("{pointer}/{key}");
    match (operation.get(key), method) {
        (None, _) => linter.report(&CONSEQUENTIAL_MISSING, pointer, format!("a {method} without it")),
        (Some(Value::Bool(true)), "get") => linter.report(&CONSEQUENTIAL_GET, &place, "true"),
        (Some(Value::Bool(false)), "delete") => linter.report(&CONSEQUENTIAL_DELETE, &place, "false"),
        (Some(Value::Bool(_)), _) => {}
        (Some(other), _) => linter.report(&CONSEQUENTIAL_TYPE, &place, quote(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn a_shape_has_no_names() {
        assert_eq!(shape("/points/{latitude},{longitude}/now"), "/points/{},{}/now");
        assert_eq!(shape("/a/{x}"), shape("/a/{y}"));
        assert_ne!(shape("/a/{x}"), shape("/a/{x},{y}"));
        assert_eq!((shape("/}{/x").as_str(), shape("/{").as_str()), ("/}{/x", "/{"));
    }
}
