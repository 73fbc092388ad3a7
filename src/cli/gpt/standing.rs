//! How the open tunnel stands, as its server says.

use crate::{
    cli::{client::local, output::runtime},
    config::DataDir,
};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// What to know before the tunnel's URL is pasted anywhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether `ChatGPT` reaches the gateway by it.
    pub(super) is_up: bool,
    /// What is wrong, or was changed, and what to do; absent when all is in order.
    pub(super) words: Option<String>,
}

/// Asks the server of the data directory for the state of its tunnel; `url` is the address it wrote down.
pub(super) fn of_tunnel(data: &DataDir, url: &str) -> anyhow::Result<Standing> {
    let health = runtime()?.block_on(ask(data));
    // Where a killed server listened, another one may listen now.
    let tunnel = health.map(|health| health["tunnel"].clone()).filter(|tunnel| tunnel["url"] == url);
    Ok(tunnel.as_ref().map_or_else(
        || Standing {
            is_up: false,
            words: Some("No server with this address answers, so it leads nowhere. Start the server and call this again.".into()),
        },
        judge,
    ))
}

async fn ask(data: &DataDir) -> Option<Value> {
    let address = std::fs::read_to_string(data.address()).ok()?.trim().parse().ok()?;
    let health = local(address).ok()?.join("health").ok()?;
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().ok()?;
    client.get(health).send().await.ok()?.json().await.ok()
}

fn judge(tunnel: &Value) -> Standing {
    let text = |field: &str| tunnel[field].as_str();
    let state = text("state").unwrap_or("down");
    let next_step = text("next_step").unwrap_or_default();
    if state == "up" {
        let since = text("changed_at").map(|at| format!(" The address is this one since {at}.")).unwrap_or_default();
        let words = (!next_step.is_empty()).then(|| format!("{next_step}{since}"));
        return Standing { is_up: true, words };
    }
    let failure = text("failure").map(|failure| format!(", {failure}")).unwrap_or_default();
    Standing { is_up: false, words: Some(format!("The tunnel is {state}{failure}. {next_step}").trim_end().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_tunnel_that_is_up_is_fit_for_pasting() {
        let up = judge(&json!({"state": "up", "url": "https://a.example.org"}));
        assert_eq!(up, Standing { is_up: true, words: None });
        let changed =
            judge(&json!({"state": "up", "changed_at": "2026-01-01T00:00:00Z", "next_step": "Import the schema again."}));
        assert!(changed.is_up && changed.words.as_deref().is_some_and(|words| words.contains("Import the schema again")));
        for (tunnel, words) in [
            (json!({"state": "foreign", "failure": "another gateway answers", "next_step": "Make a new key."}), "Make a new key"),
            (json!({"state": "starting"}), "starting"),
            (Value::Null, "down"),
        ] {
            let standing = judge(&tunnel);
            assert!(!standing.is_up && standing.words.as_deref().is_some_and(|said| said.contains(words)), "{standing:?}");
        }
    }
}
