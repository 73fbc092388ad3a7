//! A text becomes an `OpenAPI` document, or a sentence about what it is instead.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::RefCell, fmt};

/// Deepest nesting of YAML; JSON has the same limit.
const DEPTH: usize = 128;
/// Nodes of YAML after its aliases are filled in.
const NODES: usize = 500_000;

/// An `OpenAPI` document as it was read.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its content, keys in the order of the text.
    pub value: Value,
    /// Size of the text.
    pub bytes: usize,
    /// JSON pointers of keys that were there more than once; the last one is in `value`.
    pub duplicates: Vec<String>,
}

/// Why a text is no `OpenAPI` document, and what to give instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self { bytes: value.to_string().len(), value, duplicates: vec![] }
    }
}

impl Document {
    /// Reads JSON or YAML.
    pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let wrong = |problem: String| Err(Unreadable(problem));
        let Ok(text) = std::str::from_utf8(text) else {
            return wrong("this is not text in UTF-8; give an OpenAPI document as JSON or YAML".into());
        };
        let content = text.trim_start_matches('\u{feff}').trim();
        if content.is_empty() {
            return wrong("this is empty; give an OpenAPI document as JSON or YAML".into());
        }
        if content.starts_with('<') {
            return wrong(
                "this is a web page or XML; give the address of the document itself, which often ends with /openapi.json".into(),
            );
        }
        let duplicates = RefCell::new(vec![]);
        let root = || Node { pointer: String::new(), duplicates: &duplicates };
        let value = if content.starts_with('{') || content.starts_with('[') {
            let mut json = serde_json::Deserializer::from_str(content);
            let value = root().deserialize(&mut json).and_then(|value| json.end().map(|()| value));
            value.or_else(|error| {
                // YAML in flow style begins like JSON.
                duplicates.borrow_mut().clear();
                yaml(content, root()).map_err(|_| format!("this is not valid JSON: {error}"))
            })
        } else {
            yaml(content, root())
        };
        let value = match value {
            Ok(value) => value,
            Err(problem) => return wrong(format!("{problem}. Give an OpenAPI document as JSON or YAML")),
        };
        if let Some(what) = something_else(&value) {
            return wrong(what.into());
        }
        Ok(Self { value, bytes: text.len(), duplicates: duplicates.into_inner() })
    }
}

fn yaml(text: &str, seed: Node) -> Result<Value, String> {
    use serde_saphyr::{DuplicateKeyPolicy, budget, options};
    let options = options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        // `y` and `no` are names, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
        budget: budget! { max_nodes: NODES, max_depth: DEPTH },
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| seed.deserialize(yaml))
        .map_err(|error| format!("this is not valid YAML: {error}"))
}

/// Says what a value is that is no `OpenAPI` document.
fn something_else(value: &Value) -> Option<&'static str> {
    let Some(map) = value.as_object() else {
        return Some(match value {
            Value::Array(_) => "this is a list; give the OpenAPI document itself, an object that begins with `openapi`",
            _ => "this is plain text; give an OpenAPI document as JSON or YAML",
        });
    };
    let has = |key: &str| map.contains_key(key);
    if has("openapi") {
        return None;
    }
    Some(if has("swagger") {
        "this is Swagger 2.0, which ChatGPT does not import; convert it to OpenAPI 3.1.0 and give that"
    } else if value.pointer("/info/schema").is_some_and(|schema| schema.to_string().contains("postman")) {
        "this is a Postman collection; export the API as OpenAPI 3.1 and give that"
    } else if has("schema_version") && has("api") {
        "this is a plugin manifest; give the OpenAPI document that its `api.url` names"
    } else if has("status") && has("title") {
        "this is an error of a server; check the address, and give that of the OpenAPI document"
    } else if has("$schema") || (has("type") && has("properties")) {
        "this is a JSON Schema; put it into an OpenAPI document, below a path or `components.schemas`, and give that"
    } else if has("asyncapi") || has("arazzo") || has("overlay") {
        "this is another kind of API description; give an OpenAPI 3.1 document"
    } else {
        "this has no key `openapi`; give an OpenAPI document, an object that begins with `openapi: 3.1.0`"
    })
}

/// Reads any value and notes keys that are there twice.
struct Node<'a> {
    pointer: String,
    duplicates: &'a RefCell<Vec<String>>,
}

