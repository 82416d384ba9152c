//! The URLs at which a receiver is reached.

use std::net::SocketAddr;

use url::Url;

use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::live::webhook_path;
use crate::operations::OperationError;
use crate::privacy::redact;

/// The base URL of the receiver on this machine, by its settings.
pub(crate) fn local_base_url(settings: &Settings) -> String {
    connectable_url(SocketAddr::new(settings.server.host, settings.server.port))
}

/// The base URL of a listener on this machine. 0.0.0.0 and :: are addresses to listen on, not to connect to.
pub(crate) fn connectable_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    format!("http://{address}")
}

/// Parses an http or https URL. A URL without a path gets the path of the webhook, that of `company` when one is
/// given.
pub(super) fn webhook_url(text: &str, company: Option<&str>) -> Result<Url, OperationError> {
    let invalid = || {
        let text = redact::url(text);
        OperationError::InvalidInput(format!(
            "`{text}` is not an http or https URL; give one such as http://127.0.0.1:8000"
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_webhook_path() {
        let path = |text, company| webhook_url(text, company).unwrap().path().to_owned();
        assert_eq!(path("http://localhost:8000", None), "/api/v1/webhook/retell");
        assert_eq!(path("http://localhost:8000/", Some("acme")), "/api/v1/webhook/retell/acme");
        assert_eq!(path("http://localhost:8000/", Some("default")), "/api/v1/webhook/retell");
        assert_eq!(path("https://example.com/hook", Some("acme")), "/hook");
        for invalid in ["", "localhost:8000", "ftp://127.0.0.1"] {
            assert!(webhook_url(invalid, None).is_err(), "{invalid}");
        }
    }

    #[test]
    fn the_password_of_an_invalid_url_is_not_part_of_the_error() {
        let error = webhook_url("ftp://user:hunter2@127.0.0.1", None).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1") && !error.contains("hunter2"), "{error}");
    }
}
