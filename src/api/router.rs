//! The one list of routes, and the layers around them.

use super::{
    agents, auth,
    bounded::Bounded,
    caller::Caller,
    claude_flow, docs, events, files, health,
    limit::Limits,
    meter, monitoring, once,
    problem::{self, REQUEST_ID},
    proposals, roles, span, swarms, tasks, team, workflows,
};
use crate::{app::App, model::id::KeyId};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_request},
};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate},
    },
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
    trace::{DefaultOnResponse, TraceLayer},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How often idle entries of the rate limits are forgotten.
const SWEEP: Duration = Duration::from_secs(5);
/// Longest request id taken over from a client.
const REQUEST_ID_CHARS: usize = 128;

/// What the API needs to know from the configuration.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Where the outside world reaches the gateway, when that is known beforehand; else the tunnel's URL, else the `Host` of
    /// each request.
    pub public_url: Option<String>,
    /// Largest request body.
    pub body_limit_bytes: usize,
    /// Longest JSON response, in characters.
    pub response_chars: usize,
    /// Longest time until a response starts; event streams start at once and are not concerned.
    pub request_timeout: Duration,
    /// Requests each key may make, all of them as a burst.
    pub requests_per_minute: u32,
    /// Gives the text of `/metrics`.
    pub metrics: PrometheusHandle,
    /// Requests without a valid key from one address.
    pub failed_auth_per_minute: u32,
}

/// What handlers and the guard share.
#[derive(Clone)]
pub(super) struct ApiState {
    pub(super) app: App,
    pub(super) settings: Arc<ApiSettings>,
    pub(super) limits: Limits<KeyId>,
    pub(super) failures: Limits<Caller>,
    pub(super) stop: CancellationToken,
    pub(super) sockets: TaskTracker,
}

impl ApiState {
    /// A JSON object as response, within the limit of the settings.
    pub(super) fn bounded<T>(&self, status: StatusCode, body: T) -> Bounded<T> {
        Bounded { status, body, limit: self.settings.response_chars, is_repeated: false }
    }

    /// What was made as response: now, or under the same idempotency key before.
    pub(super) fn made<T>(&self, is_new: bool, body: T) -> Bounded<T> {
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Bounded { is_repeated: !is_new, ..self.bounded(status, body) }
    }
}

/// Routes that need no key.
pub(super) fn open_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(health::get_health)).routes(routes!(health::get_readiness))
}

/// Routes that need `X-MAS-Key`.
pub(super) fn guarded_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(tasks::create_task, tasks::list_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(events::list_task_events))
        .routes(routes!(files::list_task_files))
        .routes(routes!(files::read_task_file))
        .routes(routes!(events::list_events))
        .routes(routes!(agents::create_agent, agents::list_agents))
        .routes(routes!(agents::get_agent))
        .routes(routes!(agents::send_message))
        .routes(routes!(agents::fork_agent))
        .routes(routes!(agents::get_agent_output))
        .routes(routes!(proposals::propose))
        .routes(routes!(proposals::get_consensus_status))
        .routes(routes!(proposals::get_proposal))
        .routes(routes!(team::get_agent_inbox))
        .routes(routes!(team::list_team_messages, team::send_team_message))
        .routes(routes!(team::search_memory))
        .routes(routes!(monitoring::get_performance_report))
        .routes(routes!(claude_flow::get_claude_flow_status))
        .routes(routes!(claude_flow::list_mcp_servers))
        .routes(routes!(swarms::spawn_swarm))
        .routes(routes!(swarms::init_swarm))
        .routes(routes!(swarms::get_swarm_status))
        .routes(routes!(swarms::run_swarm))
        .routes(routes!(roles::list_roles))
        .routes(routes!(roles::get_role))
        .routes(routes!(workflows::list_workflows))
        .routes(routes!(workflows::run_workflow))
        .routes(routes!(workflows::list_workflow_runs))
        .routes(routes!(workflows::get_workflow_run))
        .routes(routes!(workflows::read_workflow_run_file))
        .routes(routes!(workflows::run_sparc))
        .routes(routes!(workflows::get_sparc))
}

