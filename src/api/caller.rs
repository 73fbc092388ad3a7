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
/// The public name, from a proxy that makes `Host` its own.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How requests of the outside world may come in on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// By no other way than the gateway's own address.
    Direct,
    /// Through the operator's proxy in front of the public URL.
    Proxy,
    /// Through a tunnel client of the operator's own settings, which was told the gateway's own address.
    Tunnel,
    /// Through an address that only the tunnel client is told.
    TunnelOnly,
}

/// Who sent a request. Nobody is trusted for this, and nobody with a valid key is refused for it: a client behind a tunnel may
/// write what it likes into headers. It only keeps strangers' attempts apart from those of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// The other end of the connection.
    Peer(IpAddr),
    /// Somebody behind tunnel or proxy who came from this address.
    Forwarded(IpAddr),
    /// Somebody behind tunnel or proxy.
    Outside,
}

impl Caller {
    /// Connections of a tunnel client or proxy come from this machine, so `way_in` makes a difference for those only.
    pub(super) fn of(request: &Request) -> Self {
        let way_in = request.extensions().get().copied().unwrap_or(WayIn::Direct);
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
        if way_in == WayIn::Direct || !peer.to_canonical().is_loopback() {
            return Self::Peer(client(peer));
        }
        match forwarded(request.headers(), way_in) {
            Some(address) => Self::Forwarded(client(address)),
            None if way_in != WayIn::TunnelOnly && is_local(request.headers()) => Self::Peer(client(peer)),
            None => Self::Outside,
        }
    }
}

fn forwarded(headers: &HeaderMap, way_in: WayIn) -> Option<IpAddr> {
    let last = |name| headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok();
    // A proxy passes on what it does not know: clients would name the address they like.
    let by_service = if matches!(way_in, WayIn::Tunnel | WayIn::TunnelOnly) { last(CLOUDFLARE) } else { None };
    by_service.or_else(|| last(FORWARDED))
}

/// Whether the request was addressed to this machine. Tunnels pass their public name on, and so do proxies, as `Host` or beside it.
fn is_local(headers: &HeaderMap) -> bool {
    if [FORWARDED, FORWARDED_HOST, header::FORWARDED].iter().any(|name| headers.contains_key(name)) {
        return false;
    }
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

    fn caller(peer: &str, headers: &[(&str, &str)], way_in: WayIn) -> Caller {
        let mut request = Request::builder().uri("/tasks");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        let peer: SocketAddr = format!("{peer}:9").parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(way_in);
        Caller::of(&request)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn headers_count_only_behind_a_tunnel_or_proxy_and_only_from_this_machine() {
        let headers = [("x-forwarded-for", "198.51.100.1, 203.0.113.7"), ("host", "mas.example.org")];
        assert_eq!(caller("127.0.0.1", &headers, WayIn::Direct), Caller::Peer(ip("127.0.0.1")));
        assert_eq!(caller("192.0.2.1", &headers, WayIn::Tunnel), Caller::Peer(ip("192.0.2.1")));
        for way_in in [WayIn::Tunnel, WayIn::Proxy] {
            assert_eq!(caller("127.0.0.1", &headers, way_in), Caller::Forwarded(ip("203.0.113.7")));
        }
        let both = [headers[0], ("cf-connecting-ip", "203.0.113.8")];
        assert_eq!(caller("[::1]", &both, WayIn::Tunnel), Caller::Forwarded(ip("203.0.113.8")));
        assert_eq!(caller("[::1]", &both, WayIn::Proxy), Caller::Forwarded(ip("203.0.113.7")), "Cloudflare's is not a proxy's");
    }

    #[test]
    fn a_tunnel_or_proxy_that_tells_no_address_is_not_this_machine() {
        for way_in in [WayIn::Tunnel, WayIn::Proxy] {
            assert_eq!(caller("127.0.0.1", &[("host", "x.loca.lt")], way_in), Caller::Outside);
            for (name, value) in [("x-forwarded-for", "?"), ("x-forwarded-host", "mas.example.org"), ("forwarded", "for=_x")] {
                assert_eq!(caller("127.0.0.1", &[("host", "127.0.0.1:3456"), (name, value)], way_in), Caller::Outside, "{name}");
            }
            for host in ["localhost", "localhost:3456", "127.0.0.1:3456", "[::1]:3456", "127.0.0.1"] {
                assert_eq!(caller("127.0.0.1", &[("host", host)], way_in), Caller::Peer(ip("127.0.0.1")), "{host}");
            }
        }
    }

    #[test]
    fn what_comes_by_the_tunnels_own_address_is_never_local() {
        for host in ["localhost", "127.0.0.1:3456", "[::1]", "x.loca.lt"] {
            assert_eq!(caller("127.0.0.1", &[("host", host)], WayIn::TunnelOnly), Caller::Outside, "{host}");
        }
        let named = [("host", "localhost"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(caller("127.0.0.1", &named, WayIn::TunnelOnly), Caller::Forwarded(ip("203.0.113.7")));
    }
}
