//! The value of `server.url`.

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
}
