//! Log lines without characters that could forge a line or deceive its reader. The fields of a line hold ids and errors
//! from outside, and libraries log them too, so the whole line is escaped where it is written.

use std::borrow::Cow;
use std::io::{self, Write};
use std::str;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::escape::{escape_json, escape_text};
use crate::config::LogFormat;

/// Makes writers that escape the lines for `writer`.
pub(super) struct EscapedLines<W> {
    pub(super) writer: W,
    pub(super) format: LogFormat,
    /// Whether the lines contain color codes, whose escape characters stay. Those in fields are escaped by
    /// `tracing-subscriber`.
    pub(super) colored: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for EscapedLines<W> {
    type Writer = EscapedLines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedLines { writer: self.writer.make_writer(), format: self.format, colored: self.colored }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        EscapedLines { writer: self.writer.make_writer_for(event), format: self.format, colored: self.colored }
    }
}

/// `tracing-subscriber` writes each line with one call.
impl<W: Write> Write for EscapedLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(line).unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(text);
        match escape_line(text, self.format, self.colored) {
            // Nothing to escape.
            Cow::Borrowed(_) => self.writer.write_all(line)?,
            Cow::Owned(escaped) => self.writer.write_all(format!("{escaped}\n").as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn escape_line(line: &str, format: LogFormat, colored: bool) -> Cow<'_, str> {
    match format {
        LogFormat::Json => escape_json(line),
        LogFormat::Human if colored => {
            let parts: Vec<_> = line.split('\u{1b}').map(escape_text).collect();
            Cow::Owned(parts.join("\u{1b}"))
        }
        LogFormat::Human => escape_text(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, format: LogFormat, colored: bool) -> String {
        let mut lines = EscapedLines { writer: Vec::new(), format, colored };
        lines.write_all(line.as_bytes()).unwrap();
        String::from_utf8(lines.writer).unwrap()
    }

    #[test]
    fn lines_are_escaped_and_colors_stay() {
        let human = |line| written(line, LogFormat::Human, false);
        assert_eq!(human("plain é\n"), "plain é\n");
        assert_eq!(human("call_\u{202e}1 error=a\nforged\u{1b}[2J\n"), "call_\\u{202e}1 error=a\\nforged\\u{1b}[2J\n");
        assert_eq!(written("\u{1b}[32mINFO\u{1b}[0m a\n", LogFormat::Human, true), "\u{1b}[32mINFO\u{1b}[0m a\n");
        assert_eq!(
            written("\u{1b}[2ma\u{1b}[0m b\u{2028}c\n", LogFormat::Human, true),
            "\u{1b}[2ma\u{1b}[0m b\\u{2028}c\n"
        );
        assert_eq!(written("{\"a\":\"\u{2066}\"}\n", LogFormat::Json, false), "{\"a\":\"\\u2066\"}\n");
    }
}
