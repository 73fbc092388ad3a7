//! `mas serve`: puts everything together. The only place that sees every module.

use super::model;
use crate::{
    api,
    app::{App, AppSettings, keys::AdminKey},
    bus::Bus,
    config::{Config, DataDir},
    model::run::Provenance,
    process::lock,
    runner::{self, Runner},
    shutdown,
    store::Store,
    telemetry,
};
use anyhow::{Context, anyhow, bail};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
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
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, &data))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config, data: &DataDir) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.server.bind)
        .await
        .with_context(|| format!("server.bind: cannot listen on {}; is another server running there?", config.server.bind))?;
    let address = listener.local_addr()?;
    std::fs::write(data.address(), address.to_string()).context("cannot write the address file")?;
    // The first log line: scripts read the address from it.
    tracing::info!(address = %address, version = env!("CARGO_PKG_VERSION"), "listening");

    let stop = CancellationToken::new();
    shutdown::cancel_on_signal(stop.clone())?;
    let store = open_store(config).await?;
    let bus = Bus::local();
    let app = App::new(store.clone(), bus.clone(), app_settings(config), stop.clone());
    admin_key(&app, config, data).await?;

    let mut rehearsal_url = None;
    if config.rehearsal.enabled {
        let url = model::ensure(data, &config.rehearsal.rules).await?;
        tracing::info!(model = url, "rehearsal: agents are answered by the scripted model");
        rehearsal_url = Some(url);
        tokio::spawn(model::watch(data.clone(), config.rehearsal.rules.clone()));
    }
    let settings = runner::Settings {
        runner: config.runner.clone(),
        claude_code: config.claude_code.clone(),
        projects: config.projects(),
        agent_env: config.agent_env.clone(),
        data: data.clone(),
        rehearsal_url,
    };
    let runner = tokio::spawn(Arc::new(Runner::new(store.clone(), bus, settings, stop.clone())).run());

    let sockets = TaskTracker::new();
    let router = api::router(app, api_settings(config), stop.clone(), sockets.clone());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let deadline = async {
        stop.cancelled().await;
        // axum waits for open connections without limit.
        tokio::time::sleep(Duration::from_secs(config.server.shutdown_seconds)).await;
    };
    tokio::select! {
        outcome = server => outcome.context("the HTTP server failed")?,
        () = deadline => tracing::warn!("connections were still open at the end of server.shutdown_seconds"),
    }
    sockets.close();
    if tokio::time::timeout(Duration::from_secs(config.server.shutdown_seconds), sockets.wait()).await.is_err() {
        tracing::warn!("WebSockets were still open at the end of server.shutdown_seconds");
    }
    let grace = Duration::from_secs(config.server.shutdown_seconds + config.runner.exit_timeout_seconds);
    if tokio::time::timeout(grace, runner).await.is_err() {
        tracing::warn!("agents were still being ended at the end of the shutdown time");
    }
    if config.rehearsal.enabled {
        model::stop(data).await;
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
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
        .with_context(|| format!("server.data_dir: cannot make {}", dir.display()))
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

pub(super) fn app_settings(config: &Config) -> AppSettings {
    AppSettings {
        projects: config.projects(),
        models: config.claude_code.models.clone(),
        default_model: Some(config.claude_code.default_model.clone()).filter(|model| !model.is_empty()),
        task_timeout_seconds: config.runner.task_timeout_seconds,
        provenance: if config.rehearsal.enabled { Provenance::Rehearsal } else { Provenance::Live },
    }
}

fn api_settings(config: &Config) -> api::ApiSettings {
    api::ApiSettings {
        requests_per_minute: config.limits.requests_per_minute,
        failed_auth_per_minute: config.limits.failed_auth_per_minute,
        body_limit_bytes: config.server.body_limit_bytes,
        request_timeout: Duration::from_secs(config.server.request_timeout_seconds),
        public_url: None,
    }
}

async fn admin_key(app: &App, config: &Config, data: &DataDir) -> anyhow::Result<()> {
    match app.ensure_admin_key(config.bootstrap_key.as_deref()).await.context("cannot make the first admin key")? {
        AdminKey::AlreadyThere => {}
        AdminKey::FromEnvironment => tracing::info!("MAS_BOOTSTRAP_KEY is the admin key"),
        AdminKey::Created { secret } => {
            let path = data.admin_key();
            OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| writeln!(file, "{secret}"))
                .with_context(|| format!("cannot write the first admin key to {}", path.display()))?;
            tracing::info!(path = %path.display(), "made the first admin key; it stands in this file only");
        }
    }
    Ok(())
}
