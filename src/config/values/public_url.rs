//! The values of `server.url` and `retell.base_url`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// An http or https URL without a path, under which the receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// Whether it is an https address that is not this machine's loopback: Retell's real traffic.
    pub(crate) fn is_public_https(&self) -> bool {
        self.0.scheme() == "https" && !self.is_loopback()
    }

    /// Whether it is an http address that others can reach: neither a loopback or private address, nor a name of a
    /// local network.
    pub(crate) fn is_public_http(&self) -> bool {
        self.0.scheme() == "http" && !self.is_loopback() && !is_private_host(&self.0)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_url(&self.0)
    }
}

/// Whether the host is this machine: a name below `localhost`, a loopback address, or the address to listen on all
/// interfaces. Names are not resolved.
pub(crate) fn is_loopback_url(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => false,
    }
}

fn is_private_host(url: &Url) -> bool {
    const LOCAL_DOMAINS: [&str; 5] = [".local", ".internal", ".lan", ".home.arpa", ".test"];
    match url.host() {
        Some(Host::Domain(name)) => !name.contains('.') || LOCAL_DOMAINS.iter().any(|domain| name.ends_with(domain)),
        Some(Host::Ipv4(ip)) => ip.is_private() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
        None => false,
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    /// The error does not contain the text, which may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(url) = Url::parse(text).ok().filter(is_http) else {
            return Err("it is not an http or https URL; expected a URL such as https://example.ngrok.app".to_owned());
        };
        if url.path() != "/" || url.query().is_some() {
            let problem = "it has a path or a query; set it without a path, the webhook's path is appended";
            return Err(problem.to_owned());
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Without a trailing slash, so that a path can be appended.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        let is_local = |text: &str| is_loopback_url(&Url::parse(text).unwrap());
        let local = ["http://localhost", "http://retell.localhost", "http://127.0.0.9:8000", "http://[::1]"];
        assert!(local.into_iter().all(is_local) && is_local("http://0.0.0.0:8000"));
        let remote = ["http://192.0.2.1", "https://example.ngrok.app", "http://[2001:db8::1]", "http://notlocalhost"];
        assert!(!remote.into_iter().any(is_local));
    }

    #[test]
    fn only_public_http_addresses_are_public_http() {
        let is_public_http = |text: &str| text.parse::<PublicUrl>().unwrap().is_public_http();
        assert!(
            ["http://example.com", "http://203.0.113.7:8000", "http://[2001:db8::1]"].into_iter().all(is_public_http)
        );
        let others = [
            "https://example.com",
            "http://localhost:8000",
            "http://10.0.0.5",
            "http://192.168.1.2:8000",
            "http://[fd00::1]",
            "http://receiver:8000",
            "http://receiver.internal",
            "http://retell.local",
        ];
        assert!(!others.into_iter().any(is_public_http));
    }
}
