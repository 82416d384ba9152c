//! Rejected requests: those that failed authentication and were answered 401 or 403.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::security::rejection_reason::RejectionReason;

/// Number of rejected requests that are kept; a further one replaces the oldest.
pub(crate) const MAX_REJECTED_REQUESTS: usize = 1000;

/// The id of a rejected request, shown as `rej_<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedId(
    /// Ascending in the order of arrival, from 1; never reused.
    pub i64,
);

/// The text is not the id of a rejected request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a rejected request; expected `rej_` and a number")]
pub struct InvalidRejectedId;

impl fmt::Display for RejectedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rej_{}", self.0)
    }
}

impl FromStr for RejectedId {
    type Err = InvalidRejectedId;

    fn from_str(text: &str) -> Result<Self, InvalidRejectedId> {
        let digits = text.strip_prefix("rej_").unwrap_or(text);
        // `parse` alone would also accept a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidRejectedId);
        }
        digits.parse().map(Self).map_err(|_| InvalidRejectedId)
    }
}

/// A rejected request to be stored. Nothing in it is trusted, and its texts contain neither a digest nor a key.
#[derive(Clone)]
pub struct RejectedRequest {
    /// The slug of the company to whose route it was sent.
    pub company: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The IP address of the sender.
    pub source: Option<String>,
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Headers without secrets, by lower-case name, and the signature header with its digest shortened.
    pub headers: BTreeMap<String, String>,
    /// Size of the body; `None` when it was not read.
    pub size_bytes: Option<u64>,
    pub reason: RejectionReason,
    /// Why the request was rejected and what to do, as text for the operator.
    pub diagnosis: String,
    /// The raw bytes; `None` unless `security.keep_rejected_bodies` is set.
    pub body: Option<Bytes>,
}

/// Selects rejected requests; all set conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedFilter {
    pub company: Option<String>,
    /// Received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

/// A rejected request with its id in the store.
#[derive(Clone, Debug)]
pub struct StoredRejectedRequest {
    pub id: RejectedId,
    /// Without the body in a list.
    pub request: RejectedRequest,
    /// Whether the body is stored.
    pub has_body: bool,
}

// Written by hand: a body may hold what a caller said.
impl fmt::Debug for RejectedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectedRequest")
            .field("received_at_ms", &self.received_at_ms)
            .field("reason", &self.reason)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed() {
        assert_eq!(RejectedId(12).to_string().parse(), Ok(RejectedId(12)));
        assert_eq!("12".parse(), Ok(RejectedId(12)));
        for text in ["", "rej_", "rej_-1", "rej_+1", "evt_1", "rej_1x"] {
            assert_eq!(text.parse::<RejectedId>(), Err(InvalidRejectedId), "{text}");
        }
    }
}
