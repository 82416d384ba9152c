//! The functions' routes.

use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use std::sync::Arc;

use super::{Functions, Request, reply};
use crate::config::DEFAULT_SLUG;
use crate::http::company::Company;
use crate::http::layer::{SignatureLayer, Taken};
use crate::http::{ApiError, RawEvent, Verified};
use crate::storage::StoredAnswer;

const ROUTES: [&str; 2] = ["/api/v1/function/{name}", "/api/v1/function/{company}/{name}"];

/// What became of an invocation, in the words of the metrics: an answer is 200 whatever happened.
pub const OUTCOME_HEADER: &str = "x-retell-webhook-outcome";

/// The path of a company's function; the plain one for `None`.
#[must_use]
pub fn function_path(company: Option<&str>, name: &str) -> String {
    match company.filter(|slug| *slug != DEFAULT_SLUG) {
        Some(company) => format!("/api/v1/function/{company}/{name}"),
        None => format!("/api/v1/function/{name}"),
    }
}

/// The functions' routes, with `signature` in front. A trailing slash is accepted. Which methods a function answers is its
/// own matter.
pub fn router(functions: Functions, signature: &SignatureLayer) -> Router {
    let mut router = Router::new();
    for path in ROUTES {
        let methods = any(receive).layer(signature.clone());
        router = router.route(path, methods.clone()).route(&format!("{path}/"), methods);
    }
    router.with_state(functions)
}

async fn receive(
    State(functions): State<Functions>,
    Extension(company): Extension<Arc<Company>>,
    params: RawPathParams,
    method: Method,
    headers: HeaderMap,
    verified: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    let name = params.iter().find(|(name, _)| *name == "name").map(|(_, name)| name.to_owned());
    functions.answer(Request { method, name, headers, company, verified }).await
}

/// 200 with this answer.
pub(super) fn answered(answer: &StoredAnswer, taken: Taken) -> Response {
    let content_type = HeaderValue::from_str(&answer.content_type);
    let content_type = content_type.unwrap_or_else(|_| HeaderValue::from_static("text/plain; charset=utf-8"));
    let outcome = (HeaderName::from_static(OUTCOME_HEADER), HeaderValue::from_static(taken.outcome));
    let headers = [(header::CONTENT_TYPE, content_type), outcome];
    (StatusCode::OK, Extension(taken), headers, answer.body.clone()).into_response()
}

pub(super) fn unknown() -> Response {
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static(reply::JSON))];
    (StatusCode::NOT_FOUND, json, reply::unknown()).into_response()
}