/// One part of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = vec![];
        loop {
            let pointer = format!("{}/{}", self.pointer, items.len());
            match sequence.next_element_seed(Node { pointer, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let no_duplicates = RefCell::new(vec![]);
        while let Some(key) = entries.next_key_seed(Node { pointer: String::new(), duplicates: &no_duplicates })? {
            // YAML reads `200:` as a number.
            let key = match key {
                Value::String(key) => key,
                Value::Number(_) | Value::Bool(_) | Value::Null => key.to_string(),
                _ => return Err(A::Error::custom("a key that is a list or a map")),
            };
            let pointer = format!("{}/{}", self.pointer, escape(&key));
            if map.contains_key(&key) {
                self.duplicates.borrow_mut().push(pointer.clone());
            }
            let value = entries.next_value_seed(Node { pointer, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_give_the_same() {
        let json = br#"{"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {"200": {"description": "yes"}}}}}}"#;
        let yaml = b"# a comment\nopenapi: 3.1.0\npaths:\n  /a:\n    get:\n      responses:\n        200:\n          description: \"yes\"\n";
        let flow = br#"{openapi: 3.1.0, paths: {/a: {get: {responses: {200: {description: "yes"}}}}}}"#;
        let expected = json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {"200": {"description": "yes"}}}}}});
        for text in [&json[..], yaml, flow] {
            assert_eq!(Document::read(text).expect("a document").value, expected);
        }
    }

    #[test]
    fn names_that_look_like_answers_stay_names() {
        let yaml = b"openapi: 3.1.0\nx-point: {x: on, y: true, n: no}\n";
        let document = Document::read(yaml).expect("a document").value;
        assert_eq!(document["x-point"], json!({"x": "on", "y": true, "n": "no"}));
    }

    #[test]
    fn keys_that_are_there_twice_are_noted() {
        let json = br#"{"openapi": "3.1.0", "paths": {"/a": {"get": 1, "get": 2}, "/a": {}}}"#;
        assert_eq!(Document::read(json).expect("a document").duplicates, ["/paths/~1a/get", "/paths/~1a"]);
        let yaml = b"openapi: 3.1.0\npaths:\n  /a: {}\n  /a: {get: 1}\n";
        let document = Document::read(yaml).expect("a document");
        assert_eq!((document.duplicates, &document.value["paths"]["/a"]["get"]), (vec!["/paths/~1a".to_owned()], &json!(1)));
    }

    #[test]
    fn what_is_no_document_is_called_by_its_name() {
        for (text, word) in [
            ("", "empty"),
            ("<!DOCTYPE html><html></html>", "web page"),
            ("\u{feff}  <?xml version='1.0'?>", "XML"),
            ("hello", "plain text"),
            ("[1]", "list"),
            ("{\"openapi\": ", "not valid JSON"),
            ("openapi: [3.1.0\npaths: }", "not valid YAML"),
            ("{\"swagger\": \"2.0\"}", "Swagger 2.0"),
            (r#"{"info": {"schema": "https://schema.getpostman.com/json/collection/v2.1.0"}}"#, "Postman"),
            (r#"{"schema_version": "v1", "api": {"url": "x"}}"#, "manifest"),
            (r#"{"type": "about:blank", "title": "Not Found", "status": 404}"#, "error of a server"),
            (r#"{"type": "object", "properties": {}}"#, "JSON Schema"),
            ("asyncapi: 3.0.0", "another kind"),
            ("name: x", "no key `openapi`"),
        ] {
            let problem = Document::read(text.as_bytes()).expect_err(text).to_string();
            assert!(problem.contains(word) && problem.to_lowercase().contains("give"), "{text}: {problem}");
        }
        assert!(Document::read(&[0xff, 0xfe, 0x00]).expect_err("binary").to_string().contains("UTF-8"));
    }

    #[test]
    fn bombs_are_refused_in_time() {
        let deep = format!("{{\"openapi\": {}", "[".repeat(100_000));
        Document::read(deep.as_bytes()).expect_err("too deep");
        let level = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
        let bomb: String = (1..12).map(level).collect();
        Document::read(format!("openapi: 3.1.0\na0: &a0 [x, x, x, x, x, x, x, x, x]\n{bomb}").as_bytes()).expect_err("too much");
    }
}
