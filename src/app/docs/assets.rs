//! The files the pages load, as they lie in the program.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

pub(super) const HTML_CONTENT_TYPE: &str = "text/html; charset=utf-8";
const SCRIPT_CONTENT_TYPE: &str = "text/javascript; charset=utf-8";

pub(super) const SWAGGER_PAGE: &str = include_str!("pages/docs.html");
pub(super) const REDOC_PAGE: &str = include_str!("pages/redoc.html");
const SWAGGER_START_SCRIPT: &str = include_str!("pages/docs.js");
const REDOC_START_SCRIPT: &str = include_str!("pages/redoc.js");

/// Those of Swagger UI's files that the pages use.
const SWAGGER_FILES: [&str; 3] = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"];

/// A file to be answered with.
pub(super) struct DocsAsset {
    content_type: Cow<'static, str>,
    bytes: Bytes,
    gzipped: bool,
}

impl DocsAsset {
    fn script(bytes: Bytes) -> Self {
        Self { content_type: SCRIPT_CONTENT_TYPE.into(), bytes, gzipped: false }
    }
}

impl IntoResponse for DocsAsset {
    fn into_response(self) -> Response {
        let content_type = [(CONTENT_TYPE, self.content_type.into_owned())];
        // Packed when the program was built, for every browser unpacks it; there is no other form to fall back to.
        let encoding = self.gzipped.then_some([(CONTENT_ENCODING, "gzip")]);
        match encoding {
            Some(encoding) => (content_type, encoding, self.bytes).into_response(),
            None => (content_type, self.bytes).into_response(),
        }
    }
}

/// A file of `/docs`.
pub(super) fn swagger_asset(name: &str) -> Option<DocsAsset> {
    match name {
        "start.js" => Some(DocsAsset::script(Bytes::from_static(SWAGGER_START_SCRIPT.as_bytes()))),
        name if SWAGGER_FILES.contains(&name) => swagger_ui_file(name),
        _ => None,
    }
}

/// A file of `/redoc`.
pub(super) fn redoc_asset(name: &str) -> Option<DocsAsset> {
    match name {
        "start.js" => Some(DocsAsset::script(Bytes::from_static(REDOC_START_SCRIPT.as_bytes()))),
        "redoc.standalone.js" => Some(DocsAsset::script(REDOC_BUNDLE.clone())),
        _ => None,
    }
}

fn swagger_ui_file(name: &str) -> Option<DocsAsset> {
    // The configuration only matters to a start script of Swagger UI's own, which is not served.
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok().flatten()?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Some(DocsAsset { content_type: file.content_type.into(), bytes, gzipped: file.gzpipped })
}

/// The one thing ReDoc would load from elsewhere, a maker's mark beside the menu, and an empty picture in its place: the
/// content policy would stop it, but with an error in the browser's console.
const REMOTE_LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";
const EMPTY_LOGO: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

/// ReDoc's script. The crate gives it only inside a page, whose inline script the content policy would forbid; so it is
/// taken out, at the first request: most processes are never asked for it.
static REDOC_BUNDLE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = aide::redoc::Redoc::new("").html();
    let script = inline_script(&page).unwrap_or_default();
    script.replace(REMOTE_LOGO, EMPTY_LOGO).into()
});

/// What stands between the page's first script tag and the call that starts it.
fn inline_script(page: &str) -> Option<&str> {
    let (_, script) = page.split_once("<script>")?;
    let (script, _) = script.rsplit_once("Redoc.init(")?;
    Some(script.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_the_pages_name_is_there() {
        for page in [SWAGGER_PAGE, REDOC_PAGE] {
            let named = page.split('"').filter(|text| text.starts_with('/'));
            assert!(named.clone().count() >= 3);
            for path in named {
                let found = path.strip_prefix("/docs/").and_then(swagger_asset);
                let found = found.or_else(|| path.strip_prefix("/redoc/").and_then(redoc_asset));
                assert!(found.is_some_and(|file| file.bytes.len() > 100), "{path}");
            }
        }
    }

    #[test]
    fn redoc_s_script_is_taken_out_whole() {
        let script = std::str::from_utf8(&REDOC_BUNDLE).unwrap();
        assert!(script.len() > 500_000 && script.starts_with("/*!"), "{}", script.len());
        assert!(script.contains(EMPTY_LOGO) && !script.contains("cdn.redoc.ly"));
    }
}
