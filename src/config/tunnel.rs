//! `[tunnel]`: how the gateway is made reachable from outside.

use super::{ConfigError, invalid};
use crate::model::tunnel::split_command;
use serde::{Deserialize, Serialize};

/// `[tunnel]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each setting is described in defaults.toml")]
pub struct Tunnel {
    pub client: String,
    pub subdomain: String,
    pub host: String,
    pub check_interval_seconds: u64,
    pub start_timeout_seconds: u64,
    pub env_allow: Vec<String>,
}

impl Tunnel {
    /// Whether there is to be one.
    pub fn is_wanted(&self) -> bool {
        !self.client.trim().is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Err(problem) = split_command(&self.client) {
            return Err(invalid("tunnel.client", format!("the command {problem}")));
        }
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = self.subdomain.as_str();
        let is_name =
            (4..=63).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-') && !name.ends_with('-');
        if !(name.is_empty() || is_name) {
            return Err(invalid(
                "tunnel.subdomain",
                "needs 4 to 63 lower-case letters, digits and `-` (not at the ends); empty makes an unguessable one",
            ));
        }
        if !self.host.is_empty() && !self.host.starts_with("https://") && !self.host.starts_with("http://") {
            return Err(invalid("tunnel.host", "must be empty or the URL of a localtunnel server, such as https://loca.lt"));
        }
        for (setting, seconds) in [
            ("tunnel.check_interval_seconds", self.check_interval_seconds),
            ("tunnel.start_timeout_seconds", self.start_timeout_seconds),
        ] {
            if !(1..=86_400).contains(&seconds) {
                return Err(invalid(setting, "must be from 1 to 86400"));
            }
        }
        Ok(())
    }
}
