//! A caller that behaves like ChatGPT with the gateway as its action: it knows the imported document and nothing else.
//!
//! As ChatGPT does, it refuses arguments the document does not list, gives up after 45 s, takes fewer than 100,000
//! characters, repeats a call after a lost connection, a 5xx and a 429, and puts objects with links where the document
//! has strings in `openaiFileIdRefs`. Beyond that it holds each answer against the declared schema.

use crate::support::KEY;
use reqwest::{Client, Method, Response, header};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How long ChatGPT waits for an answer.
const PATIENCE: Duration = Duration::from_secs(45);
/// What the gateway allows itself, in characters; ChatGPT takes 100,000.
const BUDGET: usize = 30_000;
/// Attempts at one call.
const ATTEMPTS: u32 = 6;
const ENDED: [&str; 3] = ["complete", "failed", "cancelled"];

pub(crate) struct ChatGpt {
    document: Value,
    server: String,
    client: Client,
    /// Files of the conversation by their ids, as ChatGPT sends them.
    pub(crate) files: BTreeMap<String, Value>,
    /// Longest wait in one call; less than the gateway proposes makes more calls.
    pub(crate) wait_seconds: u64,
}

impl ChatGpt {
    /// Imports the document, as the builder does: by its address, without a key.
    pub(crate) async fn import(address: &str) -> Self {
        let client = Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).build().expect("a client");
        let document = client.get(format!("http://{address}/openapi-actions.json")).send().await.expect("a document");
        let document: Value = document.json().await.expect("JSON");
        let servers = document["servers"].as_array().expect("servers");
        assert_eq!(servers.len(), 1, "{servers:?}");
        let server = servers[0]["url"].as_str().expect("an address").to_owned();
        assert_eq!(server, format!("http://{address}"), "the address it was imported by");
        Self { document, server, client, files: BTreeMap::new(), wait_seconds: 40 }
    }

    /// Method, path and description of an operation.
    fn operation(&self, name: &str) -> (Method, &str, &Value) {
        let paths = self.document["paths"].as_object().expect("paths");
        let all = paths.iter().flat_map(|(path, item)| item.as_object().expect("operations").iter().map(move |op| (path, op)));
        let found = all.filter(|(_, (_, operation))| operation["operationId"] == name).collect::<Vec<_>>();
        let [(path, (method, operation))] = found[..] else { panic!("{} operations are called {name}", found.len()) };
        (method.to_uppercase().parse().expect("a method"), path, operation)
    }

    /// Whether the document would let ChatGPT send these arguments; else what its client says.
    pub(crate) fn refusal(&self, name: &str, arguments: &Value) -> Option<String> {
        let (_, _, operation) = self.operation(name);
        let mut schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        if schema.is_null() {
            schema = json!({"type": "object", "properties": {}});
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            schema["properties"][parameter["name"].as_str().expect("a name")] = parameter["schema"].clone();
            if parameter["required"] == true {
                let mut required = schema["required"].as_array().cloned().unwrap_or_default();
                required.push(parameter["name"].clone());
                schema["required"] = required.into();
            }
        }
        let known = schema["properties"].as_object().expect("properties");
        let unknown = arguments.as_object().expect("arguments").keys().find(|name| !known.contains_key(*name));
        if let Some(unknown) = unknown {
            return Some(format!("UnrecognizedKwargsError: {unknown}"));
        }
        jsonschema::validate(&closed(&schema), arguments).err().map(|error| format!("{error} at {}", error.instance_path()))
    }

    /// One call, repeated while it makes sense: the status and the body.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> (u16, Value) {
        assert_eq!(self.refusal(name, &arguments), None, "{name} {arguments}");
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        for _ in 0..ATTEMPTS {
            ticks.tick().await;
            match self.send(name, arguments.clone()).await {
                Ok(response) if response.status().as_u16() == 429 || response.status().is_server_error() => {
                    // What a tunnel says by itself is not in the document; the gateway's answers carry a request id.
                    if response.headers().contains_key("x-request-id") {
                        self.declared(name, response.status().as_u16());
                    }
                }
                Ok(response) => return self.read(name, response).await,
                Err(error) => assert!(!error.is_timeout(), "{name} took more than 45 s"),
            }
        }
        panic!("{name} was given up after {ATTEMPTS} attempts")
    }

    async fn send(&self, name: &str, arguments: Value) -> reqwest::Result<Response> {
        let (method, path, operation) = self.operation(name);
        let (mut path, mut query, Value::Object(mut body)) = (path.to_owned(), vec![], arguments) else {
            panic!("arguments are an object")
        };
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let Some(value) = body.remove(name) else { continue };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &value),
                Some("query") => query.push(format!("{name}={}", encoded(&value))),
                other => panic!("ChatGPT sends no parameter in {other:?}"),
            }
        }
        if let Some(ids) = body.get("openaiFileIdRefs").and_then(Value::as_array) {
            let files: Vec<Value> = ids.iter().map(|id| self.files[id.as_str().expect("an id")].clone()).collect();
            body.insert("openaiFileIdRefs".into(), files.into());
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut request = self.client.request(method, format!("{}{path}{query}", self.server));
        if operation["security"] != json!([]) {
            let scheme = operation["security"][0].as_object().and_then(|names| names.keys().next()).expect("a scheme");
            let scheme = &self.document["components"]["securitySchemes"][scheme];
            assert_eq!((&scheme["type"], &scheme["in"]), (&json!("apiKey"), &json!("header")), "{scheme}");
            request = request.header(scheme["name"].as_str().expect("a header"), KEY);
        }
        if operation["requestBody"].is_object() {
            request = request.json(&Value::Object(body));
        } else {
            assert_eq!(body, Map::new(), "nowhere to put these");
        }
        request.send().await
    }

    fn declared(&self, name: &str, status: u16) -> &Value {
        let (_, _, operation) = self.operation(name);
        operation["responses"].get(status.to_string()).unwrap_or_else(|| panic!("{name} answers an undeclared {status}"))
    }

    async fn read(&self, name: &str, response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        let declared = self.declared(name, status);
        let media_type = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let text = response.text().await.expect("a body");
        assert!(text.chars().count() <= BUDGET, "{name}: {} characters", text.chars().count());
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        if status >= 400 {
            assert_eq!(media_type, "application/problem+json", "{text}");
            let says = |field: &str| body[field].as_str().is_some_and(|words| !words.is_empty());
            assert!(says("code") && says("detail") && says("next_step"), "{text}");
            return (status, body);
        }
        let schema = &declared["content"][media_type.as_str()]["schema"];
        assert!(schema.is_object(), "{name} answers an undeclared {media_type}");
        let schema = json!({"allOf": [schema], "components": closed(&self.document["components"])});
        if let Err(error) = jsonschema::validate(&schema, &body) {
            panic!("{name}: {error} at {}: {text}", error.instance_path());
        }
        (status, body)
    }

    /// A call that has to succeed.
    pub(crate) async fn succeed(&self, name: &str, arguments: Value) -> Value {
        let (status, body) = self.call(name, arguments).await;
        assert!(status < 300, "{name}: {status} {body}");
        body
    }

    /// Does what `next_step` says until the task has ended: the task, and how many calls that took.
    pub(crate) async fn finish(&self, mut task: Value) -> (Value, u32) {
        let mut calls = 0;
        while !ENDED.contains(&task["status"].as_str().expect("a status")) {
            let (operation, arguments) = self.proposed(&task);
            assert_eq!(operation, "get_task", "{task}");
            assert!(calls < 100, "it never ends: {task}");
            task = self.succeed(&operation, arguments).await;
            calls += 1;
        }
        (task, calls)
    }

    /// The call that `next_step` of an answer asks for.
    fn proposed(&self, answer: &Value) -> (String, Value) {
        let words = answer["next_step"].as_str().expect("a next step");
        let pattern = regex::Regex::new(r"Call (\w+) with (?:the id (\w+) and |this id and )?wait_seconds=(\d+)").expect("valid");
        let found = pattern.captures(words).unwrap_or_else(|| panic!("no call in {words:?}"));
        let id = found.get(2).map_or_else(|| answer["id"].clone(), |id| id.as_str().into());
        let wait = found[3].parse::<u64>().expect("a number").min(self.wait_seconds);
        (found[1].to_owned(), json!({"id": id, "wait_seconds": wait}))
    }
}

/// The schema with every listed object closed: what is not listed is not there for ChatGPT.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Array(parts) => parts.iter().map(closed).collect(),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields.iter().map(|(name, inside)| (name.clone(), closed(inside))).collect();
            let is_object = fields.get("type").is_some_and(|word| word == "object");
            if is_object && fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), false.into());
            }
            fields.into()
        }
        other => other.clone(),
    }
}

/// For a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
