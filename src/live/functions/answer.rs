//! The answers that Retell passes to the model.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::argument_problems::{ArgumentProblem, format_problems};
use crate::config::FunctionFallback;
use crate::egress::{TruncatedResponse, decode_text};
use crate::event::valid_json;
use crate::storage::StoredAnswer;

/// Retell passes at most this many characters to the model.
pub(super) const MAX_ANSWER_CHARACTERS: usize = 15_000;
/// Enough bytes for [`MAX_ANSWER_CHARACTERS`]: UTF-8 needs at most 4 per character.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * MAX_ANSWER_CHARACTERS;

pub(super) const JSON_CONTENT_TYPE: &str = "application/json";
const TEXT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";
const NOT_TEXT: &str = "neither text nor JSON";

/// A JSON string becomes text without its quotes; any other value stays JSON.
pub(super) fn from_value(value: &Value) -> StoredAnswer {
    match value {
        Value::String(text) => truncate(text, TEXT_CONTENT_TYPE, false),
        value => truncate(&value.to_string(), JSON_CONTENT_TYPE, false),
    }
}

/// Makes an answer of a response with status 2xx. The content decides what it is, because many servers label JSON and
/// plain text as HTML: it is PHP's default. An error says what the body is instead.
pub(super) fn from_http_response(response: &TruncatedResponse) -> Result<StoredAnswer, &'static str> {
    let content_type = response.content_type.as_deref();
    let text = decode_text(content_type, &response.body, response.is_truncated).ok_or(NOT_TEXT)?;
    let media_type = content_type.unwrap_or_default().to_ascii_lowercase();
    // A body that was cut is not valid JSON any more, whatever it began as.
    if !response.is_truncated {
        if let Some(answer) = from_json_text(&text) {
            return Ok(answer);
        }
        let claims_json = media_type.starts_with("application/json") || media_type.contains("+json");
        if claims_json && !text.trim_ascii().is_empty() {
            return Err("invalid JSON with a JSON content type");
        }
    }
    if is_web_page(&text, media_type.contains("html")) {
        return Err("a web page");
    }
    Ok(truncate(&text, TEXT_CONTENT_TYPE, response.is_truncated))
}

/// Makes an answer of what a program printed, or of its beginning.
///
/// # Errors
/// It is not text in UTF-8 or UTF-16.
pub(super) fn from_program_output(output: &[u8], is_truncated: bool) -> Result<StoredAnswer, &'static str> {
    let text = decode_text(None, output, is_truncated).ok_or(NOT_TEXT)?;
    let json = if is_truncated { None } else { from_json_text(&text) };
    Ok(json.unwrap_or_else(|| truncate(&text, TEXT_CONTENT_TYPE, is_truncated)))
}

/// The answer if the text is JSON, apart from what [`valid_json`] corrects.
fn from_json_text(text: &str) -> Option<StoredAnswer> {
    let json = valid_json(text.as_bytes());
    serde_json::from_str::<IgnoredAny>(&json).ok()?;
    Some(truncate(&json, JSON_CONTENT_TYPE, false))
}

/// Proxies and log-in pages answer 200 with HTML, and PHP writes its warnings as HTML. The model would read it to the
/// caller.
fn is_web_page(text: &str, is_labelled_html: bool) -> bool {
    let beginning = text.trim_ascii_start().as_bytes();
    let begins_with = |tag: &[u8]| beginning.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    let is_tag = |after: &str| after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
    begins_with(b"<!doctype html") || begins_with(b"<html") || (is_labelled_html && text.split('<').skip(1).any(is_tag))
}

/// Cuts the text to [`MAX_ANSWER_CHARACTERS`]. JSON that was cut, here or while it was read, is sent as text.
fn truncate(text: &str, content_type: &str, is_truncated: bool) -> StoredAnswer {
    match text.char_indices().nth(MAX_ANSWER_CHARACTERS) {
        Some((end, _)) => StoredAnswer {
            content_type: TEXT_CONTENT_TYPE.into(),
            body: text[..end].to_owned().into(),
            truncated: true,
        },
        None if is_truncated => {
            StoredAnswer { content_type: TEXT_CONTENT_TYPE.into(), body: text.to_owned().into(), truncated: true }
        }
        None => StoredAnswer { content_type: content_type.into(), body: text.to_owned().into(), truncated: false },
    }
}

