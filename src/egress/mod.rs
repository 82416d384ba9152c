//! The only outbound HTTP client: rustls with ring, no system proxy, no redirects, a time-out on everything.
//!
//! Handlers post through a [`Destination`], whose guard lets no request into the inside of a network unless the
//! settings say so: neither by an address in a URL, nor by a name, nor by a redirect.

mod address;
mod destination;
mod guard;
#[cfg(test)]
mod tests;
mod truncated_response;

use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

pub(crate) use destination::{Destination, DestinationUrl, Egress, PostRequest, RequestError, ResponseSummary};
pub(crate) use reqwest::Client;
pub(crate) use truncated_response::TruncatedResponse;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientBuildError {
    /// The certificates of this machine cannot be used.
    #[error("cannot set up TLS: {0}; install the ca-certificates package")]
    Tls(#[from] rustls::Error),
    /// The client itself.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A client whose every request ends within `timeout`.
///
/// # Errors
/// [`ClientBuildError`].
pub(crate) fn build_client(timeout: Duration) -> Result<reqwest::Client, ClientBuildError> {
    Ok(client_builder(tls_config()?).timeout(timeout).build()?)
}

fn tls_config() -> Result<ClientConfig, ClientBuildError> {
    // Given explicitly: a process-wide default is the embedding application's to choose.
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
}

fn client_builder(tls: ClientConfig) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("retell-webhook/", env!("CARGO_PKG_VERSION")))
}

/// Why a request was not answered, in a few words.
#[must_use]
pub(crate) fn failure_reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    }
}
