//! Takes lines out of a text file that somebody may be appending to: their bytes are overwritten, and the file keeps its
//! length, so that nothing else moves.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A longer line is looked at in parts.
const MAX_LINE_PART_BYTES: u64 = 64 * 1024 * 1024;

/// What stands in place of a line, as far as it was long enough: still JSON where it was JSON.
const JSON_PLACEHOLDER: &[u8] = b"{\"erased\":true}";
const TEXT_PLACEHOLDER: &[u8] = b"(erased)";

/// Overwrites the lines of the file at `path` that `is_it`, or with `dry` only counts them; says how many there are.
///
/// # Errors
/// The file cannot be read or written; lines before the place it failed at are gone.
pub(crate) fn erase_matching_lines(path: &Path, dry: bool, is_it: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut into = if dry { None } else { Some(OpenOptions::new().write(true).open(path)?) };
    let (mut line, mut at, mut count) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE_PART_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if is_it(&line) {
            count += 1;
            if let Some(into) = &mut into {
                into.seek(SeekFrom::Start(at))?;
                into.write_all(&erased_line(&line))?;
            }
        }
        at += read as u64;
    }
    if let Some(into) = into.filter(|_| count > 0) {
        into.sync_data()?;
    }
    Ok(count)
}

fn erased_line(line: &[u8]) -> Vec<u8> {
    let end = usize::from(line.ends_with(b"\n"));
    let mut blank = vec![b' '; line.len() - end];
    let mark = if line.starts_with(b"{") { JSON_PLACEHOLDER } else { TEXT_PLACEHOLDER };
    if blank.len() >= mark.len() {
        blank[..mark.len()].copy_from_slice(mark);
    }
    blank.extend_from_slice(&line[line.len() - end..]);
    blank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_and_the_file_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, "one call_1 and more\ntwo\n{\"call\":\"call_1\",\"x\":2}\n1\ncall_1").unwrap();
        // Whoever has it open for appending goes on behind what is there.
        let mut appender = OpenOptions::new().append(true).open(&path).unwrap();
        let is_it = |line: &[u8]| line.windows(6).any(|part| part == b"call_1") || line == b"1\n";
        assert_eq!(erase_matching_lines(&path, true, is_it).unwrap(), 4);
        assert_eq!(erase_matching_lines(&path, false, is_it).unwrap(), 4);
        appender.write_all(b"\nthree\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let blank =
            format!("(erased){}\ntwo\n{{\"erased\":true}}{}\n \n      \nthree\n", " ".repeat(11), " ".repeat(8));
        assert_eq!(text, blank);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(erase_matching_lines(&folder.path().join("none"), true, |_| true).is_err());
    }
}
