//! One good document, and what each change to it must be called.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const GOOD: &str = include_str!("tests/good.yaml");
/// What stands close to the rules and is allowed.
const NEIGHBOURS: &str = include_str!("tests/neighbours.yaml");
/// `[{rule, pointer, changes: [["set", pointer, value] | ["remove", pointer]]}]`
const BROKEN: &str = include_str!("tests/broken.json");

fn good() -> Value {
    Document::read(GOOD.as_bytes()).expect("a document").value
}

fn found(document: Value) -> Vec<(&'static str, String)> {
    lint(&document.into()).into_iter().map(|finding| (finding.rule.id, finding.pointer)).collect()
}

fn apply(document: &mut Value, change: &Value) {
    let pointer = change[1].as_str().expect("a pointer");
    let (parent, key) = pointer.rsplit_once('/').expect("below the root");
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} has no parent"));
    match (change[0].as_str(), parent) {
        (Some("remove"), Value::Object(map)) => drop(map.shift_remove(&key).unwrap_or_else(|| panic!("{pointer} is not there"))),
        (Some("set"), Value::Object(map)) => drop(map.insert(key, change[2].clone())),
        (Some("set"), Value::Array(items)) => {
            let at: usize = key.parse().expect("an index");
            if at == items.len() {
                items.push(change[2].clone());
            } else {
                items[at] = change[2].clone();
            }
        }
        _ => panic!("{change}"),
    }
}

#[test]
fn a_good_document_has_no_finding() {
    assert_eq!(found(good()), []);
}

#[test]
fn what_stands_close_to_a_rule_has_no_finding() {
    assert_eq!(found(Document::read(NEIGHBOURS.as_bytes()).expect("a document").value), []);
}

#[test]
fn what_stands_behind_a_reference_is_checked_like_the_rest() {
    let operation = |id: usize| {
        json!({"get": {"operationId": format!("get_{id}"), "summary": "x", "x-openai-isConsequential": false,
        "responses": {"204": {"description": "x"}}}})
    };
    let behind = |name: &str| format!("/components/pathItems/{name}/get");
    let mut document = good();
    document["paths"]["/items"] = json!({"$ref": "#/components/pathItems/Items"});
    document["components"]["parameters"] = json!({"Trace": {"name": "trace", "in": "header", "schema": {"type": "string"}}});
    document["components"]["schemas"]["Untyped"] = json!({});
    document["components"]["responses"] = json!({"Deep": {"description": "x", "content": {"application/json": {"schema":
        {"type": "object", "properties": {"a": {"$ref": "#/components/pathItems/Items/get/x-schema"}}}}}}});
    document["components"]["pathItems"]["Items"] = operation(4);
    let items = &mut document["components"]["pathItems"]["Items"]["get"];
    items["operationId"] = json!("get items");
    items["parameters"] = json!([{"$ref": "#/components/parameters/Trace"}]);
    items["responses"] = json!({"200": {"$ref": "#/components/responses/Deep"}});
    items["x-schema"] = json!({"type": "object"});
    let findings = lint(&document.into());
    let found: Vec<_> = findings.iter().map(|finding| (finding.rule.id, finding.pointer.as_str())).collect();
    let items = behind("Items");
    let expected = [
        ("path-reference", "/paths/~1items".to_owned()),
        ("schema-untyped", "/components/schemas/Untyped".to_owned()),
        ("parameter-location", "/components/parameters/Trace".to_owned()),
        ("operation-id-invalid", format!("{items}/operationId")),
        ("parameter-reference", format!("{items}/parameters/0")),
        ("schema-properties", format!("{items}/x-schema")),
    ];
    assert_eq!(found, expected.each_ref().map(|(rule, pointer)| (*rule, pointer.as_str())));
    assert_eq!(findings[3].operation_id.as_deref(), Some("get items"));

    let mut many = good();
    for id in 4..=31 {
        many["components"]["pathItems"][id.to_string()] = operation(id);
        many["paths"][format!("/{id}")] = json!({"$ref": format!("#/components/pathItems/{id}")});
    }
    assert!(found_rules(many).contains(&"operation-limit"));
}

fn found_rules(document: Value) -> Vec<&'static str> {
    found(document).into_iter().map(|(rule, _)| rule).collect()
}

