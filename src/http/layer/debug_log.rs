//! What a request looked like, for whoever turned debugging on: names, types and sizes, and the values of the few
//! headers that say nothing about keys or people.

use std::fmt::Write;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers whose values are shown.
const LOGGED_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];

/// Most headers told of, and the longest name and value.
const MAX_LOGGED_HEADERS: usize = 64;
const MAX_TEXT_CHARS: usize = 128;

/// One line about the head of a webhook request. Costs a comparison when debugging is off.
pub(super) fn log_request_head(parts: &Parts) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let query_bytes = parts.uri.query().map(str::len);
        let (method, route, headers) = (&parts.method, printable(parts.uri.path()), format_headers(&parts.headers));
        tracing::debug!(%method, route, query_bytes, "webhook request: {headers}");
    }
}

/// `host: localhost:8000, x-retell-signature: text of 82 bytes, …`.
fn format_headers(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers.iter().take(MAX_LOGGED_HEADERS) {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing into a text cannot fail.
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
        Err(_) => format!("{} bytes beyond ASCII", value.len()),
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_values_are_shown() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost:8000"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
        headers.append("x-retell-signature", HeaderValue::from_static("v=1,d=aa"));
        headers.append("x-odd", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(
            format_headers(&headers),
            "host: localhost:8000, authorization: text of 13 bytes, x-retell-signature: text of 8 bytes, \
             x-odd: 2 bytes beyond ASCII"
        );
        for number in 0..100 {
            headers.append(HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from_static("v"));
        }
        assert!(format_headers(&headers).ends_with(", and 40 more"));
    }
}
