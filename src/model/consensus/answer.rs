//! What a voter has to answer, as a JSON Schema, and reading what it did answer.

use super::{ACCEPT, Cast, Edit, Phase, REFUSE, Rules, record::canonical};
use serde_json::{Map, Value, json};

/// Longest choice in free words, in characters.
pub const CHOICE_CHARS: usize = 4_000;
/// Longest rationale, in characters.
pub const RATIONALE_CHARS: usize = 4_000;
/// Most edits of one answer.
pub const EDITS: usize = 20;
/// Longest text of an edit, in characters.
pub const EDIT_CHARS: usize = 2_000;
/// Longest name of a section, in characters.
pub const SECTION_CHARS: usize = 200;
/// Numbers a round has for new items, so that they never meet those of another round.
const NUMBERS: u32 = 100;

/// A readable answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The voter answered.
    Cast(Cast),
    /// The voter chose not to, with its reason.
    Abstained(String),
}

/// The structured answer a question asks for.
pub fn schema_of(rules: &Rules, phase: Phase) -> Value {
    let line = |chars: usize| json!({"type": "string", "minLength": 1, "maxLength": chars});
    let one_of = |words: &[String], chars| if words.is_empty() { line(chars) } else { json!({"type": "string", "enum": words}) };
    let mut fields = Map::new();
    let mut required = vec!["rationale", "confidence"];
    match phase {
        Phase::Vote | Phase::Draft | Phase::Prepare | Phase::Opinion => {
            fields.insert("choice".into(), one_of(&rules.options, CHOICE_CHARS));
            required.push("choice");
        }
        Phase::Commit => {
            fields.insert("choice".into(), one_of(&rules.options, CHOICE_CHARS));
            fields.insert("prepared".into(), one_of(&rules.options, CHOICE_CHARS));
            required.extend(["choice", "prepared"]);
        }
        Phase::Acknowledge => {
            fields.insert("accept".into(), json!({"type": "boolean"}));
            required.push("accept");
        }
        Phase::Edit => {
            let edit = json!({
                "type": "object", "required": ["section"], "additionalProperties": false,
                "properties": {
                    "section": one_of(&rules.options, SECTION_CHARS),
                    "text": line(EDIT_CHARS),
                    "number": {"type": "integer", "minimum": 1},
                    "keep": {"type": "boolean"},
                },
            });
            fields.insert("edits".into(), json!({"type": "array", "maxItems": EDITS, "items": edit}));
            required.push("edits");
        }
    }
    fields.insert("rationale".into(), line(RATIONALE_CHARS));
    fields.insert("confidence".into(), json!({"type": "number", "minimum": 0, "maximum": 1}));
    fields.insert("can_judge".into(), json!({"type": "boolean"}));
    json!({"type": "object", "properties": fields, "required": required, "additionalProperties": false})
}

/// Reads an answer; the error says what is wrong with it, in words for the voter.
pub fn read_answer(rules: &Rules, phase: Phase, round: u32, given: &Value) -> Result<Answer, String> {
    let rationale = words(given, "rationale", RATIONALE_CHARS)?;
    if given["can_judge"].as_bool() == Some(false) {
        return Ok(Answer::Abstained(rationale));
    }
    let confidence = given["confidence"].as_f64().filter(|value| (0.0..=1.0).contains(value));
    let confidence = confidence.ok_or("`confidence` is not a number from 0 to 1")?;
    let cast = |choice| Cast { choice, rationale: rationale.clone(), confidence, prepared: None, edits: Vec::new() };
    Ok(Answer::Cast(match phase {
        Phase::Vote | Phase::Draft | Phase::Prepare | Phase::Opinion => cast(choice(rules, given, "choice")?),
        Phase::Commit => {
            let prepared = Some(choice(rules, given, "prepared")?);
            Cast { prepared, ..cast(choice(rules, given, "choice")?) }
        }
        Phase::Acknowledge => {
            let accepts = given["accept"].as_bool().ok_or("`accept` is neither true nor false")?;
            cast(if accepts { ACCEPT } else { REFUSE }.to_owned())
        }
        Phase::Edit => {
            let edits = edits(rules, round, given)?;
            let word = if edits.is_empty() { "nothing to add" } else { "contributed" };
            Cast { edits, ..cast(word.to_owned()) }
        }
    }))
}

fn words(given: &Value, field: &str, limit: usize) -> Result<String, String> {
    let text = given[field].as_str().map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| format!("`{field}` is missing or empty"))?;
    if text.chars().count() > limit || text.contains('\0') {
        return Err(format!("`{field}` has more than {limit} characters, or one that cannot be kept"));
    }
    Ok(text.to_owned())
}

/// One of the options in the proposal's own spelling, or any words when there are none.
fn choice(rules: &Rules, given: &Value, field: &str) -> Result<String, String> {
    let text = words(given, field, CHOICE_CHARS)?;
    if rules.options.is_empty() {
        return Ok(text);
    }
    option(rules, &text).ok_or_else(|| format!("`{field}` is not one of: {}", rules.options.join(", ")))
}

fn option(rules: &Rules, text: &str) -> Option<String> {
    rules.options.iter().find(|option| canonical(option) == canonical(text)).cloned()
}

fn edits(rules: &Rules, round: u32, given: &Value) -> Result<Vec<Edit>, String> {
    let items = given["edits"].as_array().ok_or("`edits` is not a list")?;
    if items.len() > EDITS {
        return Err(format!("`edits` has {} items; at most {EDITS} are allowed", items.len()));
    }
    let mut edits = Vec::with_capacity(items.len());
    for (item, index) in items.iter().zip(1..) {
        let section = words(item, "section", SECTION_CHARS)?.replace('\n', " ");
        let section = if rules.options.is_empty() { Some(section) } else { option(rules, &section) };
        let section = section.ok_or_else(|| format!("`section` is not one of: {}", rules.options.join(", ")))?;
        let number = item["number"].as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.unwrap_or((round - 1) * NUMBERS + index);
        let is_withdrawn = item["keep"].as_bool() == Some(false);
        let text = if is_withdrawn { None } else { Some(words(item, "text", EDIT_CHARS)?) };
        edits.push(Edit { number, section, text });
    }
    Ok(edits)
}
