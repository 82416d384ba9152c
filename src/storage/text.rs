//! Sanitizes texts from a request before they are stored in columns.

/// Longer than any id, name or number that Retell sends.
const MAX_TEXT_BYTES: usize = 256;

/// Removes NUL characters, which end a text early in many SQLite tools, and cuts the text to 256 bytes at a character
/// boundary. The stored body still holds the whole text.
#[must_use]
pub(crate) fn sanitize_text(text: Option<String>) -> Option<String> {
    sanitize_text_to(text, MAX_TEXT_BYTES)
}

/// Like [`sanitize_text`], with a limit of `max_bytes`.
#[must_use]
pub(crate) fn sanitize_text_to(text: Option<String>, max_bytes: usize) -> Option<String> {
    let mut text = text?;
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text.truncate(text.floor_char_boundary(max_bytes));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::sanitize_text;

    #[test]
    fn is_cut_at_a_character() {
        assert_eq!(sanitize_text(None), None);
        assert_eq!(sanitize_text(Some("call_1".into())).as_deref(), Some("call_1"));
        let long = sanitize_text(Some("é".repeat(200))).unwrap();
        assert_eq!(long.len(), 256);
        let odd = sanitize_text(Some(format!("x{}", "é".repeat(200)))).unwrap();
        assert_eq!(odd.len(), 255);
        assert_eq!(sanitize_text(Some("a\0b\0".into())).as_deref(), Some("ab"));
    }
}
