//! Proof that a signature was checked, as a type.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bytes::Bytes;

use super::ApiError;
use crate::event::{Event, EventParseError};
use crate::security::keys::KeyFingerprint;

/// Something that came in a request whose signature was checked, or for which checking was turned off explicitly.
///
/// Only the signature layer makes one, so a handler that demands it cannot be reached around the check. In axum it is
/// an extractor; without the layer in front it answers 500 and says so in the log.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Called where a signature was just checked, and nowhere else.
    pub(super) fn new(inner: T) -> Self {
        Self(inner)
    }

    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What was verified, without the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<RawEvent> {
    /// The typed event in the body.
    ///
    /// # Errors
    /// The body is no JSON object.
    pub fn parse_event(&self) -> Result<Verified<Event>, EventParseError> {
        Event::parse(&self.0.body).map(Verified)
    }
}

/// A request's body as received, and what is worth keeping of the request around it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawEvent {
    /// The raw bytes, over which the signature was checked.
    pub body: Bytes,
    /// Which key made the signature; `None` when verification is off.
    pub key_fingerprint: Option<KeyFingerprint>,
    /// When the request's head had arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The same moment, for measuring how long things take.
    pub received_instant: Instant,
    /// The address the connection came from, when known.
    pub client_ip: Option<IpAddr>,
    /// The `X-Retell-Signature` header.
    pub signature: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The query string.
    pub query: Option<String>,
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the body nor the signature: what a caller said, and a MAC.
        f.debug_struct("RawEvent")
            .field("received_at_ms", &self.received_at_ms)
            .field("peer", &self.client_ip)
            .field("size_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Verified<RawEvent> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.remove::<Self>().ok_or_else(|| {
            tracing::error!("a handler asks for Verified<RawEvent> on a route without the signature layer");
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
