//! JSON responses that are never longer than the limit, whatever agents wrote.

use super::{once::REPLAYED, problem::Problem};
use crate::app::{
    error::AppError,
    size::{encoded_prefix, json_chars},
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Names of places listed in `truncated`, and the characters one may take.
const NAMED: usize = 20;
const NAME_CHARS: usize = 200;
/// Added to `next_step` of an answer that was shortened.
const HOW_TO_READ_ON: &str =
    " Parts of this answer were shortened (see truncated): read_task_file reads a task's result.md or changes.diff whole.";
/// Room for `,"truncated":[…]` and the addition.
const RESERVE: usize = 32 + NAMED * (NAME_CHARS + 3) + HOW_TO_READ_ON.len();
/// No part is shortened below this, so that numbers and short words stay whole.
const SMALLEST: usize = 64;
const MARK: &str = "…[shortened]";

/// A JSON object as response body. Long parts are shortened until it fits; `truncated` then names them.
pub(super) struct Bounded<T> {
    pub(super) status: StatusCode,
    pub(super) body: T,
    /// Characters.
    pub(super) limit: usize,
    /// Whether it answers a request that was made before.
    pub(super) is_repeated: bool,
}

impl<T: Serialize> IntoResponse for Bounded<T> {
    fn into_response(self) -> Response {
        let Self { status, body, limit, is_repeated } = self;
        let repeated = is_repeated.then_some([(REPLAYED, HeaderValue::from_static("true"))]);
        if json_chars(&body) <= limit {
            return (status, repeated, Json(body)).into_response();
        }
        match serde_json::to_value(body) {
            Ok(value) => (status, repeated, Json(fit(value, limit))).into_response(),
            Err(error) => Problem::from(AppError::Internal(format!("a response is not JSON: {error}"))).into_response(),
        }
    }
}

/// Shortens an object to at most `limit` characters and lists in `truncated` the JSON pointers of what was cut.
fn fit(mut value: Value, limit: usize) -> Value {
    if json_chars(&value) <= limit {
        return value;
    }
    let mut cuts = Cuts::default();
    shorten(&mut value, limit.saturating_sub(RESERVE), &mut String::new(), &mut cuts);
    if let Value::Object(map) = &mut value {
        if let Some(Value::String(step)) = map.get_mut("next_step") {
            step.push_str(HOW_TO_READ_ON);
        }
        map.insert("truncated".into(), cuts.names.into());
    }
    value
}

/// Makes `value` take at most `budget` characters (which is at least [`SMALLEST`]). Small parts stay whole, large
/// ones share what is left evenly.
fn shorten(value: &mut Value, budget: usize, pointer: &mut String, cuts: &mut Cuts) {
    if json_chars(value) <= budget {
        return;
    }
    match value {
        Value::String(text) => {
            let kept = encoded_prefix(text, budget.saturating_sub(2 + MARK.chars().count()));
            *text = format!("{kept}{MARK}");
            cuts.name(pointer);
        }
        Value::Array(items) => {
            let sizes: Vec<usize> = items.iter().map(|item| json_chars(item) + 1).collect();
            let (count, cap) = shares(&sizes, budget.saturating_sub(2));
            if count < items.len() {
                items.truncate(count);
                cuts.name(pointer);
            }
            for (index, item) in items.iter_mut().enumerate() {
                cuts.inside(pointer, &index.to_string(), |pointer, cuts| shorten(item, cap - 1, pointer, cuts));
            }
        }
        Value::Object(map) => shorten_object(map, budget, pointer, cuts),
        // Never longer than the smallest budget.
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn shorten_object(map: &mut Map<String, Value>, budget: usize, pointer: &mut String, cuts: &mut Cuts) {
    // A name cannot be shortened without lying: entries with overlong names go.
    let before = map.len();
    map.retain(|key, _| json_chars(key) <= NAME_CHARS);
    let sizes: Vec<usize> = map.iter().map(|(key, value)| json_chars(key) + json_chars(value) + 2).collect();
    let (count, cap) = shares(&sizes, budget.saturating_sub(2));
    if count < map.len() {
        *map = std::mem::take(map).into_iter().take(count).collect();
    }
    if map.len() < before {
        cuts.name(pointer);
    }
    for (key, value) in map.iter_mut() {
        let own = cap.saturating_sub(json_chars(key) + 2);
        let step = key.replace('~', "~0").replace('/', "~1");
        cuts.inside(pointer, &step, |pointer, cuts| shorten(value, own, pointer, cuts));
    }
}

/// How many of the parts to keep and how much each may take, so that all together stay within `budget`.
fn shares(sizes: &[usize], budget: usize) -> (usize, usize) {
    // Room for an entry of the smallest size, its name included.
    let least = SMALLEST + NAME_CHARS + 4;
    let mut used = 0;
    let count = sizes
        .iter()
        .take_while(|size| {
            used += (**size).min(least);
            used <= budget
        })
        .count();
    let mut sorted = sizes[..count].to_vec();
    sorted.sort_unstable();
    let mut left = budget;
    for (index, size) in sorted.iter().enumerate() {
        let even = left / (count - index);
        if *size > even {
            return (count, even.max(least));
        }
        left -= size;
    }
    (count, usize::MAX)
}

/// The places that were shortened.
#[derive(Default)]
struct Cuts {
    names: Vec<String>,
}

impl Cuts {
    fn name(&mut self, pointer: &str) {
        let mut name = pointer;
        // Of a place too deep to name, the part around it is named; in the end the whole, as "".
        while json_chars(name) > NAME_CHARS {
            name = &name[..name.rfind('/').unwrap_or(0)];
        }
        if self.names.len() < NAMED && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    fn inside(&mut self, pointer: &mut String, step: &str, work: impl FnOnce(&mut String, &mut Self)) {
        let outside = pointer.len();
        pointer.push('/');
        pointer.push_str(step);
        work(pointer, self);
        pointer.truncate(outside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMIT: usize = 30_000;

    fn fitted(value: Value) -> Value {
        let fitted = fit(value, LIMIT);
        let chars = serde_json::to_string(&fitted).expect("JSON").chars().count();
        assert!(chars <= LIMIT, "{chars}");
        assert!(fitted["truncated"].as_array().is_some_and(|names| !names.is_empty()), "nothing is named");
        fitted
    }

    #[test]
    fn what_fits_is_left_alone() {
        let value = json!({"a": "x".repeat(29_000)});
        assert_eq!(fit(value.clone(), LIMIT), value);
    }

    #[test]
    fn only_the_long_parts_are_shortened() {
        let value = fitted(
            json!({"id": "task_1", "result": "r".repeat(1_000), "changes": {"files_changed": 3, "diff": "d".repeat(1 << 20)}}),
        );
        assert_eq!((&value["id"], &value["changes"]["files_changed"]), (&json!("task_1"), &json!(3)));
        assert_eq!(value["result"].as_str().map(str::len), Some(1_000));
        assert_eq!(value["truncated"], json!(["/changes/diff"]));
        assert!(json_chars(&value) > LIMIT * 8 / 10, "the room is used: {}", json_chars(&value));
    }

    #[test]
    fn nasty_content_fits() {
        let mut deep = json!("x".repeat(200_000));
        for level in 0..120 {
            deep = if level % 2 == 0 { json!([deep, 1]) } else { json!({"k": deep, "~/": "y".repeat(500)}) };
        }
        let wide: Map<String, Value> = (0..50_000).map(|n| (format!("key {n}"), json!(n))).collect();
        for (name, value) in [
            ("control characters", json!({"a": "\u{1}".repeat(100_000), "b": "\"\\\n".repeat(50_000)})),
            ("wide characters", json!({"a": "🦀".repeat(200_000)})),
            ("long array", json!({"a": (0..100_000).collect::<Vec<_>>()})),
            ("array of strings", json!({"a": vec!["z".repeat(500); 5_000]})),
            ("deep", json!({ "a": deep })),
            ("wide object", Value::Object(wide)),
            ("long names", json!({"a": {"n".repeat(200_000): 1, "\u{2}".repeat(40): "v".repeat(200_000)}})),
            ("many long pointers", json!({"k".repeat(150): vec![json!({"k".repeat(150): "v".repeat(9_000)}); 50]})),
            ("nested arrays", json!({"a": vec![vec![vec!["w".repeat(100); 20]; 20]; 20]})),
        ] {
            let value = fitted(value);
            assert!(value.is_object(), "{name}");
        }
    }

    #[test]
    fn pointers_lead_to_what_was_cut() {
        let value = fitted(json!({"a/b": {"c~d": ["x".repeat(200_000)]}}));
        let pointer = value["truncated"][0].as_str().expect("a pointer");
        assert_eq!(pointer, "/a~1b/c~0d/0");
        assert!(value.pointer(pointer).and_then(Value::as_str).expect("text").ends_with(MARK));
    }
}
