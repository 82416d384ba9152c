//! What comes from a body, made harmless before a template sees it: no filter can bring back what is not there.

use serde_json::Value as Json;

use minijinja::Value;

/// What Slack takes of a section.
const MAX_MESSAGE_CHARS: usize = 2_900;

/// A JSON value with its texts escaped.
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

/// `<`, `>` and `&` as Slack has them written, so that no mention and no link can be made of it; line breaks and other
/// control characters as spaces, so that it cannot pass for a line of the template.
pub(super) fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => escaped.push(' '),
            // Marks that turn the direction of what follows them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// At most so many characters, and no half of an escape.
pub(super) fn truncate(text: &str, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let mut kept = &text[..end];
    if let Some(start) = kept.rfind('&')
        && !kept[start..].contains(';')
    {
        kept = &kept[..start];
    }
    format!("{}…", kept.trim_end())
}

/// A whole message within what Slack takes.
pub(super) fn truncate_message(message: &str) -> String {
    truncate(message.trim(), MAX_MESSAGE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_written_that_slack_acts_on() {
        assert_eq!(
            escape_text("<!channel> & <https://evil.example|here>"),
            "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"
        );
        assert_eq!(escape_text("fine\n*Outcome*: paid\r\u{2028}\u{0}"), "fine *Outcome*: paid   ");
        assert_eq!(escape_text("\u{202e}<\u{2066}!here>"), "&lt;!here&gt;");
        assert_eq!(escape_text("&lt;"), "&amp;lt;");
    }

    #[test]
    fn cutting_leaves_no_half_of_an_escape() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abcd", 3), "abc…");
        assert_eq!(truncate("ab &lt; cd", 5), "ab…");
        assert_eq!(truncate("ab &lt; cd", 7), "ab &lt;…");
        assert_eq!(truncate("ééé", 2), "éé…");
    }
}
