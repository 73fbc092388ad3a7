//! Parameters: written out, in path or query, of plain types.

use super::{Linter, has_type, items, quote, schemas};
use crate::gpt::rules::{
    PARAMETER_COMPOUND, PARAMETER_LOCATION, PARAMETER_NAME, PARAMETER_REFERENCE, PARAMETER_SCHEMA_REFERENCE, PARAMETER_TEXT_LONG,
    PATH_PARAMETER, SCHEMA_UNTYPED,
};
use serde_json::Value;

/// Most characters of a parameter's description.
pub(super) const MOST_CHARS: usize = 700;

/// Checks a list of parameters and returns the names of those in the path.
pub(super) fn check(linter: &mut Linter, list: Option<&Value>, pointer: &str) -> Vec<String> {
    let mut in_path = vec![];
    for (parameter, place) in items(list, pointer) {
        if let Some(reference) = parameter.get("$ref") {
            linter.report(&PARAMETER_REFERENCE, &place, quote(reference));
            // One complaint is enough: what it refers to may well be the path's parameter.
            let target = reference.as_str().and_then(|target| linter.root.pointer(target.strip_prefix('#')?));
            in_path.extend(target.and_then(|target| target["name"].as_str()).map(str::to_owned));
            continue;
        }
        match parameter["name"].as_str() {
            Some(name) if !name.is_empty() => {
                if parameter["in"] == "path" {
                    in_path.push(name.to_owned());
                }
            }
            _ => linter.report(&PARAMETER_NAME, &place, quote(parameter)),
        }
        if !matches!(parameter["in"].as_str(), Some("query" | "path")) {
            let name = parameter["name"].as_str().unwrap_or_default();
            linter.report(&PARAMETER_LOCATION, &place, format!("{name} in {}", parameter["in"].as_str().unwrap_or("no place")));
        }
        let chars = parameter["description"].as_str().unwrap_or_default().chars().count();
        if chars > MOST_CHARS {
            linter.report(&PARAMETER_TEXT_LONG, &format!("{place}/description"), format!("{chars} characters"));
        }
        check_schema(linter, parameter, &place);
    }
    in_path
}

fn check_schema(linter: &mut Linter, parameter: &Value, pointer: &str) {
    let place = format!("{pointer}/schema");
    let Some(schema) = parameter.get("schema") else {
        let found = if parameter.get("content").is_some() { "`content` instead of `schema`" } else { "no `schema`" };
        return linter.report(&SCHEMA_UNTYPED, pointer, found);
    };
    if let Some(reference) = schema.get("$ref") {
        return linter.report(&PARAMETER_SCHEMA_REFERENCE, &place, quote(reference));
    }
    if let Some(word) = ["array", "object"].into_iter().find(|word| has_type(schema, word)) {
        return linter.report(
            &PARAMETER_COMPOUND,
            &place,
            format!("{} of type {word}", parameter["name"].as_str().unwrap_or("a parameter")),
        );
    }
    schemas::check(linter, schema, &place, true);
}

/// Each placeholder of the path has a parameter.
pub(super) fn check_path(linter: &mut Linter, path: &str, declared: &[String], pointer: &str) {
    for part in path.split('{').skip(1) {
        let name = part.split('}').next().unwrap_or_default();
        if !declared.iter().any(|known| known == name) {
            linter.report(&PATH_PARAMETER, pointer, format!("{{{name}}}"));
        }
    }
}
