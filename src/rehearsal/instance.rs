//! Makes a value that a JSON schema accepts, for structured output without a script.

use super::number::number;
use serde_json::{Map, Value, json};
use std::cell::Cell;

/// Depth at which generation gives up; schemas may refer to themselves.
const DEPTH: usize = 24;
/// Depth beyond which only what is required is made.
const FULL_DEPTH: usize = 4;
/// Schemas visited before generation gives up, because schemas that refer to themselves can branch without end.
const VISITS: u32 = 4000;
/// Branches of `oneOf` and `anyOf` that are tried.
const BRANCHES: usize = 4;
const WORD: &str = "rehearsal";

/// A value for `schema`. Tries the fullest value first and checks it; when nothing it can make is valid
/// (patterns, conditions) the fullest value is returned, and the caller's CLI will say what is wrong.
pub(super) fn instance(schema: &Value) -> Value {
    let make = |lean, branch| Maker { root: schema, lean, branch, visits: Cell::new(0) }.value(schema, 0, 0);
    if let Ok(validator) = jsonschema::validator_for(schema) {
        let tries = (0..BRANCHES).flat_map(|branch| [(false, branch), (true, branch)]);
        if let Some(valid) = tries.map(|(lean, branch)| make(lean, branch)).find(|value| validator.is_valid(value)) {
            return valid;
        }
    }
    make(false, 0)
}

struct Maker<'a> {
    root: &'a Value,
    /// Leave out what is not required.
    lean: bool,
    /// Which branch of a choice to take.
    branch: usize,
    visits: Cell<u32>,
}

impl Maker<'_> {
    /// A value for `schema`; `nth` varies it where values must differ.
    fn value(&self, schema: &Value, depth: usize, nth: u32) -> Value {
        if depth > DEPTH || *schema == Value::Bool(false) || self.visits.get() > VISITS {
            return Value::Null;
        }
        let schema = &self.flat(schema, depth);
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        let one_of_many = |values: &[Value]| values.get(nth as usize % values.len().max(1)).cloned();
        if let Some(value) = schema["enum"].as_array().and_then(|values| one_of_many(values)) {
            return value;
        }
        let given = schema.get("default").into_iter().chain(schema["examples"].as_array().into_iter().flatten());
        let kind = kind(schema);
        if nth == 0
            && let Some(value) = given.into_iter().find(|value| fits(value, schema))
        {
            return value.clone();
        }
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" | "number" => number(schema, kind == "integer", nth),
            "boolean" => Value::Bool(nth.is_multiple_of(2)),
            "null" => Value::Null,
            _ => string(schema, nth),
        }
    }

    /// The schema with references followed and branches merged into it.
    fn flat(&self, schema: &Value, depth: usize) -> Value {
        self.visits.set(self.visits.get() + 1);
        let mut flat = schema.clone();
        for depth in depth..DEPTH {
            if self.visits.get() > VISITS {
                break;
            }
            let Some(object) = flat.as_object_mut() else { return flat };
            let parts = if let Some(target) = object.shift_remove("$ref") {
                target.as_str().and_then(|target| self.root.pointer(target.strip_prefix('#')?)).cloned().into_iter().collect()
            } else if let Some(Value::Array(parts)) = object.shift_remove("allOf") {
                parts.iter().map(|part| self.flat(part, depth + 1)).collect()
            } else if let Some(Value::Array(choices)) = object.shift_remove("oneOf").or_else(|| object.shift_remove("anyOf")) {
                self.choice(choices).iter().map(|part| self.flat(part, depth + 1)).collect::<Vec<_>>()
            } else {
                return flat;
            };
            for part in parts {
                merge(&mut flat, part);
            }
        }
        flat
    }

    /// One branch, and one that is not just `null` if there is one.
    fn choice(&self, mut choices: Vec<Value>) -> Option<Value> {
        choices.sort_by_key(|choice| choice["type"] == "null");
        let last = choices.len().checked_sub(1)?;
        Some(choices.swap_remove(self.branch.min(last)))
    }

    /// Whether to leave out what is not required: by choice, and so that self-referring schemas come to an end.
    fn lean(&self, depth: usize) -> bool {
        self.lean || depth > FULL_DEPTH || self.visits.get() > VISITS / 2
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        let lean = self.lean(depth);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if *property != Value::Bool(false) && (!lean || required.contains(&name.as_str())) {
                object.insert(name.clone(), self.value(property, depth + 1, 0));
            }
        }
        let other = schema.get("additionalProperties").unwrap_or(&Value::Null);
        let least = schema["minProperties"].as_u64().unwrap_or(0).min(100);
        let extra = (1..=least).map(|n| format!("{WORD}{n}"));
        for name in required.iter().map(|name| (*name).to_owned()) {
            if !object.contains_key(&name) {
                object.insert(name, self.value(other, depth + 1, 0));
            }
        }
        for name in extra {
            if (object.len() as u64) < least {
                object.insert(name, self.value(other, depth + 1, 0));
            }
        }
        Value::Object(object)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let tuple = schema["prefixItems"].as_array().or_else(|| schema["items"].as_array());
        let tuple = tuple.map_or(&[][..], Vec::as_slice);
        let rest = [schema.get("items").filter(|items| !items.is_array()), schema.get("contains")];
        let rest = rest.into_iter().flatten().next();
        let least = schema["minItems"].as_u64().unwrap_or(0).min(1000);
        let wanted = if self.lean(depth) || rest.is_none_or(|rest| *rest == Value::Bool(false)) { least } else { least.max(1) };
        let wanted = wanted.max(tuple.len() as u64).min(schema["maxItems"].as_u64().unwrap_or(u64::MAX));
        let unique = schema["uniqueItems"] == true;
        let items = (0_u32..).zip(0..wanted).map(|(nth, _)| {
            let item = tuple.get(nth as usize).or(rest).unwrap_or(&Value::Null);
            self.value(item, depth + 1, if unique { nth } else { 0 })
        });
        items.collect()
    }
}

