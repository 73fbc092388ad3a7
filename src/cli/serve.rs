//! `mas serve`: puts everything together. The only place that sees every module.

use super::model;
use crate::{
    api,
    app::{App, AppSettings, keys::new_secret},
    bus::Bus,
    config::{Config, DataDir, write_private},
    definitions::Sources,
    gpt::{Finding, lint_server},
    housekeeping, mirror,
    model::{current::Current, role, run::Provenance, workflow},
    orchestrator::{self, Orchestrator},
    process::lock,
    runner::{self, Runner},
    shutdown,
    store::Store,
    telemetry, tunnel,
};
use anyhow::{Context, anyhow, bail};
use chrono::TimeDelta;
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    telemetry::init(config.server.log_format, &config.server.log_filter).map_err(|error| anyhow!(error))?;
    make_data_dir(config)?;
    let data = DataDir(config.server.data_dir.clone());
    // Held until the process ends, however it ends.
    let _owner = own(&data)?;
    // Of an earlier server; whoever waits for it wants the new one.
    let _ = std::fs::remove_file(data.address());
    let _ = std::fs::remove_file(data.public_url());
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, &data))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config, data: &DataDir) -> anyhow::Result<()> {
    let metrics =
        telemetry::meters::install(env!("CARGO_PKG_VERSION"), config.rehearsal.enabled).map_err(|error| anyhow!(error))?;
    let upkeep = tokio::spawn(keep_up(metrics.clone()));
    let listener = TcpListener::bind(config.server.bind)
        .await
        .with_context(|| format!("server.bind: cannot listen on {}; is another server running there?", config.server.bind))?;
    let address = listener.local_addr()?;
    std::fs::write(data.address(), address.to_string()).context("cannot write the address file")?;
    // The first log line: scripts read the address from it.
    tracing::info!(address = %address, version = env!("CARGO_PKG_VERSION"), "listening");
    warn_of_public_url(&config.server.public_url);

    let stop = CancellationToken::new();
    shutdown::cancel_on_signal(stop.clone())?;
    let store = open_store(config).await?;
    let _hold = store.hold().await.context("store.url")?;
    let bus = Bus::local();
    let (roles, workflows) = definitions(config, &stop);
    let app = App::new(store.clone(), bus.clone(), app_settings(config, roles.clone(), workflows), stop.clone());
    let traces = match config.telemetry.otlp_url.as_str() {
        "" => None,
        url => Some(
            telemetry::traces::start(url, env!("CARGO_PKG_VERSION"), app.instance().to_string())
                .map_err(|error| anyhow!(error))?,
        ),
    };
    admin_key(&app, config, data).await?;

    let mut rehearsal_url = None;
    if config.rehearsal.enabled {
        let url = model::ensure(data, &config.rehearsal.rules).await?;
        tracing::info!(model = url, "rehearsal: agents are answered by the scripted model");
        rehearsal_url = Some(url);
        tokio::spawn(model::watch(data.clone(), config.rehearsal.rules.clone()));
    }
    let settings = runner_settings(config, data, roles.clone(), rehearsal_url);
    let runner = tokio::spawn(Arc::new(Runner::new(store.clone(), bus.clone(), settings, stop.clone())).run());

    let orchestration = orchestrator_settings(config, data, roles);
    let orchestrating = tokio::spawn(Orchestrator::new(store.clone(), bus.clone(), orchestration, stop.clone()).run());

    let collecting =
        housekeeping::keep_collecting(store.clone(), data.clone(), config.agent_env.clone(), config.gc.clone(), stop.clone());
    let collecting = tokio::spawn(collecting);

    // Of its own: the tunnel stays for as long as answers go out through it.
    let close_tunnel = CancellationToken::new();
    let tunnel_listener = tunnel_listener(config).await?;
    let tunnelling = tunnel_listener.as_ref().map(|(_, address)| {
        let settings = tunnel::Settings {
            tunnel: config.tunnel.clone(),
            env: config.tunnel_env.clone(),
            data: data.clone(),
            address: *address,
            instance: app.instance().to_string(),
        };
        tokio::spawn(tunnel::supervise(settings, bus.clone(), close_tunnel.clone()))
    });

    let mirroring = config.claude_flow.mirror.then(|| {
        let settings = mirror::Settings {
            command: config.claude_flow.command.clone(),
            projects: config.projects(),
            agent_env: config.agent_env.clone(),
            data: data.clone(),
        };
        tokio::spawn(mirror::supervise(settings, store.clone(), bus.clone(), stop.clone()))
    });

    let sockets = TaskTracker::new();
    let router = api::router(app, api_settings(config, metrics.clone()), stop.clone(), sockets.clone());
    let grace = Duration::from_secs(config.server.shutdown_seconds);
    let serving = api::serve(listener, way_in(config), router.clone(), stop.clone(), grace);
    if let Some((listener, _)) = tunnel_listener {
        tokio::join!(serving, api::serve(listener, api::WayIn::TunnelOnly, router, stop.clone(), grace));
    } else {
        serving.await;
    }
    sockets.close();
    if tokio::time::timeout(grace, sockets.wait()).await.is_err() {
        tracing::warn!("WebSockets were still open at the end of server.shutdown_seconds");
    }
    upkeep.abort();
    close_tunnel.cancel();
    if let Some(tunnelling) = tunnelling {
        drop(tunnelling.await);
    }
    let grace = grace + Duration::from_secs(config.runner.exit_timeout_seconds);
    if tokio::time::timeout(grace, runner).await.is_err() {
        tracing::warn!("agents were still being ended at the end of the shutdown time");
    }
    if let Some(mirroring) = mirroring {
        drop(mirroring.await);
    }
    drop(orchestrating.await);
    // It lets go where it is; what is half removed goes next time.
    drop(collecting.await);
    if config.rehearsal.enabled {
        model::stop(data).await;
    }
    store.close().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    let _ = std::fs::remove_file(data.address());
    tracing::info!("stopped");
    Ok(())
}

