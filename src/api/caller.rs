//! Whose failed attempts are counted together: the client's address, as well as it can be known.

use super::limit::client;
use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Set by Cloudflare, whatever the client sent.
const CLOUDFLARE: HeaderName = HeaderName::from_static("cf-connecting-ip");
/// The last entry is the one the tunnel service added, if it adds any.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who sent a request. Nobody is trusted for this, and nobody with a valid key is refused for it: a client behind a tunnel may
/// write what it likes into headers. It only keeps strangers' attempts apart from those of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// The other end of the connection.
    Peer(IpAddr),
    /// Somebody behind the tunnel who came from this address.
    Forwarded(IpAddr),
    /// Somebody behind the tunnel.
    Tunnel,
}

impl Caller {
    /// Connections of a tunnel client come from this machine, so `behind_tunnel` makes a difference for those only.
    pub(super) fn of(request: &Request, behind_tunnel: bool) -> Self {
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
        if !(behind_tunnel && peer.to_canonical().is_loopback()) {
            return Self::Peer(client(peer));
        }
        match forwarded(request.headers()) {
            Some(address) => Self::Forwarded(client(address)),
            None if is_local(request.headers()) => Self::Peer(client(peer)),
            None => Self::Tunnel,
        }
    }
}

fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = |name| headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok();
    last(CLOUDFLARE).or_else(|| last(FORWARDED))
}

/// Whether the request was addressed to this machine. Tunnels pass their public name on.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host == "localhost"
        || host.starts_with("localhost:")
        || host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn caller(peer: &str, headers: &[(&str, &str)], behind_tunnel: bool) -> Caller {
        let mut request = Request::builder().uri("/tasks");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        let peer: SocketAddr = format!("{peer}:9").parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        Caller::of(&request, behind_tunnel)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn headers_count_only_behind_a_tunnel_and_only_from_this_machine() {
        let headers = [("x-forwarded-for", "198.51.100.1, 203.0.113.7"), ("host", "mas.example.org")];
        assert_eq!(caller("127.0.0.1", &headers, false), Caller::Peer(ip("127.0.0.1")));
        assert_eq!(caller("192.0.2.1", &headers, true), Caller::Peer(ip("192.0.2.1")));
        assert_eq!(caller("127.0.0.1", &headers, true), Caller::Forwarded(ip("203.0.113.7")));
        let both = [headers[0], ("cf-connecting-ip", "203.0.113.8")];
        assert_eq!(caller("[::1]", &both, true), Caller::Forwarded(ip("203.0.113.8")));
    }

    #[test]
    fn a_tunnel_that_tells_no_address_is_not_this_machine() {
        assert_eq!(caller("127.0.0.1", &[("host", "x.loca.lt")], true), Caller::Tunnel);
        assert_eq!(caller("127.0.0.1", &[("host", "x.localhost:80"), ("x-forwarded-for", "?")], true), Caller::Tunnel);
        for host in ["localhost", "localhost:3456", "127.0.0.1:3456", "[::1]:3456", "127.0.0.1"] {
            assert_eq!(caller("127.0.0.1", &[("host", host)], true), Caller::Peer(ip("127.0.0.1")), "{host}");
        }
    }
}
