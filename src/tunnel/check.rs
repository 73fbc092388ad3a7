//! The self-check: the gateway asks for its own `/health` by its public URL, as ChatGPT would.

use super::client::is_loopback;
use reqwest::{Url, header, redirect::Policy};
use serde_json::Value;
use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// What ChatGPT calls itself; some tunnels treat browsers and programs differently.
const AGENT: &str = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot";
/// More than our answer ever has.
const MOST_BYTES: usize = 64 << 10;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This run of the gateway answered.
    Ours,
    /// No answer of ours; why, in words.
    Unreachable(String),
    /// An answer of somebody else; what it was, in words.
    Foreign(String),
}

/// Asks once, and waits no longer than `limit`.
pub(super) async fn check(url: &Url, instance: &str, limit: Duration) -> Verdict {
    match tokio::time::timeout(limit, ask(url, limit)).await {
        Err(_) => Verdict::Unreachable(format!("no answer within {} s through the tunnel", limit.as_secs())),
        Ok(Err(error)) if error.is_timeout() => {
            Verdict::Unreachable(format!("no answer within {} s through the tunnel", limit.as_secs()))
        }
        Ok(Err(error)) => Verdict::Unreachable(format!("no answer through the tunnel: {}", root(&error))),
        Ok(Ok(answer)) => judge(&answer, instance),
    }
}

/// The part of an answer that is judged.
#[derive(Debug)]
struct Answer {
    status: u16,
    is_html: bool,
    body: Vec<u8>,
}

async fn ask(url: &Url, limit: Duration) -> Result<Answer, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(AGENT)
        .redirect(Policy::none())
        // Each look takes the whole way, name resolution included.
        .pool_max_idle_per_host(0)
        .timeout(limit);
    if is_loopback(url) {
        builder = builder.no_proxy();
        if let Some(host) = url.host_str().filter(|host| host.ends_with("localhost")) {
            // Resolvers differ about names below localhost.
            builder = builder.resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        }
    }
    let mut health = url.clone();
    health.set_path("/health");
    let mut response = builder.build()?.get(health).header(header::ACCEPT, "application/json").send().await?;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut answer = Answer { status: response.status().as_u16(), is_html: kind.starts_with("text/html"), body: vec![] };
    while answer.body.len() < MOST_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn judge(answer: &Answer, instance: &str) -> Verdict {
    let Answer { status, is_html, body } = answer;
    let health: Option<Value> = serde_json::from_slice(body).ok();
    let theirs = health.as_ref().and_then(|health| health["instance"].as_str());
    if *status == 200 && theirs == Some(instance) {
        return Verdict::Ours;
    }
    let is_html = *is_html || body.trim_ascii_start().starts_with(b"<");
    match status {
        200..300 if !is_html && theirs.is_some() => Verdict::Foreign("another gateway answers at the public URL".into()),
        200..300 if !is_html => Verdict::Foreign("something that is not this gateway answers at the public URL".into()),
        503 => Verdict::Unreachable("the tunnel service answers 503: its client is not connected to it".into()),
        300..400 => Verdict::Unreachable(format!("the public URL redirects elsewhere (status {status})")),
        _ if is_html => Verdict::Unreachable(format!(
            "an HTML page (status {status}) comes instead of the gateway's answer: the tunnel service puts a page of its own \
             in front, or somebody else has the name"
        )),
        _ => Verdict::Unreachable(format!("status {status} comes instead of the gateway's answer")),
    }
}

/// The innermost reason; the outer ones repeat the URL.
fn root(error: &reqwest::Error) -> String {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, kind: &str, body: &str) -> Verdict {
        judge(&Answer { status, is_html: kind == "text/html", body: body.into() }, "me")
    }

    #[test]
    fn only_an_answer_of_this_run_is_ours() {
        let kind = "application/json";
        assert_eq!(judged(200, kind, r#"{"status":"ok","instance":"me"}"#), Verdict::Ours);
        assert!(matches!(judged(200, kind, r#"{"status":"ok","instance":"you"}"#), Verdict::Foreign(_)));
        assert!(matches!(judged(200, kind, r#"{"status":"ok"}"#), Verdict::Foreign(_)));
        assert!(matches!(judged(200, "text/plain", "hello"), Verdict::Foreign(_)));
    }

    #[test]
    fn pages_and_errors_of_the_service_are_told_apart() {
        for (status, kind, body, words) in [
            (200, "text/html", "<html>", "HTML page"),
            (401, "text/plain", " <!doctype html>", "HTML page (status 401)"),
            (503, "text/html", "<html>Tunnel Unavailable", "503"),
            (302, "text/html", "", "redirects"),
            (404, "text/plain", "404", "status 404"),
        ] {
            let verdict = judged(status, kind, body);
            assert!(matches!(&verdict, Verdict::Unreachable(text) if text.contains(words)), "{status}: {verdict:?}");
        }
    }
}
