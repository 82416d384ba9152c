//! What is known of a request that was refused, or whose body could not be taken in.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use bytes::Bytes;

use super::body::BodyRules;
use crate::http::ApiError;
use crate::http::company::Company;
use crate::security::diagnose::MAX_BODY_BYTES;
use crate::security::signature::Refusal;

/// How long the body of a request that was answered already may take.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A refused request, for logs, counters and whoever wants to know why. Nothing in it is believed.
#[non_exhaustive]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Where it came from, when known.
    pub peer: Option<IpAddr>,
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
    unread: Mutex<Option<Unread>>,
}

impl Refused {
    /// Refused by its head; the body was not read.
    pub(super) fn by_head(reason: Refusal, head: Head, body: Body, rules: &BodyRules) -> Self {
        let unread = matches!(reason, Refusal::Stale(_)).then(|| Unread::of(&head, body, rules)).flatten();
        Self { unread: Mutex::new(unread), ..Self::of(reason, head) }
    }

    /// Refused for its body.
    pub(super) fn by_body(reason: Refusal, head: Head, body: Bytes) -> Self {
        let size_bytes = body.len();
        Self { size_bytes, body: Some(body).filter(|_| size_bytes <= MAX_BODY_BYTES), ..Self::of(reason, head) }
    }

    fn of(reason: Refusal, Head { parts, peer, received_at_ms, .. }: Head) -> Self {
        let Parts { method, uri, headers, extensions, .. } = parts;
        let company = extensions.get::<Arc<Company>>().cloned();
        let unread = Mutex::default();
        Self { reason, peer, size_bytes: 0, received_at_ms, method, uri, headers, company, body: None, unread }
    }

    /// The unread body of a request that is stale and nothing worse, when it is declared to be at most 64 KiB. Whoever
    /// takes it may read it after the answer, to tell a wrong clock from an attack; dropped, it is never read.
    pub fn take_unread(&self) -> Option<Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// By hand: neither headers nor body, which may hold a MAC and what a caller said.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("reason", &self.reason)
            .field("peer", &self.peer)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// A request's head on its way through the layer.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) peer: Option<IpAddr>,
    pub(super) received_at_ms: i64,
    pub(super) began: Instant,
}

/// A body that nobody has read yet.
pub struct Unread {
    body: Body,
    peer: Option<IpAddr>,
    rules: BodyRules,
}

impl Unread {
    fn of(head: &Head, body: Body, rules: &BodyRules) -> Option<Self> {
        let small = body.size_hint().upper().is_some_and(|size| size <= MAX_BODY_BYTES as u64);
        // Reading would send `100 Continue` to somebody who waits for it, and is to be told 401 and nothing else.
        let waits = head.parts.headers.contains_key(header::EXPECT);
        let rules = BodyRules { limit_bytes: MAX_BODY_BYTES, timeout: AFTERWARDS, budget: rules.budget.clone() };
        (small && !waits).then_some(Self { body, peer: head.peer, rules })
    }

    /// The body, if it arrives within 2 s and there is room for it in the budget.
    pub async fn read(self) -> Option<Bytes> {
        let reading = self.rules.read(self.body, self.peer);
        tokio::time::timeout(AFTERWARDS, reading).await.ok()?.ok()
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A request whose body could not be taken in: too large, too slow, cut off, or no room for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NotRead {
    /// What the sender was told.
    pub error: ApiError,
    /// Where it came from, when known.
    pub peer: Option<IpAddr>,
}

impl NotRead {
    /// A short name for counters: `too_large`, `body_timeout`, `cut_off` or `no_room`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.error {
            ApiError::TooLarge => "too_large",
            ApiError::BodyTimeout => "body_timeout",
            ApiError::Unavailable => "no_room",
            _ => "cut_off",
        }
    }
}
