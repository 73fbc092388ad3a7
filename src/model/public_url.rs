//! Where the outside world reaches the gateway: the parts of such an address, and what it must be.

use std::net::IpAddr;

/// The parts of an absolute URL, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// Before `://`.
    pub scheme: &'a str,
    /// Name and password, before `@`.
    pub user: Option<&'a str>,
    /// Name or address; brackets of an IPv6 address included.
    pub host: &'a str,
    /// After the colon.
    pub port: Option<&'a str>,
    /// From the first `/`, query and fragment included.
    pub path: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Takes a URL apart; nothing when it has no scheme or no host.
    pub fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (place, None),
        };
        let named = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        (named && !host.is_empty()).then_some(Self { scheme, user, host, port, path })
    }

    /// The host has the letters of a name in DNS or of an address.
    pub fn has_dns_name(&self) -> bool {
        self.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte))
    }

    /// The host as an address, when it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }
}

/// The same address as importers compare it: scheme and host in small letters, without https' own port and without a slash at the
/// end. What is no URL stays as it is.
pub fn normal_public_url(url: &str) -> String {
    let url = url.trim();
    let Some(parts) = UrlParts::of(url) else { return url.to_owned() };
    let scheme = parts.scheme.to_ascii_lowercase();
    let user = parts.user.map_or(String::new(), |user| format!("{user}@"));
    let port = match parts.port {
        Some("443") if scheme == "https" => String::new(),
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    format!("{scheme}://{user}{}{port}{}", parts.host.to_ascii_lowercase(), parts.path.trim_end_matches('/'))
}

/// Says what keeps `url` from being a public address of the gateway.
pub fn check_public_url(url: &str) -> Result<(), String> {
    let example = "for example https://mas.example.com";
    let Some(parts) = UrlParts::of(url) else {
        return Err(format!("`{url}` is not an absolute URL; give one that begins with https://, {example}"));
    };
    if !parts.scheme.eq_ignore_ascii_case("https") {
        return Err(format!(
            "`{url}` is not https, and ChatGPT calls nothing else; give the address of the tunnel or TLS proxy, {example}"
        ));
    }
    if parts.user.is_some() {
        return Err(format!("must not hold a user name or a password; give the bare address, {example}"));
    }
    if !parts.has_dns_name() || parts.port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("`{url}` has no valid host or port; give one that DNS knows, {example}"));
    }
    if parts.path.contains(['?', '#']) || parts.path.contains(char::is_whitespace) {
        return Err(format!("`{url}` has more than an origin and a path; leave query and fragment out, {example}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_written() {
        let parts = UrlParts::of("https://ann:pw@Mas.Example.com:8443/api?x").expect("parts");
        assert_eq!((parts.scheme, parts.user, parts.host), ("https", Some("ann:pw"), "Mas.Example.com"));
        assert_eq!((parts.port, parts.path), (Some("8443"), "/api?x"));
        assert!(UrlParts::of("http://[::1]:3456/").expect("parts").address().expect("an address").is_loopback());
        assert_eq!(UrlParts::of("https://[::1]").expect("parts").port, None);
        for nothing in ["", "/", "mas.example.com", "https://", "https:///tasks", "://x"] {
            assert_eq!(UrlParts::of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn public_urls_are_made_alike() {
        for (written, normal) in [
            ("HTTPS://Mas.Example.COM/", "https://mas.example.com"),
            ("https://mas.example.com:443/API//", "https://mas.example.com/API"),
            (" https://mas.example.com:8443 ", "https://mas.example.com:8443"),
            ("https://Ann:PW@mas.example.com", "https://Ann:PW@mas.example.com"),
            ("mas.example.com", "mas.example.com"),
            ("", ""),
        ] {
            assert_eq!(normal_public_url(written), normal);
        }
    }

    #[test]
    fn a_public_url_is_https_and_bare() {
        for good in ["https://mas.example.com", "https://mas.example.com/", "https://a-b.c.dev/mas", "HTTPS://x.org:8443"] {
            assert_eq!(check_public_url(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("mas.example.com", "absolute"),
            ("http://mas.example.com", "not https"),
            ("https://ann:secret@mas.example.com", "password"),
            ("https://mas.example.com/?key=x", "query"),
            ("https://<host>", "host"),
            ("https://mas.example.com:port", "port"),
        ] {
            let problem = check_public_url(bad).expect_err(bad);
            assert!(problem.contains(word) && !problem.contains("secret"), "{bad}: {problem}");
        }
    }
}
