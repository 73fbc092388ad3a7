//! Rate limits: per key for everybody, per client address for failed authentication.

use axum::{http::HeaderValue, response::Response};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

const MINUTE: Duration = Duration::from_mins(1);

/// So many requests a minute for each key, all of them allowed as a burst.
#[derive(Clone)]
pub(super) struct Limits<K: Hash + Eq + Clone> {
    limiter: Arc<Limiter<K>>,
    burst: u32,
}

/// Where a caller stands after a request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    burst: u32,
    remaining: u32,
    /// Seconds until the full burst is there again.
    reset: u32,
}

impl<K: Hash + Eq + Clone> Limits<K> {
    /// `per_minute` is at least 1; the configuration refuses 0.
    pub(super) fn new(per_minute: u32) -> Self {
        let burst = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self { limiter: Arc::new(RateLimiter::dashmap(Quota::per_minute(burst)).with_middleware()), burst: burst.get() }
    }

    /// Counts one request; `Err` holds the seconds to wait when it is one too many.
    pub(super) fn check(&self, key: &K) -> Result<Standing, u32> {
        match self.limiter.check_key(key) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity().min(self.burst);
                let used = u64::from(self.burst - remaining);
                let reset = (used * MINUTE.as_secs()).div_ceil(self.burst.into());
                Ok(Standing { burst: self.burst, remaining, reset: u32::try_from(reset).unwrap_or(u32::MAX) })
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
            }
        }
    }

    /// The standing of a caller who was just refused.
    pub(super) const fn exhausted(&self, wait: u32) -> Standing {
        Standing { burst: self.burst, remaining: 0, reset: wait }
    }

    /// Forgets callers whose full burst is back.
    pub(super) fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// Callers remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.limiter.len()
    }
}

impl Standing {
    /// Tells the caller (draft-ietf-httpapi-ratelimit-headers, and the older de-facto names).
    pub(super) fn describe(self, response: &mut Response) {
        let headers = response.headers_mut();
        let mut put = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        put("ratelimit-policy", format!("\"default\";q={};w={}", self.burst, MINUTE.as_secs()));
        put("ratelimit", format!("\"default\";r={};t={}", self.remaining, self.reset));
        put("x-ratelimit-limit", self.burst.to_string());
        put("x-ratelimit-remaining", self.remaining.to_string());
        put("x-ratelimit-reset", self.reset.to_string());
    }
}

/// What counts as one client: an IPv4 address, or the /64 network an IPv6 host may pick addresses from.
pub(super) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_refused() {
        let limits = Limits::<u8>::new(3);
        for remaining in [2, 1, 0] {
            assert_eq!(limits.check(&1).expect("within the burst").remaining, remaining);
        }
        let wait = limits.check(&1).expect_err("one too many");
        assert!((1..=20).contains(&wait), "{wait}");
        assert!(limits.check(&2).is_ok(), "others are not concerned");
    }

    #[test]
    fn idle_callers_are_forgotten() {
        // 60,000 a minute: a used place is back after a millisecond.
        let limits = Limits::<u32>::new(60_000);
        for key in 0..1_000 {
            assert!(limits.check(&key).is_ok());
        }
        assert_eq!(limits.len(), 1_000);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while limits.len() > 0 && std::time::Instant::now() < deadline {
            limits.sweep();
            std::thread::yield_now();
        }
        assert_eq!(limits.len(), 0);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_client() {
        let of = |text: &str| client(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
