//! The error responses of all routes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Value of `Retry-After` in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// An error response: a status and the body `{"message": "…"}`. The cause goes to the log, never into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 401. The body is the same for every reason: an attacker learns neither which check failed nor which keys exist.
    Unauthorized,
    /// 400 with a reason: the body was cut off or, with verification off, is not JSON.
    BadRequest(&'static str),
    /// 403. The client address is not on `security.allowlist`.
    Forbidden,
    /// 404 with what was not found: the path, the company or the custom function.
    NotFound(&'static str),
    /// 405. The path exists, but not for this method.
    MethodNotAllowed,
    /// 408. The body did not arrive within the time limit.
    BodyTimeout,
    /// 413. The body is larger than `server.body_limit_bytes`.
    BodyTooLarge,
    /// 503 with `Retry-After: 5`. The event may not be stored; sending it again is safe.
    Unavailable,
    /// 500. A bug: a panic, or a route without the layer it needs. The log has the details.
    Internal,
}

impl ApiError {
    pub(crate) fn status_and_message(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = self.status_and_message();
        let mut response = (status, Json(serde_json::json!({ "message": message }))).into_response();
        if self == Self::Unavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
