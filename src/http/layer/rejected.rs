//! What is known of a request that was refused, or whose body could not be taken in.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use bytes::Bytes;

use super::body::BodyLimits;
use crate::http::ApiError;
use crate::http::company::Company;
use crate::security::diagnose::MAX_DIAGNOSED_BODY_BYTES;
use crate::security::signature::SignatureError;

/// How long the body of a request that was answered already may take.
const LATE_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A refused request, for logs, counters and whoever wants to know why. Nothing in it is believed.
#[non_exhaustive]
pub struct SignatureRejection {
    /// Why.
    pub reason: SignatureError,
    /// Where it came from, when known.
    pub client_ip: Option<IpAddr>,
    /// Bytes of its body that were read.
    pub size_bytes: usize,
    /// When its head had arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers. They hold the signature, and whatever else the sender put there.
    pub headers: HeaderMap,
    /// The company it was for, when the layer looks for one.
    pub company: Option<Arc<Company>>,
    /// Its body, when that was read and is no larger than 64 KiB. It counts against the budget until it is dropped.
    pub body: Option<Bytes>,
    unread_body: Mutex<Option<UnreadBody>>,
}

impl SignatureRejection {
    /// Refused by its head; the body was not read.
    pub(super) fn without_body(reason: SignatureError, head: RequestHead, body: Body, rules: &BodyLimits) -> Self {
        let unread =
            matches!(reason, SignatureError::Stale(_)).then(|| UnreadBody::new_if_small(&head, body, rules)).flatten();
        Self { unread_body: Mutex::new(unread), ..Self::new(reason, head) }
    }

    /// Refused for its body.
    pub(super) fn with_body(reason: SignatureError, head: RequestHead, body: Bytes) -> Self {
        let size_bytes = body.len();
        Self {
            size_bytes,
            body: Some(body).filter(|_| size_bytes <= MAX_DIAGNOSED_BODY_BYTES),
            ..Self::new(reason, head)
        }
    }

    fn new(reason: SignatureError, RequestHead { parts, client_ip: peer, received_at_ms, .. }: RequestHead) -> Self {
        let Parts { method, uri, headers, extensions, .. } = parts;
        let company = extensions.get::<Arc<Company>>().cloned();
        let unread = Mutex::default();
        Self {
            reason,
            client_ip: peer,
            size_bytes: 0,
            received_at_ms,
            method,
            uri,
            headers,
            company,
            body: None,
            unread_body: unread,
        }
    }

    /// The unread body of a request that is stale and nothing worse, when it is declared to be at most 64 KiB. Whoever
    /// takes it may read it after the answer, to tell a wrong clock from an attack; dropped, it is never read.
    pub fn take_unread_body(&self) -> Option<UnreadBody> {
        self.unread_body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// By hand: neither headers nor body, which may hold a MAC and what a caller said.
impl fmt::Debug for SignatureRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("reason", &self.reason)
            .field("peer", &self.client_ip)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// A request's head on its way through the layer.
pub(super) struct RequestHead {
    pub(super) parts: Parts,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) received_at_ms: i64,
    pub(super) received_instant: Instant,
}

/// A body that nobody has read yet.
pub struct UnreadBody {
    body: Body,
    client_ip: Option<IpAddr>,
    limits: BodyLimits,
}

impl UnreadBody {
    fn new_if_small(head: &RequestHead, body: Body, rules: &BodyLimits) -> Option<Self> {
        let small = body.size_hint().upper().is_some_and(|size| size <= MAX_DIAGNOSED_BODY_BYTES as u64);
        // Reading would send `100 Continue` to somebody who waits for it, and is to be told 401 and nothing else.
        let waits = head.parts.headers.contains_key(header::EXPECT);
        let rules = BodyLimits {
            limit_bytes: MAX_DIAGNOSED_BODY_BYTES,
            timeout: LATE_READ_TIMEOUT,
            budget: rules.budget.clone(),
        };
        (small && !waits).then_some(Self { body, client_ip: head.client_ip, limits: rules })
    }

    /// The body, if it arrives within 2 s and there is room for it in the budget.
    pub async fn read(self) -> Option<Bytes> {
        let reading = self.limits.read(self.body, self.client_ip);
        tokio::time::timeout(LATE_READ_TIMEOUT, reading).await.ok()?.ok()
    }
}

impl fmt::Debug for UnreadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("peer", &self.client_ip).finish_non_exhaustive()
    }
}

/// A request whose body could not be taken in: too large, too slow, cut off, or no room for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadableRequest {
    /// What the sender was told.
    pub error: ApiError,
    /// Where it came from, when known.
    pub client_ip: Option<IpAddr>,
}

impl UnreadableRequest {
    /// A short name for counters: `too_large`, `body_timeout`, `cut_off` or `no_room`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.error {
            ApiError::BodyTooLarge => "too_large",
            ApiError::BodyTimeout => "body_timeout",
            ApiError::Unavailable => "no_room",
            _ => "cut_off",
        }
    }
}
