//! Public documents: the `OpenAPI` descriptions, Swagger UI and the privacy page.

use super::{
    files,
    openapi::{self, actions::openapi_actions},
    router::ApiState,
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::LazyLock;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

const OPENAPI_PATH: &str = "/openapi.json";
/// Swagger UI has no inline script; it needs inline styles and `data:` images, and calls this origin only.
const UI_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                         connect-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
const PRIVACY: &str = include_str!("privacy.html");

/// The document is the same for the life of the process.
static OPENAPI: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(openapi::openapi);

pub(super) fn routes() -> Router<ApiState> {
    let config = Config::from(OPENAPI_PATH).persist_authorization(true).try_it_out_enabled(true).validator_url("none");
    let ui: Router<ApiState> = SwaggerUi::new("/api-docs").config(config).into();
    let policy = |value| SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(value));
    Router::new()
        .route("/privacy", get(|| async { Html(PRIVACY) }).layer(policy(PAGE_POLICY)))
        .merge(ui.layer(policy(UI_POLICY)))
        .route(OPENAPI_PATH, get(|| async { Json(&*OPENAPI) }))
        .route("/openapi-actions.json", get(actions))
        .route("/files/{token}/{*name}", get(files::linked))
}

/// The `ChatGPT` document, with the address this gateway is reached at.
async fn actions(State(state): State<ApiState>, headers: HeaderMap) -> impl IntoResponse {
    Json::<Value>(openapi_actions(&public_url(&state, &headers)))
}

/// Where this gateway is reached from outside.
pub(super) fn public_url(state: &ApiState, headers: &HeaderMap) -> String {
    state.settings.public_url.clone().or_else(|| state.app.tunnel_url()).unwrap_or_else(|| origin(headers))
}

/// The origin of a request by its `Host`: `https`, because that is what stands in front of a public gateway and what
/// `ChatGPT` accepts; `http` for this machine.
fn origin(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let plain = !host.is_empty() && host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    let host = if plain { host.as_str() } else { "localhost" };
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    if name == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        return format!("http://{host}");
    }
    // The importer takes a plain https origin: no port, no final dot.
    format!("https://{}", name.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_follows_the_host() {
        let of = |host: &str| origin(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).expect("a header"))]));
        assert_eq!(of("Mas.Example.org"), "https://mas.example.org");
        assert_eq!(of("127.0.0.1:3456"), "http://127.0.0.1:3456");
        assert_eq!(of("[::1]:3456"), "http://[::1]:3456");
        assert_eq!(of("mas.example.org:8443"), "https://mas.example.org");
        assert_eq!(of("mas.example.org."), "https://mas.example.org");
        assert_eq!(of("127.evil.example.com"), "https://127.evil.example.com");
        assert_eq!(of("evil\"><script>"), "http://localhost");
        assert_eq!(origin(&HeaderMap::new()), "http://localhost");
    }
}
