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
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every answer here carries. Kept copies are asked about again, so an update of the program shows at once.
const RESPONSE_HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
];

/// The pages, the description, and the files they load. `public_url` is shown as the address Retell sends to.
pub(super) fn router(public_url: &str) -> Router {
    let description = Bytes::from(document::openapi_json(public_url));
    let description = move || async move { ([(CONTENT_TYPE, "application/json")], description) };
    let mut router = Router::new().route(OPENAPI_PATH, get(description));
    for (path, page) in [("/docs", assets::SWAGGER_PAGE), ("/redoc", assets::REDOC_PAGE)] {
        let page = || get(move || async move { ([(CONTENT_TYPE, assets::HTML_CONTENT_TYPE)], page) });
        router = router.route(path, page()).route(&format!("{path}/"), page());
    }
    router
        .route("/docs/{file}", get(async |Path(name): Path<String>| asset_response(assets::swagger_asset(&name))))
        .route("/redoc/{file}", get(async |Path(name): Path<String>| asset_response(assets::redoc_asset(&name))))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(map_response(add_response_headers))
}

fn asset_response(found: Option<assets::DocsAsset>) -> Response {
    found.map_or_else(|| ApiError::NotFound("Not Found").into_response(), IntoResponse::into_response)
}

async fn add_response_headers(mut response: Response) -> Response {
    let headers = RESPONSE_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}
