//! Erases lines of a text file while another process may append to it. The bytes of the lines are overwritten and the
//! file keeps its length, so that no other line moves.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A longer line is checked and erased in parts of this size, to bound the memory.
const MAX_LINE_PART_BYTES: u64 = 64 * 1024 * 1024;

/// Replaces an erased line that is long enough. A JSON line is replaced by JSON, so that its readers do not fail.
const JSON_PLACEHOLDER: &[u8] = b"{\"erased\":true}";
const TEXT_PLACEHOLDER: &[u8] = b"(erased)";

/// Overwrites the lines of the file at `path` for which `matches` returns true, and returns their number. With
/// `dry_run` the lines are only counted.
///
/// # Errors
/// The file cannot be read or written. Lines before the failure are erased.
pub(crate) fn erase_matching_lines(
    path: &Path,
    dry_run: bool,
    mut matches: impl FnMut(&[u8]) -> bool,
) -> io::Result<u64> {
    let mut lines = BufReader::new(File::open(path)?);
    // A second handle without `append`: writes to an append handle would always go to the end of the file.
    let mut writer = if dry_run { None } else { Some(OpenOptions::new().write(true).open(path)?) };
    let mut line = Vec::new();
    let mut offset = 0;
    let mut count = 0;
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE_PART_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if matches(&line) {
            count += 1;
            if let Some(writer) = &mut writer {
                writer.seek(SeekFrom::Start(offset))?;
                writer.write_all(&erased_line(&line))?;
            }
        }
        offset += read as u64;
    }
    if count > 0
        && let Some(writer) = writer
    {
        // The erased text must not come back after a power failure.
        writer.sync_data()?;
    }
    Ok(count)
}

fn erased_line(line: &[u8]) -> Vec<u8> {
    let (content, line_end) = match line.strip_suffix(b"\n") {
        Some(content) => (content, &b"\n"[..]),
        None => (line, &b""[..]),
    };
    let mut erased = vec![b' '; content.len()];
    let placeholder = if line.starts_with(b"{") { JSON_PLACEHOLDER } else { TEXT_PLACEHOLDER };
    if erased.len() >= placeholder.len() {
        erased[..placeholder.len()].copy_from_slice(placeholder);
    }
    erased.extend_from_slice(line_end);
    erased
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_lines_are_erased_and_the_file_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, "one call_1 and more\ntwo\n{\"call\":\"call_1\",\"x\":2}\n1\ncall_1").unwrap();
        // A process that has the file open for appending continues at its end.
        let mut appender = OpenOptions::new().append(true).open(&path).unwrap();
        let matches = |line: &[u8]| line.windows(6).any(|part| part == b"call_1") || line == b"1\n";
        assert_eq!(erase_matching_lines(&path, true, matches).unwrap(), 4);
        assert_eq!(erase_matching_lines(&path, false, matches).unwrap(), 4);
        appender.write_all(b"\nthree\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected =
            format!("(erased){}\ntwo\n{{\"erased\":true}}{}\n \n      \nthree\n", " ".repeat(11), " ".repeat(8));
        assert_eq!(text, expected);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(erase_matching_lines(&folder.path().join("none"), true, |_| true).is_err());
    }
}
