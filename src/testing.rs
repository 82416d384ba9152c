//! Helpers for tests of an application that embeds the receiver or uses the [`SignatureLayer`](crate::SignatureLayer).
//!
//! ```
//! use axum::{Router, routing::post};
//! use retell_webhook::{Event, SignatureLayer, Verified, testing};
//! use tower::ServiceExt;
//!
//! async fn receive(event: Verified<Event>) -> String {
//!     event.get().name().to_owned()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), std::convert::Infallible> {
//! let app: Router = Router::new()
//!     .route(testing::WEBHOOK_PATH, post(receive))
//!     .layer(SignatureLayer::new(testing::API_KEY));
//! let body = r#"{"event":"call_ended","call":{"call_id":"call_1"}}"#;
//! let response = app.oneshot(testing::signed_request(body)).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```

use axum::body::Body;
use axum::http::{Method, Request, Uri, header};
use bytes::Bytes;

use crate::base::clock::Clock;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// The key that [`signed_request`] signs with. Configure it as the receiver's API key in tests.
pub const API_KEY: &str = "key_0000000000000000000000test";

/// The path that [`signed_request`] posts to.
pub const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";

/// A `POST` to [`WEBHOOK_PATH`] with `body`, signed now with [`API_KEY`] as Retell signs.
///
/// To send it elsewhere, replace its URI: the signature covers the body and the time, not the address.
pub fn signed_request(body: impl Into<Bytes>) -> Request<Body> {
    let body = body.into();
    let signature = Signature::sign(&ApiKey::from(API_KEY), &body, Clock::system().now_ms());
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(WEBHOOK_PATH);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    // The text is visible ASCII, so it is always a valid header value.
    if let Ok(value) = header::HeaderValue::try_from(signature.to_string()) {
        headers.insert(SIGNATURE_HEADER, value);
    }
    request
}

/// A handler's [`Context`](crate::Context) for a first attempt with a timeout of one minute, for the default company.
#[cfg(feature = "receiver")]
#[must_use]
pub fn context() -> crate::Context {
    let now_ms = Clock::system().now_ms();
    let event_id = crate::base::id::EventIdGenerator::default().next_id(now_ms);
    crate::Context::new(event_id, (crate::storage::DEFAULT_COMPANY_ID, crate::config::DEFAULT_COMPANY_SLUG), now_ms)
}
