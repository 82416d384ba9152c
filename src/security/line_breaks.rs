//! Line breaks of a JSON text that were removed in transit: `curl -d @FILE` removes them, and a shell that splits a
//! file into words joins its lines by spaces. The indentation shows where they were.

/// What a reader of the file has left in place of a line break.
const REMAINS: [&[u8]; 2] = [b"", b" "];
const LINE_ENDS: [&[u8]; 2] = [b"\n", b"\r\n"];

/// Where in a JSON text a writer breaks lines.
#[derive(Clone, Copy)]
enum Layout {
    /// After every comma and around the content of every object and list, as serializers do.
    Everywhere,
    /// Only in front of an indentation, as people do, and in front of the last bracket.
    Indented,
}

/// The texts that a body without line breaks may have been made from; none for a body with line breaks. Their number
/// is bounded.
pub(super) fn candidates(body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_stripped = has_indentation(body.trim_ascii_end());
    let layouts = [Layout::Everywhere, Layout::Indented].into_iter().filter(move |_| is_stripped);
    let variants = layouts.flat_map(|layout| REMAINS.into_iter().map(move |remains| (layout, remains)));
    variants.flat_map(move |(layout, remains)| {
        let body = body.trim_ascii_end();
        LINE_ENDS.into_iter().flat_map(move |line_end| {
            let text = insert_line_breaks(body, layout, remains, line_end);
            [text.clone(), [&text, line_end].concat()]
        })
    })
}

/// Whether the body has an indentation, but no line breaks.
pub(super) fn has_indentation(body: &[u8]) -> bool {
    if body.contains(&b'\n') {
        return false;
    }
    let mut string = StringState::default();
    let mut previous_blank = false;
    body.iter().any(|byte| {
        let is_blank = !string.is_open && matches!(byte, b' ' | b'\t');
        string.advance(*byte);
        let is_indentation = is_blank && (previous_blank || *byte == b'\t');
        previous_blank = is_blank;
        is_indentation
    })
}

fn insert_line_breaks(body: &[u8], layout: Layout, remains: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len() + body.len() / 4);
    let mut string = StringState::default();
    let mut rest = body;
    let mut previous = b':';
    while !rest.is_empty() {
        let (blanks, after) = if string.is_open { (&rest[..0], rest) } else { split_blanks(rest) };
        let Some((token, after)) = after.split_first() else { break };
        let is_end = after.is_empty() && matches!(token, b'}' | b']') && !matches!(previous, b'{' | b'[');
        let indentation = blanks.strip_prefix(remains);
        let may_break = !string.is_open && (is_end || is_place(previous, *token));
        match indentation.filter(|indentation| may_break && (is_end || layout.breaks_at(indentation))) {
            Some(indentation) => text.extend([line_end, indentation].concat()),
            None => text.extend_from_slice(blanks),
        }
        text.push(*token);
        string.advance(*token);
        (previous, rest) = (*token, after);
    }
    text
}

impl Layout {
    fn breaks_at(self, indentation: &[u8]) -> bool {
        matches!(self, Self::Everywhere) || indentation.len() >= 2 || indentation.starts_with(b"\t")
    }
}

/// Whether a writer may break the line between these two tokens.
fn is_place(previous: u8, next: u8) -> bool {
    let opens = matches!(previous, b'{' | b'[');
    let closes = matches!(next, b'}' | b']');
    previous == b',' || opens != closes
}

fn split_blanks(bytes: &[u8]) -> (&[u8], &[u8]) {
    let count = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    bytes.split_at(count)
}

/// Whether the position in a JSON text is within a string.
#[derive(Default)]
struct StringState {
    is_open: bool,
    is_escaped: bool,
}

impl StringState {
    fn advance(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_open => self.is_escaped = true,
            b'"' => self.is_open = !self.is_open,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognized_without_its_line_breaks() {
        let serialized = "{\n  \"event\": \"call, {ended}\",\n  \"list\": [\n    1,\n    2\n  ],\n  \"empty\": {}\n}";
        let written = "{\n    \"event\": \"a \\\"  b\",  \n    \"list\": [1, 2], \"call\": { \"id\": 1 }\n}"
            .replace(",  \n", ",\n");
        let tabs = serialized.replace("  ", "\t");
        for file in [serialized, written.as_str(), tabs.as_str()] {
            for file in [file.to_owned(), format!("{file}\n"), file.replace('\n', "\r\n")] {
                for remains in ["", " "] {
                    let sent = file.replace("\r\n", "\n").replace('\n', remains);
                    let sent = sent.trim_end().as_bytes();
                    assert!(has_indentation(sent), "{file}");
                    assert!(candidates(sent).any(|text| text == file.as_bytes()), "{file} {remains:?}");
                    assert!(candidates(sent).count() <= 16);
                }
            }
        }
    }

    #[test]
    fn a_body_on_one_line_or_with_line_breaks_has_no_candidates() {
        for body in ["", "{}", r#"{"a":  "#.trim_end(), r#"{"a": "two  blanks"}"#, "{\n  \"a\": 1\n}"] {
            assert_eq!(candidates(body.as_bytes()).count(), 0, "{body}");
        }
    }
}
