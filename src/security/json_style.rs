//! Re-serializes JSON in the style of common libraries, to find out which of them changed a body. Numbers keep their
//! text and keys their order; only whitespace and the escaping of strings change.

use std::fmt::Write;

use serde::de::IgnoredAny;

/// The style in which a library writes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonStyle {
    pub(super) spacing: JsonSpacing,
    /// Whether all characters except printable ASCII are written as `\uXXXX`.
    pub(super) escape_non_ascii: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonSpacing {
    /// The whitespace of the input is kept.
    Unchanged,
    /// No whitespace between tokens: `{"a":1,"b":2}`.
    Compact,
    /// One space after every comma and colon: `{"a": 1, "b": 2}`.
    AfterSeparators,
}

/// Re-serializes `body` in this style; `None` when it is not valid JSON.
pub(super) fn reserialize(body: &[u8], style: JsonStyle) -> Option<Vec<u8>> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    // The body is valid JSON, so a scan by tokens is enough: a parsed value would lose the order of keys and the text
    // of numbers.
    let mut text = str::from_utf8(body).ok()?;
    let mut written = String::with_capacity(text.len() + text.len() / 8);
    while let Some(first) = text.chars().next() {
        let length = if first == '"' { string_token_length(text)? } else { first.len_utf8() };
        let (token, rest) = text.split_at(length);
        text = rest;
        match first {
            '"' => write_json_string(token, style.escape_non_ascii, &mut written)?,
            ' ' | '\t' | '\r' | '\n' if style.spacing != JsonSpacing::Unchanged => {}
            _ => written.push_str(token),
        }
        if matches!(first, ',' | ':') && style.spacing == JsonSpacing::AfterSeparators {
            written.push(' ');
        }
    }
    Some(written.into_bytes())
}

/// Length of the string at the start of `text`, including both quotes.
fn string_token_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Writes the string `token` in the given escaping; `None` for an unpaired surrogate, which a Rust string cannot
/// hold.
fn write_json_string(token: &str, ascii: bool, written: &mut String) -> Option<()> {
    let text: String = serde_json::from_str(token).ok()?;
    written.push('"');
    for c in text.chars() {
        match c {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\u{8}' => written.push_str("\\b"),
            '\u{c}' => written.push_str("\\f"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            ' '..='~' => written.push(c),
            c if ascii || c < ' ' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(written, "\\u{unit:04x}").ok()?;
                }
            }
            c => written.push(c),
        }
    }
    written.push('"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNUSUAL_JSON: &str = r#" { "b" : 1.50, "a":[ 1e3,true,null , "é\u00e9\/ 😀\u0001\n\"," ],"b":{ }} "#;

    fn reserialized(space: JsonSpacing, ascii: bool) -> String {
        String::from_utf8(
            reserialize(UNUSUAL_JSON.as_bytes(), JsonStyle { spacing: space, escape_non_ascii: ascii }).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn styles_match_the_output_of_libraries() {
        assert_eq!(
            reserialized(JsonSpacing::Compact, false),
            r#"{"b":1.50,"a":[1e3,true,null,"éé/ 😀\u0001\n\","],"b":{}}"#
        );
        assert_eq!(
            reserialized(JsonSpacing::AfterSeparators, true),
            r#"{"b": 1.50, "a": [1e3, true, null, "\u00e9\u00e9/ \ud83d\ude00\u0001\n\","], "b": {}}"#
        );
        assert_eq!(
            reserialized(JsonSpacing::Unchanged, true),
            r#" { "b" : 1.50, "a":[ 1e3,true,null , "\u00e9\u00e9/ \ud83d\ude00\u0001\n\"," ],"b":{ }} "#
        );
    }

    #[test]
    fn invalid_json_is_not_reserialized() {
        let style = JsonStyle { spacing: JsonSpacing::Compact, escape_non_ascii: false };
        for body in ["", "{", "{\"a\":1}}", "call", "\"\\ud83d\"", "\u{feff}{}"] {
            assert_eq!(reserialize(body.as_bytes(), style), None, "{body}");
        }
        assert_eq!(reserialize(b"{\"\xff\":1}", style), None);
    }
}
