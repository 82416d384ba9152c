//! Where a verb sends to, and what answers there.

use std::time::Duration;

use url::{Host, Url};

use super::output::{self, CliError};
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::egress;
use crate::intake::{INSTANCE_HEADER, TEST_PATH, webhook_path};

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An http or https URL; one without a path gets the webhook's, that of `company` where one is named.
pub(super) fn parse_webhook_url(text: &str, company: Option<&str>) -> Result<Url, CliError> {
    let bad = || CliError::Message(format!("`{}` is no http or https URL", output::sanitize(text)));
    let mut url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    if url.path() == "/" {
        url.set_path(&webhook_path(company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG)));
    }
    Ok(url)
}

/// Whether the host is this machine by its very name or address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What the test endpoint behind a URL answered.
pub(super) enum ReceiverProbe {
    /// A receiver, with the name of its process.
    Receiver(String),
    /// Something else, with this status.
    OtherServer(u16),
    NoResponse(&'static str),
}

/// Asks the test endpoint of the receiver at `base`, a URL without a path.
pub(super) async fn probe_receiver(base: &str) -> Result<ReceiverProbe, CliError> {
    let url = format!("{}{TEST_PATH}", base.trim_end_matches('/'));
    Ok(match egress::build_client(PROBE_TIMEOUT)?.get(url).send().await {
        Ok(response) => match response.headers().get(&INSTANCE_HEADER).and_then(|value| value.to_str().ok()) {
            Some(instance) => ReceiverProbe::Receiver(instance.to_owned()),
            None => ReceiverProbe::OtherServer(response.status().as_u16()),
        },
        Err(error) => ReceiverProbe::NoResponse(egress::failure_reason(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_webhooks() {
        let path = |text, company| parse_webhook_url(text, company).unwrap().path().to_owned();
        assert_eq!(path("http://localhost:8000", None), "/api/v1/webhook/retell");
        assert_eq!(path("http://localhost:8000/", Some("acme")), "/api/v1/webhook/retell/acme");
        assert_eq!(path("http://localhost:8000/", Some("default")), "/api/v1/webhook/retell");
        assert_eq!(path("https://example.com/hook", Some("acme")), "/hook");
        for bad in ["", "localhost:8000", "ftp://127.0.0.1"] {
            assert!(parse_webhook_url(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        let here = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(["http://localhost", "http://127.0.0.9:8000", "http://[::1]"].into_iter().all(here));
        assert!(!["http://192.0.2.1", "https://example.ngrok.app", "http://[2001:db8::1]"].into_iter().any(here));
    }
}
