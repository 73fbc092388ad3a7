//! `[telemetry]`: where traces go.

use super::{ConfigError, invalid};
use crate::model::public_url::UrlParts;
use serde::{Deserialize, Serialize};

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Telemetry {
    pub otlp_url: String,
}

impl Telemetry {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refused = |problem: &str| Err(invalid("telemetry.otlp_url", format!("{problem}, for example http://127.0.0.1:4318")));
        if self.otlp_url.is_empty() {
            return Ok(());
        }
        let Some(parts) = UrlParts::of(&self.otlp_url) else {
            return refused("is not an absolute URL; give the collector's address for OTLP over HTTP");
        };
        if !["http", "https"].iter().any(|scheme| parts.scheme.eq_ignore_ascii_case(scheme)) {
            return refused("is neither http nor https; give the collector's address for OTLP over HTTP");
        }
        // Settings are shown and logged; a key for the collector is neither.
        if parts.user.is_some() || parts.path.contains(['?', '#']) {
            return refused(
                "must not hold a user name, a password or parameters; name headers in OTEL_EXPORTER_OTLP_HEADERS and give the bare address",
            );
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        if !parts.host.bytes().all(is_plain)
            || parts.port.is_some_and(|port| port.parse::<u16>().is_err())
            || parts.path.contains(|c: char| !c.is_ascii_graphic())
        {
            return refused("has no valid host, port or path; give the collector's address for OTLP over HTTP");
        }
        Ok(())
    }
}
