//! The reduced document for `ChatGPT` actions: what its importer accepts, and nothing it stumbles over.
//!
//! Its limits (`developers.openai.com/api/docs/actions/production` and reports of users): version 3.1.0, one https
//! server, one security scheme, at most 30 operations, descriptions of at most 300 characters, no header parameters,
//! no `oneOf`, `anyOf` or null types, every object with `properties`. References only from a response to its schema.

use serde_json::{Map, Value, json};

/// What `ChatGPT` can do. Each says by `x-openai-isConsequential` whether people are asked first. Left out is what another
/// one does as well; the importer takes at most 30.
pub(super) const OPERATIONS: [&str; 30] = [
    "create_task",
    "list_tasks",
    "get_task",
    "cancel_task",
    "list_task_files",
    "read_task_file",
    "create_agent",
    "list_agents",
    "get_agent",
    "get_agent_output",
    "send_message",
    "interrupt_agents",
    "terminate_agent",
    "resume_agent",
    "spawn_swarm",
    "get_swarm_status",
    "run_swarm",
    "stop_swarm",
    "list_workflows",
    "run_workflow",
    "get_workflow_run",
    "read_workflow_run_file",
    "cancel_workflow_run",
    "answer_workflow_run",
    "run_sparc",
    "propose",
    "get_proposal",
    "list_events",
    "get_performance_report",
    "get_health",
];
/// `OpenAPI` components a reference may go through before it is taken for a circle.
const DEPTH: usize = 16;
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document a Custom GPT imports; `public_url` is where `ChatGPT` reaches this gateway.
pub fn openapi_actions(public_url: &str) -> Value {
    // The document is made of plain data; serialising it cannot fail.
    let full = serde_json::to_value(super::openapi()).unwrap_or_default();
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for (path, item) in full["paths"].as_object().into_iter().flatten() {
        let operations = item.as_object().into_iter().flatten().filter(|(method, operation)| {
            let is_offered = operation["operationId"].as_str().is_some_and(|id| OPERATIONS.contains(&id));
            METHODS.contains(&method.as_str()) && is_offered
        });
        let reduced: Map<String, Value> =
            operations.map(|(method, operation)| (method.clone(), reduce_operation(operation, &full, &mut schemas))).collect();
        if !reduced.is_empty() {
            paths.insert(path.clone(), reduced.into());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": full["info"],
        "servers": [{ "url": public_url.trim_end_matches('/') }],
        "security": [{ super::SCHEME: [] }],
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": full["components"]["securitySchemes"] },
    })
}

