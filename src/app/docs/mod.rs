//! The API documentation: Swagger UI at `/docs`, ReDoc at `/redoc` and the OpenAPI 3.1 document at
//! `/api/v1/openapi.json`.
//!
//! All files are embedded in the program. The pages work without internet access, and their content policy forbids the
//! browser to contact any other host.

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

/// The path of the OpenAPI document.
pub(super) const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// The content security policy of the pages. `style-src 'unsafe-inline'`: both pages create styles in the browser.
/// `img-src data:`: the style sheet of Swagger UI embeds its images. `worker-src blob:`: the search of ReDoc runs in
/// a worker that is created from a blob.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' \
    data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every response here. `no-cache` makes browsers revalidate, so an update of the program is visible at
/// once.
const RESPONSE_HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
];

/// The routes of the pages, their files and the OpenAPI document. `public_url` is shown as the address that Retell
/// sends to.
pub(super) fn router(public_url: &str) -> Router {
    let document = Bytes::from(document::openapi_json(public_url));
    let serve_document = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    let mut router = Router::new().route(OPENAPI_PATH, get(serve_document));
    for (path, page) in [("/docs", assets::SWAGGER_PAGE), ("/redoc", assets::REDOC_PAGE)] {
        let serve_page = || get(move || async move { ([(CONTENT_TYPE, assets::HTML_CONTENT_TYPE)], page) });
        router = router.route(path, serve_page()).route(&format!("{path}/"), serve_page());
    }
    router
        .route("/docs/{file}", get(async |Path(name): Path<String>| asset_response(assets::swagger_asset(&name))))
        .route("/redoc/{file}", get(async |Path(name): Path<String>| asset_response(assets::redoc_asset(&name))))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(map_response(add_response_headers))
}

fn asset_response(asset: Option<assets::DocsAsset>) -> Response {
    match asset {
        Some(asset) => asset.into_response(),
        None => ApiError::NotFound("Not Found").into_response(),
    }
}

async fn add_response_headers(mut response: Response) -> Response {
    let headers = RESPONSE_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}
