//! The id of a request, in its response and in every log line about it.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::id::random_hex;

/// Read from a request, written to its response.
pub(super) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Generates the ids of one receiver's requests.
pub(super) struct RequestIdGenerator {
    /// Random, generated at start. With the number after it, each id is unique without further random numbers.
    prefix: String,
    next_number: AtomicU64,
}

impl Default for RequestIdGenerator {
    fn default() -> Self {
        let mut prefix = random_hex();
        prefix.truncate(16);
        Self { prefix, next_number: AtomicU64::new(0) }
    }
}

impl RequestIdGenerator {
    /// The sender's id if it consists of plain characters, otherwise a new one: any other could forge log lines.
    pub(super) fn get_or_generate(&self, headers: &HeaderMap) -> HeaderValue {
        valid_request_id(headers).cloned().unwrap_or_else(|| self.generate())
    }

    fn generate(&self) -> HeaderValue {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let id = format!("req_{}{number:08x}", self.prefix);
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("req"))
    }
}

fn valid_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':');
    headers
        .get(REQUEST_ID_HEADER)
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_id_is_kept_and_an_invalid_one_replaced() {
        let ids = RequestIdGenerator::default();
        let id = |given: &[u8]| {
            let headers = [(REQUEST_ID_HEADER, HeaderValue::from_bytes(given).unwrap())].into_iter().collect();
            ids.get_or_generate(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id(b"trace-1/a:b.c_d"), "trace-1/a:b.c_d");
        for invalid in [&b""[..], b"a b", b"a\tb", &[b'a'; 65], b"\xffa"] {
            assert!(id(invalid).starts_with("req_"), "{invalid:?}");
        }
        assert_ne!(ids.generate(), ids.generate());
    }
}
