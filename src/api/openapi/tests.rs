//! What both documents promise, asserted without a server.

mod instructions;
mod texts;

use super::{actions::openapi_actions, openapi};
use serde_json::Value;
use std::collections::BTreeSet;

const OPERATIONS: &[&str] = &[
    "answer_workflow_run",
    "cancel_proposal",
    "cancel_task",
    "cancel_workflow_run",
    "create_agent",
    "create_task",
    "fork_agent",
    "get_agent",
    "get_agent_inbox",
    "get_agent_output",
    "get_claude_flow_status",
    "get_consensus_status",
    "get_health",
    "get_metrics",
    "get_performance_report",
    "get_proposal",
    "get_readiness",
    "get_role",
    "get_sparc",
    "get_swarm_status",
    "get_task",
    "get_workflow_run",
    "init_swarm",
    "interrupt_agent",
    "interrupt_agents",
    "list_agents",
    "list_events",
    "list_mcp_servers",
    "list_roles",
    "list_task_events",
    "list_task_files",
    "list_tasks",
    "list_team_messages",
    "list_workflow_runs",
    "list_workflows",
    "propose",
    "read_task_file",
    "read_workflow_run_file",
    "resume_agent",
    "run_sparc",
    "run_swarm",
    "run_workflow",
    "scale_swarm",
    "search_memory",
    "send_message",
    "send_team_message",
    "spawn_swarm",
    "stop_swarm",
    "terminate_agent",
    "update_task",
];

fn full() -> Value {
    serde_json::to_value(openapi()).expect("JSON")
}

fn actions() -> Value {
    openapi_actions("https://mas.example.org/")
}

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let item = item.as_object().expect("an item").clone();
        item.into_iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// The schema itself, or the one it refers to.
pub(in crate::api) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.map_or(schema, |pointer| document.pointer(pointer).expect("the reference leads somewhere"))
}

/// Calls `check` with every value in the document and its JSON pointer.
fn walk(value: &Value, pointer: &str, check: &mut impl FnMut(&str, &Value)) {
    check(pointer, value);
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inside)| walk(inside, &format!("{pointer}/{key}"), check)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inside)| walk(inside, &format!("{pointer}/{n}"), check)),
        _ => {}
    }
}

fn check_operations(document: &Value, expected: &[&str]) {
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        for key in ["summary", "description"] {
            let chars = operation[key].as_str().unwrap_or_else(|| panic!("{id} has no {key}")).chars().count();
            assert!((1..=300).contains(&chars), "{id}: {key} has {chars} characters");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(body["content"]["application/json"]["example"].is_object(), "{id}: the request has no example");
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            assert!(response["description"].is_string(), "{id} {status} has no description");
            if status.starts_with('2') {
                let content = &response["content"];
                let has_one = content["application/json"]["example"].is_object() || content["text/plain"]["example"].is_string();
                assert!(has_one, "{id} {status} has no example");
            }
        }
    }
    assert_eq!(ids.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

fn check_references(document: &Value) {
    walk(document, "", &mut |pointer, value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|inside| document.pointer(inside));
            assert!(target.is_some(), "{pointer}: {reference} leads nowhere");
        }
    });
}

#[test]
fn the_full_document_is_complete() {
    let document = full();
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&"3.1.0".into(), &"mas-gateway".into()));
    check_operations(&document, OPERATIONS);
    check_references(&document);
    let scheme = &document["components"]["securitySchemes"]["ApiKeyAuth"];
    assert_eq!((&scheme["type"], &scheme["in"], &scheme["name"]), (&"apiKey".into(), &"header".into(), &"X-MAS-Key".into()));
    for name in super::BOUNDED {
        assert_eq!(document["components"]["schemas"][name]["properties"]["truncated"]["items"]["type"], "string", "{name}");
    }
    for (name, operation) in operations(&document) {
        let public = name.ends_with("/health") || name.ends_with("/ready");
        assert_eq!(operation["security"][0].get("ApiKeyAuth").is_some(), !public, "{name}");
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let error = !status.starts_with('2') && !public;
            assert_eq!(response["content"].get("application/problem+json").is_some(), error, "{name} {status}");
        }
    }
}

#[test]
fn optional_fields_are_plain_and_not_required() {
    let document = full();
    walk(&document, "", &mut |pointer, value| {
        assert!(!value["type"].is_array(), "{pointer} may be null");
        assert!(value.get("oneOf").is_none() || !value["oneOf"].to_string().contains("\"null\""), "{pointer} may be null");
    });
    let required = document["components"]["schemas"]["TaskResource"]["required"].to_string();
    for optional in ["result", "structured_output", "cancel_requested", "events"] {
        assert!(!required.contains(&format!("\"{optional}\"")), "{optional} is required: {required}");
    }
    assert_eq!(document["components"]["schemas"]["CreateTask"]["required"], serde_json::json!(["description"]));
}

