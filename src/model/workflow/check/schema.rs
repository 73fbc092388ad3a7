//! What keeps a stage's `output_schema` from working. Claude Code drops a schema with an unknown keyword without a word
//! (seen with 2.1.197), and in YAML a comma in an unquoted text makes one.

use serde_json::{Map, Value};

/// Keywords of JSON Schema 2020-12 that a schema for an answer may have.
const KEYWORDS: [&str; 44] = [
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "uniqueItems",
];

/// What is wrong with a schema.
pub(in crate::model) fn flaw(schema: &Value) -> Option<String> {
    if schema.get("type").is_none_or(|kind| kind != "object") {
        return Some("must be a JSON Schema of type object".to_owned());
    }
    flaw_of_any(schema)
}

/// What is wrong with a schema of anything.
pub(super) fn flaw_of_any(schema: &Value) -> Option<String> {
    if let Err(error) = jsonschema::meta::validate(schema) {
        return Some(format!("is no JSON Schema: {error} (at `{}`)", error.instance_path()));
    }
    unknown(schema, "")
}

fn unknown(schema: &Value, at: &str) -> Option<String> {
    let Value::Object(map) = schema else { return None };
    for (name, value) in map {
        let at = format!("{at}/{name}");
        let found = match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "dependentSchemas", Value::Object(inner)) => each(inner, &at),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(inner)) => {
                inner.iter().find_map(|value| unknown(value, &at))
            }
            ("items" | "additionalProperties" | "not" | "if" | "then" | "else" | "contains" | "propertyNames", _) => {
                unknown(value, &at)
            }
            (name, _) if KEYWORDS.contains(&name) => None,
            (name, _) => {
                Some(format!("`{name}` (at `{at}`) is no keyword of JSON Schema; put quotes around texts that have a comma"))
            }
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn each(map: &Map<String, Value>, at: &str) -> Option<String> {
    map.iter().find_map(|(name, value)| unknown(value, &format!("{at}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slip_in_a_schema_is_named() {
        let good =
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "description": "x, y"}}}});
        assert_eq!(flaw(&good), None);
        for (bad, words) in [
            (json!({"type": "array"}), "type object"),
            (json!({"type": "object", "properties": {"a": {"type": "wat"}}}), "no JSON Schema"),
            (
                json!({"type": "object", "properties": {"a": {"type": "string", "in words": null}}}),
                "`in words` (at `/properties/a/in words`)",
            ),
            (json!({"type": "object", "properties": {"a": {"items": {"anyOf": [{"typ": "string"}]}}}}), "`typ`"),
        ] {
            assert!(flaw(&bad).is_some_and(|found| found.contains(words)), "{:?}", flaw(&bad));
        }
    }
}
