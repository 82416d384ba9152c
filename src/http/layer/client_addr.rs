//! The client address of a request behind trusted proxies.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

use crate::base::networks::Networks;

/// The client address: that of the connection, or the one that a trusted proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddr(pub IpAddr);

/// The resolved client address, or that of the connection when the ingress middleware did not run.
pub(super) fn client_ip(extensions: &Extensions) -> Option<IpAddr> {
    let connection = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    extensions.get::<ClientAddr>().map(|client| client.0).or_else(connection)
}

/// Resolves the client address. `X-Forwarded-For` is read from its end, which the nearest proxy wrote, as long as the
/// hops are trusted proxies. The first address that is not one is the client; anything before it may be forged by the
/// client.
pub(super) fn resolve_client_ip(connection: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut client = connection;
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for hop in hops {
        if !trusted.contains(client) {
            break;
        }
        let Some(address) = parse_address(hop.trim()) else { break };
        client = address;
    }
    client
}

/// Parses an address with or without a port, with or without brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(connection: &str, forwarded: &[&str]) -> String {
        let trusted: Networks = ["127.0.0.1/32", "10.0.0.0/8"].map(|text| text.parse().unwrap()).into_iter().collect();
        let headers = forwarded.iter().map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap()));
        resolve_client_ip(connection.parse().unwrap(), &headers.collect(), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_followed() {
        assert_eq!(client("192.0.2.9", &["203.0.113.7"]), "192.0.2.9");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["198.51.100.1, 203.0.113.7, 10.1.1.1"]), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["198.51.100.1", "203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["203.0.113.7:4711"]), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["nonsense, 10.1.1.1"]), "10.1.1.1");
    }
}
