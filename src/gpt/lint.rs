//! The checker: walks a document and reports what breaks a rule, where, and what was found there.

mod bodies;
mod document;
mod examples;
mod operations;
mod parameters;
mod references;
mod schemas;
mod security;
mod servers;

use super::{
    read::{Document, escape},
    rules::{RULES, Rule, Severity, UNREADABLE},
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// References followed in a row before they are taken for a circle.
const HOPS: usize = 32;
/// Longest part of a document that is quoted.
const QUOTE_CHARS: usize = 100;

/// A broken rule.
#[derive(Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// JSON pointer of the place; of the nearest thing that is there, when something is missing.
    pub pointer: String,
    /// The operation it belongs to, when that has a name.
    pub operation_id: Option<String>,
    /// What is there.
    pub found: String,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule", self.rule.id)?;
        map.serialize_entry("severity", &self.rule.severity)?;
        map.serialize_entry("pointer", &self.pointer)?;
        if let Some(id) = &self.operation_id {
            map.serialize_entry("operation_id", id)?;
        }
        map.serialize_entry("found", &self.found)?;
        map.serialize_entry("reason", self.rule.reason)?;
        map.serialize_entry("fix", self.rule.fix)?;
        map.end()
    }
}

impl Finding {
    /// Whether it keeps something from working.
    pub fn is_error(&self) -> bool {
        self.rule.severity == Severity::Error
    }
}

/// The one finding in what is no document.
pub fn unreadable(problem: &str) -> Finding {
    Finding { rule: &UNREADABLE, pointer: String::new(), operation_id: None, found: problem.to_owned() }
}

/// Everything wrong with a document, in the order of the document.
pub fn lint(document: &Document) -> Vec<Finding> {
    let mut linter = Linter::new(&document.value);
    document::check(&mut linter, document);
    servers::check(&mut linter);
    security::check(&mut linter);
    references::check(&mut linter);
    operations::check(&mut linter);
    schemas::check(&mut linter);
    let Linter { mut findings, operations, .. } = linter;
    let mut numbers: BTreeMap<String, usize> = findings.iter().map(|finding| (finding.pointer.clone(), usize::MAX)).collect();
    number(&document.value, "", &mut 0, &mut numbers);
    findings.sort_by_cached_key(|finding| {
        let row = RULES.iter().position(|rule| rule.id == finding.rule.id);
        (numbers.get(&finding.pointer).copied(), row)
    });
    for finding in &mut findings {
        let mut places = std::iter::successors(Some(finding.pointer.as_str()), |place| Some(place.rsplit_once('/')?.0));
        finding.operation_id = places.find_map(|place| operations.get(place).cloned());
    }
    findings
}

/// What keeps the importer from taking this address as the server of a document.
pub fn lint_server(url: &str) -> Vec<Finding> {
    let root = json!({"servers": [{"url": url}]});
    let mut linter = Linter::new(&root);
    servers::check(&mut linter);
    linter.findings
}

/// Numbers these places in the order in which they stand in the document.
fn number(value: &Value, pointer: &str, count: &mut usize, numbers: &mut BTreeMap<String, usize>) {
    if let Some(number) = numbers.get_mut(pointer) {
        *number = *count;
    }
    *count += 1;
    for (_, inside, place) in entries(Some(value), pointer) {
        number(inside, &place, count, numbers);
    }
    for (item, place) in items(Some(value), pointer) {
        number(item, &place, count, numbers);
    }
}

/// What the checks share.
struct Linter<'a> {
    root: &'a Value,
    findings: Vec<Finding>,
    /// Rule and place of what was found: what is used twice is reported once.
    reported: BTreeSet<(&'static str, String)>,
    /// Names of operations by their pointers.
    operations: BTreeMap<String, String>,
    /// Schemas met so far.
    schemas: schemas::Places,
    /// Examples met so far.
    examples: usize,
}

impl<'a> Linter<'a> {
    fn new(root: &'a Value) -> Self {
        Self {
            root,
            findings: vec![],
            reported: BTreeSet::new(),
            operations: BTreeMap::new(),
            schemas: schemas::Places::default(),
            examples: 0,
        }
    }

    fn report(&mut self, rule: &'static Rule, pointer: &str, found: impl Into<String>) {
        if self.reported.insert((rule.id, pointer.to_owned())) {
            self.findings.push(Finding { rule, pointer: pointer.to_owned(), operation_id: None, found: found.into() });
        }
    }

    /// What a place holds and where that stands, behind any references; nothing when they lead nowhere.
    fn follow(&self, pointer: &str) -> Option<(&'a Value, String)> {
        let mut place = pointer.to_owned();
        for _ in 0..HOPS {
            let value = self.root.pointer(&place)?;
            match value.get("$ref") {
                None => return Some((value, place)),
                Some(reference) => place = reference.as_str()?.strip_prefix('#')?.to_owned(),
            }
        }
        None
    }

    /// The entries of an object, each followed to where it stands.
    fn entries_behind(&self, value: Option<&'a Value>, pointer: &str) -> Vec<(&'a String, &'a Value, String)> {
        let followed = entries(value, pointer).into_iter().map(|(key, _, place)| {
            let (inside, place) = self.follow(&place)?;
            Some((key, inside, place))
        });
        followed.flatten().collect()
    }
}

/// The entries of an object, with their pointers; none when it is something else.
fn entries<'a>(value: Option<&'a Value>, pointer: &str) -> Vec<(&'a String, &'a Value, String)> {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, inside)| (key, inside, format!("{pointer}/{}", escape(key)))).collect()
}

/// The items of a list, with their pointers; none when it is something else.
fn items<'a>(value: Option<&'a Value>, pointer: &str) -> Vec<(&'a Value, String)> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.enumerate().map(|(at, item)| (item, format!("{pointer}/{at}"))).collect()
}

/// The value as it stands in the document, shortened.
fn quote(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `type` includes this word.
fn has_type(schema: &Value, word: &str) -> bool {
    match &schema["type"] {
        Value::String(single) => single == word,
        Value::Array(several) => several.iter().any(|one| one == word),
        _ => false,
    }
}