/// `/metrics`, whose key may come as a bearer token.
pub(super) fn scraped_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(monitoring::get_metrics))
}

/// Routes that change what is there and make nothing new. [`once`] answers their exact repetition.
pub(super) fn changing_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(tasks::update_task))
        .routes(routes!(tasks::cancel_task))
        .routes(routes!(swarms::scale_swarm))
        .routes(routes!(swarms::stop_swarm))
        .routes(routes!(workflows::cancel_workflow_run))
        .routes(routes!(workflows::answer_workflow_run))
        .routes(routes!(agents::interrupt_agents))
        .routes(routes!(agents::interrupt_agent))
        .routes(routes!(agents::terminate_agent))
        .routes(routes!(agents::resume_agent))
        .routes(routes!(proposals::cancel_proposal))
}

/// The whole API. Must be called inside a Tokio runtime: it starts the sweeper, which ends with `stop`, as do all
/// open streams. Serve it with connect info (`into_make_service_with_connect_info::<SocketAddr>`). `sockets` counts open
/// web sockets, which no longer belong to the server they came through: wait for them after `stop`.
pub fn router(app: App, settings: ApiSettings, stop: CancellationToken, sockets: TaskTracker) -> Router {
    let state = ApiState {
        app,
        limits: Limits::new(settings.requests_per_minute),
        failures: Limits::new(settings.failed_auth_per_minute),
        settings: Arc::new(settings),
        stop,
        sockets,
    };
    tokio::spawn(sweep(state.clone()));
    let (guarded, _) = guarded_routes().split_for_parts();
    let (changing, _) = changing_routes().split_for_parts();
    let guarded = guarded.merge(changing.route_layer(from_fn_with_state(state.clone(), once::once)));
    let (scraped, _) = scraped_routes().split_for_parts();
    let guard = from_fn_with_state(state.clone(), auth::guard);
    let scraped = scraped.route_layer(guard.clone()).route_layer(map_request(auth::take_bearer));
    let (open, _) = open_routes().split_for_parts();
    let routes = guarded.route_layer(guard).merge(scraped).merge(open).merge(docs::routes());
    #[cfg(test)]
    let routes = routes.merge(super::testing::routes());
    layered(routes, &state).with_state(state)
}

/// Everything around the routes.
fn layered(routes: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    let settings = &state.settings;
    let not_streams = DefaultPredicate::new().and(NotForContentType::const_new("text/event-stream"));
    let trace = TraceLayer::new_for_http()
        .make_span_with(log_span)
        .on_failure(())
        .on_response(DefaultOnResponse::new().level(tracing::Level::INFO));
    let set = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    // On a router the last layer is the outermost.
    routes
        .layer(RequestBodyLimitLayer::new(settings.body_limit_bytes))
        .layer(DefaultBodyLimit::disable())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, settings.request_timeout))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(from_fn_with_state(state.clone(), problem::normalise))
        .layer(from_fn_with_state(state.clone(), meter::meter))
        .layer(from_fn(span::span))
        .layer(CompressionLayer::new().compress_when(not_streams))
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(set(header::CACHE_CONTROL, "no-store"))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(trace)
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(drop_long_request_id))
        .layer(SetSensitiveRequestHeadersLayer::new([auth::KEY_HEADER, header::AUTHORIZATION]))
}

/// Method, path and request id; never headers or bodies.
fn log_span(request: &axum::http::Request<axum::body::Body>) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), request_id = id)
}

async fn drop_long_request_id(mut request: Request) -> Request {
    if request.headers().get(REQUEST_ID).is_some_and(|id| id.len() > REQUEST_ID_CHARS || id.to_str().is_err()) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

async fn sweep(state: ApiState) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return,
            _ = tick.tick() => {
                state.limits.sweep();
                state.failures.sweep();
            }
        }
    }
}