/// Says what `ChatGPT`'s importer will not like about the address. The server works all the same for everybody else.
fn warn_of_public_url(url: &str) {
    if url.is_empty() {
        return;
    }
    for Finding { rule, found, .. } in lint_server(url) {
        tracing::warn!(rule = rule.id, found, "server.public_url: {}. {} {}", rule.title, rule.reason, rule.fix);
    }
}

/// Gathers what was measured even when nobody asks for it.
async fn keep_up(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}

/// Connections, agents and their files each take descriptors; the usual soft limit of 1024 is soon reached.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(65_536);
    if current.is_some_and(|current| current < wanted) {
        // Works with fewer, too.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Makes the data directory, readable by its owner only.
pub(super) fn make_data_dir(config: &Config) -> anyhow::Result<()> {
    let dir = &config.server.data_dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("server.data_dir: cannot make {}", dir.display()))?;
    // One that was there before may be open to others.
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700))
        .with_context(|| format!("server.data_dir: {} cannot be kept from other users", dir.display()))
}

fn own(data: &DataDir) -> anyhow::Result<File> {
    match lock::take(&data.lock()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("server.data_dir: {} belongs to a running server; stop it or use another --data-dir", data.path().display())
        }
        owner => owner.with_context(|| data.lock().display().to_string()),
    }
}

pub(super) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    // SQLite does not keep two first starts, such as a server's and `mas key`'s, from making the tables twice.
    let path = DataDir(config.server.data_dir.clone()).store_lock();
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let _one_at_a_time = lock.and_then(|file| file.lock().map(|()| file)).with_context(|| path.display().to_string())?;
    Store::connect(&config.store_url()).await.context("store.url: the database cannot be opened")
}

/// The roles and workflows in force, which follow their files until `stop`.
fn definitions(config: &Config, stop: &CancellationToken) -> (Current<role::Catalogue>, Current<workflow::Catalogue>) {
    let sources = sources(config);
    let roles = sources.load_roles();
    let workflows = sources.load_workflows(&roles);
    sources.report(&roles, &workflows);
    let (roles, workflows) = (Current::new(roles), Current::new(workflows));
    tokio::spawn(sources.follow(roles.clone(), workflows.clone(), stop.clone()));
    (roles, workflows)
}

/// Where the roles and workflows come from, and the models roles may have.
pub(super) fn sources(config: &Config) -> Sources {
    let data = DataDir(config.server.data_dir.clone());
    Sources {
        roles: data.roles(),
        workflows: data.workflows(),
        models: config.claude_code.models.clone(),
        default_model: Some(config.claude_code.default_model.clone()).filter(|model| !model.is_empty()),
        mcp_servers: config.mcp_servers.0.keys().cloned().collect(),
    }
}

