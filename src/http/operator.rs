//! Access control of the operator routes: `/metrics` and the results of the health checks.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

use crate::security::token::BearerToken;

/// Decides whether a request comes from an operator.
#[derive(Clone, Debug)]
pub(crate) struct OperatorAuth {
    token: Option<BearerToken>,
    trust: OperatorTrust,
}

/// Which requests are authorized as an operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorTrust {
    /// None, not even with the token: operators use the listener of `ops.listen`.
    Disabled,
    /// Requests with the token.
    TokenOnly,
    /// Requests with the token, and requests made on this machine without a proxy or tunnel.
    TokenOrLocal,
    /// All requests: the listener can only be reached from this machine.
    AllRequests,
}

impl OperatorAuth {
    #[must_use]
    pub(crate) fn new(token: Option<BearerToken>, trust: OperatorTrust) -> Self {
        Self { token, trust }
    }

    /// Whether a request with these headers on a connection from `peer` is an operator's.
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

/// The token after `Bearer`. The scheme is compared without case, as HTTP demands.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether the request was made on this machine. The address is not enough: a tunnel or proxy connects from loopback
/// too, but it adds a forwarding header or keeps the public `Host`.
fn is_local_request(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let forwarding_headers = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // The last colon of `[::1]` without a port is inside the brackets.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !forwarding_headers.iter().any(|name| headers.contains_key(*name))
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
    fn a_request_through_a_tunnel_is_not_an_operator_s() {
        let loopback: Option<SocketAddr> = "127.0.0.1:5000".parse().ok();
        let is_authorized = |peer, pairs: &[_]| {
            OperatorAuth::new(None, OperatorTrust::TokenOrLocal).is_authorized(peer, &headers(pairs))
        };
        assert!(is_authorized(loopback, &[("host", "localhost:8000")]));
        assert!(is_authorized("[::ffff:127.0.0.1]:1".parse().ok(), &[("host", "[::1]:8000")]));
        assert!(!is_authorized(loopback, &[("host", "localhost:8000"), ("x-forwarded-for", "192.0.2.1")]));
        assert!(!is_authorized(loopback, &[("host", "example.ngrok.app")]));
        assert!(!is_authorized("192.0.2.1:80".parse().ok(), &[("host", "localhost")]));
        assert!(!is_authorized(None, &[("host", "localhost")]));
    }

    #[test]
    fn the_token_is_checked_unless_operators_use_another_listener() {
        let auth = |trust| OperatorAuth::new(Some(BearerToken::new(&Secret::new("4f9c2d1e8b7a6053"))), trust);
        let valid = headers(&[("host", "example.com"), ("authorization", "bearer 4f9c2d1e8b7a6053")]);
        assert!(auth(OperatorTrust::TokenOnly).is_authorized(None, &valid));
        assert!(auth(OperatorTrust::TokenOrLocal).is_authorized(None, &valid));
        assert!(!auth(OperatorTrust::Disabled).is_authorized(None, &valid));
        assert!(auth(OperatorTrust::AllRequests).is_authorized(None, &headers(&[])));
        for invalid in ["Bearer 4f9c2d1e8b7a6054", "Bearer", "Bearer ", "Basic 4f9c2d1e8b7a6053", "4f9c2d1e8b7a6053"] {
            assert!(
                !auth(OperatorTrust::TokenOnly).is_authorized(None, &headers(&[("authorization", invalid)])),
                "{invalid}"
            );
        }
    }
}
