//! Parameters: a list, written out, in path or query, of plain types.

use super::{Linter, has_type, items, quote};
use crate::gpt::rules::{
    PARAMETER_COMPOUND, PARAMETER_DUPLICATE, PARAMETER_LOCATION, PARAMETER_NAME, PARAMETER_REFERENCE, PARAMETER_SCHEMA_REFERENCE,
    PARAMETER_TEXT_LONG, PARAMETERS_SHAPE, PATH_PARAMETER, PATH_PARAMETER_OPTIONAL, SCHEMA_UNTYPED,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Most characters of a parameter's description.
pub(super) const MOST_CHARS: usize = 700;

/// Checks a list of parameters and returns the names of those in the path.
pub(super) fn check(linter: &mut Linter, pointer: &str) -> Vec<String> {
    let Some(list) = linter.root.pointer(pointer).filter(|list| !list.is_null()) else { return vec![] };
    if !list.is_array() {
        linter.report(&PARAMETERS_SHAPE, pointer, quote(list));
    }
    let (mut in_path, mut seen) = (vec![], BTreeSet::new());
    for (parameter, place) in items(Some(list), pointer) {
        if let Some(reference) = parameter.get("$ref") {
            linter.report(&PARAMETER_REFERENCE, &place, quote(reference));
        }
        let Some((parameter, own_place)) = linter.follow(&place) else { continue };
        let name = parameter["name"].as_str().unwrap_or_default();
        let location = parameter["in"].as_str().unwrap_or("no place");
        if name.is_empty() {
            linter.report(&PARAMETER_NAME, &own_place, quote(parameter));
        } else if !seen.insert((name, location)) {
            linter.report(&PARAMETER_DUPLICATE, &place, format!("{name} in {location}"));
        }
        match location {
            "query" => {}
            "path" => {
                in_path.push(name.to_owned());
                if parameter["required"] != true {
                    let found = parameter.get("required").map_or("no `required`".to_owned(), |word| format!("required: {word}"));
                    linter.report(&PATH_PARAMETER_OPTIONAL, &own_place, found);
                }
            }
            _ => linter.report(&PARAMETER_LOCATION, &own_place, format!("{name} in {location}")),
        }
        let chars = parameter["description"].as_str().unwrap_or_default().chars().count();
        if chars > MOST_CHARS {
            linter.report(&PARAMETER_TEXT_LONG, &format!("{own_place}/description"), format!("{chars} characters"));
        }
        check_schema(linter, parameter, &own_place);
    }
    in_path
}

fn check_schema(linter: &mut Linter, parameter: &Value, pointer: &str) {
    let place = format!("{pointer}/schema");
    let Some(schema) = parameter.get("schema") else {
        let found = if parameter.get("content").is_some() { "`content` instead of `schema`" } else { "no `schema`" };
        return linter.report(&SCHEMA_UNTYPED, pointer, found);
    };
    let behind = linter.follow(&place).map_or(schema, |(behind, _)| behind);
    if let Some(word) = ["array", "object"].into_iter().find(|word| has_type(behind, word)) {
        let name = parameter["name"].as_str().unwrap_or("a parameter");
        return linter.report(&PARAMETER_COMPOUND, &place, format!("{name} of type {word}"));
    }
    if let Some(reference) = schema.get("$ref") {
        linter.report(&PARAMETER_SCHEMA_REFERENCE, &place, quote(reference));
    }
    linter.schemas.add(place, true);
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
