//! Where a verb sends to, and what answers there.

use std::time::Duration;

use url::{Host, Url};

use super::output::{self, Failure};
use crate::config::DEFAULT_SLUG;
use crate::egress;
use crate::intake::{INSTANCE, TEST_PATH, webhook_path};

const TIMEOUT: Duration = Duration::from_secs(5);

/// An http or https URL; one without a path gets the webhook's, that of `company` where one is named.
pub(super) fn webhook(text: &str, company: Option<&str>) -> Result<Url, Failure> {
    let bad = || Failure::Because(format!("`{}` is no http or https URL", output::plain(text)));
    let mut url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    if url.path() == "/" {
        url.set_path(&webhook_path(company.filter(|slug| *slug != DEFAULT_SLUG)));
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
pub(super) enum Answer {
    /// A receiver, with the name of its process.
    Receiver(String),
    /// Something else, with this status.
    Other(u16),
    None(&'static str),
}

/// Asks the test endpoint of the receiver at `base`, a URL without a path.
pub(super) async fn ask(base: &str) -> Result<Answer, Failure> {
    let url = format!("{}{TEST_PATH}", base.trim_end_matches('/'));
    Ok(match egress::client(TIMEOUT)?.get(url).send().await {
        Ok(response) => match response.headers().get(&INSTANCE).and_then(|value| value.to_str().ok()) {
            Some(instance) => Answer::Receiver(instance.to_owned()),
            None => Answer::Other(response.status().as_u16()),
        },
        Err(error) => Answer::None(egress::reason(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_webhooks() {
        let path = |text, company| webhook(text, company).unwrap().path().to_owned();
        assert_eq!(path("http://localhost:8000", None), "/api/v1/webhook/retell");
        assert_eq!(path("http://localhost:8000/", Some("acme")), "/api/v1/webhook/retell/acme");
        assert_eq!(path("http://localhost:8000/", Some("default")), "/api/v1/webhook/retell");
        assert_eq!(path("https://example.com/hook", Some("acme")), "/hook");
        for bad in ["", "localhost:8000", "ftp://127.0.0.1"] {
            assert!(webhook(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        let here = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(["http://localhost", "http://127.0.0.9:8000", "http://[::1]"].into_iter().all(here));
        assert!(!["http://192.0.2.1", "https://example.ngrok.app", "http://[2001:db8::1]"].into_iter().any(here));
    }
}
