//! Logs, always to stderr; metrics; traces for a collector.

pub mod meters;
pub mod traces;

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging. The error names the setting.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("server.log_filter: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}