#[test]
fn each_change_breaks_one_rule_in_one_place() {
    let cases: Vec<Value> = serde_json::from_str(BROKEN).expect("JSON");
    let (mut wrong, mut seen) =
        (vec![], BTreeSet::from(["document-unreadable", "document-size", "duplicate-key", "operation-limit"]));
    for case in &cases {
        let mut document = good();
        case["changes"].as_array().expect("changes").iter().for_each(|change| apply(&mut document, change));
        let pointer = case["pointer"].as_str().expect("a pointer");
        let place = document.pointer(pointer).is_some();
        let found = found(document);
        match found.as_slice() {
            [(rule, at)] if case["rule"] == *rule && at == pointer && place => {
                seen.insert(rule);
            }
            _ => wrong.push(format!("{case}\n   gives {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let rules: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(seen, rules, "every rule has a case");
}

#[test]
fn the_table_is_complete_and_uniform() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len(), "an id is there twice");
    for rule in RULES {
        assert!(rule.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.id);
        assert!(!rule.title.ends_with('.') && rule.reason.ends_with('.') && rule.fix.ends_with('.'), "{}", rule.id);
    }
}

#[test]
fn what_only_the_text_shows() {
    let twice = GOOD.replace("  /orders/{id}:\n", "  /orders: {}\n  /orders/{id}:\n");
    let document = Document::read(twice.as_bytes()).expect("a document");
    assert_eq!(lint(&document).iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["duplicate-key"]);
    let large = format!("{GOOD}# {}\n", "x".repeat(1_000_000));
    let findings = lint(&Document::read(large.as_bytes()).expect("a document"));
    assert_eq!((findings.len(), findings[0].rule.id), (1, "document-size"));
    assert!(!findings[0].is_error());
}

#[test]
fn thirty_operations_are_the_most() {
    let with = |count: usize| {
        let mut document = good();
        for n in 4..count {
            let operation = json!({"get": {"operationId": format!("get_{n}"), "summary": "x", "x-openai-isConsequential": false,
                "responses": {"204": {"description": "x"}}}});
            document["paths"][format!("/{n}")] = operation;
        }
        found(document)
    };
    assert_eq!(with(30), []);
    assert_eq!(with(31), [("operation-limit", "/paths".to_owned())]);
}

#[test]
fn findings_come_in_document_order_and_name_their_operation() {
    let mut document = good();
    document["components"]["schemas"]["Order"]["properties"]["id"] = json!({});
    document["paths"]["/orders"]["post"]["operationId"] = json!("create order");
    document["paths"]["/orders"]["get"]["x-openai-isConsequential"] = json!(true);
    document["servers"] = json!([{"url": "/"}]);
    let findings = lint(&document.into());
    let ids: Vec<&str> = findings.iter().map(|finding| finding.rule.id).collect();
    assert_eq!(ids, ["server-relative", "consequential-get", "operation-id-invalid", "schema-untyped"]);
    let operations: Vec<Option<&str>> = findings.iter().map(|finding| finding.operation_id.as_deref()).collect();
    assert_eq!(operations, [None, Some("list_orders"), Some("create order"), None]);
    let finding = serde_json::to_value(&findings[1]).expect("JSON");
    assert_eq!((&finding["rule"], &finding["severity"]), (&json!("consequential-get"), &json!("warning")));
    assert_eq!(finding["operation_id"], "list_orders");
    assert!(finding["reason"].is_string() && finding["fix"].is_string() && finding["found"] == "true", "{finding}");
}

#[test]
fn hostile_documents_end_in_findings() {
    for document in [
        json!({"openapi": [], "paths": [], "servers": {}, "security": 1, "components": 2}),
        json!({"openapi": "3.1.0", "paths": {"/a": [], "/b": {"get": 1, "parameters": {}}, "/{}}{": {"post": {"requestBody": []}}}}),
        json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {"200": {"$ref": "#/paths/~1a/get/responses/200"}}}}}}),
        json!({"openapi": "3.1.0", "components": {"schemas": {"A": {"$ref": "#/components/schemas/A"}}, "securitySchemes": []}}),
        json!({"openapi": "3.1.0", "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": 7}}}}}}}),
        json!({"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/paths/~1a"}, "/b": {"$ref": 5}}}),
        json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"$ref": "#/paths/~1a/get/parameters/0"}, 7, null]}}}}),
        json!({"openapi": "3.1.0", "paths": {"/a": {"post": {"requestBody": {"content": {"application/json":
            {"schema": {"$ref": "#"}, "example": {}}}}}}}}),
        json!({"openapi": "3.1.0", "components": {"schemas": {"A": {"type": "object", "properties": {}, "allOf": [{"$ref": "#/components/schemas/A"}]}}},
            "paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/A"}, "example": {}}}}}}}}}),
    ] {
        assert!(lint(&document.clone().into()).iter().any(Finding::is_error), "{document}");
    }
}
