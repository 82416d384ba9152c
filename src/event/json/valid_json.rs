//! Makes valid JSON of a body that strict parsers refuse for one part of it. Everything else stays as it was written.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

/// Deepest nesting of arrays and objects that common parsers accept: .NET refuses more, `serde_json` 128 levels.
const MAX_DEPTH: usize = 64;
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The body as JSON text that every parser reads: unpaired surrogates and invalid UTF-8 become U+FFFD; `NaN`, numbers
/// that `f64` cannot hold and values below [`MAX_DEPTH`] levels become null; a byte order mark is left out. Text that
/// is not JSON for another reason is still not JSON.
#[must_use]
pub(crate) fn valid_json(body: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => Repair::run(without_byte_order_mark(text)),
        Cow::Owned(text) => Cow::Owned(Repair::run(without_byte_order_mark(&text)).into_owned()),
    }
}

/// The body as a server gets it: the same bytes, unless [`valid_json`] changes them.
#[must_use]
pub(crate) fn valid_json_body(body: &Bytes) -> Bytes {
    let text = valid_json(body);
    if text.as_bytes() == &body[..] { body.clone() } else { text.into_owned().into() }
}

/// Parses [`valid_json`]; `None` when it is not JSON.
#[must_use]
pub(crate) fn parse_json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().or_else(|| serde_json::from_str(&valid_json(body)).ok())
}

/// The text after a byte order mark.
pub(in crate::event) fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// One pass over a text, without recursion. `repaired` is the result for `text[..copied]`.
struct Repair<'a> {
    text: &'a str,
    position: usize,
    repaired: String,
    copied: usize,
    depth: usize,
    /// Where the value began that is nested too deeply.
    too_deep_from: Option<usize>,
}

impl<'a> Repair<'a> {
    fn run(text: &'a str) -> Cow<'a, str> {
        let mut repair = Self { text, position: 0, repaired: String::new(), copied: 0, depth: 0, too_deep_from: None };
        while let Some(byte) = repair.rest().first() {
            match byte {
                b'"' => repair.string(),
                b'{' | b'[' => repair.open(),
                b'}' | b']' => repair.close(),
                b'-' | b'0'..=b'9' | b'N' | b'I' => repair.number(),
                _ => repair.position += 1,
            }
        }
        if repair.copied == 0 {
            return Cow::Borrowed(text);
        }
        repair.repaired.push_str(&text[repair.copied..]);
        Cow::Owned(repair.repaired)
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.position..]
    }

    /// Replaces the text from `start` to the position.
    fn replace_from(&mut self, start: usize, replacement: &str) {
        if self.too_deep_from.is_none() {
            self.repaired.push_str(&self.text[self.copied..start]);
            self.repaired.push_str(replacement);
            self.copied = self.position;
        }
    }

    fn open(&mut self) {
        if self.depth == MAX_DEPTH {
            self.too_deep_from.get_or_insert(self.position);
        }
        self.depth += 1;
        self.position += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.position += 1;
        if self.depth == MAX_DEPTH
            && let Some(start) = self.too_deep_from.take()
        {
            self.replace_from(start, "null");
        }
    }

    fn number(&mut self) {
        let start = self.position;
        let length =
            self.rest().iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        self.position += length;
        let token = &self.text[start..self.position];
        let is_too_large = || token.parse::<f64>().is_ok_and(f64::is_infinite);
        if token == "NaN" || is_too_large() {
            self.replace_from(start, "null");
        }
    }

    fn string(&mut self) {
        self.position += 1;
        while let Some(byte) = self.rest().first() {
            match byte {
                b'"' => {
                    self.position += 1;
                    return;
                }
                b'\\' => self.escape(),
                _ => self.position += 1,
            }
        }
    }

    fn escape(&mut self) {
        let start = self.position;
        let unit = |text: &[u8]| {
            let digits = text.strip_prefix(b"\\u")?.get(..4)?;
            u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let Some(first) = unit(self.rest()) else {
            // The character after the backslash may be a quotation mark. It may be the last byte of the text, too.
            self.position = self.text.len().min(start + 2);
            return;
        };
        self.position += 6;
        let is_pair = (0xd800..0xdc00).contains(&first)
            && unit(self.rest()).is_some_and(|second| (0xdc00..0xe000).contains(&second));
        if is_pair {
            self.position += 6;
        } else if (0xd800..0xe000).contains(&first) {
            self.replace_from(start, r"\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn unreadable_parts_are_replaced_and_the_rest_stays() {
        for (body, expected) in [
            (&br#"{"a":"hi \ud83d","b":1}"#[..], r#"{"a":"hi \ufffd","b":1}"#),
            (
                br#"["\ud83d\ude00","\ude00\ud83d","\ud83d\n","\\ud83d","\ud83d\ud83d\ude00"]"#,
                r#"["\ud83d\ude00","\ufffd\ufffd","\ufffd\n","\\ud83d","\ufffd\ud83d\ude00"]"#,
            ),
            (br#"{"\udc00":"NaN"}"#, r#"{"\ufffd":"NaN"}"#),
            (b"\xef\xbb\xbf{\"a\": 1.50e400, \"b\": 1.500}", "{\"a\": null, \"b\": 1.500}"),
            (b"{\"a\":\"Z\xfcrich\"}", "{\"a\":\"Z\u{fffd}rich\"}"),
            (b"[NaN,-Infinity,Infinity,-1.5]", "[null,null,null,-1.5]"),
            (br#"{"a":"\u12"#, r#"{"a":"\u12"#),
            (b"\"\\", "\"\\"),
        ] {
            assert_eq!(valid_json(body), expected, "{body:?}");
        }
        let valid = Bytes::from_static(br#"{ "b" : 1.50, "a":"\ud83d\ude00" }"#);
        assert_eq!(valid_json_body(&valid), valid);
        assert_eq!(valid_json_body(&Bytes::from_static(b"\xef\xbb\xbf{}")), "{}");
    }

    #[test]
    fn numbers_and_nesting_that_cannot_be_represented_become_null() {
        let read = |text: &str| parse_json(text.as_bytes());
        assert_eq!(
            read(r#"{"a":1e400,"b":[-1E999,1.5],"c":"1e400"}"#),
            Some(json!({"a":null,"b":[null,1.5],"c":"1e400"}))
        );
        let deep = |levels: usize| format!("{}\"]}}\\ud83d\"{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(
            read(&format!(r#"{{"a":1,"deep":{},"b":"x"}}"#, deep(100_000))).map(|value| value["b"].clone()),
            Some("x".into())
        );
        let shallow = read(&format!(r#"{{"a":"\ud83d","b":{}}}"#, deep(60))).unwrap();
        assert!(shallow["b"].to_string().contains("]}\u{fffd}"), "{shallow}");
        for text in ["", "{", "{]", "[1,]", "{\"a\":01}", "\u{feff}", "x", &"[".repeat(1_000)] {
            assert_eq!(read(text), None, "{text:.20}");
        }
    }

    proptest! {
        #[test]
        fn valid_bodies_stay_equal(text in r#"[\[{}",:\\ud83e0-9.N-]{0,40}"#) {
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert_eq!(valid_json(text.as_bytes()), text.as_str());
            }
            let _ = parse_json(text.as_bytes());
        }
    }
}