#[test]
fn the_actions_document_keeps_to_the_importers_rules() {
    let document = actions();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], serde_json::json!([{"url": "https://mas.example.org"}]));
    assert_eq!(document["components"]["securitySchemes"].as_object().expect("schemes").len(), 1);
    assert!(document["components"]["schemas"].is_object());
    let mut offered = super::actions::OPERATIONS;
    offered.sort_unstable();
    check_operations(&document, &offered);
    check_references(&document);
    let all = operations(&document);
    assert!(all.len() <= 30);
    for (name, operation) in &all {
        let consequential = operation["x-openai-isConsequential"].as_bool().unwrap_or_else(|| panic!("{name} does not say"));
        assert!(!(name.starts_with("get ") && consequential), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["in"] == "query" || parameter["in"] == "path", "{name}: {parameter}");
            assert!(parameter["schema"]["type"].is_string() && parameter["name"].is_string(), "{name}: {parameter}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert_eq!(body["content"]["application/json"]["schema"]["type"], "object", "{name}");
        }
    }
}

#[test]
fn the_actions_document_has_no_shape_the_importer_stumbles_over() {
    let document = actions();
    walk(&document, "", &mut |pointer, value| {
        let inside_example = pointer.contains("/example");
        let is_answer = pointer.contains("/responses/") && pointer.ends_with("/schema");
        assert!(value.get("$ref").is_none() || is_answer, "{pointer} is a reference");
        for word in ["oneOf", "anyOf", "allOf", "propertyNames", "prefixItems"] {
            assert!(value.get(word).is_none(), "{pointer} has {word}");
        }
        if inside_example {
            return;
        }
        assert!(!value.is_null(), "{pointer} is null");
        assert!(value.get("type") != Some(&Value::from("null")), "{pointer} is of type null");
        if value.get("type") == Some(&Value::from("object")) && !pointer.ends_with("/properties") {
            assert!(value["properties"].is_object(), "{pointer}: an object without properties");
        }
        if (pointer.ends_with("/schema") || pointer.ends_with("/items")) && value.get("$ref").is_none() {
            assert!(value["type"].is_string(), "{pointer} is untyped: {value}");
        }
        if pointer.ends_with("/properties") {
            for (name, property) in value.as_object().expect("properties") {
                assert!(property["type"].is_string(), "{pointer}/{name} is untyped: {property}");
            }
        }
        if let Some(description) = value.get("description").and_then(Value::as_str) {
            assert!(description.chars().count() <= 300, "{pointer}: {description}");
        }
    });
    assert!(!document.to_string().contains("event-stream"), "streams are not for ChatGPT");
    // No ceiling is documented; reports speak of about 1 MB.
    assert!(document.to_string().chars().count() < 200_000);
}

#[test]
fn examples_satisfy_their_schemas() {
    let document = actions();
    for (name, operation) in operations(&document) {
        let request = operation.pointer("/requestBody/content/application~1json");
        let answers = operation["responses"].as_object().expect("responses").values();
        for media in request.into_iter().chain(answers.filter_map(|answer| answer.pointer("/content/application~1json"))) {
            if let Err(error) = jsonschema::validate(resolved(&document, &media["schema"]), &media["example"]) {
                panic!("{name}: {error} at {}", error.instance_path());
            }
        }
    }
}

#[test]
fn vocabularies_are_listed_as_they_are_written() {
    let document = full();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["TaskStatus"]["enum"][2], "in_progress");
    assert_eq!(schemas["Backend"]["enum"], serde_json::json!(["claude-code", "claude-flow"]));
    let actions = actions();
    // Users add roles of their own, so the words are named and not closed.
    let roles = actions.pointer("/paths/~1tasks/post/requestBody/content/application~1json/schema/properties/agent_type");
    let roles = roles.expect("a property");
    assert!(roles["enum"].is_null() && roles["description"].as_str().is_some_and(|text| text.contains("documenter")), "{roles}");
}

#[test]
fn events_are_one_plain_object_in_the_actions_document() {
    let document = actions();
    let page = document.pointer("/paths/~1events/get/responses/200/content/application~1json/schema");
    let event = &resolved(&document, page.expect("a schema"))["properties"]["events"]["items"];
    let kinds = event["properties"]["kind"]["enum"].as_array().expect("words");
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    assert_eq!(event["properties"]["data"]["properties"]["text"]["type"], "string");
    for name in ["seq", "at", "kind"] {
        assert!(event["required"].as_array().expect("required").iter().any(|word| word == name), "{name}: {}", event["required"]);
    }
}

#[test]
fn arguments_of_any_shape_are_text_in_the_actions_document() {
    let full = full();
    let mut open = BTreeSet::new();
    for (name, operation) in operations(&full) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        for (field, property) in resolved(&full, schema)["properties"].as_object().into_iter().flatten() {
            if property["type"] == "object" && property.get("properties").is_none() {
                open.insert(format!("{name} {field}"));
            }
        }
    }
    // Whoever adds one makes its field understand text as well, as `object_or_text` does.
    assert_eq!(open.into_iter().collect::<Vec<_>>(), ["post /tasks output_schema"]);
    let field = "/paths/~1tasks/post/requestBody/content/application~1json/schema/properties/output_schema/type";
    assert_eq!(actions().pointer(field), Some(&"string".into()));
}
