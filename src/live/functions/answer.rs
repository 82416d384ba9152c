//! What is answered.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::argument_problems::{ArgumentProblem, format_problems};
use crate::config::FunctionFallback;
use crate::egress::TruncatedResponse;
use crate::storage::StoredAnswer;

/// Retell passes no more on to the model.
pub(super) const MAX_ANSWER_CHARACTERS: usize = 15_000;
/// Bytes that surely hold so many characters.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * MAX_ANSWER_CHARACTERS;

pub(super) const JSON_CONTENT_TYPE: &str = "application/json";
const TEXT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// JSON, or text as it is.
pub(super) fn from_value(value: &Value) -> StoredAnswer {
    match value {
        Value::String(text) => truncate(text, TEXT_CONTENT_TYPE, false),
        value => truncate(&value.to_string(), JSON_CONTENT_TYPE, false),
    }
}

/// What a server sent; an error page is none.
///
/// # Errors
/// What it is instead of an answer.
pub(super) fn from_http_response(reply: &TruncatedResponse) -> Result<StoredAnswer, &'static str> {
    let media_type = reply.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let beginning = reply.body.trim_ascii_start();
    let begins_with = |tag: &[u8]| beginning.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if media_type.starts_with("text/html") || begins_with(b"<!doctype html") || begins_with(b"<html") {
        return Err("a web page");
    }
    let says_json = media_type.starts_with("application/json") || media_type.contains("+json");
    let is_json = !reply.is_truncated && serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok();
    if says_json && !is_json && !reply.is_truncated && !beginning.is_empty() {
        return Err("what it calls JSON, and is not");
    }
    from_bytes(&reply.body, is_json, reply.is_truncated)
}

/// What a target sent; `more` of it was not read.
///
/// # Errors
/// It is no text.
pub(super) fn from_bytes(body: &[u8], is_json: bool, more: bool) -> Result<StoredAnswer, &'static str> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        // The last character was torn apart.
        Err(error) if more && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Err("neither text nor JSON"),
    };
    if text.contains('\0') {
        return Err("neither text nor JSON");
    }
    Ok(truncate(text, if is_json { JSON_CONTENT_TYPE } else { TEXT_CONTENT_TYPE }, more))
}

/// What is left of JSON that was cut is only text.
fn truncate(text: &str, content_type: &str, more: bool) -> StoredAnswer {
    match text.char_indices().nth(MAX_ANSWER_CHARACTERS) {
        Some((end, _)) => StoredAnswer {
            content_type: TEXT_CONTENT_TYPE.into(),
            body: text[..end].to_owned().into(),
            truncated: true,
        },
        None if more => {
            StoredAnswer { content_type: TEXT_CONTENT_TYPE.into(), body: text.to_owned().into(), truncated: true }
        }
        None => StoredAnswer { content_type: content_type.into(), body: text.to_owned().into(), truncated: false },
    }
}

/// The arguments do not fit.
pub(super) fn schema_violations(function: &str, problems: &[ArgumentProblem]) -> StoredAnswer {
    let message = format!(
        "The arguments of `{function}` cannot be used: {}. Correct them and call it again.",
        format_problems(problems)
    );
    error_answer("invalid_arguments", "invalid", &message, Some(("problems", json!(problems))))
}

/// The function itself, or what reads the body, says what is wrong with the arguments.
pub(super) fn invalid_arguments(function: &str, why: &str) -> StoredAnswer {
    let message = format!("The arguments of `{function}` cannot be used: {why}");
    error_answer("invalid_arguments", "invalid", &message, None)
}

/// The body names another function than the address.
pub(super) fn wrong_function(function: &str) -> StoredAnswer {
    let message = format!(
        "This is the address of the function `{function}`, and another one was called. The address or the name in the \
         agent's tool is wrong; nothing was done."
    );
    error_answer("wrong_function", "invalid", &message, None)
}

/// What is said when it could not be done.
pub(super) fn fallback(function: &str, own: Option<&FunctionFallback>) -> StoredAnswer {
    match own {
        Some(FunctionFallback::Text(text)) => truncate(text, TEXT_CONTENT_TYPE, false),
        Some(FunctionFallback::Json(fields)) => from_value(&Value::Object(fields.clone())),
        None => {
            let message = format!("`{function}` could not be completed right now. Do not say that it was done.");
            error_answer("unavailable", "failed", &message, None)
        }
    }
}

/// There is no such function: the body of a 404.
pub(super) fn unknown_function_body() -> Bytes {
    let message = "There is no such function at this address. See `functions list` for those there are.";
    error_answer("unknown_function", "invalid", message, None).body
}

fn error_answer(error: &str, result: &str, message: &str, more: Option<(&str, Value)>) -> StoredAnswer {
    let mut fields = Map::new();
    fields.insert("error".to_owned(), error.into());
    fields.insert("result".to_owned(), result.into());
    fields.insert("message".to_owned(), message.into());
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    from_value(&Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_at_a_character() {
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
    fn a_page_or_bytes_are_no_answer() {
        let of = |content_type: &str, body: &'static [u8], more| {
            let content_type = Some(content_type.to_owned()).filter(|name| !name.is_empty());
            from_http_response(&TruncatedResponse {
                status: 200,
                content_type,
                body: Bytes::from_static(body),
                is_truncated: more,
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
            assert!(of(content_type, body, false).is_err(), "{content_type}");
        }
        for (content_type, body, said) in [
            ("application/json", &b""[..], TEXT_CONTENT_TYPE),
            ("application/json; charset=utf-8", b"{}", JSON_CONTENT_TYPE),
            ("application/problem+json", b"[1]", JSON_CONTENT_TYPE),
            ("", b"sunny", TEXT_CONTENT_TYPE),
            ("application/octet-stream", b"sunny", TEXT_CONTENT_TYPE),
            ("application/xml", b"<a/>", TEXT_CONTENT_TYPE),
        ] {
            let answer = of(content_type, body, false).unwrap();
            assert_eq!((&answer.body[..], answer.content_type.as_str()), (body, said), "{content_type}");
        }
        assert_eq!(of("", b"a\xf0\x9f", true).unwrap().body, "a", "a torn character is let go");
        assert!(of("", b"a\xff\x9fb", true).is_err());
    }

    #[test]
    fn text_stays_text_and_json_json() {
        assert_eq!(from_value(&json!({"a": 1})).content_type, JSON_CONTENT_TYPE);
        assert_eq!(from_value(&"sunny".into()).body, "sunny");
        let own = FunctionFallback::Text("later".into());
        assert_eq!(fallback("f", Some(&own)).body, "later");
        let usual: Value = serde_json::from_slice(&fallback("f", None).body).unwrap();
        assert_eq!((&usual["error"], &usual["result"]), (&json!("unavailable"), &json!("failed")));
    }
}
