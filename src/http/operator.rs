//! Who may see what only operators should: metrics, and which part is not healthy.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

use crate::security::token::BearerToken;

/// Decides whether a request comes from an operator.
#[derive(Clone, Debug)]
pub(crate) struct OperatorAuth {
    token: Option<BearerToken>,
    trust: OperatorTrust,
}

/// Who is an operator without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorTrust {
    /// Nobody, and tokens are not looked at either: operators have another address.
    Disabled,
    /// Nobody.
    TokenOnly,
    /// Requests made on this machine that came through no proxy or tunnel.
    TokenOrLocal,
    /// Everybody: the listener can only be reached from this machine.
    AllRequests,
}

impl OperatorAuth {
    /// Whoever presents `token` is one, and those `trusted` without it.
    #[must_use]
    pub(crate) fn new(token: Option<BearerToken>, trusted: OperatorTrust) -> Self {
        Self { token, trust: trusted }
    }

    /// Whether the request with these headers, from this peer, is an operator's.
    #[must_use]
    pub(crate) fn is_authorized(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        match self.trust {
            OperatorTrust::Disabled => false,
            OperatorTrust::AllRequests => true,
            OperatorTrust::TokenOnly => self.has_valid_token(headers),
            OperatorTrust::TokenOrLocal => self.has_valid_token(headers) || is_local_request(peer, headers),
        }
    }

    fn has_valid_token(&self, headers: &HeaderMap) -> bool {
        let presented = bearer_token(headers);
        self.token.as_ref().zip(presented).is_some_and(|(token, presented)| token.matches(presented))
    }
}

/// What follows `Bearer`, in whatever case it is written.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// A tunnel connects from loopback too, but adds a forwarding header or keeps the public Host.
fn is_local_request(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        },
    );
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !forwarded.iter().any(|name| headers.contains_key(*name))
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_tunnel_is_no_operator() {
        let loopback: Option<SocketAddr> = "127.0.0.1:5000".parse().ok();
        let here = |peer, pairs: &[_]| {
            OperatorAuth::new(None, OperatorTrust::TokenOrLocal).is_authorized(peer, &headers(pairs))
        };
        assert!(here(loopback, &[("host", "localhost:8000")]));
        assert!(here("[::ffff:127.0.0.1]:1".parse().ok(), &[("host", "[::1]:8000")]));
        assert!(!here(loopback, &[("host", "localhost:8000"), ("x-forwarded-for", "192.0.2.1")]));
        assert!(!here(loopback, &[("host", "example.ngrok.app")]));
        assert!(!here("192.0.2.1:80".parse().ok(), &[("host", "localhost")]));
        assert!(!here(None, &[("host", "localhost")]));
    }

    #[test]
    fn a_token_counts_wherever_it_is_looked_at() {
        let operators = |trusted| OperatorAuth::new(Some(BearerToken::new(&Secret::new("4f9c2d1e8b7a6053"))), trusted);
        let right = headers(&[("host", "example.com"), ("authorization", "bearer 4f9c2d1e8b7a6053")]);
        assert!(operators(OperatorTrust::TokenOnly).is_authorized(None, &right));
        assert!(operators(OperatorTrust::TokenOrLocal).is_authorized(None, &right));
        assert!(!operators(OperatorTrust::Disabled).is_authorized(None, &right));
        assert!(operators(OperatorTrust::AllRequests).is_authorized(None, &headers(&[])));
        for wrong in ["Bearer 4f9c2d1e8b7a6054", "Bearer", "Bearer ", "Basic 4f9c2d1e8b7a6053", "4f9c2d1e8b7a6053"] {
            assert!(
                !operators(OperatorTrust::TokenOnly).is_authorized(None, &headers(&[("authorization", wrong)])),
                "{wrong}"
            );
        }
    }
}
