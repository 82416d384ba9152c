//! The error responses of all routes.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal::{Refusal, RefusalReason};

/// Value of `Retry-After` in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// An error response: a status and the body `{"message": "…"}`. The cause goes to the log, never into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 401. The body is the same for every reason: an attacker learns neither which check failed nor which keys exist.
    Unauthorized,
    /// 401 as well: the signature was used for another function or for an event before.
    SignatureReused,
    /// 400 with a reason: with verification off, the body is not JSON.
    BadRequest(&'static str),
    /// 400. The connection was closed in the middle of the body.
    BodyCutOff,
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
    /// 503 with `Retry-After: 5`. The in-flight budget has no room for the body.
    NoRoom,
    /// 503 with `Retry-After: 5`. The event may not be stored; sending it again is safe.
    Unavailable,
    /// 500. A bug: a panic, or a route without the layer it needs. The log has the details.
    Internal,
}

impl ApiError {
    pub(crate) fn status_and_message(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized | Self::SignatureReused => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            Self::BodyCutOff => (StatusCode::BAD_REQUEST, "The body was cut off"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::NoRoom | Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        }
    }

    fn refusal_reason(&self) -> RefusalReason {
        match self {
            Self::Unauthorized => RefusalReason::SignatureInvalid,
            Self::SignatureReused => RefusalReason::SignatureReused,
            Self::BadRequest(_) => RefusalReason::BodyInvalid,
            Self::BodyCutOff => RefusalReason::BodyCutOff,
            Self::Forbidden => RefusalReason::NotOnAllowlist,
            // The other responses with 404 are not logged or have their own reason.
            Self::NotFound(_) => RefusalReason::UnknownCompany,
            Self::MethodNotAllowed => RefusalReason::MethodNotAllowed,
            Self::BodyTimeout => RefusalReason::BodyTimeout,
            Self::BodyTooLarge => RefusalReason::BodyTooLarge,
            Self::NoRoom => RefusalReason::NoRoom,
            Self::Unavailable => RefusalReason::Unavailable,
            Self::Internal => RefusalReason::InternalError,
        }
    }
}

/// The response of a path that does not exist: 404, and 405 for TRACE as on every path.
pub(crate) fn unknown_path_response(method: &Method) -> Response {
    if method == Method::TRACE {
        return ([(header::ALLOW, "")], ApiError::MethodNotAllowed).into_response();
    }
    ApiError::NotFound("Not Found").into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = self.status_and_message();
        let mut response = (status, Json(serde_json::json!({ "message": message }))).into_response();
        response.extensions_mut().insert(Refusal { reason: self.refusal_reason(), function: None });
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
