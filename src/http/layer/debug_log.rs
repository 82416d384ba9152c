//! The debug log line about a request head: the names and sizes of all headers, and the values of the few that carry
//! neither secrets nor personal data.

use std::fmt::Write;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::base::escape::escape_text;
use crate::security::keys::KeyFingerprint;

/// Headers whose values are logged.
const LOGGED_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];

/// Maximum number of headers in the line.
const MAX_LOGGED_HEADERS: usize = 64;
/// Maximum length of a header name, a header value and the path in the line.
const MAX_TEXT_CHARS: usize = 128;

/// Logs the head of a webhook request at debug level. With debug logging off this costs one comparison.
pub(super) fn log_request_head(parts: &Parts) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let query_bytes = parts.uri.query().map(str::len);
        let path = printable(parts.uri.path());
        let headers = format_headers(&parts.headers);
        tracing::debug!(method = %parts.method, path, query_bytes, headers, "webhook request head");
    }
}

/// Logs at debug level which key has signed a webhook request; without a key, verification is off.
pub(super) fn log_signature(key: Option<&KeyFingerprint>) {
    match key {
        Some(key) => tracing::debug!(%key, "webhook signature verified"),
        None => tracing::debug!("webhook signature not checked"),
    }
}

/// `host: localhost:8000, x-retell-signature: text of 82 bytes, …`.
fn format_headers(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers.iter().take(MAX_LOGGED_HEADERS) {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{separator}{}: {}", printable(name.as_str()), format_header_value(name, value));
    }
    if headers.len() > MAX_LOGGED_HEADERS {
        let _ = write!(text, ", and {} more", headers.len() - MAX_LOGGED_HEADERS);
    }
    text
}

fn format_header_value(name: &HeaderName, value: &HeaderValue) -> String {
    match value.to_str() {
        Ok(text) if LOGGED_HEADERS.contains(name) => printable(text),
        Ok(text) => format!("text of {} bytes", text.len()),
        Err(_) => format!("{} bytes, not ASCII text", value.len()),
    }
}

fn printable(text: &str) -> String {
    escape_text(text).chars().take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_listed_headers_are_logged() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost:8000"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
        headers.append("x-retell-signature", HeaderValue::from_static("v=1,d=aa"));
        headers.append("x-odd", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(
            format_headers(&headers),
            "host: localhost:8000, authorization: text of 13 bytes, x-retell-signature: text of 8 bytes, \
             x-odd: 2 bytes, not ASCII text"
        );
        for number in 0..100 {
            headers.append(HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from_static("v"));
        }
        assert!(format_headers(&headers).ends_with(", and 40 more"));
    }
}