/// The arguments do not fit the schema.
pub(super) fn schema_violations(function: &str, problems: &[ArgumentProblem]) -> StoredAnswer {
    let message = format!(
        "The arguments of `{function}` cannot be used: {}. Correct them and call it again.",
        format_problems(problems)
    );
    error_answer("invalid_arguments", "invalid", &message, Some(("problems", json!(problems))))
}

/// The function itself rejected its arguments, or the body could not be read.
pub(super) fn invalid_arguments(function: &str, problem: &str) -> StoredAnswer {
    let message = format!("The arguments of `{function}` cannot be used: {problem}");
    error_answer("invalid_arguments", "invalid", &message, None)
}

/// The body names another function than the path.
pub(super) fn wrong_function(function: &str) -> StoredAnswer {
    let message = format!(
        "This is the address of the function `{function}`, but the request names another function. Nothing was done. \
         Correct the URL or the name in the agent's tool."
    );
    error_answer("wrong_function", "invalid", &message, None)
}

/// The answer when the function failed or took too long.
pub(super) fn fallback(function: &str, configured: Option<&FunctionFallback>) -> StoredAnswer {
    match configured {
        Some(FunctionFallback::Text(text)) => truncate(text, TEXT_CONTENT_TYPE, false),
        Some(FunctionFallback::Json(fields)) => from_value(&Value::Object(fields.clone())),
        None => {
            // Models tend to confirm what they asked for, so the text forbids it.
            let message = format!("`{function}` could not be completed right now. Do not say that it was done.");
            error_answer("unavailable", "failed", &message, None)
        }
    }
}

/// The body of a 404.
pub(super) fn unknown_function_body() -> Bytes {
    let message = "No function with this name exists at this address. Check the name in the URL of the agent's tool.";
    error_answer("unknown_function", "invalid", message, None).body
}

/// The body of the response to a call of a function that is not configured, at an address for events. It was stored.
pub(crate) fn unconfigured_function_body() -> Bytes {
    let message =
        "No function with this name is configured at this address. Nothing was done. Do not say that it was done.";
    error_answer("unknown_function", "failed", message, Some(("received", true.into()))).body
}

/// The body of the response to an object that is not an event, at an address for events: it was stored, but it may be
/// the arguments of a function.
pub(crate) fn not_an_event_body() -> Bytes {
    let message =
        "This address takes events. If this was a function call, nothing was done. Do not say that it was done.";
    error_answer("not_an_event", "failed", message, Some(("received", true.into()))).body
}

