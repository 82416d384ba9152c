//! The only outbound HTTP client: rustls with ring, no system proxy, no redirects, a time-out on everything.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
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
/// [`EgressError`].
pub fn client(timeout: Duration) -> Result<reqwest::Client, EgressError> {
    // Given explicitly: a process-wide default is the embedding application's to choose.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .user_agent(concat!("retell-webhook/", env!("CARGO_PKG_VERSION")))
        .build()?)
}
