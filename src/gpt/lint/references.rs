//! References: each leads to a place in this document, none to one that contains it.

use super::{Linter, entries, items, quote};
use crate::gpt::rules::{REFERENCE_CIRCULAR, REFERENCE_DANGLING, REFERENCE_REMOTE, REFERENCE_SIBLINGS};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keywords whose value is data, in which `$ref` means nothing.
const DATA: [&str; 5] = ["example", "examples", "default", "const", "enum"];
/// Keywords whose value has names as keys, not keywords.
const NAMES: [&str; 16] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "schemas",
    "responses",
    "parameters",
    "requestBodies",
    "headers",
    "securitySchemes",
    "paths",
    "pathItems",
    "webhooks",
    "content",
    "callbacks",
    "links",
];
/// Where references to component schemas lead.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// Where `$ref` stands, and the object that has it.
type Reference<'a> = (String, &'a Value);

pub(super) fn check(linter: &mut Linter) {
    let mut references = vec![];
    collect(linter.root, "", false, &mut references);
    let mut targets = BTreeMap::new();
    for (pointer, holder) in &references {
        let siblings: Vec<&str> =
            holder.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "$ref").collect();
        if let (false, Some(place)) = (siblings.is_empty(), pointer.strip_suffix("/$ref")) {
            linter.report(&REFERENCE_SIBLINGS, place, siblings.join(", "));
        }
        match holder["$ref"].as_str().map(|target| (target, target.strip_prefix('#'))) {
            None => linter.report(&REFERENCE_DANGLING, pointer, quote(&holder["$ref"])),
            Some((target, None)) => linter.report(&REFERENCE_REMOTE, pointer, target),
            Some((target, Some(inside))) if linter.root.pointer(inside).is_none() => {
                linter.report(&REFERENCE_DANGLING, pointer, target);
            }
            Some((_, Some(inside))) => drop(targets.insert(pointer.clone(), inside)),
        }
    }
    for pointer in circles(&targets, references.iter().filter_map(|(pointer, _)| targets.get(pointer).copied())) {
        linter.report(&REFERENCE_CIRCULAR, &pointer, format!("#{}", targets[&pointer]));
    }
}

fn collect<'a>(value: &'a Value, pointer: &str, names: bool, found: &mut Vec<Reference<'a>>) {
    for (key, inside, place) in entries(Some(value), pointer) {
        if !names && key == "$ref" {
            found.push((place, value));
        } else if names || !DATA.contains(&key.as_str()) {
            collect(inside, &place, !names && NAMES.contains(&key.as_str()), found);
        }
    }
    for (item, place) in items(Some(value), pointer) {
        collect(item, &place, false, found);
    }
}

/// Pointers of the references that close a circle, of those that lead from a pointer to a place. From a place it goes on with
/// all references in it. Without recursion: chains may be long.
fn circles<'a>(targets: &BTreeMap<String, &'a str>, starts: impl Iterator<Item = &'a str>) -> Vec<String> {
    // `0` is the letter after `/`.
    let inside = |place: &str| targets.range(format!("{place}/")..format!("{place}0"));
    let mut found = vec![];
    // Absent: not seen; true: on the way; false: done.
    let mut open: BTreeMap<&str, bool> = BTreeMap::new();
    for start in starts {
        if open.contains_key(start) {
            continue;
        }
        open.insert(start, true);
        let mut way = vec![(start, inside(start))];
        while let Some((place, references)) = way.last_mut() {
            let Some((pointer, target)) = references.next() else {
                open.insert(*place, false);
                way.pop();
                continue;
            };
            match open.get(target) {
                Some(true) => found.push(pointer.clone()),
                Some(false) => {}
                None => {
                    open.insert(*target, true);
                    way.push((*target, inside(target)));
                }
            }
        }
    }
    found
}
