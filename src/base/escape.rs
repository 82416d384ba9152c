//! Escapes characters of texts from outside that could deceive a reader: they are invisible, end a line, control a
//! terminal, or change the direction of the text around them.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether `c` is a control character, a line separator or a format character. The format characters include the
/// bidirectional marks, the zero-width characters and the tags.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// For terminals and text logs, on one line: `\n`, `\u{202e}`.
pub(crate) fn escape_text(text: &str) -> Cow<'_, str> {
    escape_where(text, is_deceptive, |escaped, c| escaped.extend(c.escape_default()))
}

/// Like [`escape_text`] for a text of several lines: line feeds and tabs stay.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    let must_escape = |c| is_deceptive(c) && !matches!(c, '\n' | '\t');
    escape_where(text, must_escape, |escaped, c| escaped.extend(c.escape_default()))
}

/// For serialized JSON, which means the same afterwards: outside of strings such characters do not occur, except for the
/// line feeds and tabs between values, which stay.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    let must_escape = |c| is_deceptive(c) && !matches!(c, '\n' | '\r' | '\t');
    escape_where(json, must_escape, |escaped, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing into a `String` cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escape_where(
    text: &str,
    must_escape: impl Fn(char) -> bool,
    write_escaped: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    // Most texts are plain ASCII.
    let Some(first) = text.char_indices().find_map(|(at, c)| must_escape(c).then_some(at)) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        if must_escape(c) { write_escaped(&mut escaped, c) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECEPTIVE: [char; 16] = [
        '\0',
        '\u{1b}',
        '\n',
        '\u{7f}',
        '\u{85}',
        '\u{9b}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200e}',
        '\u{2028}',
        '\u{202e}',
        '\u{2060}',
        '\u{2069}',
        '\u{feff}',
        '\u{e0041}',
    ];

    #[test]
    fn every_deceptive_character_is_escaped_and_others_stay() {
        for c in DECEPTIVE {
            let escaped = escape_text(&format!("a{c}b")).into_owned();
            assert!(escaped.is_ascii() && escaped.starts_with("a\\") && escaped.ends_with('b'), "{escaped}");
        }
        assert_eq!(escape_text("x\u{202e}y\nz"), "x\\u{202e}y\\nz");
        assert_eq!(escape_lines("x\u{2028}\n\ty\r"), "x\\u{2028}\n\ty\\r");
        for plain in ["", "call_1", "Zoë Müller", "東京", "emoji 🙂", "a b"] {
            assert!(matches!(escape_text(plain), Cow::Borrowed(text) if text == plain));
        }
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({ "a": DECEPTIVE.iter().collect::<String>(), "é": ["plain", 1, null] });
        let json = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escape_json(&json);
        assert!(!escaped.chars().any(|c| is_deceptive(c) && c != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        assert!(
            escaped.contains("\\u202e") && escaped.contains("\\udb40\\udc41") && escaped.contains('é'),
            "{escaped}"
        );
    }
}
