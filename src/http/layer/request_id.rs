//! A name for a request, in its answer and in every line about it.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::id::random_hex;

/// Read from a request, written to its answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 64;

/// Names the requests of one receiver.
pub(super) struct RequestIds {
    /// Random, made at start; the number behind it tells requests apart without asking for randomness each time.
    prefix: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let mut prefix = random_hex();
        prefix.truncate(16);
        Self { prefix, next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The sender's id if it is a plain one, else a new one. A strange one could forge lines of a log.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> HeaderValue {
        given(headers).cloned().unwrap_or_else(|| self.minted())
    }

    fn minted(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("req_{}{number:08x}", self.prefix);
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("req"))
    }
}

fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':');
    headers.get(REQUEST_ID).filter(|id| (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_kept_and_a_strange_one_replaced() {
        let ids = RequestIds::default();
        let id = |given: &[u8]| {
            let headers = [(REQUEST_ID, HeaderValue::from_bytes(given).unwrap())].into_iter().collect();
            ids.of_request(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id(b"trace-1/a:b.c_d"), "trace-1/a:b.c_d");
        for strange in [&b""[..], b"a b", b"a\tb", &[b'a'; 65], b"\xffa"] {
            assert!(id(strange).starts_with("req_"), "{strange:?}");
        }
        assert_ne!(ids.minted(), ids.minted());
    }
}
