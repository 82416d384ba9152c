//! The interface described for people and machines: Swagger UI at `/docs`, ReDoc at `/redoc`, OpenAPI 3.1 at
//! `/api/v1/openapi.json`.
//!
//! Promise: everything comes out of the program. The pages work without the internet, and their content policy forbids
//! the browser to ask anybody else.

mod assets;
mod document;
mod schemas;
mod webhooks;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::http::ApiError;

/// Where the description is.
pub(super) const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// Styles: both pages make theirs in the browser. Images: those of Swagger UI's style sheet are `data:`. Worker: ReDoc's
/// search runs in one made of a blob.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every answer here carries. Kept copies are asked about again, so an update of the program shows at once.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
];

/// The pages, the description, and the files they load. `public_url` is shown as the address Retell sends to.
pub(super) fn router(public_url: &str) -> Router {
    let description = Bytes::from(document::json(public_url));
    let description = move || async move { ([(CONTENT_TYPE, "application/json")], description) };
    let mut router = Router::new().route(OPENAPI_PATH, get(description));
    for (path, page) in [("/docs", assets::DOCS), ("/redoc", assets::REDOC)] {
        let page = || get(move || async move { ([(CONTENT_TYPE, assets::HTML)], page) });
        router = router.route(path, page()).route(&format!("{path}/"), page());
    }
    router
        .route("/docs/{file}", get(async |Path(name): Path<String>| file(assets::docs(&name))))
        .route("/redoc/{file}", get(async |Path(name): Path<String>| file(assets::redoc(&name))))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(map_response(with_headers))
}

fn file(found: Option<assets::File>) -> Response {
    found.map_or_else(|| ApiError::NotFound("Not Found").into_response(), IntoResponse::into_response)
}

async fn with_headers(mut response: Response) -> Response {
    let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}
