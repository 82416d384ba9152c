//! The receiver to which a command sends requests.

use std::time::Duration;

use url::{Host, Url};

use super::output::{self, CliError};
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::egress;
use crate::live::{INSTANCE_HEADER, TEST_PATH, webhook_path};

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Parses an http or https URL. A URL without a path gets the path of the webhook, that of `company` when one is
/// given.
pub(super) fn parse_webhook_url(text: &str, company: Option<&str>) -> Result<Url, CliError> {
    let invalid = || {
        let text = output::sanitize(text);
        CliError::Message(format!("`{text}` is not an http or https URL; give one such as http://127.0.0.1:8000"))
    };
    let mut url = Url::parse(text).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid());
    }
    if url.path() == "/" {
        url.set_path(&webhook_path(company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG)));
    }
    Ok(url)
}

/// Whether the host is `localhost` or a loopback address. Names are not resolved.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The result of a request to the test endpoint.
pub(super) enum ReceiverProbe {
    /// A receiver responded, with this instance id of its process.
    Receiver(String),
    /// Another server responded, with this status.
    OtherServer(u16),
    /// No response arrived, for this reason.
    NoResponse(&'static str),
}

/// Requests the test endpoint of the receiver at `base_url`, a URL without a path.
pub(super) async fn probe_receiver(base_url: &str) -> Result<ReceiverProbe, CliError> {
    let url = format!("{}{TEST_PATH}", base_url.trim_end_matches('/'));
    let response = match egress::build_client(PROBE_TIMEOUT)?.get(url).send().await {
        Ok(response) => response,
        Err(error) => return Ok(ReceiverProbe::NoResponse(egress::failure_reason(&error))),
    };
    let instance = response.headers().get(&INSTANCE_HEADER).and_then(|value| value.to_str().ok());
    Ok(match instance {
        Some(instance) => ReceiverProbe::Receiver(instance.to_owned()),
        None => ReceiverProbe::OtherServer(response.status().as_u16()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_webhook_path() {
        let path = |text, company| parse_webhook_url(text, company).unwrap().path().to_owned();
        assert_eq!(path("http://localhost:8000", None), "/api/v1/webhook/retell");
        assert_eq!(path("http://localhost:8000/", Some("acme")), "/api/v1/webhook/retell/acme");
        assert_eq!(path("http://localhost:8000/", Some("default")), "/api/v1/webhook/retell");
        assert_eq!(path("https://example.com/hook", Some("acme")), "/hook");
        for invalid in ["", "localhost:8000", "ftp://127.0.0.1"] {
            assert!(parse_webhook_url(invalid, None).is_err(), "{invalid}");
        }
    }

    #[test]
    fn only_localhost_and_loopback_addresses_are_loopback() {
        let is_local = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(["http://localhost", "http://127.0.0.9:8000", "http://[::1]"].into_iter().all(is_local));
        assert!(!["http://192.0.2.1", "https://example.ngrok.app", "http://[2001:db8::1]"].into_iter().any(is_local));
    }
}
