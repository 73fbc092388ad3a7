//! What a script may say. Parsed strictly, so that a typing error in a script is seen instead of ignored.

use super::fields;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

/// Marks a directive in human text.
const MARKER: &str = "REHEARSE:";

/// The answers to one human text, in order; never empty.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

/// One answer. The fields are described in the module above.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    #[serde(deserialize_with = "fields::one_or_many")]
    pub(super) tool_use: Vec<ToolUse>,
    #[serde(deserialize_with = "fields::blocks")]
    pub(super) blocks: Option<Vec<Value>>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Map<String, Value>,
    pub(super) model: Option<String>,
    #[serde(deserialize_with = "fields::headers")]
    pub(super) headers: HeaderMap,
    pub(super) chunks: Option<NonZeroUsize>,
    pub(super) delay_ms: u64,
    pub(super) first_delay_ms: u64,
    pub(super) ping_ms: Option<NonZeroU64>,
    #[serde(deserialize_with = "fields::seconds")]
    pub(super) hang: Option<Duration>,
    pub(super) drop_after: Option<usize>,
    pub(super) stream_error: Option<StreamError>,
    pub(super) error: Option<HttpError>,
    pub(super) times: Option<u32>,
}

/// A tool the model asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolUse {
    pub(super) name: String,
    #[serde(default)]
    pub(super) input: Map<String, Value>,
    pub(super) id: Option<String>,
}

/// An error in the middle of a stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamError {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) message: String,
}

/// An HTTP error instead of an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpError {
    #[serde(default = "internal", deserialize_with = "fields::error_status")]
    pub(super) status: u16,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default = "scripted")]
    pub(super) message: String,
    #[serde(default, deserialize_with = "fields::headers")]
    pub(super) headers: HeaderMap,
}

const fn internal() -> u16 {
    500
}

fn scripted() -> String {
    "rehearsed error".to_owned()
}

impl Plan {
    /// Reads `{"steps":[…]}` or a single step; the error names the step and the field.
    pub(super) fn from_json(value: Value) -> Result<Self, String> {
        let Value::Object(mut object) = value else { return Err("not a JSON object".to_owned()) };
        let Some(steps) = object.remove("steps") else {
            return Ok(Self { steps: vec![Step::from_json(Value::Object(object))?] });
        };
        if let Some(stray) = object.keys().next() {
            return Err(format!("unknown field `{stray}` beside `steps`"));
        }
        let Value::Array(steps) = steps else { return Err("`steps` is not a list".to_owned()) };
        if steps.is_empty() {
            return Err("`steps` is empty".to_owned());
        }
        let steps = steps.into_iter().enumerate();
        let steps = steps.map(|(i, step)| Step::from_json(step).map_err(|problem| format!("steps[{i}]: {problem}")));
        Ok(Self { steps: steps.collect::<Result<_, _>>()? })
    }

    /// The step at `index`, or the last one, with the index it really has.
    pub(super) fn step(&self, index: usize) -> (&Step, usize) {
        let index = index.min(self.steps.len() - 1);
        (&self.steps[index], index)
    }
}

impl Step {
    fn from_json(value: Value) -> Result<Self, String> {
        if !value.is_object() {
            return Err("not a JSON object".to_owned()); // serde would also take a list of field values
        }
        let step = Self::deserialize(value).map_err(|error| error.to_string())?;
        if step.times.is_some() && step.error.is_none() {
            return Err("`times` without `error`".to_owned());
        }
        Ok(step)
    }
}

/// The last directive in `text`: the plan and its JSON text, or what is wrong with it.
///
/// A directive inside another one's JSON (the prompt of a sub-agent, say) belongs to the outer one.
pub(super) fn directive(text: &str) -> Option<Result<(Plan, &str), String>> {
    let mut rest = text;
    let mut found: Option<Result<(Plan, &str), String>> = None;
    while let Some(at) = rest.find(MARKER) {
        let after = &rest[at + MARKER.len()..];
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        let (end, parsed) = match values.next() {
            Some(Ok(value)) => {
                let end = values.byte_offset();
                (end, Plan::from_json(value).map(|plan| (plan, after[..end].trim())))
            }
            Some(Err(error)) => (0, Err(format!("bad JSON: {error}"))),
            None => (0, Err("no JSON follows".to_owned())),
        };
        // Markers nested in broken JSON are broken too; the outer problem is the one to report.
        if parsed.is_ok() || !matches!(found, Some(Err(_))) {
            found = Some(parsed.map_err(|problem| format!("{MARKER} {problem}")));
        }
        rest = &after[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        directive(text).unwrap().unwrap_err()
    }

    #[test]
    fn last_directive_counts_and_text_may_follow() {
        let (plan, source) = directive(r#"a REHEARSE:{"text":"x"} b REHEARSE: {"text":"y"}, please"#).unwrap().unwrap();
        assert_eq!(plan.step(7).0.text.as_deref(), Some("y"));
        assert_eq!(source, r#"{"text":"y"}"#);
        assert!(directive("nothing here").is_none());
    }

    #[test]
    fn nested_directive_belongs_to_the_outer_one() {
        let text = r#"REHEARSE:{"tool_use":{"name":"Task","input":{"prompt":"REHEARSE:{\"text\":\"inner\"}"}}}"#;
        assert_eq!(directive(text).unwrap().unwrap().0.step(0).0.tool_use[0].name, "Task");
    }

    #[test]
    fn typing_errors_are_named() {
        assert!(problem(r#"REHEARSE:{"txet":"x"}"#).contains("unknown field `txet`"));
        assert!(problem(r#"REHEARSE:{"steps":[{},{"delay_ms":"5"}]}"#).contains("steps[1]: invalid type"));
        assert!(problem(r#"REHEARSE:{"steps":[]}"#).contains("empty"));
        assert!(problem(r#"REHEARSE:{"steps":[["x"]]}"#).contains("steps[0]: not a JSON object"));
        assert!(problem(r#"REHEARSE:{"steps":[{}],"text":"x"}"#).contains("`text` beside `steps`"));
        assert!(problem(r#"REHEARSE:{"tool_use":{"input":{}}}"#).contains("missing field `name`"));
        assert!(problem(r#"REHEARSE:{"hang":-1}"#).contains("hang"));
        assert!(problem(r#"REHEARSE:{"error":{"status":200}}"#).contains("200 is not an error"));
        assert!(problem(r#"REHEARSE:{"headers":{"a b":"x"}}"#).contains("not a header name"));
        assert!(problem(r#"REHEARSE:{"blocks":[{"type":"text"}]}"#).contains("blocks[0]: no string field `text`"));
        assert!(problem(r#"REHEARSE:{"times":2}"#).contains("without `error`"));
        assert!(problem("REHEARSE:{oops").contains("bad JSON"));
        assert!(problem("REHEARSE:").contains("no JSON follows"));
        assert!(problem("REHEARSE:[1]").contains("not a JSON object"));
    }
}
