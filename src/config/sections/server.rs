use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::networks::Networks;
use crate::config::FieldError;
use crate::config::values::public_url::PublicUrl;
use crate::config::values::{address_list, string_list};

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
    #[schemars(with = "Option<String>", example = &"https://example.ngrok.app")]
    pub url: Option<PublicUrl>,
    /// Largest accepted request body in bytes, at least 1024. An hour of conversation is about 1.6 MB.
    pub body_limit_bytes: usize,
    /// Bytes of request bodies held in memory at the same time, at least twice `body_limit_bytes`: one client address
    /// may hold half of it. Above it requests wait, then get 503.
    pub inflight_limit_bytes: usize,
    /// Addresses and ranges of the proxies whose `X-Forwarded-For` header is trusted, such as `["127.0.0.1"]` for a
    /// tunnel on this machine. Without it a request through a proxy counts as a request of the proxy.
    #[serde(with = "address_list::networks")]
    #[schemars(with = "string_list::StringList")]
    pub trusted_proxies: Networks,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8000,
            url: None,
            body_limit_bytes: 16 * 1024 * 1024,
            inflight_limit_bytes: 64 * 1024 * 1024,
            trusted_proxies: Networks::default(),
        }
    }
}

impl ServerSettings {
    /// The base URL shown to people, without a trailing slash. `port` is the port the listener is bound to.
    #[must_use]
    pub fn public_url(&self, port: u16) -> String {
        match &self.url {
            Some(url) => url.to_string(),
            None => format!("http://localhost:{port}"),
        }
    }

    /// Whether [`ServerSettings::url`] is an https address that is not this machine's loopback: Retell's real traffic.
    #[must_use]
    pub fn is_public_https(&self) -> bool {
        self.url.as_ref().is_some_and(PublicUrl::is_public_https)
    }

    /// Whether only this machine can reach the receiver at [`ServerSettings::public_url`].
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.url.as_ref().is_none_or(PublicUrl::is_loopback)
    }

    /// The warnings about this section, see [`Settings::warnings`](crate::config::Settings::warnings).
    pub(in crate::config) fn warnings(&self, port: u16) -> Vec<FieldError> {
        let mut warnings = Vec::new();
        // Port 0 is replaced by a free one at start.
        if let Some(named) = self.mismatched_url_port(port).filter(|_| port != 0) {
            let why = format!(
                "the URL has port {named}, but the receiver listens on {port}: set SERVER_URL=http://localhost:{port} (or \
                 PORT={named})"
            );
            warnings.push(FieldError::new("server.url", why));
        }
        if self.url.as_ref().is_some_and(PublicUrl::is_public_http) {
            let why = "it is a public http:// address: calls and their transcripts would cross the internet unencrypted. Set \
                       SERVER_URL to the https:// address of your tunnel or proxy";
            warnings.push(FieldError::new("server.url", why));
        }
        warnings
    }

    /// The port in a loopback [`ServerSettings::url`] when it differs from `port`: nothing listens there.
    #[must_use]
    pub fn mismatched_url_port(&self, port: u16) -> Option<u16> {
        let url = self.url.as_ref().filter(|url| url.is_loopback())?;
        url.port().filter(|named| *named != port)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerSettings;

    fn with_url(url: &str) -> ServerSettings {
        ServerSettings { url: Some(url.parse().unwrap()), ..ServerSettings::default() }
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
