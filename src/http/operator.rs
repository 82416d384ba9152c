//! Who may see what only operators should: metrics, and which part is not healthy.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

use crate::security::token::Token;

/// Decides whether a request comes from an operator.
#[derive(Clone, Debug)]
pub struct Operators {
    token: Option<Token>,
    trusted: Trusted,
}

/// Who is an operator without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// Nobody, and tokens are not looked at either: operators have another address.
    Never,
    /// Nobody.
    Nobody,
    /// Requests made on this machine that came through no proxy or tunnel.
    ThisMachine,
    /// Everybody: the listener can only be reached from this machine.
    Everybody,
}

impl Operators {
    /// Whoever presents `token` is one, and those `trusted` without it.
    #[must_use]
    pub fn new(token: Option<Token>, trusted: Trusted) -> Self {
        Self { token, trusted }
    }

    /// Whether the request with these headers, from this peer, is an operator's.
    #[must_use]
    pub fn admit(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        match self.trusted {
            Trusted::Never => false,
            Trusted::Everybody => true,
            Trusted::Nobody => self.has_token(headers),
            Trusted::ThisMachine => self.has_token(headers) || is_from_this_machine(peer, headers),
        }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let presented = bearer(headers);
        self.token.as_ref().zip(presented).is_some_and(|(token, presented)| token.is(presented))
    }
}

/// What follows `Bearer`, in whatever case it is written.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// A tunnel connects from loopback too, but adds a forwarding header or keeps the public Host.
fn is_from_this_machine(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
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
        let here = |peer, pairs: &[_]| Operators::new(None, Trusted::ThisMachine).admit(peer, &headers(pairs));
        assert!(here(loopback, &[("host", "localhost:8000")]));
        assert!(here("[::ffff:127.0.0.1]:1".parse().ok(), &[("host", "[::1]:8000")]));
        assert!(!here(loopback, &[("host", "localhost:8000"), ("x-forwarded-for", "192.0.2.1")]));
        assert!(!here(loopback, &[("host", "example.ngrok.app")]));
        assert!(!here("192.0.2.1:80".parse().ok(), &[("host", "localhost")]));
        assert!(!here(None, &[("host", "localhost")]));
    }

    #[test]
    fn a_token_counts_wherever_it_is_looked_at() {
        let operators = |trusted| Operators::new(Some(Token::new(&Secret::new("4f9c2d1e8b7a6053"))), trusted);
        let right = headers(&[("host", "example.com"), ("authorization", "bearer 4f9c2d1e8b7a6053")]);
        assert!(operators(Trusted::Nobody).admit(None, &right));
        assert!(operators(Trusted::ThisMachine).admit(None, &right));
        assert!(!operators(Trusted::Never).admit(None, &right));
        assert!(operators(Trusted::Everybody).admit(None, &headers(&[])));
        for wrong in ["Bearer 4f9c2d1e8b7a6054", "Bearer", "Bearer ", "Basic 4f9c2d1e8b7a6053", "4f9c2d1e8b7a6053"] {
            assert!(!operators(Trusted::Nobody).admit(None, &headers(&[("authorization", wrong)])), "{wrong}");
        }
    }
}
