//! The text of a response, decoded by its byte order mark, or else by the charset that its content type names.

use encoding_rs::{Encoding, UTF_8};

/// Decodes a body, without its byte order mark. `None` when the bytes are not text in that charset, or contain NUL, as
/// only binary data does. With `is_truncated`, the body may end within a character, which is left out.
#[must_use]
pub(crate) fn decode_text(content_type: Option<&str>, body: &[u8], is_truncated: bool) -> Option<String> {
    let named = content_type.and_then(charset).and_then(|label| Encoding::for_label(label.as_bytes()));
    let mut decoder = named.unwrap_or(UTF_8).new_decoder();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(body.len())?);
    let (_, _, had_errors) = decoder.decode_to_string(body, &mut text, !is_truncated);
    (!had_errors && !text.contains('\0')).then_some(text)
}

/// The parameter `charset` of a content type.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_order_mark_decides_and_then_the_charset() {
        for (content_type, body) in [
            ("", "Zürich".as_bytes()),
            ("text/html", b"\xef\xbb\xbfZ\xc3\xbcrich"),
            ("text/plain; charset=latin1", b"Z\xfcrich"),
            ("application/json; Charset=\"ISO-8859-1\"", b"Z\xfcrich"),
            ("text/plain; format=flowed; charset=windows-1252", b"Z\xfcrich"),
            ("text/plain; charset=utf-16le", b"Z\0\xfc\0r\0i\0c\0h\0"),
            ("text/plain; charset=latin1", b"\xff\xfeZ\0\xfc\0r\0i\0c\0h\0"),
            ("text/plain; charset=unheard-of", "Zürich".as_bytes()),
        ] {
            let content_type = Some(content_type).filter(|text| !text.is_empty());
            assert_eq!(decode_text(content_type, body, false).as_deref(), Some("Zürich"), "{content_type:?}");
        }
        for body in [&b"Z\xfcrich"[..], b"\x89PNG\r\n\x1a\n\0", b"a\0", b"a\xf0\x9f"] {
            assert_eq!(decode_text(None, body, false), None, "{body:?}");
        }
        assert_eq!(decode_text(None, b"a\xf0\x9f", true).as_deref(), Some("a"), "half a character is left out");
        assert_eq!(decode_text(None, b"a\xff\x9fb", true), None);
    }
}
