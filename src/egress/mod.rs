//! The only outbound HTTP client: rustls with ring, no system proxy, no automatic redirects, a timeout for every
//! request. [`HttpConnection`] is a smaller one for load generators.
//!
//! Handlers post through a [`Destination`], which is also what the client of Retell's API uses. Its guard blocks internal addresses that the settings do not allow,
//! whether they come from an address in a URL, from a host name or from a redirect.

mod address;
mod connection;
mod destination;
mod full_response;
mod guard;
mod response_text;
#[cfg(test)]
mod tests;
mod truncated_response;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::InvalidHeaderValue;
use hyper::http::uri::InvalidUri;
use reqwest::ClientBuilder;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

pub use connection::{ConnectionError, HttpConnection, RequestTarget, SplitBody};
pub(crate) use destination::{Destination, DestinationUrl, Egress, PostRequest, RequestError, ResponseSummary};
pub(crate) use full_response::{ApiRequest, FullResponse};
pub(crate) use reqwest::{Client, Error as HttpError};
pub(crate) use response_text::decode_text;
pub(crate) use truncated_response::TruncatedResponse;

/// Why the HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientBuildError {
    /// The root certificates of this machine cannot be used.
    #[error("cannot set up TLS: {0}; install the ca-certificates package")]
    Tls(#[from] rustls::Error),
    /// The HTTP client library refuses its configuration.
    #[error("cannot build an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The path of a URL cannot be part of a request.
    #[error("not a URL that can be requested: {0}")]
    Path(#[from] InvalidUri),
    /// The host or the password of a URL cannot be part of a header.
    #[error("not a URL that can be requested: {0}")]
    Header(#[from] InvalidHeaderValue),
}

const NO_RESPONSE: &str = "no response within the timeout";
const NO_CONNECTION: &str = "no connection";
const TRUNCATED_RESPONSE: &str = "the connection was closed before the end of the response";

const PRODUCT: &str = concat!("retell-webhook/", env!("CARGO_PKG_VERSION"));

/// Builds a client whose requests all end within `timeout`.
///
/// # Errors
/// The machine's certificates cannot be used, or the client cannot be built.
pub(crate) fn build_client(timeout: Duration) -> Result<reqwest::Client, ClientBuildError> {
    Ok(client_builder(tls_config()?).timeout(timeout).build()?)
}

fn tls_config() -> Result<ClientConfig, ClientBuildError> {
    // Passed explicitly: the process-wide default provider belongs to the embedding application.
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
        .user_agent(PRODUCT)
}

/// Why a request got no response. The text contains no URL.
#[must_use]
pub(crate) fn failure_reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        NO_RESPONSE
    } else if error.is_connect() {
        NO_CONNECTION
    } else {
        TRUNCATED_RESPONSE
    }
}