fn reduce_operation(operation: &Value, full: &Value, schemas: &mut Map<String, Value>) -> Value {
    let mut reduced = Map::new();
    for key in ["operationId", "summary", "description", "x-openai-isConsequential"] {
        if let Some(value) = operation.get(key) {
            reduced.insert(key.into(), value.clone());
        }
    }
    // utoipa writes `[{}]` (optional) for public operations; the importer wants to hear "none".
    let public = operation["security"].as_array().is_some_and(|list| list.iter().all(|item| item == &json!({})));
    reduced.insert("security".into(), if public { json!([]) } else { json!([{ super::SCHEME: [] }]) });
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters: Vec<Value> = parameters
        .filter(|parameter| parameter["in"] == "query" || parameter["in"] == "path")
        .map(|parameter| {
            let mut parameter = parameter.clone();
            parameter["schema"] = plain(&parameter["schema"], full, 0);
            parameter
        })
        .collect();
    if !parameters.is_empty() {
        reduced.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = operation.get("requestBody") {
        let mut content = json_content(&body["content"], full);
        open_objects_as_text(&mut content["application/json"]["schema"]);
        reduced.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let responses = operation["responses"].as_object().into_iter().flatten();
    let responses: Map<String, Value> = responses
        .map(|(status, response)| {
            let mut short = json!({ "description": response["description"] });
            // Errors explain themselves; only what the model works with is spelt out.
            if status.starts_with('2') {
                short["content"] = answer_content(&response["content"], full, schemas);
            }
            (status.clone(), short)
        })
        .collect();
    reduced.insert("responses".into(), responses.into());
    reduced.into()
}

fn json_content(content: &Value, full: &Value) -> Value {
    let media = &content["application/json"];
    let mut reduced = json!({ "schema": plain(&media["schema"], full, 0) });
    if let Some(example) = media.get("example") {
        reduced["example"] = example.clone();
    }
    json!({ "application/json": reduced })
}

/// Like [`json_content`], with the schema in one place for all operations that answer with it.
fn answer_content(content: &Value, full: &Value, schemas: &mut Map<String, Value>) -> Value {
    let mut reduced = json_content(content, full);
    let reference = content["application/json"]["schema"]["$ref"].as_str();
    if let Some(name) = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        let schema = std::mem::replace(&mut reduced["application/json"]["schema"], json!({ "$ref": reference }));
        schemas.insert(name.to_owned(), schema);
    }
    reduced
}

/// `ChatGPT` sends only fields that are listed, so an argument with fields of any name is taken as text that holds JSON.
/// A test lists these arguments; each must be understood as text, too.
fn open_objects_as_text(schema: &mut Value) {
    for (_, property) in schema["properties"].as_object_mut().into_iter().flatten() {
        if property["properties"].as_object().is_some_and(Map::is_empty) {
            *property = json!({ "type": "string", "description": property["description"] });
        } else if property["properties"].is_object() {
            open_objects_as_text(property);
        }
    }
}

/// The schema without references, alternatives, nulls and untyped places.
fn plain(schema: &Value, full: &Value, depth: usize) -> Value {
    if depth > DEPTH {
        return json!({ "type": "object", "properties": {} });
    }
    let plain_inside = |inside: &Value| plain(inside, full, depth + 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let mut target = full.pointer(reference.trim_start_matches('#')).map(plain_inside).unwrap_or_default();
        if let Some(description) = schema.get("description") {
            target["description"] = description.clone();
        }
        return target;
    }
    let mut result = Map::new();
    for key in ["allOf", "oneOf", "anyOf"] {
        let parts = schema[key].as_array().into_iter().flatten().filter(|part| part["type"] != "null");
        for (index, part) in parts.enumerate() {
            merge(&mut result, plain_inside(part), key == "allOf" || index == 0);
        }
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            "allOf" | "oneOf" | "anyOf" | "example" | "examples" | "propertyNames" | "default" | "additionalProperties" => {}
            // How a number is kept says nothing to a model, and the document has to stay small.
            "format" if value == "int32" || value == "int64" || value == "double" => {}
            "type" => {
                let single = value.as_array().and_then(|types| types.iter().find(|word| *word != "null")).unwrap_or(value);
                result.insert(key.clone(), single.clone());
            }
            "properties" => {
                let properties: Map<String, Value> =
                    value.as_object().into_iter().flatten().map(|(name, inside)| (name.clone(), plain_inside(inside))).collect();
                merge(&mut result, json!({ "properties": properties }), true);
            }
            "items" => {
                result.insert(key.clone(), plain_inside(value));
            }
            _ => {
                result.insert(key.clone(), value.clone());
            }
        }
    }
    if result.is_empty() || (!result.contains_key("type") && result.contains_key("properties")) {
        result.insert("type".into(), "object".into());
    }
    if result.get("type").is_some_and(|word| word == "object") && !result.contains_key("properties") {
        result.insert("properties".into(), json!({}));
        result.insert("additionalProperties".into(), true.into());
    }
    result.into()
}

/// Takes the properties and values of another shape in. Only what every shape requires stays required, unless the
/// other shape always applies.
fn merge(into: &mut Map<String, Value>, other: Value, always: bool) {
    let Value::Object(other) = other else { return };
    if !always && let Some(required) = into.get_mut("required").and_then(Value::as_array_mut) {
        let theirs = other.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        required.retain(|name| theirs.contains(name));
    }
    let mut open = false;
    for (key, value) in other {
        match (key.as_str(), into.get_mut(&key)) {
            ("description", Some(known)) if !always && *known != value => {
                into.shift_remove("description");
            }
            ("properties", Some(Value::Object(known))) => {
                for (name, theirs) in value.as_object().into_iter().flatten() {
                    match known.get_mut(name) {
                        // No plain type says "a number here, a word there": such a property is left open.
                        Some(ours) if ours["type"] != theirs["type"] => {
                            known.shift_remove(name);
                            open = true;
                        }
                        Some(Value::Object(ours)) => merge(ours, theirs.clone(), false),
                        _ => {
                            known.insert(name.clone(), theirs.clone());
                        }
                    }
                }
            }
            ("enum", Some(Value::Array(known))) => {
                let new: Vec<Value> =
                    value.as_array().into_iter().flatten().filter(|word| !known.contains(word)).cloned().collect();
                known.extend(new);
            }
            ("required", Some(Value::Array(known))) if always => {
                known.extend(value.as_array().into_iter().flatten().cloned());
            }
            (_, Some(_)) => {}
            // Of shapes that differ none speaks for the whole.
            ("required" | "description", None) if !always => {}
            (_, None) => {
                into.insert(key, value);
            }
        }
    }
    if open {
        into.insert("additionalProperties".into(), true.into());
    }
    if into.get("required").is_some_and(|names| names.as_array().is_some_and(Vec::is_empty)) {
        into.shift_remove("required");
    }
}
