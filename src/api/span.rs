//! The span of every request, when a collector wants spans.

use super::{openapi, problem::REQUEST_ID};
use crate::trace::{self, RequestSpan, TRACEPARENT};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use std::{collections::HashMap, sync::LazyLock};
use utoipa::openapi::path::Operation;

/// Names of operations by method and route.
static OPERATIONS: LazyLock<HashMap<(&str, String), String>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (route, item) in openapi::openapi().paths.paths {
        let operations = [("GET", item.get), ("POST", item.post), ("PATCH", item.patch)];
        let named = |operation: Option<Operation>| operation?.operation_id;
        let found = operations.into_iter().filter_map(|(method, operation)| Some(((method, route.clone()), named(operation)?)));
        names.extend(found);
    }
    names
});

/// Makes the request's span what is going on while it is answered. Streams go on after that.
pub(super) async fn span(request: Request, next: Next) -> Response {
    if !trace::is_on() {
        return next.run(request).await;
    }
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => method.to_owned(),
        _ => "_OTHER".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let operation = route.clone().and_then(|route| OPERATIONS.get(&(method.as_str(), route)));
    let span = RequestSpan::begin(trace::Request {
        method: &method,
        route: route.as_deref(),
        operation: operation.map(String::as_str),
        id: only(request.headers(), &REQUEST_ID),
        traceparent: only(request.headers(), &HeaderName::from_static(TRACEPARENT)),
    });
    let Some(span) = span else { return next.run(request).await };
    let response = span.around(next.run(request)).await;
    span.answered(response.status().as_u16());
    response
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_name() {
        let all = serde_json::to_value(openapi::openapi()).expect("serialises");
        let paths = all["paths"].as_object().expect("paths").values();
        assert_eq!(OPERATIONS.len(), paths.map(|item| item.as_object().expect("operations").len()).sum::<usize>());
        assert_eq!(OPERATIONS.get(&("POST", "/tasks".to_owned())).map(String::as_str), Some("create_task"));
    }
}
