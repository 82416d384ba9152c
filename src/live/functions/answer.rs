//! The answers that Retell passes to the model.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::argument_problems::{ArgumentProblem, format_problems};
use crate::config::FunctionFallback;
use crate::egress::TruncatedResponse;
use crate::storage::StoredAnswer;

/// Retell passes at most this many characters to the model.
pub(super) const MAX_ANSWER_CHARACTERS: usize = 15_000;
/// Enough bytes for [`MAX_ANSWER_CHARACTERS`]: UTF-8 needs at most 4 per character.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * MAX_ANSWER_CHARACTERS;

pub(super) const JSON_CONTENT_TYPE: &str = "application/json";
const TEXT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// A JSON string becomes text without its quotes; any other value stays JSON.
pub(super) fn from_value(value: &Value) -> StoredAnswer {
    match value {
        Value::String(text) => truncate(text, TEXT_CONTENT_TYPE, false),
        value => truncate(&value.to_string(), JSON_CONTENT_TYPE, false),
    }
}

/// Makes an answer of a response with status 2xx. An error says what the body is instead.
pub(super) fn from_http_response(response: &TruncatedResponse) -> Result<StoredAnswer, &'static str> {
    let media_type = response.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let beginning = response.body.trim_ascii_start();
    let begins_with = |tag: &[u8]| beginning.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    // Proxies and log-in pages answer 200 with HTML. The model would read it to the caller.
    if media_type.starts_with("text/html") || begins_with(b"<!doctype html") || begins_with(b"<html") {
        return Err("a web page");
    }
    let claims_json = media_type.starts_with("application/json") || media_type.contains("+json");
    let is_json = !response.is_truncated && serde_json::from_slice::<IgnoredAny>(&response.body).is_ok();
    // A body that was cut is not valid JSON any more, whatever its media type. An empty body is an empty answer.
    if claims_json && !is_json && !response.is_truncated && !beginning.is_empty() {
        return Err("invalid JSON with a JSON content type");
    }
    from_bytes(&response.body, is_json, response.is_truncated)
}

/// Makes an answer of what a target sent. `is_truncated` means that `body` is only the beginning.
///
/// # Errors
/// The body is not text in UTF-8.
pub(super) fn from_bytes(body: &[u8], is_json: bool, is_truncated: bool) -> Result<StoredAnswer, &'static str> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        // The cut went through the last character, which is then left out.
        Err(error) if is_truncated && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Err("neither text nor JSON"),
    };
    // NUL is valid UTF-8, but only binary data contains it.
    if text.contains('\0') {
        return Err("neither text nor JSON");
    }
    Ok(truncate(text, if is_json { JSON_CONTENT_TYPE } else { TEXT_CONTENT_TYPE }, is_truncated))
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
            let answer = from_bytes(&long.as_bytes()[..long.len().min(MAX_ANSWER_BYTES)], true, true).unwrap();
            assert!(answer.truncated && answer.body == fits.as_bytes() && answer.content_type == TEXT_CONTENT_TYPE);
        }
    }

    #[test]
    fn web_pages_binary_data_and_invalid_json_are_errors() {
        let answer_of = |content_type: &str, body: &'static [u8], is_truncated| {
            let content_type = Some(content_type.to_owned()).filter(|name| !name.is_empty());
            from_http_response(&TruncatedResponse {
                status: 200,
                content_type,
                body: Bytes::from_static(body),
                is_truncated,
            })
        };
        for (content_type, body) in [
            ("text/html; charset=utf-8", &b"hello"[..]),
            ("", b"\n <!DOCTYPE html><html></html>"),
            ("text/plain", b"<HTML>"),
            ("image/png", b"\x89PNG\r\n\x1a\n\0"),
            ("application/octet-stream", b"\0\0"),
            ("text/plain; charset=latin1", b"Z\xfcrich"),
            ("application/json", b"{\"cut\":"),
        ] {
            assert!(answer_of(content_type, body, false).is_err(), "{content_type}");
        }
        for (content_type, body, answered_type) in [
            ("application/json", &b""[..], TEXT_CONTENT_TYPE),
            ("application/json; charset=utf-8", b"{}", JSON_CONTENT_TYPE),
            ("application/problem+json", b"[1]", JSON_CONTENT_TYPE),
            ("", b"sunny", TEXT_CONTENT_TYPE),
            ("application/octet-stream", b"sunny", TEXT_CONTENT_TYPE),
            ("application/xml", b"<a/>", TEXT_CONTENT_TYPE),
        ] {
            let answer = answer_of(content_type, body, false).unwrap();
            assert_eq!((&answer.body[..], answer.content_type.as_str()), (body, answered_type), "{content_type}");
        }
        assert_eq!(answer_of("", b"a\xf0\x9f", true).unwrap().body, "a", "half a character is left out");
        assert!(answer_of("", b"a\xff\x9fb", true).is_err());
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
