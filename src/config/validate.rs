//! What settings may say. Every refusal names the setting.

use super::{Config, ConfigError, invalid};
use crate::model::{
    limits::{RESPONSE_CHARS, TIMEOUT_SECONDS},
    public_url::check_public_url,
};

/// Longest time a setting may name, in seconds.
const YEAR: u64 = 31_536_000;

impl Config {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("server.body_limit_bytes", self.server.body_limit_bytes as u64),
            ("server.request_timeout_seconds", self.server.request_timeout_seconds),
            ("limits.requests_per_minute", self.limits.requests_per_minute.into()),
            ("limits.failed_auth_per_minute", self.limits.failed_auth_per_minute.into()),
            ("runner.max_live_agents", self.runner.max_live_agents as u64),
            ("runner.ready_timeout_seconds", self.runner.ready_timeout_seconds),
            ("runner.first_event_timeout_seconds", self.runner.first_event_timeout_seconds),
            ("runner.stall_timeout_seconds", self.runner.stall_timeout_seconds),
            ("runner.task_timeout_seconds", self.runner.task_timeout_seconds.into()),
            ("runner.max_output_bytes", self.runner.max_output_bytes),
            ("files.link_seconds", self.files.link_seconds.into()),
            ("runner.circuit_failures", self.runner.circuit_failures.into()),
        ];
        if let Some((setting, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(setting, "must be greater than 0"));
        }
        self.gc.validate()?;
        if !self.server.public_url.is_empty() {
            check_public_url(&self.server.public_url).map_err(|problem| invalid("server.public_url", problem))?;
        }
        self.tunnel.validate()?;
        self.telemetry.validate()?;
        self.claude_flow.validate()?;
        let bounded = [
            ("server.shutdown_seconds", self.server.shutdown_seconds, YEAR),
            ("server.request_timeout_seconds", self.server.request_timeout_seconds, YEAR),
            ("runner.max_live_agents", self.runner.max_live_agents as u64, 100_000),
            ("runner.max_starting", self.runner.max_starting as u64, 100_000),
            ("runner.ready_timeout_seconds", self.runner.ready_timeout_seconds, YEAR),
            ("runner.park_after_seconds", self.runner.park_after_seconds, YEAR),
            ("runner.scale_down_after_seconds", self.runner.scale_down_after_seconds, YEAR),
            ("runner.retry_delay_seconds", self.runner.retry_delay_seconds, 86_400),
            ("runner.circuit_pause_seconds", self.runner.circuit_pause_seconds, 86_400),
            ("runner.exit_timeout_seconds", self.runner.exit_timeout_seconds, YEAR),
            ("runner.interrupt_timeout_seconds", self.runner.interrupt_timeout_seconds, YEAR),
            ("runner.first_event_timeout_seconds", self.runner.first_event_timeout_seconds, YEAR),
            ("runner.stall_timeout_seconds", self.runner.stall_timeout_seconds, YEAR),
            ("runner.task_timeout_seconds", self.runner.task_timeout_seconds.into(), TIMEOUT_SECONDS.into()),
        ];
        if let Some((setting, _, most)) = bounded.iter().find(|(_, value, most)| value > most) {
            return Err(invalid(setting, format!("must be at most {most}")));
        }
        if !RESPONSE_CHARS.contains(&self.limits.response_chars) {
            return Err(invalid(
                "limits.response_chars",
                format!("must be {} to {}", RESPONSE_CHARS.start(), RESPONSE_CHARS.end()),
            ));
        }
        for (setting, usd) in
            [("limits.usd_per_day", self.limits.usd_per_day), ("limits.usd_per_day_per_key", self.limits.usd_per_day_per_key)]
        {
            if !(usd.is_finite() && usd >= 0.0) {
                return Err(invalid(setting, "must be 0 (no limit) or more"));
            }
        }
        if self.claude_code.command.is_empty() {
            return Err(invalid("claude_code.command", "is empty; name the Claude Code executable"));
        }
        if !self.store.url.is_empty()
            && !self.store.url.starts_with("postgres://")
            && !self.store.url.starts_with("postgresql://")
        {
            return Err(invalid("store.url", "must be empty (SQLite in the data directory) or start with postgres://"));
        }
        if let Some(key) = &self.bootstrap_key
            && (key.len() < 8 || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(invalid("MAS_BOOTSTRAP_KEY", "needs at least 8 printable ASCII characters without spaces"));
        }
        for (name, project) in &self.projects {
            let setting = format!("projects.{name}.path");
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                return Err(invalid(&setting, "a project's name has letters, digits, `-` and `_` only"));
            }
            if !project.path.is_absolute() {
                return Err(invalid(&setting, format!("`{}` is not an absolute path", project.path.display())));
            }
            if !project.path.is_dir() {
                return Err(invalid(
                    &setting,
                    format!("`{}` is not a directory; create it or correct the path", project.path.display()),
                ));
            }
        }
        Ok(())
    }
}
