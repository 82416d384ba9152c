//! Answers of the endpoints, before faults change them.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// What an endpoint answers when it accepts the request.
#[derive(Debug)]
pub(super) enum ApiAnswer {
    Json(StatusCode, Value),
    /// A status without a body: 200 of a publication, 204 of a deletion.
    Empty(StatusCode),
}

/// Why an endpoint does not accept a request, as its answer says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiRefusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Unknown routes are answered in plain text by the HTTP framework, all others in JSON.
    is_plain_text: bool,
}

pub(super) type ApiResult = Result<ApiAnswer, ApiRefusal>;

impl ApiAnswer {
    pub(super) fn ok(body: impl Into<Value>) -> Self {
        Self::Json(StatusCode::OK, body.into())
    }

    pub(super) fn created(body: impl Into<Value>) -> Self {
        Self::Json(StatusCode::CREATED, body.into())
    }
}

impl ApiRefusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), is_plain_text: false }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn plain_text(status: StatusCode, message: String) -> Self {
        Self { status, message, is_plain_text: true }
    }
}

/// Status, content type and body of `result`.
pub(super) fn into_parts(result: ApiResult) -> (StatusCode, &'static str, Vec<u8>) {
    const JSON: &str = "application/json; charset=utf-8";
    match result {
        Ok(ApiAnswer::Json(status, body)) => (status, JSON, body.to_string().into_bytes()),
        Ok(ApiAnswer::Empty(status)) => (status, "", Vec::new()),
        Err(refusal) if refusal.is_plain_text => (refusal.status, "text/plain", refusal.message.into_bytes()),
        Err(refusal) => {
            let body = json!({ "status": "error", "message": refusal.message });
            (refusal.status, JSON, body.to_string().into_bytes())
        }
    }
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if !content_type.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}