/// Lays `part` over `schema`: properties and required names add up, bounds and the rest replace.
fn merge(schema: &mut Value, part: Value) {
    let (Some(into), Value::Object(part)) = (schema.as_object_mut(), part) else { return };
    for (name, value) in part {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if name == "properties" => {
                for (property, value) in new {
                    match old.get_mut(&property) {
                        Some(old) => merge(old, value),
                        None => drop(old.insert(property, value)),
                    }
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) if name == "required" || name == "allOf" => old.extend(new),
            // Lists of allowed values: what both allow.
            (Some(Value::Array(old)), Value::Array(new)) if name == "enum" => old.retain(|value| new.contains(value)),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// The type to make: the one named, the first that is not null of several, else a guess from the keywords.
fn kind(schema: &Value) -> &str {
    let named = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).min_by_key(|name| *name == "null"),
        one => one.as_str(),
    };
    let has = |names: &[&str]| names.iter().any(|name| schema.get(name).is_some());
    named.unwrap_or_else(|| {
        if has(&["properties", "required", "additionalProperties", "minProperties"]) {
            "object"
        } else if has(&["items", "prefixItems", "minItems", "contains", "uniqueItems"]) {
            "array"
        } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
            "number"
        } else {
            "string"
        }
    })
}

/// Whether a default or an example keeps to its own schema.
fn fits(value: &Value, schema: &Value) -> bool {
    // Without references: those were followed, and what is left may not resolve from here.
    let plain: Map<_, _> =
        ["type", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "required", "pattern"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), schema.get(name)?.clone())))
            .collect();
    jsonschema::validator_for(&Value::Object(plain)).is_ok_and(|validator| validator.is_valid(value))
}

