//! What is answered.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::words::{Problem, sentence};
use crate::config::Fallback;
use crate::egress::Reply;
use crate::storage::StoredAnswer;

/// Retell passes no more on to the model.
pub(super) const MOST_CHARACTERS: usize = 15_000;
/// Bytes that surely hold so many characters.
pub(super) const MOST_BYTES: usize = 4 * MOST_CHARACTERS;

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// JSON, or text as it is.
pub(super) fn of_value(value: &Value) -> StoredAnswer {
    match value {
        Value::String(text) => cut(text, TEXT, false),
        value => cut(&value.to_string(), JSON, false),
    }
}

/// What a server sent; an error page is none.
///
/// # Errors
/// What it is instead of an answer.
pub(super) fn of_server(reply: &Reply) -> Result<StoredAnswer, &'static str> {
    let media_type = reply.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let beginning = reply.body.trim_ascii_start();
    let begins_with = |tag: &[u8]| beginning.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if media_type.starts_with("text/html") || begins_with(b"<!doctype html") || begins_with(b"<html") {
        return Err("a web page");
    }
    let says_json = media_type.starts_with("application/json") || media_type.contains("+json");
    let is_json = !reply.more && serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok();
    if says_json && !is_json && !reply.more && !beginning.is_empty() {
        return Err("what it calls JSON, and is not");
    }
    of_bytes(&reply.body, is_json, reply.more)
}

/// What a target sent; `more` of it was not read.
///
/// # Errors
/// It is no text.
pub(super) fn of_bytes(body: &[u8], is_json: bool, more: bool) -> Result<StoredAnswer, &'static str> {
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
    Ok(cut(text, if is_json { JSON } else { TEXT }, more))
}

/// What is left of JSON that was cut is only text.
fn cut(text: &str, content_type: &str, more: bool) -> StoredAnswer {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => StoredAnswer { content_type: TEXT.into(), body: text[..end].to_owned().into(), cut: true },
        None if more => StoredAnswer { content_type: TEXT.into(), body: text.to_owned().into(), cut: true },
        None => StoredAnswer { content_type: content_type.into(), body: text.to_owned().into(), cut: false },
    }
}

/// The arguments do not fit.
pub(super) fn invalid(function: &str, problems: &[Problem]) -> StoredAnswer {
    let message = format!(
        "The arguments of `{function}` cannot be used: {}. Correct them and call it again.",
        sentence(problems)
    );
    error("invalid_arguments", "invalid", &message, Some(("problems", json!(problems))))
}

/// The function itself, or what reads the body, says what is wrong with the arguments.
pub(super) fn unusable(function: &str, why: &str) -> StoredAnswer {
    let message = format!("The arguments of `{function}` cannot be used: {why}");
    error("invalid_arguments", "invalid", &message, None)
}

/// The body names another function than the address.
pub(super) fn misdirected(function: &str) -> StoredAnswer {
    let message = format!(
        "This is the address of the function `{function}`, and another one was called. The address or the name in the \
         agent's tool is wrong; nothing was done."
    );
    error("wrong_function", "invalid", &message, None)
}

/// What is said when it could not be done.
pub(super) fn fallback(function: &str, own: Option<&Fallback>) -> StoredAnswer {
    match own {
        Some(Fallback::Text(text)) => cut(text, TEXT, false),
        Some(Fallback::Json(fields)) => of_value(&Value::Object(fields.clone())),
        None => {
            let message = format!("`{function}` could not be completed right now. Do not say that it was done.");
            error("unavailable", "failed", &message, None)
        }
    }
}

/// There is no such function: the body of a 404.
pub(super) fn unknown() -> Bytes {
    let message = "There is no such function at this address. See `functions list` for those there are.";
    error("unknown_function", "invalid", message, None).body
}

fn error(error: &str, result: &str, message: &str, more: Option<(&str, Value)>) -> StoredAnswer {
    let mut fields = Map::new();
    fields.insert("error".to_owned(), error.into());
    fields.insert("result".to_owned(), result.into());
    fields.insert("message".to_owned(), message.into());
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    of_value(&Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_at_a_character() {
        for letter in ["a", "é", "漢", "🙂"] {
            let fits = letter.repeat(MOST_CHARACTERS);
            assert!(!of_value(&fits.clone().into()).cut);
            let answer = of_value(&format!("{fits}x").into());
            assert!(answer.cut && answer.body == fits.as_bytes());
            let long = letter.repeat(2 * MOST_CHARACTERS);
            let answer = of_bytes(&long.as_bytes()[..long.len().min(MOST_BYTES)], true, true).unwrap();
            assert!(answer.cut && answer.body == fits.as_bytes() && answer.content_type == TEXT);
        }
    }

    #[test]
    fn a_page_or_bytes_are_no_answer() {
        let of = |content_type: &str, body: &'static [u8], more| {
            let content_type = Some(content_type.to_owned()).filter(|name| !name.is_empty());
            of_server(&Reply { status: 200, content_type, body: Bytes::from_static(body), more })
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
            ("application/json", &b""[..], TEXT),
            ("application/json; charset=utf-8", b"{}", JSON),
            ("application/problem+json", b"[1]", JSON),
            ("", b"sunny", TEXT),
            ("application/octet-stream", b"sunny", TEXT),
            ("application/xml", b"<a/>", TEXT),
        ] {
            let answer = of(content_type, body, false).unwrap();
            assert_eq!((&answer.body[..], answer.content_type.as_str()), (body, said), "{content_type}");
        }
        assert_eq!(of("", b"a\xf0\x9f", true).unwrap().body, "a", "a torn character is let go");
        assert!(of("", b"a\xff\x9fb", true).is_err());
    }

    #[test]
    fn text_stays_text_and_json_json() {
        assert_eq!(of_value(&json!({"a": 1})).content_type, JSON);
        assert_eq!(of_value(&"sunny".into()).body, "sunny");
        let own = Fallback::Text("later".into());
        assert_eq!(fallback("f", Some(&own)).body, "later");
        let usual: Value = serde_json::from_slice(&fallback("f", None).body).unwrap();
        assert_eq!((&usual["error"], &usual["result"]), (&json!("unavailable"), &json!("failed")));
    }
}
