//! Refused requests.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// How many refused requests are kept; the oldest goes for a new one.
pub(crate) const MAX_REJECTED_REQUESTS: usize = 1000;

/// The number of a refused request, shown as `rej_<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedId(
    /// Its place in the order of arrival, from 1; never used again.
    pub i64,
);

/// Text that is no number of a refused request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a refused request: expected `rej_` and a number, as `rejected list` prints it")]
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
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map(Self).ok_or(InvalidRejectedId)
    }
}

/// A refused request on its way into the store. Nothing in it is believed; its texts hold no digest and no key.
#[derive(Clone)]
pub struct RejectedRequest {
    /// The slug of the company whose address it came to.
    pub company: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The sender's address.
    pub source: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Harmless headers by lower-case name, and the signature header with its digest cut short.
    pub headers: BTreeMap<String, String>,
    /// Size of the body; `None` when it was not read.
    pub size_bytes: Option<u64>,
    /// A short name for the reason, the one it is counted by.
    pub reason: String,
    /// What happened, and what to do next.
    pub diagnosis: String,
    /// The raw bytes, when they are to be kept.
    pub body: Option<Bytes>,
}

/// A refused request as it was kept.
#[derive(Clone, Debug)]
pub struct StoredRejectedRequest {
    /// Its number.
    pub id: RejectedId,
    /// What is known of it. A list leaves the bodies out.
    pub request: RejectedRequest,
    /// Whether its body was kept.
    pub has_body: bool,
}

// By hand: a body may hold what a caller said.
impl fmt::Debug for RejectedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
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
    fn ids_read_back() {
        assert_eq!(RejectedId(12).to_string().parse(), Ok(RejectedId(12)));
        assert_eq!("12".parse(), Ok(RejectedId(12)));
        for text in ["", "rej_", "rej_-1", "rej_+1", "evt_1", "rej_1x"] {
            assert_eq!(text.parse::<RejectedId>(), Err(InvalidRejectedId), "{text}");
        }
    }
}
