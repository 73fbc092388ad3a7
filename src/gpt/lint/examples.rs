//! Examples satisfy their schemas.

use super::{Linter, entries, quote};
use crate::gpt::rules::EXAMPLE_INVALID;
use serde_json::{Value, json};

/// Checks the examples of one media type.
pub(super) fn check(linter: &mut Linter, media: &Value, pointer: &str) {
    let single = media.get("example").map(|example| (example, format!("{pointer}/example")));
    let several = entries(media.get("examples"), &format!("{pointer}/examples"));
    let several = several.into_iter().filter_map(|(_, example, place)| Some((example.get("value")?, format!("{place}/value"))));
    let examples: Vec<_> = single.into_iter().chain(several).collect();
    let (Some(schema), false) = (media.get("schema"), examples.is_empty()) else { return };
    // References of the schema lead into the document; together the two are one schema.
    let whole = json!({ "allOf": [schema], "components": linter.root.get("components") });
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