fn error_answer(error: &str, result: &str, message: &str, extra_field: Option<(&str, Value)>) -> StoredAnswer {
    let mut fields = Map::new();
    fields.insert("error".to_owned(), error.into());
    fields.insert("result".to_owned(), result.into());
    fields.insert("message".to_owned(), message.into());
    fields.extend(extra_field.map(|(name, value)| (name.to_owned(), value)));
    from_value(&Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_between_characters() {
        for letter in ["a", "é", "漢", "🙂"] {
            let fits = letter.repeat(MAX_ANSWER_CHARACTERS);
            assert!(!from_value(&fits.clone().into()).truncated);
            let answer = from_value(&format!("{fits}x").into());
            assert!(answer.truncated && answer.body == fits.as_bytes());
            let long = letter.repeat(2 * MAX_ANSWER_CHARACTERS);
            let answer = from_program_output(&long.as_bytes()[..long.len().min(MAX_ANSWER_BYTES)], true).unwrap();
            assert!(answer.truncated && answer.body == fits.as_bytes() && answer.content_type == TEXT_CONTENT_TYPE);
        }
    }

    fn answer_of(content_type: &str, body: &'static [u8], is_truncated: bool) -> Result<StoredAnswer, &'static str> {
        let content_type = Some(content_type.to_owned()).filter(|name| !name.is_empty());
        let body = Bytes::from_static(body);
        from_http_response(&TruncatedResponse { status: 200, content_type, body, is_truncated })
    }

    #[test]
    fn web_pages_binary_data_and_invalid_json_are_errors() {
        for (content_type, body) in [
            ("text/html; charset=utf-8", &b"<p>Please log in</p>"[..]),
            ("text/html", b"<br />\n<b>Warning</b>: Undefined variable\n{\"status\":\"ok\"}"),
            ("text/html", b"{\"status\":\"ok\"}<br />\n<b>Warning</b>"),
            ("", b"\n <!DOCTYPE html><html></html>"),
            ("application/json", b"<!DOCTYPE html><html></html>"),
            ("text/plain", b"<HTML>"),
            ("image/png", b"\x89PNG\r\n\x1a\n\0"),
            ("application/octet-stream", b"\0\0"),
            ("text/plain", b"Z\xfcrich"),
            ("application/json", b"{\"cut\":"),
        ] {
            assert!(answer_of(content_type, body, false).is_err(), "{content_type}");
        }
        assert_eq!(answer_of("", b"a\xf0\x9f", true).unwrap().body, "a", "half a character is left out");
        assert!(answer_of("", b"a\xff\x9fb", true).is_err());
    }

    #[test]
    fn the_content_decides_what_an_answer_is() {
        for (content_type, body, answered, answered_type) in [
            ("application/json", &b""[..], "", TEXT_CONTENT_TYPE),
            ("application/json; charset=utf-8", b"{}", "{}", JSON_CONTENT_TYPE),
            ("application/problem+json", b"[1]", "[1]", JSON_CONTENT_TYPE),
            (
                "text/html; charset=UTF-8",
                b"{\"sky\":\"<b>clear</b>\"}",
                "{\"sky\":\"<b>clear</b>\"}",
                JSON_CONTENT_TYPE,
            ),
            ("text/html", b"\xef\xbb\xbf{\"a\":1}\n", "{\"a\":1}\n", JSON_CONTENT_TYPE),
            ("application/json", b"\xef\xbb\xbf[]", "[]", JSON_CONTENT_TYPE),
            (
                "application/json; charset=iso-8859-1",
                b"{\"city\":\"Z\xfcrich\"}",
                "{\"city\":\"Zürich\"}",
                JSON_CONTENT_TYPE,
            ),
            ("application/json", b"\xff\xfe{\0}\0", "{}", JSON_CONTENT_TYPE),
            ("application/json", b"{\"a\":NaN,\"b\":\"\\ud83d\"}", "{\"a\":null,\"b\":\"\\ufffd\"}", JSON_CONTENT_TYPE),
            ("text/html", b"The order is in transit, 3 < 5", "The order is in transit, 3 < 5", TEXT_CONTENT_TYPE),
            ("", b"sunny", "sunny", TEXT_CONTENT_TYPE),
            ("application/octet-stream", b"sunny", "sunny", TEXT_CONTENT_TYPE),
            ("application/xml", b"<a/>", "<a/>", TEXT_CONTENT_TYPE),
        ] {
            let answer = answer_of(content_type, body, false).unwrap();
            assert_eq!(
                (&answer.body[..], &*answer.content_type),
                (answered.as_bytes(), answered_type),
                "{content_type}"
            );
        }
        assert_eq!(from_program_output(b"\xef\xbb\xbf{}", false).unwrap().content_type, JSON_CONTENT_TYPE);
    }

    #[test]
    fn text_is_sent_as_text_and_json_as_json() {
        assert_eq!(from_value(&json!({"a": 1})).content_type, JSON_CONTENT_TYPE);
        assert_eq!(from_value(&"sunny".into()).body, "sunny");
        let configured = FunctionFallback::Text("later".into());
        assert_eq!(fallback("f", Some(&configured)).body, "later");
        let default: Value = serde_json::from_slice(&fallback("f", None).body).unwrap();
        assert_eq!((&default["error"], &default["result"]), (&json!("unavailable"), &json!("failed")));
    }
}