pub(super) fn app_settings(
    config: &Config,
    roles: Current<role::Catalogue>,
    workflows: Current<workflow::Catalogue>,
) -> AppSettings {
    AppSettings {
        projects: config.projects(),
        models: config.claude_code.models.clone(),
        response_chars: config.limits.response_chars,
        task_timeout_seconds: config.runner.task_timeout_seconds,
        limits: config.limits.of_gateway(),
        key_limits: config.limits.of_key(),
        link_seconds: config.files.link_seconds,
        file_hosts: config.files.hosts.clone(),
        has_claude_flow: config.claude_flow.is_wanted(),
        mcp_servers: config.mcp_servers.clone(),
        roles,
        workflows,
        data_dir: config.server.data_dir.clone(),
        provenance: if config.rehearsal.enabled { Provenance::Rehearsal } else { Provenance::Live },
    }
}

fn runner_settings(
    config: &Config,
    data: &DataDir,
    roles: Current<role::Catalogue>,
    rehearsal_url: Option<String>,
) -> runner::Settings {
    runner::Settings {
        runner: config.runner.clone(),
        claude_code: config.claude_code.clone(),
        claude_flow: config.claude_flow.clone(),
        mcp_servers: config.mcp_servers.clone(),
        limits: config.limits.of_gateway(),
        key_limits: config.limits.of_key(),
        roles,
        projects: config.projects(),
        agent_env: config.agent_env.clone(),
        data: data.clone(),
        rehearsal_url,
    }
}

fn orchestrator_settings(config: &Config, data: &DataDir, roles: Current<role::Catalogue>) -> orchestrator::Settings {
    orchestrator::Settings {
        roles,
        outputs: data.outputs(),
        limits: config.limits.of_gateway(),
        key_limits: config.limits.of_key(),
        spare_idle: TimeDelta::seconds(config.runner.scale_down_after_seconds.cast_signed()),
    }
}

fn api_settings(config: &Config, metrics: PrometheusHandle) -> api::ApiSettings {
    api::ApiSettings {
        metrics,
        requests_per_minute: config.limits.requests_per_minute,
        failed_auth_per_minute: config.limits.failed_auth_per_minute,
        body_limit_bytes: config.server.body_limit_bytes,
        response_chars: config.limits.response_chars,
        request_timeout: Duration::from_secs(config.server.request_timeout_seconds),
        public_url: Some(config.server.public_url.clone()).filter(|url| !url.is_empty()),
    }
}

/// How requests to the gateway's own address may be the outside world's.
fn way_in(config: &Config) -> api::WayIn {
    if config.tunnel.is_wanted() {
        api::WayIn::Tunnel
    } else if config.server.public_url.is_empty() {
        api::WayIn::Direct
    } else {
        api::WayIn::Proxy
    }
}

/// An address of the tunnel client's own, so that whatever a stranger writes into a request does not make it look local.
async fn tunnel_listener(config: &Config) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
    if !config.tunnel.is_wanted() {
        return Ok(None);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for the tunnel client")?;
    let address = listener.local_addr()?;
    Ok(Some((listener, address)))
}

async fn admin_key(app: &App, config: &Config, data: &DataDir) -> anyhow::Result<()> {
    if let Some(secret) = &config.bootstrap_key {
        let had_one = app.has_admin_key().await?;
        if app.adopt_admin_key("MAS_BOOTSTRAP_KEY", secret).await? {
            tracing::info!("MAS_BOOTSTRAP_KEY is an admin key");
            if had_one {
                tracing::warn!("earlier admin keys stay valid; `mas key list` shows them, `mas key revoke` ends them");
            }
        }
    } else if !app.has_admin_key().await? {
        // Written before it is worth anything, so that a key that works is never lost.
        let secret = new_secret()?;
        let path = data.admin_key();
        write_private(&path, &format!("{secret}\n"))
            .with_context(|| format!("cannot write the first admin key to {}", path.display()))?;
        app.adopt_admin_key("first start", &secret).await?;
        tracing::info!(path = %path.display(), "made the first admin key; it stands in this file only");
    }
    Ok(())
}
