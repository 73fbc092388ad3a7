//! The API as tests see it: requests in, status and JSON out, no network.

use super::{ApiSettings, router, router::ApiState};
use crate::{
    app::{keys::NewKey, testing::TestApp},
    model::key::Scope,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
    response::Response,
    routing::get,
};
use serde_json::Value;
use std::time::Duration;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Routes that misbehave, to see the layers at work.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/test/panic", get(panic)).route("/test/slow", get(|| async { std::future::pending::<()>().await }))
}

async fn panic() {
    panic!("as asked: mas_secret");
}

pub(super) struct TestApi {
    pub(super) test: TestApp,
    pub(super) router: Router,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

pub(super) fn settings() -> ApiSettings {
    ApiSettings {
        response_chars: 30_000,
        public_url: None,
        body_limit_bytes: 100_000,
        request_timeout: Duration::from_secs(44),
        metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
        requests_per_minute: 1_000,
        failed_auth_per_minute: 30,
    }
}

impl TestApi {
    pub(super) async fn start() -> Self {
        Self::with(settings()).await
    }

    pub(super) async fn with(settings: ApiSettings) -> Self {
        let test = TestApp::start().await;
        let router = router(test.app.clone(), settings, test.stop.clone(), TaskTracker::new());
        Self { test, router }
    }

    pub(super) async fn key(&self, user: &str, scopes: &[Scope]) -> String {
        let new = NewKey {
            user: user.into(),
            name: "test".into(),
            scopes: scopes.to_vec(),
            expires_at: None,
            limits: crate::model::quota::KeyLimits::default(),
        };
        self.test.app.create_key(new).await.expect("a key").1
    }

    pub(super) async fn raw(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.raw(request).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10 << 20).await.expect("a body");
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
    }

    pub(super) async fn call(&self, method: &str, path: &str, key: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("X-MAS-Key", key);
        self.send(request.body(body.to_owned().into()).expect("a request")).await
    }
}
