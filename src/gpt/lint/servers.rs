//! Servers: exactly one, a plain https origin that the internet can reach.

use super::{Linter, items, quote};
use crate::{
    gpt::rules::{
        SERVER_CASE, SERVER_COUNT, SERVER_HOST, SERVER_HTTPS, SERVER_LOCAL, SERVER_MISSING, SERVER_PLACEHOLDER, SERVER_PORT,
        SERVER_RELATIVE, SERVER_SLASH, SERVER_VARIABLES,
    },
    model::public_url::UrlParts,
};
use serde_json::Value;

/// Endings of names that are never public.
const LOCAL: [&str; 8] = [".localhost", ".local", ".internal", ".lan", ".home", ".test", ".invalid", ".localdomain"];
/// Names that templates come with. Other names of RFC 2606 (`shop.example.com`) are left to documents that are examples.
const TEMPLATES: [&str; 3] = ["example.com", "example.net", "example.org"];
/// Parts of names that people write until they know better.
const PLACEHOLDERS: [&str; 10] =
    ["your-", "your_", "yourdomain", "yourserver", "yourapp", "my-domain", "mydomain.", "changeme", "placeholder", "todo"];

pub(super) fn check(linter: &mut Linter) {
    let servers = linter.root.get("servers");
    let all = items(servers, "/servers");
    if all.is_empty() {
        let place = if servers.is_some() { "/servers" } else { "" };
        linter.report(&SERVER_MISSING, place, servers.map_or("no `servers`".to_owned(), quote));
    }
    if all.len() > 1 {
        linter.report(&SERVER_COUNT, "/servers", format!("{} servers", all.len()));
    }
    for (server, pointer) in all {
        match server["url"].as_str() {
            Some(url) => check_url(linter, url, server, &format!("{pointer}/url")),
            None => linter.report(&SERVER_MISSING, &pointer, format!("no `url` in {}", quote(server))),
        }
    }
}

fn check_url(linter: &mut Linter, url: &str, server: &Value, pointer: &str) {
    if url.contains(['{', '}', '<', '>', '$']) || server.get("variables").is_some() {
        return linter.report(&SERVER_VARIABLES, pointer, url);
    }
    let Some(parts) = UrlParts::of(url) else { return linter.report(&SERVER_RELATIVE, pointer, url) };
    let host = parts.host.to_ascii_lowercase();
    let name = host.trim_end_matches('.');
    if parts.address().is_some() {
        return linter.report(&SERVER_LOCAL, pointer, format!("{url}, an address instead of a name"));
    }
    if !name.contains('.') || LOCAL.iter().any(|ending| name.ends_with(ending)) {
        return linter.report(&SERVER_LOCAL, pointer, url);
    }
    if !parts.scheme.eq_ignore_ascii_case("https") {
        return linter.report(&SERVER_HTTPS, pointer, url);
    }
    if parts.port.is_some() || parts.user.is_some() {
        linter.report(&SERVER_PORT, pointer, if parts.user.is_some() { "a user name before `@`" } else { url });
    }
    if !parts.has_dns_name() {
        linter.report(&SERVER_HOST, pointer, url);
    }
    if parts.host != host || parts.scheme != "https" {
        linter.report(&SERVER_CASE, pointer, url);
    }
    if parts.path.ends_with('/') || parts.path.contains(['?', '#']) {
        linter.report(&SERVER_SLASH, pointer, url);
    }
    let bare = ["www.", "api."].into_iter().find_map(|label| name.strip_prefix(label)).unwrap_or(name);
    if TEMPLATES.contains(&bare) || PLACEHOLDERS.iter().any(|word| name.contains(word)) {
        linter.report(&SERVER_PLACEHOLDER, pointer, url);
    }
}
