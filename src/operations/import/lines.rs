use std::io::{BufRead, BufReader, Read};

/// Lines of bounded length, numbered from 1.
pub(super) struct BoundedLines<R> {
    input: BufReader<R>,
    max_line_bytes: usize,
    /// The number of the line that was read last.
    pub(super) line_number: u64,
    pub(super) bytes_read: u64,
}

impl<R: Read> BoundedLines<R> {
    pub(super) fn new(input: R, max_line_bytes: usize) -> Self {
        let input = BufReader::with_capacity(256 * 1024, input);
        Self { input, max_line_bytes, line_number: 0, bytes_read: 0 }
    }

    /// The next line, or the reason why it is skipped; `None` at the end of the input.
    pub(super) fn next_line(&mut self) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(self.max_line_bytes as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line_number += 1;
        self.bytes_read += read as u64;
        if read < self.max_line_bytes || line.ends_with(b"\n") {
            return Ok(Some(Ok(line)));
        }
        // The rest of the line is skipped without storing it in memory.
        self.bytes_read += self.input.skip_until(b'\n')? as u64;
        Ok(Some(Err("the body is larger than server.body_limit_bytes".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_counted() {
        let mut lines = BoundedLines::new(&b"one\nfar too long\ntwo\nlast"[..], 6);
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            read.push((lines.line_number, line.map(|line| String::from_utf8(line).unwrap()).ok()));
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read, [(1, text("one\n")), (2, None), (3, text("two\n")), (4, text("last"))]);
        assert_eq!(lines.bytes_read, 25);
    }
}
