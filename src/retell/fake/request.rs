//! A request, taken apart once for the routes, the faults and the log.

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde_json::Value;
use url::form_urlencoded;

use super::answer::ApiRefusal;
use super::versions::DocumentFields;

/// A request with its path and query decoded.
pub(super) struct ReceivedRequest {
    pub(super) method: String,
    /// The path as it was sent, for prefixes and for the text of unknown routes.
    pub(super) path: String,
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) key: Option<String>,
    body: Vec<u8>,
}

impl ReceivedRequest {
    pub(super) fn new(head: &Parts, body: &[u8]) -> Self {
        let path = head.uri.path().to_owned();
        let segments = path.split('/').skip(1).map(percent_decode).collect();
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let key = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        Self {
            method: head.method.as_str().to_owned(),
            segments,
            query,
            key: key.map(str::to_owned),
            path,
            body: body.to_vec(),
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn remove_query(&mut self, name: &str) {
        self.query.retain(|(key, _)| key != name);
    }

    /// The body as JSON, or null when it is empty or not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn set_json(&mut self, body: &Value) {
        self.body = body.to_string().into_bytes();
    }

    /// The body as a JSON object. An empty body is an empty object.
    pub(super) fn object(&self) -> Result<DocumentFields, ApiRefusal> {
        if self.body.is_empty() {
            return Ok(DocumentFields::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(ApiRefusal::bad_request("Invalid request format: the body is not a JSON object")),
        }
    }

    /// The version number in the query of a write, which accepts no names.
    pub(super) fn version_number(&self) -> Result<Option<u64>, ApiRefusal> {
        let invalid = |_| ApiRefusal::bad_request("Invalid request format: query/version must be integer");
        self.query("version").map(|version| version.parse().map_err(invalid)).transpose()
    }
}

/// Decodes `%2B` and the like. A plus sign stays: only query strings use it for a space.
fn percent_decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let hex_digits = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex_digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if *byte == b'%' => {
                decoded.push(value);
                index += 3;
            }
            _ => {
                decoded.push(*byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
