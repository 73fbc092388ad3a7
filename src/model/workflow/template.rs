//! Templates and expressions of workflows, by minijinja: unknown names are errors, and bounds on the work and on what it gives
//! keep a template from running for ever.

use minijinja::{Environment, ErrorKind, UndefinedBehavior, value::Serde};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write as _, io};

/// Instructions a template may take.
const FUEL: u64 = 200_000;
/// Most bytes a template may give; a task's description takes 60,000 characters.
const OUTPUT_BYTES: usize = 256 * 1024;
/// Characters of a template's line as errors quote it.
const QUOTED_CHARS: usize = 120;

/// Something that is wrong with a template or an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line of its text, from 1.
    pub(super) line: Option<usize>,
    /// What is wrong.
    pub(super) words: String,
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    // Prompts are text.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
}

fn strict() -> Environment<'static> {
    environment(UndefinedBehavior::SemiStrict)
}

fn fault(error: &minijinja::Error) -> Fault {
    let words = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes more work than is allowed; is there a loop that does not end?".to_owned(),
        (ErrorKind::WriteFailure, _) => format!("it gives more than {OUTPUT_BYTES} bytes"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    Fault { line: error.line(), words }
}

/// What went wrong with `text` and these values: the place, and the names that lead nowhere.
fn failure(error: &minijinja::Error, text: &str, names: BTreeSet<String>, values: &Value) -> String {
    let Fault { line, mut words } = fault(error);
    if matches!(error.kind(), ErrorKind::UndefinedError | ErrorKind::InvalidOperation) {
        let missing: Vec<_> = names.into_iter().filter(|name| !is_there(name, values)).map(|name| format!("`{name}`")).collect();
        if !missing.is_empty() {
            let _ = write!(words, "; there is no {}", missing.join(", "));
        }
    }
    match line.and_then(|line| Some((line, text.lines().nth(line.checked_sub(1)?)?))) {
        Some((line, quoted)) => {
            let quoted: String = quoted.trim().chars().take(QUOTED_CHARS).collect();
            format!("{words} (line {line}: `{quoted}`)")
        }
        None => words,
    }
}

fn is_there(name: &str, values: &Value) -> bool {
    name.split('.').try_fold(values, |value, part| value.get(part)).is_some()
}

/// The template filled in.
pub(super) fn render(text: &str, values: &Value) -> Result<String, String> {
    let environment = strict();
    let told = |error: &minijinja::Error, names| failure(error, text, names, values);
    let template = environment.template_from_str(text).map_err(|error| told(&error, BTreeSet::new()))?;
    let mut output = Bounded::default();
    let rendered = template.render_captured_to(minijinja::Value::from(Serde(values)), &mut output).map(drop);
    rendered.map_err(|error| told(&error, own(&environment, template.undeclared_variables(true))))?;
    String::from_utf8(output.0).map_err(|error| error.to_string())
}

/// The expression's value.
fn eval(text: &str, values: &Value) -> Result<minijinja::Value, String> {
    let environment = strict();
    let told = |error: &minijinja::Error, names| failure(error, text, names, values);
    let compiled = environment.compile_expression(text).map_err(|error| told(&error, BTreeSet::new()))?;
    let value = compiled.eval(minijinja::Value::from(Serde(values)));
    value.map_err(|error| told(&error, own(&environment, compiled.undeclared_variables(true))))
}

/// The expression's value as JSON.
pub(super) fn evaluate(expression: &str, values: &Value) -> Result<Value, String> {
    serde_json::to_value(eval(expression, values)?).map_err(|error| error.to_string())
}

/// Whether the expression is true, as Jinja has it: nothing, 0, empty text and empty lists are not.
pub(super) fn is_true(expression: &str, values: &Value) -> Result<bool, String> {
    Ok(eval(expression, values)?.is_true())
}

/// The names a template takes from outside, with their parts as in `stages.plan.output`; or what is wrong with its text.
/// `values`: what is known of its values before a run; it is tried with them.
pub(super) fn check_template(text: &str, values: &Value) -> Result<BTreeSet<String>, Fault> {
    let lenient = environment(UndefinedBehavior::Chainable);
    let template = lenient.template_from_str(text).map_err(|error| fault(&error))?;
    let tried = template.render_captured_to(minijinja::Value::from(Serde(values)), Bounded::default()).map(drop);
    hopeless(tried)?;
    let names = own(&lenient, template.undeclared_variables(true));
    Ok(with_quoted(names, text).into_iter().filter(|name| !is_set(text, name)).collect())
}

/// The names an expression takes, or what is wrong with its text, as of a template.
pub(super) fn check_expression(text: &str, values: &Value) -> Result<BTreeSet<String>, Fault> {
    let lenient = environment(UndefinedBehavior::Chainable);
    let compiled = lenient.compile_expression(text).map_err(|error| fault(&error))?;
    hopeless(compiled.eval(minijinja::Value::from(Serde(values))).map(drop))?;
    Ok(with_quoted(own(&lenient, compiled.undeclared_variables(true)), text))
}

/// What goes wrong with any values. Everything else may well go right in a run, which has more of them.
fn hopeless(tried: Result<(), minijinja::Error>) -> Result<(), Fault> {
    match tried {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::OutOfFuel | ErrorKind::WriteFailure | ErrorKind::UnknownFilter | ErrorKind::UnknownTest
            ) =>
        {
            Err(fault(&error))
        }
        _ => Ok(()),
    }
}

