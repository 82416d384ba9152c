use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::string_list;

/// `[server]`: the listening address and the limits on received bodies.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct ServerSettings {
    /// IP address to listen on; `0.0.0.0` listens on every IPv4 interface.
    pub host: IpAddr,
    /// TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// Public http or https URL under which Retell reaches this server, without a path. Unset:
    /// `http://localhost:<port>`.
    #[schemars(example = &"https://example.ngrok.app")]
    pub url: Option<String>,
    /// Largest accepted request body in bytes, at least 1024. An hour of conversation is about 1.6 MB.
    pub body_limit_bytes: usize,
    /// Bytes of request bodies held in memory at the same time, at least twice `body_limit_bytes`: one client address
    /// may hold half of it. Above it requests wait, then get 503.
    pub inflight_limit_bytes: usize,
    /// Addresses and ranges of the proxies whose `X-Forwarded-For` header is trusted, such as `["127.0.0.1"]` for a
    /// tunnel on this machine. Without it a request through a proxy counts as a request of the proxy.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList")]
    pub trusted_proxies: Vec<String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8000,
            url: None,
            body_limit_bytes: 16 * 1024 * 1024,
            inflight_limit_bytes: 64 * 1024 * 1024,
            trusted_proxies: Vec::new(),
        }
    }
}

impl ServerSettings {
    /// The base URL shown to people, without a trailing slash. `port` is the port the listener is bound to.
    #[must_use]
    pub fn public_url(&self, port: u16) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://localhost:{port}"),
        }
    }

    /// Whether [`ServerSettings::url`] is an https address that is not this machine's loopback: Retell's real traffic.
    #[must_use]
    pub fn is_public_https(&self) -> bool {
        self.parsed_url().is_some_and(|url| url.scheme() == "https" && !is_loopback(&url))
    }

    /// The port in a loopback [`ServerSettings::url`] when it differs from `port`: nothing listens there.
    #[must_use]
    pub fn mismatched_url_port(&self, port: u16) -> Option<u16> {
        let url = self.parsed_url().filter(is_loopback)?;
        url.port_or_known_default().filter(|named| *named != port)
    }

    pub(in crate::config) fn parsed_url(&self) -> Option<url::Url> {
        self.url.as_deref().and_then(|text| url::Url::parse(text).ok())
    }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::ServerSettings;

    fn with_url(url: &str) -> ServerSettings {
        ServerSettings { url: Some(url.into()), ..ServerSettings::default() }
    }

    #[test]
    fn loopback_url_with_another_port_is_reported() {
        assert_eq!(with_url("http://localhost:3000").mismatched_url_port(8000), Some(3000));
        assert_eq!(with_url("http://127.0.0.1").mismatched_url_port(8000), Some(80));
        assert_eq!(with_url("http://[::1]:8000/").mismatched_url_port(8000), None);
        assert_eq!(with_url("https://example.ngrok.app").mismatched_url_port(8000), None);
        assert_eq!(ServerSettings::default().mismatched_url_port(8000), None);
    }

    #[test]
    fn only_https_outside_this_machine_is_public() {
        assert!(with_url("https://example.ngrok.app").is_public_https());
        assert!(!with_url("https://localhost:8443").is_public_https());
        assert!(!with_url("http://example.com").is_public_https());
    }
}
