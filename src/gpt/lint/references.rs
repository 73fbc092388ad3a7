//! References: each leads to a place in this document, none to itself.

use super::{Linter, entries, items};
use crate::gpt::rules::{REFERENCE_CIRCULAR, REFERENCE_DANGLING, REFERENCE_REMOTE};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Keywords whose value is data, in which `$ref` means nothing.
const DATA: [&str; 5] = ["example", "examples", "default", "const", "enum"];
/// Keywords whose value has names as keys, not keywords.
const NAMES: [&str; 14] = [
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
    "content",
    "callbacks",
    "links",
];
/// Where references to component schemas lead.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// A reference: where it stands and what it says.
struct Reference<'a> {
    pointer: String,
    target: &'a str,
}

pub(super) fn check(linter: &mut Linter) {
    let mut references = vec![];
    collect(linter.root, "", false, &mut references);
    for Reference { pointer, target } in &references {
        match target.strip_prefix('#') {
            None => linter.report(&REFERENCE_REMOTE, pointer, *target),
            Some(inside) if linter.root.pointer(inside).is_none() => {
                linter.report(&REFERENCE_DANGLING, pointer, *target);
            }
            Some(_) => {}
        }
    }
    let graph = graph(&references);
    let starts = references.iter().filter_map(|reference| holder(&reference.pointer));
    for pointer in circles(&graph, starts) {
        let target = linter.root.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
        linter.report(&REFERENCE_CIRCULAR, &pointer, target);
    }
    linter.in_requests = reachable_from_requests(&references, &graph);
}

fn collect<'a>(value: &'a Value, pointer: &str, names: bool, found: &mut Vec<Reference<'a>>) {
    for (key, inside, place) in entries(Some(value), pointer) {
        if !names && key == "$ref" {
            if let Some(target) = inside.as_str() {
                found.push(Reference { pointer: place, target });
            }
        } else if names || !DATA.contains(&key.as_str()) {
            collect(inside, &place, !names && NAMES.contains(&key.as_str()), found);
        }
    }
    for (item, place) in items(Some(value), pointer) {
        collect(item, &place, false, found);
    }
}

/// The name of the component schema a target lies in.
fn component(target: &str) -> Option<&str> {
    target.strip_prefix(SCHEMAS).map(|rest| rest.split('/').next().unwrap_or_default())
}

/// The name of the component schema a pointer lies in.
fn holder(pointer: &str) -> Option<&str> {
    pointer.strip_prefix("/components/schemas/")?.split('/').next()
}

/// Of each component schema, the references in it: pointer and name of the component referred to.
type Graph<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a str)>>;

fn graph<'a>(references: &'a [Reference<'a>]) -> Graph<'a> {
    let mut graph = Graph::new();
    for reference in references {
        if let (Some(from), Some(to)) = (holder(&reference.pointer), component(reference.target)) {
            graph.entry(from).or_default().push((&reference.pointer, to));
        }
    }
    graph
}

/// Pointers of the references that close a circle. Without recursion: chains may be long.
fn circles<'a>(graph: &Graph<'a>, starts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = vec![];
    // Absent: not seen; true: on the way; false: done.
    let mut open: BTreeMap<&str, bool> = BTreeMap::new();
    for start in starts {
        if open.contains_key(start) {
            continue;
        }
        open.insert(start, true);
        let mut way = vec![(start, 0)];
        while let Some((name, at)) = way.pop() {
            let Some((pointer, to)) = graph.get(name).and_then(|edges| edges.get(at)) else {
                open.insert(name, false);
                continue;
            };
            way.push((name, at + 1));
            match open.get(to) {
                Some(true) => found.push((*pointer).to_owned()),
                Some(false) => {}
                None => {
                    open.insert(to, true);
                    way.push((to, 0));
                }
            }
        }
    }
    found
}

fn reachable_from_requests(references: &[Reference], graph: &Graph) -> BTreeSet<String> {
    let in_body =
        |reference: &&Reference| reference.pointer.contains("/requestBody/") || reference.pointer.contains("/requestBodies/");
    let mut waiting: Vec<&str> = references.iter().filter(in_body).filter_map(|reference| component(reference.target)).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if seen.insert(name.to_owned()) {
            waiting.extend(graph.get(name).into_iter().flatten().map(|(_, to)| *to));
        }
    }
    seen
}
