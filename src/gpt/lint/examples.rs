//! Examples satisfy their schemas.

use super::{Linter, entries, quote, references::SCHEMAS};
use crate::gpt::rules::EXAMPLE_INVALID;
use serde_json::{Map, Value, json};

/// Examples that are checked.
const MOST_EXAMPLES: usize = 500;
/// Component schemas one example may need.
const MOST_SCHEMAS: usize = 500;

/// Checks the examples of one media type.
pub(super) fn check(linter: &mut Linter, media: &Value, pointer: &str) {
    let single = media.get("example").map(|example| (example, format!("{pointer}/example")));
    let several = entries(media.get("examples"), &format!("{pointer}/examples"));
    let several = several.into_iter().filter_map(|(_, example, place)| Some((example.get("value")?, format!("{place}/value"))));
    let examples: Vec<_> = single.into_iter().chain(several).collect();
    let (Some(schema), false) = (media.get("schema"), examples.is_empty()) else { return };
    // Documents within the limit of operations have far fewer.
    linter.examples += examples.len();
    if linter.examples > MOST_EXAMPLES {
        return;
    }
    let mut components = Map::new();
    collect(linter, schema, &mut components);
    let whole = json!({ "allOf": [schema], "components": { "schemas": components } });
    // What is wrong with the schema itself is reported elsewhere.
    let Ok(validator) = jsonschema::options().offline().build(&whole) else { return };
    for (example, place) in examples {
        if let Err(error) = validator.validate(example) {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { String::new() } else { format!(" at {at}") };
            linter.report(&EXAMPLE_INVALID, &place, quote(&Value::from(format!("{error}{at}"))).trim_matches('"').to_owned());
        }
    }
}

/// Takes the component schemas that a schema refers to, and those they refer to.
fn collect(linter: &Linter, schema: &Value, components: &mut Map<String, Value>) {
    let mut waiting = vec![schema];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(map) => waiting.extend(map.values()),
            Value::Array(items) => waiting.extend(items),
            Value::String(reference) if reference.starts_with(SCHEMAS) && components.len() < MOST_SCHEMAS => {
                let name = reference[SCHEMAS.len()..].split('/').next().unwrap_or_default();
                let target = linter.root.pointer(&format!("/components/schemas/{name}"));
                let name = name.replace("~1", "/").replace("~0", "~");
                if let Some(target) = target.filter(|_| !components.contains_key(&name)) {
                    components.insert(name, target.clone());
                    waiting.push(target);
                }
            }
            _ => {}
        }
    }
}
