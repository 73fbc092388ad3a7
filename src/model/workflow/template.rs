//! Templates and expressions of workflows, by minijinja: unknown names are errors, and a bound on the work keeps a
//! template from running for ever.

use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde_json::Value;

/// Instructions a template may take.
const FUEL: u64 = 200_000;

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    // Prompts are text.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
}

fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The template filled in.
pub(super) fn render(template: &str, values: &Value) -> Result<String, String> {
    environment().render_str(template, minijinja::Value::from(Serde(values))).map_err(|error| words(&error))
}

/// The expression's value.
pub(super) fn evaluate(expression: &str, values: &Value) -> Result<Value, String> {
    let environment = environment();
    let compiled = environment.compile_expression(expression).map_err(|error| words(&error))?;
    let value = compiled.eval(minijinja::Value::from(Serde(values))).map_err(|error| words(&error))?;
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// Whether the expression is true, as Jinja has it: nothing, 0, empty text and empty lists are not.
pub(super) fn is_true(expression: &str, values: &Value) -> Result<bool, String> {
    let environment = environment();
    let compiled = environment.compile_expression(expression).map_err(|error| words(&error))?;
    Ok(compiled.eval(minijinja::Value::from(Serde(values))).map_err(|error| words(&error))?.is_true())
}

/// What is wrong with a template as text.
pub(super) fn check_template(template: &str) -> Result<(), String> {
    environment().template_from_str(template).map(drop).map_err(|error| words(&error))
}

/// What is wrong with an expression as text.
pub(super) fn check_expression(expression: &str) -> Result<(), String> {
    environment().compile_expression(expression).map(drop).map_err(|error| words(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_filled_in_and_unknown_names_are_errors() {
        let values = json!({"task": "a <b>", "stages": {"plan": {"output": {"steps": [1, 2]}}}});
        assert_eq!(render("Do {{ task }}.", &values), Ok("Do a <b>.".to_owned()));
        assert_eq!(evaluate("stages.plan.output.steps", &values), Ok(json!([1, 2])));
        assert_eq!(is_true("stages.plan.output.steps | length > 2", &values), Ok(false));
        assert!(render("{{ taks }}", &values).unwrap_err().contains("undefined"));
        assert!(check_template("{{ task").is_err() && check_expression("a +").is_err());
    }

    #[test]
    fn endless_work_is_ended() {
        let template = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(render(template, &json!({})).unwrap_err().contains("fuel"));
    }
}