/// Without what every template has, such as `range`.
fn own(environment: &Environment<'_>, names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let root = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    names.into_iter().filter(|name| !globals.contains(root(name).as_str())).collect()
}

/// The names with those in brackets, as names with `-` have to be written: `stages['a-b'].text` is `stages.a-b.text`.
fn with_quoted(mut names: BTreeSet<String>, text: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    // Without a use of the whole there is nothing in brackets; the same signs may well stand in the text around it.
    for root in ["stages", "input"].into_iter().filter(|root| names.contains(*root)) {
        for rest in text.split(&format!("{root}[")).skip(1) {
            let Some(quote) = rest.chars().next().filter(|char| matches!(char, '\'' | '"')) else { continue };
            let Some((name, rest)) = rest[1..].split_once(quote) else { continue };
            let Some(rest) = rest.strip_prefix(']').filter(|_| !name.contains('.')) else { continue };
            let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
            let field = rest.strip_prefix('.').map(|rest| rest.split(|char| !is_word(char)).next().unwrap_or_default());
            let field = field.filter(|field| !field.is_empty()).map(|field| format!(".{field}")).unwrap_or_default();
            found.push(format!("{root}.{name}{field}"));
        }
    }
    names.extend(found);
    names
}

/// Whether the template itself sets the name: what is set within a condition is known after it too.
fn is_set(text: &str, name: &str) -> bool {
    let root = name.split('.').next().unwrap_or_default();
    text.split("{%").skip(1).any(|tag| {
        let tag = tag.trim_start_matches(['-', '+']).trim_start();
        let Some(rest) = tag.strip_prefix("set").filter(|rest| rest.starts_with(char::is_whitespace)) else { return false };
        let targets = rest.split(['=', '%', '|']).next().unwrap_or_default();
        targets.split([',', '(', ')', ' ']).any(|target| target.trim() == root)
    })
}

/// Takes so much and no more.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES {
            return Err(io::Error::other("too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        let error = render("Now\n{{ stages.plan.output.stesp }} {{ task }}", &values).unwrap_err();
        assert_eq!(
            error,
            "undefined value; there is no `stages.plan.output.stesp` (line 2: `{{ stages.plan.output.stesp }} {{ task }}`)"
        );
        assert!(evaluate("stages.plan.outptu.steps", &values).unwrap_err().contains("there is no `stages.plan.outptu.steps`"));
        assert_eq!(check_template("a\n{{ task", &values).unwrap_err().line, Some(2));
        assert!(check_expression("a +", &values).is_err());
    }

    #[test]
    fn endless_work_and_endless_output_are_ended() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        let long = "{% for a in range(9999) %}{{ task }}{% endfor %}";
        let values = json!({"task": "x".repeat(12_000)});
        assert!(render(endless, &values).unwrap_err().contains("more work than is allowed"));
        assert!(render(long, &values).unwrap_err().contains("more than 262144 bytes"));
        assert!(check_template(endless, &json!({})).unwrap_err().words.contains("more work than is allowed"));
        assert!(check_template("{{ task | uper }}", &json!({})).unwrap_err().words.contains("uper"));
    }

    #[test]
    fn names_of_a_template_are_those_it_does_not_give_itself() {
        let text = "{% if task %}{% set mood = 'good' %}{% endif %}{{ mood }}\
                    {% for part in input.parts %}{{ loop.index }} {{ part.title }} {{ range(3) }}{% endfor %}{{ stages.a.text }}";
        let names = check_template(text, &json!({})).expect("sound");
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["input.parts", "stages.a.text", "task"]);
    }
}
