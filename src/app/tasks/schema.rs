//! Whether a JSON Schema can serve as `output_schema`.

use crate::model::limits::OUTPUT_SCHEMA_BYTES;
use jsonschema::PatternOptions;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Compiled size a single `pattern` may have.
const PATTERN_BYTES: usize = 1 << 20;

/// Takes a schema as it is, or as a text that holds it: `ChatGPT` can send only objects whose fields are known beforehand.
pub(super) fn object_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let given = Option::<Value>::deserialize(deserializer)?;
    Ok(given.map(|given| match &given {
        Value::String(text) => serde_json::from_str(text).unwrap_or(given),
        _ => given,
    }))
}

/// Says in words what keeps `schema` from being used.
pub(super) async fn check_output_schema(schema: &Value) -> Result<(), String> {
    let bytes = serde_json::to_vec(schema).map_or(usize::MAX, |text| text.len());
    if bytes > OUTPUT_SCHEMA_BYTES {
        return Err(format!("has {bytes} bytes of JSON; at most {OUTPUT_SCHEMA_BYTES} are allowed"));
    }
    if schema.is_string() {
        return Err("is a text that holds no JSON; give a JSON Schema, as an object or as text".into());
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("must be a JSON Schema object whose root says \"type\": \"object\"".into());
    }
    if has_nul(schema) {
        return Err("contains a NUL character; remove it".into());
    }
    // Compiling patterns may take a while; it must not hold up other requests.
    let owned = schema.clone();
    let compiled = tokio::task::spawn_blocking(move || compile(&owned)).await;
    compiled.map_err(|_| "could not be checked".to_owned())?
}

fn compile(schema: &Value) -> Result<(), String> {
    let invalid = |error: &dyn std::fmt::Display| {
        format!("is not a valid JSON Schema: {}", crate::app::size::excerpt(&error.to_string(), 300))
    };
    jsonschema::meta::validate(schema).map_err(|error| invalid(&format!("{error} (at `{}`)", error.instance_path())))?;
    // No retriever: a reference to anything outside the schema is an error, never a request.
    let options = jsonschema::options().offline().with_pattern_options(PatternOptions::fancy_regex().size_limit(PATTERN_BYTES));
    options.build(schema).map(drop).map_err(|error| invalid(&error))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn usable_schemas_pass() {
        let schema = json!({"type": "object", "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/step"}}}, "required": ["steps"], "$defs": {"step": {"type": "string"}}});
        assert_eq!(check_output_schema(&schema).await, Ok(()));
    }

    #[test]
    fn a_schema_may_come_as_text() {
        let schema = json!({"type": "object", "properties": {}});
        let given = |given: Value| {
            let request = json!({"description": "x", "output_schema": given});
            serde_json::from_value::<crate::app::tasks::CreateTask>(request).expect("a request").output_schema
        };
        assert_eq!(given(schema.to_string().into()), Some(schema.clone()));
        assert_eq!(given(schema.clone()), Some(schema));
        assert_eq!((given(json!("words")), given(Value::Null)), (Some(json!("words")), None));
    }

    #[tokio::test]
    async fn unusable_schemas_are_refused_in_words() {
        for (schema, word) in [
            (json!({"type": "array"}), "object"),
            (json!("object"), "object"),
            (json!({"type": "object", "properties": 7}), "not a valid JSON Schema"),
            (json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/secret"}}}), "not a valid JSON Schema"),
            (json!({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}), "not a valid JSON Schema"),
            (json!({"type": "object", "properties": {"a": {"pattern": "("}}}), "not a valid JSON Schema"),
            (json!({"type": "object", "description": "x".repeat(OUTPUT_SCHEMA_BYTES)}), "bytes"),
            (json!({"type": "object", "description": "a\u{0}"}), "NUL"),
        ] {
            let problem = check_output_schema(&schema).await.expect_err(&schema.to_string());
            assert!(problem.contains(word), "{problem}");
        }
    }
}
