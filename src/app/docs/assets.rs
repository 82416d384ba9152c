//! The files of the documentation pages, which are embedded in the program.

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

/// The files of Swagger UI that the pages load; the others are not served.
const SWAGGER_FILES: [&str; 3] = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"];

/// A file and its content type.
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
        // Compressed at build time. Every browser accepts gzip, and an uncompressed form is not embedded.
        let encoding = self.gzipped.then_some([(CONTENT_ENCODING, "gzip")]);
        match encoding {
            Some(encoding) => (content_type, encoding, self.bytes).into_response(),
            None => (content_type, self.bytes).into_response(),
        }
    }
}

/// A file under `/docs/` by name.
pub(super) fn swagger_asset(name: &str) -> Option<DocsAsset> {
    match name {
        "start.js" => Some(DocsAsset::script(Bytes::from_static(SWAGGER_START_SCRIPT.as_bytes()))),
        name if SWAGGER_FILES.contains(&name) => swagger_ui_file(name),
        _ => None,
    }
}

/// A file under `/redoc/` by name.
pub(super) fn redoc_asset(name: &str) -> Option<DocsAsset> {
    match name {
        "start.js" => Some(DocsAsset::script(Bytes::from_static(REDOC_START_SCRIPT.as_bytes()))),
        "redoc.standalone.js" => Some(DocsAsset::script(REDOC_BUNDLE.clone())),
        _ => None,
    }
}

fn swagger_ui_file(name: &str) -> Option<DocsAsset> {
    // The configuration only affects Swagger UI's own start script, which is not served.
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok().flatten()?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Some(DocsAsset { content_type: file.content_type.into(), bytes, gzipped: file.gzpipped })
}

/// The only file that ReDoc loads from another host, a logo below the menu. It is replaced by an empty image: the
/// content policy would block it, but with an error in the browser console.
const REMOTE_LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";
const EMPTY_LOGO: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

/// ReDoc's script. The crate provides it only inside a page, as an inline script that the content policy forbids, so
/// it is extracted. This happens at the first request, because most processes never serve it.
static REDOC_BUNDLE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = aide::redoc::Redoc::new("").html();
    let script = inline_script(&page).unwrap_or_default();
    script.replace(REMOTE_LOGO, EMPTY_LOGO).into()
});

/// The text between the first script tag of the page and the call that starts ReDoc.
fn inline_script(page: &str) -> Option<&str> {
    let (_, script) = page.split_once("<script>")?;
    let (script, _) = script.rsplit_once("Redoc.init(")?;
    Some(script.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_pages_load_exists() {
        for page in [SWAGGER_PAGE, REDOC_PAGE] {
            let named = page.split('"').filter(|text| text.starts_with('/'));
            assert!(named.clone().count() >= 3);
            for path in named {
                let asset = path.strip_prefix("/docs/").and_then(swagger_asset);
                let asset = asset.or_else(|| path.strip_prefix("/redoc/").and_then(redoc_asset));
                assert!(asset.is_some_and(|file| file.bytes.len() > 100), "{path}");
            }
        }
    }

    #[test]
    fn the_script_of_redoc_is_extracted_completely() {
        let script = std::str::from_utf8(&REDOC_BUNDLE).unwrap();
        assert!(script.len() > 500_000 && script.starts_with("/*!"), "{}", script.len());
        assert!(script.contains(EMPTY_LOGO) && !script.contains("cdn.redoc.ly"));
    }
}
