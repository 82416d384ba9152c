//! The page for a person who opens an address that is meant for Retell.

use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse, Response};

use super::routes::webhook_path;

const TEMPLATE: &str = include_str!("page.html");
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
const LOCAL_NOTE: &str = "<p>Retell cannot reach this address: start a tunnel and set <code>SERVER_URL</code> to the https \
    address that it prints.</p>\n      ";
const DOCS_LINK: &str = "<p><a href=\"/docs\">API documentation</a></p>\n    ";

/// What the page says about a receiver.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverPage<'a> {
    /// The base URL, without a password.
    pub public_url: &'a str,
    /// Whether it is an address of this machine only.
    pub is_local: bool,
    pub company: Option<&'a str>,
    pub has_docs: bool,
}

impl IntoResponse for ReceiverPage<'_> {
    fn into_response(self) -> Response {
        let path = webhook_path(self.company);
        let page = TEMPLATE
            .replace("{webhook_url}", &escape_html(&format!("{}{path}", self.public_url)))
            .replace("{test_path}", &escape_html(&format!("{path}/test")))
            .replace("{note}", if self.is_local { LOCAL_NOTE } else { "" })
            .replace("{docs}", if self.has_docs { DOCS_LINK } else { "" });
        let headers = [
            (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (headers, Html(page)).into_response()
    }
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
