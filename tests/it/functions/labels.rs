//! Servers whose content type does not fit what they answer.

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{WEATHER_PATH, function_request_body, post_function_request, start_with_weather_function};
use crate::support::destination::DestinationServer;

/// Content type, body, and what the model gets; `None` for the fallback.
const ANSWERS: [(&str, &[u8], Option<&str>); 8] = [
    ("text/html; charset=UTF-8", br#"{"sky":"clear"}"#, Some(r#"{"sky":"clear"}"#)),
    ("text/html", b"It is sunny.", Some("It is sunny.")),
    ("text/plain", b"\xef\xbb\xbf{\"sky\":\"clear\"}", Some(r#"{"sky":"clear"}"#)),
    ("application/json", b"\xef\xbb\xbf{\"sky\":\"clear\"}", Some(r#"{"sky":"clear"}"#)),
    ("application/json; charset=ISO-8859-1", b"{\"city\":\"Z\xfcrich\"}", Some(r#"{"city":"Zürich"}"#)),
    ("application/json", b"{\"wind\":NaN}", Some(r#"{"wind":null}"#)),
    ("text/html", b"<html>Log in</html>", None),
    ("text/html", b"<br />\n<b>Notice</b>: Undefined index\n{\"sky\":\"clear\"}", None),
];

#[test]
fn the_content_decides_and_not_the_label() {
    let sink = DestinationServer::start_with(|before, _| {
        let (content_type, body, _) = ANSWERS[before];
        Response::builder().header("content-type", content_type).body(Body::from(body)).unwrap()
    });
    let (_home, server) = start_with_weather_function(&sink.url(), "fallback = \"Sorry.\"");
    for (number, (content_type, body, expected)) in ANSWERS.iter().enumerate() {
        let request = function_request_body(&format!("call_{number}"), &json!({"city": "Bern"}));
        let answer = post_function_request(server.address(), WEATHER_PATH, &request);
        assert_eq!(answer.text(), expected.unwrap_or("Sorry."), "{content_type}: {}", String::from_utf8_lossy(body));
        let is_json = expected.is_some_and(|text| text.starts_with('{'));
        let answered_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        assert_eq!(answer.header("content-type"), Some(answered_type), "{content_type}");
    }
}
