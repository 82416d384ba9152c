//! The only type that becomes an error response.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Seconds a sender is asked to wait before it tries again.
const RETRY_AFTER_SECONDS: &str = "5";

/// An error as the sender sees it. Causes go to the log, never into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 401, and not a word about why.
    Unauthorized,
    /// 400 with a reason, for requests that were cut off or, with verification off, carry no JSON.
    BadRequest(&'static str),
    /// 403: not from an address on the list.
    Forbidden,
    /// 404.
    NotFound(&'static str),
    /// 405.
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    BodyTimeout,
    /// 413.
    BodyTooLarge,
    /// 503: nothing was kept; send it again.
    Unavailable,
    /// 500.
    Internal,
}

impl ApiError {
    /// Status and message.
    pub(crate) fn status_and_message(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, why),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound(what) => (StatusCode::NOT_FOUND, what),
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
