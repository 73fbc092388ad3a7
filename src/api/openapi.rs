//! The `OpenAPI` document, made from the routes themselves.

pub(super) mod actions;
mod nulls;
pub(super) mod responses;

use super::{auth::KEY_HEADER, problem::Problem, router};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Object, OpenApi as Document, RefOr, Required, Schema,
        path::{Operation, PathItem},
        schema::Type,
        security::{ApiKey, ApiKeyValue, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

/// Name of the one security scheme.
const SCHEME: &str = "ApiKeyAuth";
/// Operations whose fields are all optional and that do nothing without any of them.
const NEED_A_BODY: [&str; 2] = ["update_task", "interrupt_agents"];
/// Answers that may hold long texts of agents.
const BOUNDED: [&str; 13] = [
    "AgentPage",
    "AgentResource",
    "EventLogPage",
    "EventPage",
    "InboxPage",
    "MemoryPage",
    "OutputPage",
    "ProposalPage",
    "ProposalResource",
    "TaskPage",
    "TaskResource",
    "TeamMessagePage",
    "TeamMessageResource",
];

#[derive(OpenApi)]
#[openapi(
    info(title = "mas-gateway", description = "Runs real CLI coding agents under supervision and keeps everything they emit. Errors are application/problem+json with a stable code."),
    servers((url = "/", description = "This gateway")),
    components(schemas(Problem)),
    modifiers(&KeyScheme),
    tags(
        (name = "tasks", description = "Work for agents"),
        (name = "agents", description = "The workers"),
        (name = "consensus", description = "Questions that several agents decide together"),
        (name = "swarms", description = "Agents that work together"),
        (name = "events", description = "What agents report"),
        (name = "system", description = "The gateway itself")
    )
)]
struct Base;

struct KeyScheme;

impl Modify for KeyScheme {
    fn modify(&self, document: &mut Document) {
        let key = ApiKeyValue::with_description(header_name(), "A key made with `mas key create`.");
        document.components.get_or_insert_default().add_security_scheme(SCHEME, SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// The header as people write it.
fn header_name() -> &'static str {
    debug_assert!(KEY_HEADER.as_str().eq_ignore_ascii_case("X-MAS-Key"));
    "X-MAS-Key"
}

/// The complete document. Needs neither a server nor a database.
pub fn openapi() -> Document {
    let routes = OpenApiRouter::with_openapi(Base::openapi())
        .merge(router::guarded_routes())
        .merge(router::changing_routes())
        .merge(router::scraped_routes())
        .merge(router::open_routes());
    let (_, mut document) = routes.split_for_parts();
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
    schemas.for_each(nulls::remove_nulls);
    announce_truncation(&mut document);
    spread_examples(&mut document);
    say_which_bodies_are_needed(&mut document);
    document
}

/// A request without a body is one with `{}`, which is enough where no field is required.
fn say_which_bodies_are_needed(document: &mut Document) {
    let schemas = document.components.as_ref().map(|components| components.schemas.clone()).unwrap_or_default();
    let has_required = |content: &RefOr<Content>| {
        let RefOr::T(Content { schema: Some(RefOr::Ref(reference)), .. }) = content else { return true };
        let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
        !matches!(schemas.get(name), Some(RefOr::T(Schema::Object(object))) if object.required.is_empty())
    };
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let needs = operation.operation_id.as_deref().is_some_and(|id| NEED_A_BODY.contains(&id));
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            let required = needs || body.content.values().any(has_required);
            body.required = Some(if required { Required::True } else { Required::False });
        }
    }
}

/// Says in the schemas what `bounded` may add to an answer.
fn announce_truncation(document: &mut Document) {
    let names = Object::builder()
        .schema_type(Type::String)
        .to_array_builder()
        .description(Some("Only when the answer was too long: JSON pointers of the parts that were shortened."));
    let names: RefOr<Schema> = names.into();
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.iter_mut());
    for (_, schema) in schemas.filter(|(name, _)| BOUNDED.contains(&name.as_str())) {
        if let RefOr::T(Schema::Object(object)) = schema {
            object.properties.insert("truncated".into(), names.clone());
        }
    }
}

/// Readers look for examples at the operation; ours stand at the types. Copies them over.
fn spread_examples(document: &mut Document) {
    let schemas = document.components.as_ref().map(|components| components.schemas.clone()).unwrap_or_default();
    let example = |content: &mut RefOr<Content>| {
        let RefOr::T(content) = content else { return };
        if let (None, Some(RefOr::Ref(reference))) = (&content.example, &content.schema) {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            content.example = match schemas.get(name) {
                Some(RefOr::T(Schema::Object(object))) => object.example.clone(),
                Some(RefOr::T(Schema::AllOf(all))) => all.example.clone(),
                _ => None,
            };
        }
    };
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.content.values_mut().for_each(example);
        }
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                response.content.values_mut().for_each(example);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

#[cfg(test)]
pub(in crate::api) mod tests;
