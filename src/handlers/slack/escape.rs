//! Escapes every string of a body before a template is rendered. Templates never have the original strings, so no
//! filter can undo the escaping.

use serde_json::Value as Json;

use minijinja::Value;

/// Below Slack's limit of 3000 characters per section.
const MAX_MESSAGE_CHARS: usize = 2_900;

/// Converts a JSON value with all of its strings and keys escaped.
pub(super) fn escape_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(is) => Value::from(*is),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, float) => Value::from(float.unwrap_or_default()),
        },
        Json::String(string) => Value::from(escape_text(string)),
        Json::Array(items) => items.iter().map(escape_value).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, field)| (escape_text(name), escape_value(field))))
        }
    }
}

/// Escapes `<`, `>` and `&` for Slack, so that the text cannot contain a mention or a link. Line breaks and other
/// control characters become spaces, so that the text cannot imitate a line of the template.
pub(super) fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => escaped.push(' '),
            // Bidirectional control characters, which would reorder the text after them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// At most `max_chars` characters and `…`. An escape such as `&amp;` is kept or removed as a whole.
pub(super) fn truncate(text: &str, max_chars: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return text.to_owned() };
    let mut prefix = &text[..end];
    if let Some(start) = prefix.rfind('&')
        && !prefix[start..].contains(';')
    {
        prefix = &prefix[..start];
    }
    format!("{}…", prefix.trim_end())
}

/// Trims a rendered message to the length that Slack accepts.
pub(super) fn truncate_message(message: &str) -> String {
    truncate(message.trim(), MAX_MESSAGE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_links_and_line_breaks_are_escaped() {
        assert_eq!(
            escape_text("<!channel> & <https://evil.example|here>"),
            "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"
        );
        assert_eq!(escape_text("fine\n*Outcome*: paid\r\u{2028}\u{0}"), "fine *Outcome*: paid   ");
        assert_eq!(escape_text("\u{202e}<\u{2066}!here>"), "&lt;!here&gt;");
        assert_eq!(escape_text("&lt;"), "&amp;lt;");
    }

    #[test]
    fn truncation_leaves_no_partial_escape() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abcd", 3), "abc…");
        assert_eq!(truncate("ab &lt; cd", 5), "ab…");
        assert_eq!(truncate("ab &lt; cd", 7), "ab &lt;…");
        assert_eq!(truncate("ééé", 2), "éé…");
    }
}
