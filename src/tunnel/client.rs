//! The tunnel clients: how each is started, and where it says its public URL.

use crate::{config::Tunnel, model::tunnel::split_command, process::find_program};
use regex::Regex;
use reqwest::Url;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::LazyLock,
};

/// Whose output is read, by the name of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Localtunnel,
    Cloudflared,
    Ngrok,
    Other,
}

/// What a line of the client's output says about the public URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Url(Url),
    /// A URL that keys must not be sent to.
    NotEncrypted(Url),
}

/// A client with all its arguments.
#[derive(Debug, Clone)]
pub(super) struct Client {
    kind: Kind,
    pub(super) argv: Vec<String>,
    /// The subdomain the client was told to ask for.
    pub(super) asked: Option<String>,
    port: u16,
}

impl Client {
    /// The client of the settings, for a server that listens on `address`. The configuration was validated.
    pub(super) fn new(settings: &Tunnel, address: SocketAddr, subdomain: &str) -> Self {
        let (target, port) = (target(address), address.port());
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut asked = None;
        let (kind, argv) = match settings.client.trim() {
            "localtunnel" => {
                let mut argv = words(&["lt", "--port", &port.to_string(), "--subdomain", subdomain]);
                if !settings.host.is_empty() {
                    argv.extend(words(&["--host", settings.host.trim_end_matches('/')]));
                }
                // Naming an address makes the client write it into every request's `Host`; by itself it uses localhost.
                if !(address.ip().is_loopback() || address.ip().is_unspecified()) {
                    argv.extend(words(&["--local-host", &target.ip().to_string()]));
                }
                asked = Some(subdomain.to_owned());
                (Kind::Localtunnel, argv)
            }
            "cloudflared" => {
                (Kind::Cloudflared, words(&["cloudflared", "tunnel", "--no-autoupdate", "--url", &format!("http://{target}")]))
            }
            "ngrok" => (Kind::Ngrok, words(&["ngrok", "http", &target.to_string(), "--log", "stdout", "--log-format", "logfmt"])),
            command => {
                let mut argv = split_command(command).unwrap_or_default();
                if argv.iter().any(|word| word.contains("{subdomain}")) {
                    asked = Some(subdomain.to_owned());
                }
                for word in &mut argv {
                    *word = word.replace("{port}", &port.to_string()).replace("{subdomain}", subdomain);
                }
                let program = argv.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
                let kind = if program == "ngrok" { Kind::Ngrok } else { Kind::Other };
                (kind, argv)
            }
        };
        Self { kind, argv, asked, port }
    }

    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// That the program is not there, and what to do about it.
    pub(super) fn missing(&self, env: &BTreeMap<String, String>) -> Option<(String, &'static str)> {
        let path = env.get("PATH").map_or("", String::as_str);
        if find_program(self.program(), path).is_some() {
            return None;
        }
        let how = match self.kind {
            Kind::Localtunnel => "install it with `npm install -g localtunnel`",
            Kind::Cloudflared => "install it from Cloudflare's download page for cloudflared",
            Kind::Ngrok => "install it from ngrok's download page and give it your authtoken",
            Kind::Other => "correct tunnel.client: localtunnel, cloudflared, ngrok, or a command that starts with a program",
        };
        Some((format!("the tunnel client `{}` is not on PATH or not executable", self.program()), how))
    }

    /// Looks for the public URL in a line.
    pub(super) fn read(&self, line: &str) -> Said {
        static LOCALTUNNEL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"your url is:\s*(https?://\S+)").ok());
        static CLOUDFLARED: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"(https://[a-z0-9-]+\.trycloudflare\.com)(?:\s|$)").ok());
        static NGROK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\burl="?(https?://[^\s"]+)"#).ok());
        static ANY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(https?://[^\s"'<>|`]+)"#).ok());
        let pattern = match self.kind {
            Kind::Localtunnel => &LOCALTUNNEL,
            Kind::Cloudflared => &CLOUDFLARED,
            Kind::Ngrok => &NGROK,
            Kind::Other => &ANY,
        };
        let matches = pattern.iter().flat_map(|pattern| pattern.captures_iter(line));
        let urls = matches.filter_map(|found| Url::parse(found.get(1)?.as_str().trim_end_matches(['.', ',', ')', ';'])).ok());
        let mut said = Said::Nothing;
        for url in urls.filter(|url| !self.is_not_public(url)) {
            if url.scheme() == "https" || is_loopback(&url) {
                return Said::Url(origin(url));
            }
            said = Said::NotEncrypted(origin(url));
        }
        said
    }

    /// Whether a URL in the output is something else: where the client forwards to, or the service's own.
    fn is_not_public(&self, url: &Url) -> bool {
        (is_loopback(url) && url.port_or_known_default() == Some(self.port)) || url.host_str() == Some("api.trycloudflare.com")
    }

    /// Whether a URL that is not encrypted ends the search: the known clients name one URL only.
    pub(super) fn names_one_url(&self) -> bool {
        self.kind == Kind::Localtunnel
    }

    /// Whether the URL has another name than was asked for.
    pub(super) fn has_lost(&self, url: &Url) -> bool {
        let label = url.host_str().and_then(|host| host.split('.').next());
        self.asked.as_deref().is_some_and(|asked| label != Some(asked))
    }
}

