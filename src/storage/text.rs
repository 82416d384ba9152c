//! Texts from a request on their way into columns: bounded, and free of NUL.

const MAX_TEXT_BYTES: usize = 256;

/// At most 256 bytes, cut at a character, without NUL. The raw body keeps what is cut here.
#[must_use]
pub(crate) fn sanitize_text(text: Option<String>) -> Option<String> {
    sanitize_text_to(text, MAX_TEXT_BYTES)
}

/// The same for texts that may be longer: at most so many bytes.
#[must_use]
pub(crate) fn sanitize_text_to(text: Option<String>, longest: usize) -> Option<String> {
    let mut text = text?;
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text.truncate(text.floor_char_boundary(longest));
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
