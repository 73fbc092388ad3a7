//! What a run is given besides its task: what each input takes, and whether a value is that.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

/// Characters of what is wrong with a value.
const WHY_CHARS: usize = 200;

/// One of a run's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputField {
    /// What it is.
    pub description: String,
    /// Its value when it is left out; without one it must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// JSON Schema of its value. Absent: what the default is, a whole number for instance; without a default anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl InputField {
    fn effective_schema(&self) -> Value {
        let of_default = || match &self.default {
            None | Some(Value::Null) => json!({}),
            Some(Value::Bool(_)) => json!({"type": "boolean"}),
            Some(Value::Number(number)) if number.is_f64() => json!({"type": "number"}),
            Some(Value::Number(_)) => json!({"type": "integer"}),
            Some(Value::String(_)) => json!({"type": "string"}),
            Some(Value::Array(_)) => json!({"type": "array"}),
            Some(Value::Object(_)) => json!({"type": "object"}),
        };
        self.schema.clone().unwrap_or_else(of_default)
    }

    /// What it takes, in words.
    pub fn takes(&self) -> String {
        takes(&self.effective_schema())
    }

    /// The value as templates get it, or what is wrong with it.
    pub fn accept(&self, value: Value) -> Result<Value, String> {
        let schema = self.effective_schema();
        // JSON knows one kind of number, and templates count with whole ones only.
        let value = match whole(&value).filter(|_| schema["type"] == "integer") {
            Some(whole) => json!(whole),
            None => value,
        };
        if schema["type"] == "integer" && value.is_number() && value.as_i64().is_none() {
            return Err(format!("{value} is no whole number of a size that can be counted with"));
        }
        if has_nul(&value) {
            return Err("it contains a NUL character".to_owned());
        }
        let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
        validator.validate(&value).map_err(|error| error.to_string().chars().take(WHY_CHARS).collect::<String>())?;
        Ok(value)
    }
}

/// The number as a whole one, as models write `20.0` when they mean 20.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let whole = number as i64;
    Some(whole)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What fits a schema, in words, as far as they are short.
fn takes(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
        return format!("one of: {}", words.join(", "));
    }
    let bounds = match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    match schema["type"].as_str() {
        Some("integer") => format!("a whole number{bounds}"),
        Some("number") => format!("a number{bounds}"),
        Some("boolean") => "true or false".to_owned(),
        Some("string") => match schema.get("maxLength") {
            Some(most) => format!("text of at most {most} characters"),
            None => "text".to_owned(),
        },
        Some("array") => {
            let mut words = "a list".to_owned();
            if schema["minItems"].as_u64().is_some_and(|least| least > 0) {
                let _ = write!(words, " of at least {}", schema["minItems"]);
            }
            if schema["uniqueItems"] == true {
                words += ", each once";
            }
            if schema["items"].is_object() {
                let _ = write!(words, ", {}", takes(&schema["items"]));
            }
            words
        }
        Some("object") => "an object".to_owned(),
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_to_be_what_the_schema_or_the_default_says() {
        let field =
            |default: Value, schema: Option<Value>| InputField { description: "d".into(), default: Some(default), schema };
        let parts = field(json!(6), Some(json!({"type": "integer", "minimum": 1, "maximum": 100})));
        assert_eq!(parts.takes(), "a whole number, 1 to 100");
        assert_eq!(parts.accept(json!(4.0)), Ok(json!(4)));
        for bad in
            [json!(2.5), json!(-5), json!(1e20), json!(101), json!("many"), json!(null), json!(100_000_000_000_000_000_000_f64)]
        {
            assert!(parts.accept(bad.clone()).is_err(), "{bad}");
        }
        let plain = field(json!(6), None);
        assert_eq!(plain.takes(), "a whole number");
        assert!(plain.accept(json!(2.5)).is_err() && plain.accept(json!(u64::MAX)).is_err() && plain.accept(json!(-1)).is_ok());
        let list = field(
            json!(["a"]),
            Some(json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"enum": ["a", "b"]}})),
        );
        assert_eq!(list.takes(), "a list of at least 1, each once, one of: a, b");
        assert!(
            list.accept(json!([])).is_err() && list.accept(json!(["a", "a"])).is_err() && list.accept(json!(["b", "a"])).is_ok()
        );
        assert!(field(json!("x"), None).accept(json!("a\0b")).is_err());
        assert_eq!(field(json!(null), None).accept(json!([1])), Ok(json!([1])));
    }
}
