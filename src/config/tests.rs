//! Sources in order, refusals that name the setting, and what agents inherit.

use super::*;
use std::path::Path;

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_sources(&Flags::default(), &environment)
}

#[test]
fn defaults_bind_loopback_and_find_a_data_directory() {
    let config = load(&[("HOME", "/home/ann")]).expect("defaults are valid");
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:3456");
    assert_eq!(config.server.data_dir, Path::new("/home/ann/.local/share/mas"));
    assert!(!config.rehearsal.enabled);
    assert!(config.projects().contains_key(DEFAULT_PROJECT));
}

#[test]
fn environment_overrides_and_unknown_settings_are_refused() {
    let config = load(&[
        ("HOME", "/h"),
        ("MAS_SERVER__BIND", "127.0.0.1:0"),
        ("MAS_CLAUDE_CODE__COMMAND", "007"),
        ("MAS_CLAUDE_CODE__MODELS", "haiku,sonnet"),
        ("MAS_LIMITS__REQUESTS_PER_MINUTE", "5"),
        ("MAS_PROJECTS__SHOP__PATH", "/"),
        ("MAS_BOOTSTRAP_KEY", "mas_secret_key"),
    ])
    .expect("valid");
    assert_eq!(config.server.bind.port(), 0);
    assert_eq!(config.claude_code.command, "007");
    assert_eq!(config.claude_code.models, ["haiku", "sonnet"]);
    assert_eq!(config.limits.requests_per_minute, 5);
    assert_eq!(config.projects()["shop"].path, Path::new("/"));
    assert_eq!(config.bootstrap_key.as_deref(), Some("mas_secret_key"));

    let of_scripts = [("MAS_URL", "http://127.0.0.1:1"), ("MAS_API_KEY", "mas_x"), ("MAS_PUBLIC_URL", "https://mas.example.com")];
    let config = load(&[&[("HOME", "/h")], &of_scripts[..]].concat()).expect("they are no settings");
    assert_eq!(config.server.public_url, "", "nor mean anything here");

    let message = load(&[("HOME", "/h"), ("MAS_SERVER__BINDD", "x")]).expect_err("unknown").to_string();
    assert!(message.contains("bindd"), "{message}");
}

#[test]
fn a_public_url_is_taken_as_importers_compare_it() {
    let config = load(&[("HOME", "/h"), ("MAS_SERVER__PUBLIC_URL", "HTTPS://Mas.Example.COM:443/")]).expect("valid");
    assert_eq!(config.server.public_url, "https://mas.example.com");
}

#[test]
fn a_bad_value_is_named() {
    for (name, value, setting) in [
        ("MAS_LIMITS__REQUESTS_PER_MINUTE", "0", "limits.requests_per_minute"),
        ("MAS_RUNNER__READY_TIMEOUT_SECONDS", "9999999999999", "runner.ready_timeout_seconds"),
        ("MAS_RUNNER__MAX_LIVE_AGENTS", "18446744073709551615", "runner.max_live_agents"),
        ("MAS_STORE__URL", "mysql://x", "store.url"),
        ("MAS_PROJECTS__SHOP__PATH", "relative", "projects.shop.path"),
        ("MAS_SERVER__BIND", "nonsense", "server.bind"),
        ("MAS_SERVER__PUBLIC_URL", "http://mas.example.com", "server.public_url"),
        ("MAS_GC__WORKTREES_DAYS", "40000", "gc.worktrees_days"),
        ("MAS_TUNNEL__CLIENT", "sh -c 'x", "tunnel.client"),
        ("MAS_TUNNEL__SUBDOMAIN", "-name", "tunnel.subdomain"),
        ("MAS_TUNNEL__CHECK_INTERVAL_SECONDS", "0", "tunnel.check_interval_seconds"),
        ("MAS_TELEMETRY__OTLP_URL", "127.0.0.1:4318", "telemetry.otlp_url"),
        ("MAS_TELEMETRY__OTLP_URL", "grpc://127.0.0.1:4317", "telemetry.otlp_url: is neither http nor https"),
        ("MAS_TELEMETRY__OTLP_URL", "http://127.0.0.1:port", "telemetry.otlp_url"),
        ("MAS_TELEMETRY__OTLP_URL", "http://ann:hunter2@127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("MAS_TELEMETRY__OTLP_URL", "https://otel.example.com/?key=hunter2", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let message = load(&[("HOME", "/h"), (name, value)]).expect_err(name).to_string();
        assert!(message.contains(setting) && !message.contains("hunter2"), "{name}: {message}");
    }
}

#[test]
fn printed_settings_hide_the_database_password() {
    let config = load(&[("HOME", "/h"), ("MAS_STORE__URL", "postgres://mas:hunter2@db/mas")]).expect("valid");
    let printed = config.to_toml().expect("serialises");
    assert!(printed.contains("postgres://mas:***@db/mas") && !printed.contains("hunter2"), "{printed}");
    let config = load(&[("HOME", "/h"), ("MAS_STORE__URL", "postgres://db/mas?user=mas&password=hunter3")]).expect("valid");
    assert!(!config.to_toml().expect("serialises").contains("hunter3"));
}

#[test]
fn agents_inherit_only_what_is_allowed() {
    let config =
        load(&[("HOME", "/h"), ("LC_ALL", "C"), ("AWS_SECRET", "x"), ("MAS_BOOTSTRAP_KEY", "mas_12345")]).expect("valid");
    assert_eq!(config.agent_env.keys().collect::<Vec<_>>(), ["HOME", "LC_ALL"]);
}

#[test]
fn a_tunnel_client_inherits_its_own_secrets_only() {
    let environment = [("HOME", "/h"), ("NGROK_AUTHTOKEN", "x"), ("ANTHROPIC_API_KEY", "y"), ("MAS_TUNNEL__CLIENT", "ngrok")];
    let config = load(&environment).expect("valid");
    assert!(config.tunnel.is_wanted() && !load(&[("HOME", "/h")]).expect("valid").tunnel.is_wanted());
    assert_eq!(config.tunnel_env.keys().collect::<Vec<_>>(), ["HOME", "NGROK_AUTHTOKEN"]);
    assert!(!config.agent_env.contains_key("NGROK_AUTHTOKEN"));
}

#[test]
fn models_match_exactly_or_by_prefix() {
    let config = load(&[("HOME", "/h")]).expect("valid");
    let allows = |model| any_matches(&config.claude_code.models, model);
    assert!(allows("sonnet") && allows("claude-opus-4-8"));
    assert!(!allows("gpt-5") && !allows("sonnets"));
}
