//! Numbers that satisfy the bounds of a JSON schema.

use serde_json::{Number, Value};

/// A number within the schema's bounds, the `nth` of several different ones.
pub(super) fn number(schema: &Value, integer: bool, nth: u32) -> Value {
    let bound = |name: &str| schema[name].as_f64();
    let step = bound("multipleOf").filter(|step| *step > 0.0).map(|step| if integer { whole_multiple(step) } else { step });
    let grid = step.or(integer.then_some(1.0));
    let value = match grid {
        Some(grid) => on_grid(grid, &bound, nth),
        None => between(&bound) + f64::from(nth),
    };
    // Written without a fraction where there is none, as a person would.
    if value.fract() == 0.0
        && let Ok(whole) = format!("{value:.0}").parse::<i64>()
    {
        return Value::from(whole);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The smallest whole number that is a multiple of `step`, for steps with few decimals.
fn whole_multiple(step: f64) -> f64 {
    (1..=1000).map(|factor| f64::from(factor) * step).find(|multiple| multiple.fract() == 0.0).unwrap_or(step)
}

fn on_grid(grid: f64, bound: &impl Fn(&str) -> Option<f64>, nth: u32) -> f64 {
    let above = |limit: f64| ((limit / grid).floor() + 1.0) * grid;
    let below = |limit: f64| ((limit / grid).ceil() - 1.0) * grid;
    let low = [bound("minimum").map(|limit| (limit / grid).ceil() * grid), bound("exclusiveMinimum").map(above)];
    let high = [bound("maximum").map(|limit| (limit / grid).floor() * grid), bound("exclusiveMaximum").map(below)];
    let low = low.into_iter().flatten().reduce(f64::max);
    let high = high.into_iter().flatten().reduce(f64::min);
    let start = high.map_or(grid, |high| high.min(grid));
    low.map_or(start, |low| low.max(start)) + f64::from(nth) * grid
}

fn between(bound: &impl Fn(&str) -> Option<f64>) -> f64 {
    let low = [bound("minimum"), bound("exclusiveMinimum")].into_iter().flatten().reduce(f64::max);
    let high = [bound("maximum"), bound("exclusiveMaximum")].into_iter().flatten().reduce(f64::min);
    match (low, high) {
        (None, None) => 1.0,
        (Some(low), None) => low + 1.0,
        (None, Some(high)) => high - 1.0,
        (Some(low), Some(high)) => f64::midpoint(low, high),
    }
}