/// Where a client on this machine reaches the server.
fn target(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether the URL never leaves this machine: an address of it, or a name below `localhost` (RFC 6761).
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Scheme, host and port; importers of the schema want no more.
fn origin(mut url: Url) -> Url {
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> Client {
        let settings = Tunnel {
            client: name.into(),
            subdomain: String::new(),
            host: "https://lt.example.org/".into(),
            check_interval_seconds: 30,
            start_timeout_seconds: 60,
            env_allow: vec![],
        };
        Client::new(&settings, "0.0.0.0:3456".parse().expect("an address"), "mas-1234")
    }

    fn url(name: &str, line: &str) -> Option<String> {
        match client(name).read(line) {
            Said::Url(url) => Some(url.as_str().trim_end_matches('/').to_owned()),
            _ => None,
        }
    }

    #[test]
    fn each_client_gets_its_arguments() {
        assert_eq!(
            client("localtunnel").argv,
            ["lt", "--port", "3456", "--subdomain", "mas-1234", "--host", "https://lt.example.org"]
        );
        assert_eq!(client(" cloudflared ").argv, ["cloudflared", "tunnel", "--no-autoupdate", "--url", "http://127.0.0.1:3456"]);
        assert_eq!(client("ngrok").argv, ["ngrok", "http", "127.0.0.1:3456", "--log", "stdout", "--log-format", "logfmt"]);
        let own = client("bore 'local {port}' --to={subdomain}");
        assert_eq!(own.argv, ["bore", "local 3456", "--to=mas-1234"]);
        assert_eq!((own.asked.as_deref(), client("bore {port}").asked), (Some("mas-1234"), None));
    }

    #[test]
    fn each_client_says_its_url_in_its_own_way() {
        assert_eq!(url("localtunnel", "your url is: https://mas-1234.loca.lt").as_deref(), Some("https://mas-1234.loca.lt"));
        let quick = "2026-01-02T03:04:05Z INF |  https://some-quick-name.trycloudflare.com                 |";
        assert_eq!(url("cloudflared", quick).as_deref(), Some("https://some-quick-name.trycloudflare.com"));
        for other in [
            r#"ERR Error unmarshaling QuickTunnel response error="x" url=https://api.trycloudflare.com "#,
            "INF Thank you for trying Cloudflare Tunnel: https://developers.cloudflare.com/cloudflare-one/ ",
        ] {
            assert_eq!(url("cloudflared", other), None);
        }
        let started = r#"t=2026-01-02T03:04:05+0000 lvl=info msg="started tunnel" obj=tunnels name=command_line addr=http://localhost:3456 url=https://a-b.ngrok-free.app"#;
        for name in ["ngrok", "/opt/ngrok http 3456", "any command"] {
            assert_eq!(url(name, started).as_deref(), Some("https://a-b.ngrok-free.app"), "{name}");
        }
        assert_eq!(
            url("other", "forwarding https://x.example.org:8443/path?q to http://127.0.0.1:3456").as_deref(),
            Some("https://x.example.org:8443")
        );
        assert_eq!(url("other", "forwarding to http://127.0.0.1:3456"), None, "that is the gateway itself");
        assert_eq!(url("other", "at http://m.localhost:9000.").as_deref(), Some("http://m.localhost:9000"));
    }

    #[test]
    fn a_url_without_encryption_is_refused() {
        let refused = client("localtunnel").read("your url is: http://mas-1234.example.org");
        assert!(matches!(refused, Said::NotEncrypted(_)), "{refused:?}");
        let client = client("other");
        assert!(
            matches!(client.read("http://a.example.org and https://b.example.org"), Said::Url(url) if url.scheme() == "https")
        );
        for host in ["localhost.example.org", "notlocalhost", "10.0.0.1"] {
            assert!(matches!(client.read(&format!("http://{host}/")), Said::NotEncrypted(_)), "{host}");
        }
    }

    #[test]
    fn another_name_than_asked_for_is_noticed() {
        let lost = |url: &str| client("localtunnel").has_lost(&Url::parse(url).expect("a URL"));
        assert!(!lost("https://mas-1234.loca.lt") && lost("https://mas-12345.loca.lt") && lost("https://loca.lt"));
        assert!(!client("cloudflared").has_lost(&Url::parse("https://any.trycloudflare.com").expect("a URL")));
    }

    #[test]
    fn a_missing_client_is_named_with_a_way_to_get_it() {
        let env = BTreeMap::from([("PATH".to_owned(), "/nonexistent".to_owned())]);
        for (name, words) in [("localtunnel", "npm install -g localtunnel"), ("ngrok", "download page"), ("xyz", "tunnel.client")]
        {
            let (problem, how) = client(name).missing(&env).expect("missing");
            assert!(problem.contains("not on PATH") && how.contains(words), "{problem}; {how}");
        }
        assert_eq!(client("/bin/sh -c x").missing(&env), None);
    }
}
