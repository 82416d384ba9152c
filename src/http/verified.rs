//! A type that proves that a signature was checked.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bytes::Bytes;

use super::ApiError;
use crate::event::{Event, EventParseError};
use crate::security::keys::KeyFingerprint;

/// A value from a request whose signature was checked, or for which verification was turned off explicitly.
///
/// Only the signature layer creates it, so an axum handler that takes it cannot be reached without the check. It is an
/// extractor; on a route without the layer it answers 500 and logs an error.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Must be called only where a signature was just checked.
    pub(super) fn new(inner: T) -> Self {
        Self(inner)
    }

    /// Borrows the verified value and keeps the proof.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Returns the verified value and gives up the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<RawEvent> {
    /// Parses the body as a typed event.
    ///
    /// # Errors
    /// [`EventParseError`] when the body is not a JSON object.
    pub fn parse_event(&self) -> Result<Verified<Event>, EventParseError> {
        Event::parse(&self.0.body).map(Verified)
    }
}

/// A request body as received, with the metadata that is stored together with it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawEvent {
    /// The raw bytes that the signature covers.
    pub body: Bytes,
    /// Fingerprint of the key that made the signature; `None` when verification is off.
    pub key_fingerprint: Option<KeyFingerprint>,
    /// When the request head had arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The same moment on the monotonic clock, for durations.
    pub received_instant: Instant,
    /// The client address: that of the connection, or the one that a trusted proxy forwards; `None` when unknown.
    pub client_ip: Option<IpAddr>,
    /// The value of the `X-Retell-Signature` header, if it is text.
    pub signature: Option<String>,
    /// The value of the `Content-Type` header, if it is text.
    pub content_type: Option<String>,
    /// The query string of the request without its `?`; `None` when there is none.
    pub query: Option<String>,
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the body (personal data) nor the signature (a MAC).
        f.debug_struct("RawEvent")
            .field("received_at_ms", &self.received_at_ms)
            .field("client_ip", &self.client_ip)
            .field("size_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Verified<RawEvent> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.remove::<Self>().ok_or_else(|| {
            tracing::error!(extractor = "Verified<RawEvent>", "route without signature layer");
            ApiError::Internal
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Verified<Event> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let raw = Verified::<RawEvent>::from_request_parts(parts, state).await?;
        raw.parse_event().map_err(|_| ApiError::BadRequest("The body is not a JSON object"))
    }
}