fn string(schema: &Value, nth: u32) -> Value {
    let fixed = match schema["format"].as_str() {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "PT1M",
        Some("email" | "idn-email") => "rehearsal@example.com",
        Some("uri" | "url" | "uri-reference" | "iri") => "https://example.com/rehearsal",
        Some("hostname") => "example.com",
        Some("ipv4") => "127.0.0.1",
        Some("ipv6") => "::1",
        Some("uuid") => return json!(format!("00000000-0000-4000-8000-{nth:012}")),
        _ => WORD,
    };
    let mut text = if nth == 0 || fixed != WORD { fixed.to_owned() } else { format!("{nth}{WORD}") };
    let length = |name: &str| schema[name].as_u64().and_then(|length| usize::try_from(length).ok());
    let least = length("minLength").unwrap_or(0).min(100_000);
    while text.len() < least {
        text.push('.');
    }
    text.truncate(length("maxLength").unwrap_or(usize::MAX)); // ASCII throughout
    json!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an instance and checks it with an independent validator.
    fn valid(schema: &Value) -> Value {
        let made = instance(schema);
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        assert!(validator.is_valid(&made), "{made} is not valid for {schema}");
        made
    }

    #[test]
    fn instances_are_valid() {
        for schema in [
            json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}),
            json!({"type": "object", "properties": {
                "a": {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "uniqueItems": true}}}),
            json!({"type": "object", "required": ["k"],
                "additionalProperties": {"type": "number", "exclusiveMinimum": 3, "maximum": 3.5}}),
            json!({"type": "object", "properties": {
                "i": {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 7},
                "j": {"type": "integer", "minimum": -9, "exclusiveMaximum": -3},
                "k": {"type": "number", "multipleOf": 0.25, "minimum": 0.3}}}),
            json!({"type": "object", "properties": {
                "s": {"type": "string", "minLength": 30}, "t": {"type": "string", "maxLength": 2},
                "w": {"format": "date-time"}, "d": {"format": "date"}, "e": {"format": "email"},
                "u": {"format": "uri"}, "i": {"format": "uuid"}}}),
            json!({"type": "object", "properties": {"p": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/p"}]}}, "required": ["p"],
                "$defs": {"p": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"],
                    "additionalProperties": false}}}),
            json!({"type": "object", "allOf": [{"$ref": "#/definitions/a"}, {"$ref": "#/definitions/b"}], "definitions": {
                "a": {"properties": {"x": {"const": 3}}, "required": ["x"]},
                "b": {"properties": {"y": {"type": ["null", "string"]}}, "required": ["y"]}}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"$ref": "#/$defs/node", "$defs": {"node": {
                "type": "object", "required": ["value", "children"], "additionalProperties": false, "properties": {
                    "value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}}),
            json!({"type": "object", "minProperties": 3, "properties": {
                "t": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}}}),
            json!({"oneOf": [{"type": "string", "pattern": "^z+$"}, {"type": "integer"}]}),
            json!({"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 2, "uniqueItems": true}),
            json!({}),
            json!(true),
        ] {
            assert_eq!(valid(&schema), instance(&schema), "the same schema gives the same instance");
        }
    }

    #[test]
    fn defaults_and_examples_come_first_when_they_fit() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "d"}, "b": {"type": "integer", "examples": ["no", 42]},
            "c": {"type": "string", "default": null}, "d": {"type": ["string", "null"]}}});
        assert_eq!(valid(&schema), json!({"a": "d", "b": 42, "c": "rehearsal", "d": "rehearsal"}));
    }

    #[test]
    fn hopeless_schemas_come_to_an_end() {
        let many: Map<_, _> = (0..50).map(|n| (format!("p{n}"), json!({"$ref": "#"}))).collect();
        let required: Vec<_> = many.keys().cloned().collect();
        for schema in [
            json!({"$ref": "#"}),
            json!({"type": "wat"}),
            json!({"type": "object", "properties": 5, "required": "x", "enum": 3, "anyOf": []}),
            json!({"$ref": "#/nowhere"}),
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"type": "object", "properties": many, "required": required}),
        ] {
            instance(&schema);
        }
    }
}
