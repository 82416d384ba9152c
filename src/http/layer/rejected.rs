//! Reports about rejected requests, and about requests whose body could not be read.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use bytes::Bytes;

use super::body::BodyLimits;
use crate::base::unreadable_reason::UnreadableReason;
use crate::http::ApiError;
use crate::security::diagnose::MAX_DIAGNOSED_BODY_BYTES;
use crate::security::signature::SignatureError;
use crate::tenants::Company;

/// Time limit for the body of a request that was already answered.
const LATE_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A request that was answered 401, for logs, counters and diagnosis. All of its content is untrusted.
#[non_exhaustive]
pub struct SignatureRejection {
    /// The check that failed; it is never sent to the client.
    pub reason: SignatureError,
    /// The client address, `None` when unknown.
    pub client_ip: Option<IpAddr>,
    /// Size in bytes of the body that was read; 0 when the request was rejected by its header.
    pub size_bytes: usize,
    /// When the request head had arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The HTTP method of the request.
    pub method: Method,
    /// The path and query; the query may contain personal data.
    pub uri: Uri,
    /// All request headers, including the signature. They may contain secrets.
    pub headers: HeaderMap,
    /// The company that the route names; `None` when the layer does not look up companies.
    pub company: Option<Arc<Company>>,
    /// The body, if it was read and is at most 64 KiB. It counts against the in-flight budget until it is dropped.
    pub body: Option<Bytes>,
    unread_body: Mutex<Option<UnreadBody>>,
}

impl SignatureRejection {
    /// A request rejected by its head. The body of a stale one is kept unread: it may show that only the clock is
    /// wrong.
    pub(super) fn without_body(reason: SignatureError, head: RequestHead, body: Body, limits: &BodyLimits) -> Self {
        let unread_body = match reason {
            SignatureError::Stale(_) => UnreadBody::new_if_small(&head, body, limits),
            _ => None,
        };
        Self { unread_body: Mutex::new(unread_body), ..Self::new(reason, head) }
    }

    /// A request rejected after its body was read: no key matches.
    pub(super) fn with_body(reason: SignatureError, head: RequestHead, body: Bytes) -> Self {
        let size_bytes = body.len();
        Self {
            size_bytes,
            body: Some(body).filter(|_| size_bytes <= MAX_DIAGNOSED_BODY_BYTES),
            ..Self::new(reason, head)
        }
    }

    fn new(reason: SignatureError, head: RequestHead) -> Self {
        let Parts { method, uri, headers, extensions, .. } = head.parts;
        let company = extensions.get::<Arc<Company>>().cloned();
        Self {
            reason,
            client_ip: head.client_ip,
            size_bytes: 0,
            received_at_ms: head.received_at_ms,
            method,
            uri,
            headers,
            company,
            body: None,
            unread_body: Mutex::default(),
        }
    }

    /// Takes the unread body of a stale request, if its declared length is at most 64 KiB. Reading it after the
    /// response distinguishes a wrong clock from a forged signature. A body that is not taken is never read.
    pub fn take_unread_body(&self) -> Option<UnreadBody> {
        self.unread_body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// Written by hand to leave out the headers (secrets) and the body (personal data).
impl fmt::Debug for SignatureRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureRejection")
            .field("reason", &self.reason)
            .field("client_ip", &self.client_ip)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// The request head while the layer reads the body.
pub(super) struct RequestHead {
    pub(super) parts: Parts,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) received_at_ms: i64,
    pub(super) received_instant: Instant,
}

/// The body of a rejected request, which has not been read yet.
pub struct UnreadBody {
    body: Body,
    client_ip: Option<IpAddr>,
    limits: BodyLimits,
}

impl UnreadBody {
    fn new_if_small(head: &RequestHead, body: Body, limits: &BodyLimits) -> Option<Self> {
        let is_small = body.size_hint().upper().is_some_and(|size| size <= MAX_DIAGNOSED_BODY_BYTES as u64);
        // Reading would make hyper send `100 Continue` to a client that waits for it and must receive only the 401.
        let expects_continue = head.parts.headers.contains_key(header::EXPECT);
        let late_limits = BodyLimits {
            limit_bytes: MAX_DIAGNOSED_BODY_BYTES,
            timeout: LATE_READ_TIMEOUT,
            budget: limits.budget.clone(),
        };
        (is_small && !expects_continue).then_some(Self { body, client_ip: head.client_ip, limits: late_limits })
    }

    /// Reads the body; `None` when it does not arrive within 2 s or the in-flight budget has no room for it.
    pub async fn read(self) -> Option<Bytes> {
        let reading = self.limits.read(self.body, self.client_ip);
        tokio::time::timeout(LATE_READ_TIMEOUT, reading).await.ok()?.ok()
    }
}

impl fmt::Debug for UnreadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadBody").field("client_ip", &self.client_ip).finish_non_exhaustive()
    }
}

/// A request whose body could not be read: too large, too slow, cut off, or no room in the in-flight budget.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadableRequest {
    /// The error response that the sender received.
    pub error: ApiError,
    /// The client address, `None` when unknown.
    pub client_ip: Option<IpAddr>,
}

impl UnreadableRequest {
    /// The reason as in the metrics and the log: `too_large` (413), `body_timeout` (408), `cut_off` (400) or
    /// `no_room` (503).
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason_label().as_str()
    }

    pub(crate) fn reason_label(&self) -> UnreadableReason {
        match self.error {
            ApiError::BodyTooLarge => UnreadableReason::TooLarge,
            ApiError::BodyTimeout => UnreadableReason::BodyTimeout,
            ApiError::NoRoom => UnreadableReason::NoRoom,
            _ => UnreadableReason::CutOff,
        }
    }
}
