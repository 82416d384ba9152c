//! Lines of bounded length, read on a separate thread.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use crate::base::supervise::run_blocking;

/// Bytes of lines that are read at a time.
const BATCH_BYTES: u64 = 1024 * 1024;

/// A line of the input.
pub(super) struct InputLine {
    /// Counted from 1.
    pub(super) number: u64,
    /// The number of bytes from the start of the input to the end of this line.
    pub(super) end_offset: u64,
    /// The line, or the reason why it is skipped.
    pub(super) content: Result<Vec<u8>, String>,
}

/// The lines of an input, of which the next ones are read ahead.
pub(super) struct LineStream<R> {
    /// `None` after the end of the input or a failure.
    input: Option<BoundedLines<R>>,
    read_ahead: VecDeque<io::Result<InputLine>>,
}

impl<R: Read + Send + 'static> LineStream<R> {
    pub(super) fn new(input: R, max_line_bytes: usize) -> Self {
        Self { input: Some(BoundedLines::new(input, max_line_bytes)), read_ahead: VecDeque::new() }
    }

    /// The next line; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> io::Result<Option<InputLine>> {
        if self.read_ahead.is_empty()
            && let Some(input) = self.input.take()
        {
            let read = run_blocking(move || input.read_batch()).await;
            (self.input, self.read_ahead) = read.ok_or_else(|| io::Error::other("the process is shutting down"))?;
        }
        self.read_ahead.pop_front().transpose()
    }
}

struct BoundedLines<R> {
    input: BufReader<R>,
    max_line_bytes: usize,
    /// The number of the line that was read last.
    line_number: u64,
    bytes_read: u64,
}

impl<R: Read> BoundedLines<R> {
    fn new(input: R, max_line_bytes: usize) -> Self {
        let input = BufReader::with_capacity(256 * 1024, input);
        Self { input, max_line_bytes, line_number: 0, bytes_read: 0 }
    }

    /// The next lines and, unless the input has ended or failed, the rest of the input. An input that is slower than
    /// the import, such as a pipe, is not waited for once a line was read.
    fn read_batch(mut self) -> (Option<Self>, VecDeque<io::Result<InputLine>>) {
        let mut lines = VecDeque::new();
        let batch_end = self.bytes_read + BATCH_BYTES;
        loop {
            match self.next_line() {
                Ok(Some(line)) => lines.push_back(Ok(line)),
                Ok(None) => return (None, lines),
                Err(error) => {
                    lines.push_back(Err(error));
                    return (None, lines);
                }
            }
            if self.bytes_read >= batch_end || self.input.buffer().is_empty() {
                return (Some(self), lines);
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<InputLine>> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(self.max_line_bytes as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line_number += 1;
        self.bytes_read += read as u64;
        let content = if read < self.max_line_bytes || line.ends_with(b"\n") {
            Ok(line)
        } else {
            // The rest of the line is skipped without storing it in memory.
            self.bytes_read += self.input.skip_until(b'\n')? as u64;
            Err("the body is larger than server.body_limit_bytes".to_owned())
        };
        Ok(Some(InputLine { number: self.line_number, end_offset: self.bytes_read, content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails after its bytes.
    struct FailingInput(&'static [u8]);

    impl Read for FailingInput {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::Error::other("unplugged")) } else { self.0.read(buffer) }
        }
    }

    #[tokio::test]
    async fn lines_are_bounded_and_counted() {
        let mut lines = LineStream::new(&b"one\nfar too long\ntwo\nlast"[..], 6);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push((line.number, line.end_offset, line.content.map(|line| String::from_utf8(line).unwrap()).ok()));
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read, [(1, 4, text("one\n")), (2, 17, None), (3, 21, text("two\n")), (4, 25, text("last"))]);
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn lines_before_a_failure_are_read() {
        let mut lines = LineStream::new(FailingInput(b"one\ntwo\nthr"), 6);
        assert_eq!(lines.next().await.unwrap().unwrap().number, 1);
        assert_eq!(lines.next().await.unwrap().unwrap().number, 2);
        assert_eq!(lines.next().await.err().unwrap().to_string(), "unplugged");
    }

    #[test]
    fn a_batch_ends_when_the_input_has_no_more_bytes_yet() {
        let input = (&b"one\n"[..]).chain(&b"two\n"[..]);
        let (rest, lines) = BoundedLines::new(input, 6).read_batch();
        assert_eq!(lines.len(), 1);
        let (_, lines) = rest.unwrap().read_batch();
        assert_eq!(lines[0].as_ref().unwrap().number, 2);
    }
}
