//! `mas key`: works on the store itself, beside a running server or without one.

use super::{
    Common,
    output::{complain, print, runtime},
    serve,
};
use crate::{
    app::{App, keys::NewKey},
    config::Config,
    model::{current::Current, id::KeyId, key::Scope, quota::KeyLimits, role, workflow},
};
use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print its secret, this once
    Create {
        #[command(flatten)]
        common: Common,
        /// Owner of everything made with the key
        #[arg(long, default_value = "admin")]
        user: String,
        /// What to call it
        #[arg(long, default_value = "key")]
        name: String,
        /// read, operate, approve, admin
        #[arg(long, value_delimiter = ',', default_value = "read,operate")]
        scopes: Vec<Scope>,
        /// Days until it stops working (default: never)
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
        /// Agents that have not ended (default: `limits.max_agents_per_key`)
        #[arg(long, value_name = "N")]
        max_agents: Option<u32>,
        /// Agents with a process (default: `limits.max_live_agents_per_key`)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_live_agents: Option<u32>,
        /// Tasks and messages that wait (default: `limits.max_queued_tasks_per_key`)
        #[arg(long, value_name = "N")]
        max_queued_tasks: Option<u32>,
        /// US dollars a day, UTC (default: `limits.usd_per_day_per_key`)
        #[arg(long, value_name = "USD", value_parser = usd)]
        usd_per_day: Option<f64>,
    },
    /// List keys, without secrets
    List {
        #[command(flatten)]
        common: Common,
    },
    /// End a key at once and for good
    Revoke {
        #[command(flatten)]
        common: Common,
        /// Its id, as `mas key list` shows it
        id: KeyId,
    },
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create {
            common,
            user,
            name,
            scopes,
            expires_in_days,
            max_agents,
            max_live_agents,
            max_queued_tasks,
            usd_per_day,
        } => {
            let limits = KeyLimits { max_agents, max_live_agents, max_queued_tasks, usd_per_day };
            let expires_at = expires_in_days.map(|days| Utc::now() + TimeDelta::days(days.into()));
            with_app(common, async move |app| {
                let (key, secret) = app.create_key(NewKey { user, name, scopes, expires_at, limits }).await?;
                complain(&format!("made {} for user {}; the secret is shown this once:", key.id, key.user));
                print(&secret);
                Ok(())
            })
        }
        KeyCommand::List { common } => with_app(common, async |app| {
            let day = |time: Option<DateTime<Utc>>| time.map_or("-".to_owned(), |time| time.format("%Y-%m-%d").to_string());
            print(&format!(
                "{:<36}  {:<12}  {:<16}  {:<28}  {:<10}  {:<10}  REVOKED",
                "ID", "USER", "NAME", "SCOPES", "CREATED", "EXPIRES"
            ));
            for key in app.list_keys().await? {
                let scopes = key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",");
                print(&format!(
                    "{:<36}  {:<12}  {:<16}  {scopes:<28}  {:<10}  {:<10}  {}",
                    key.id.to_string(),
                    key.user,
                    key.name,
                    day(Some(key.created_at)),
                    day(key.expires_at),
                    day(key.revoked_at)
                ));
            }
            Ok(())
        }),
        KeyCommand::Revoke { common, id } => with_app(common, async move |app| {
            app.revoke_key(id).await?;
            complain(&format!("revoked {id}"));
            Ok(())
        }),
    }
}

/// A number of dollars; `nan` and negative ones would never bind.
fn usd(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd >= 0.0 => Ok(usd),
        _ => Err("must be a number that is not negative".into()),
    }
}

fn with_app(common: Common, work: impl AsyncFnOnce(App) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let config = Config::load(&common.flags())?;
    serve::make_data_dir(&config)?;
    runtime()?.block_on(async {
        let store = serve::open_store(&config).await?;
        // Keys have nothing to do with roles and workflows.
        let (roles, workflows) = (role::Catalogue::default(), workflow::Catalogue::default());
        let settings = serve::app_settings(&config, Current::new(roles), Current::new(workflows));
        let app = App::new(store.clone(), crate::bus::Bus::local(), settings, CancellationToken::new());
        let done = work(app).await.context("mas key");
        store.close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}
