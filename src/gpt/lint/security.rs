//! Authentication: one scheme of a kind the builder offers, required somewhere.

use super::{Linter, entries, items, quote};
use crate::{
    gpt::rules::{OAUTH_DOMAIN, SECURITY_COUNT, SECURITY_NONE, SECURITY_SHAPE, SECURITY_TYPE, SECURITY_UNKNOWN, SECURITY_UNUSED},
    model::public_url::UrlParts,
};
use serde_json::Value;

const SCHEMES: &str = "/components/securitySchemes";
/// Whose OAuth may be on a domain of its own.
const PROVIDERS: [&str; 8] = [
    "google.com",
    "googleapis.com",
    "microsoft.com",
    "microsoftonline.com",
    "live.com",
    "adobe.com",
    "adobelogin.com",
    "adobe.io",
];

/// Under these labels, countries give names away.
const CATEGORIES: [&str; 9] = ["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"];
/// Domains under which hosts and tunnels give names away.
const SHARED: [&str; 12] = [
    "azurewebsites.net",
    "fly.dev",
    "github.io",
    "herokuapp.com",
    "loca.lt",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "onrender.com",
    "trycloudflare.com",
    "vercel.app",
    "workers.dev",
];

pub(super) fn check(linter: &mut Linter) {
    let root = linter.root;
    let schemes = entries(root.pointer(SCHEMES), SCHEMES);
    if schemes.len() > 1 {
        let names: Vec<&str> = schemes.iter().map(|(name, ..)| name.as_str()).collect();
        linter.report(&SECURITY_COUNT, SCHEMES, names.join(", "));
    }
    for (_, scheme, pointer) in linter.entries_behind(root.pointer(SCHEMES), SCHEMES) {
        if !is_offered(scheme) {
            linter.report(&SECURITY_TYPE, &pointer, quote(scheme));
        }
        check_oauth(linter, scheme, &pointer);
    }
    let mut places = vec![(root.get("security"), "/security".to_owned())];
    for (_, item, path) in linter.entries_behind(root.get("paths"), "/paths") {
        for (method, operation, pointer) in entries(Some(item), &path) {
            if super::operations::METHODS.contains(&method.as_str()) {
                places.push((operation.get("security"), format!("{pointer}/security")));
            }
        }
    }
    let mut required = false;
    for (requirements, pointer) in places {
        required |= check_requirements(linter, requirements, &pointer, &schemes);
    }
    match schemes.first() {
        None => {
            let place = if root.get("components").is_some() { "/components" } else { "" };
            linter.report(&SECURITY_NONE, place, "no `securitySchemes`");
        }
        Some((name, _, pointer)) if !required => {
            linter.report(&SECURITY_UNUSED, pointer, format!("no `security` names {name}"));
        }
        Some(_) => {}
    }
}

/// Says whether a list of requirements asks for anything.
fn check_requirements(linter: &mut Linter, list: Option<&Value>, pointer: &str, schemes: &[(&String, &Value, String)]) -> bool {
    let Some(list) = list else { return false };
    if !list.is_array() {
        linter.report(&SECURITY_SHAPE, pointer, quote(list));
        // What it means is clear enough not to complain about it twice.
        return true;
    }
    let mut required = false;
    for (requirement, place) in items(Some(list), pointer) {
        if !requirement.is_object() {
            linter.report(&SECURITY_SHAPE, &place, quote(requirement));
            required = true;
        }
        for (name, scopes, place) in entries(Some(requirement), &place) {
            required = true;
            if !scopes.is_array() {
                linter.report(&SECURITY_SHAPE, &place, quote(scopes));
            }
            if !schemes.iter().any(|(known, ..)| *known == name) {
                linter.report(&SECURITY_UNKNOWN, &place, name);
            }
        }
    }
    required
}

fn is_offered(scheme: &Value) -> bool {
    let word = |key: &str| scheme[key].as_str().unwrap_or_default();
    match word("type") {
        "apiKey" => word("in") == "header" && !word("name").is_empty(),
        "http" => ["bearer", "basic"].contains(&word("scheme").to_ascii_lowercase().as_str()),
        "oauth2" => scheme.pointer("/flows/authorizationCode").is_some_and(Value::is_object),
        _ => false,
    }
}

fn check_oauth(linter: &mut Linter, scheme: &Value, pointer: &str) {
    let server = linter.root.pointer("/servers/0/url").and_then(Value::as_str).and_then(UrlParts::of);
    let Some(api) = server.map(|server| domain(server.host)) else { return };
    for key in ["authorizationUrl", "tokenUrl"] {
        let Some(url) = scheme.pointer(&format!("/flows/authorizationCode/{key}")).and_then(Value::as_str) else { continue };
        let theirs = UrlParts::of(url).map(|parts| domain(parts.host));
        if theirs.is_some_and(|theirs| theirs != api && !PROVIDERS.contains(&theirs.as_str())) {
            linter.report(&OAUTH_DOMAIN, &format!("{pointer}/flows/authorizationCode/{key}"), url);
        }
    }
}

/// What one owner has: the last two labels of a host, or three where two are everybody's (`co.uk`, `loca.lt`).
fn domain(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let mut labels: Vec<&str> = host.split('.').collect();
    let shared = match *labels {
        [.., second, last] => {
            let of_country = last.len() == 2 && CATEGORIES.contains(&second);
            of_country || SHARED.contains(&format!("{second}.{last}").as_str())
        }
        _ => false,
    };
    labels.drain(..labels.len().saturating_sub(if shared { 3 } else { 2 }));
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn a_domain_is_what_one_owner_has() {
        for (host, expected) in [
            ("api.shop.example.com", "example.com"),
            ("API.acme.co.uk", "acme.co.uk"),
            ("acme.co.uk.", "acme.co.uk"),
            ("a1b2.loca.lt", "a1b2.loca.lt"),
            ("auth.a1b2.loca.lt", "a1b2.loca.lt"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(domain(host), expected, "{host}");
        }
    }
}
