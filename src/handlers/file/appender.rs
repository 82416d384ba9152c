//! Appends whole lines to one file and rotates it at a size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{record, rotation};
use crate::base::clock::Clock;
use crate::config::FileSettings;

/// Block size when the end of the last whole line is searched.
const READ_BLOCK_BYTES: u64 = 64 * 1024;

/// Opens the file for each line, so that a file that was moved or deleted in the meantime is created again.
#[derive(Debug)]
pub(super) struct Appender {
    settings: FileSettings,
    clock: Clock,
}

impl Appender {
    pub(super) fn new(settings: FileSettings, clock: Clock) -> Self {
        Self { settings, clock }
    }

    pub(super) fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Checks that lines can be appended: a regular file that can be opened.
    pub(super) fn check_appendable(&self) -> io::Result<()> {
        if fs::symlink_metadata(self.path()).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is a symbolic link, and rotation would rename the link instead of the file; set the path \
                 of the file itself",
            ));
        }
        self.open().map(drop)
    }

    /// Writes the whole line or nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = self.open_at_line_end()?;
        let new_length = length.saturating_add(line.len() as u64);
        // An empty file is never rotated: a line longer than the limit has a file for itself.
        if length > 0 && new_length > self.settings.rotate_bytes {
            drop(file);
            rotation::rotate(&self.settings, self.clock.now_ms())?;
            (file, length) = self.open()?;
        }
        write_all_or_nothing(&mut file, length, line)
    }

    /// Opens the file and makes sure that it ends with a whole line.
    fn open_at_line_end(&self) -> io::Result<(File, u64)> {
        let (mut file, length) = self.open()?;
        let end = last_line_end(&mut file, length)?;
        if end == length {
            return Ok((file, length));
        }
        if is_own_partial_line(&mut file, end)? {
            // The machine or the process crashed during the write. The delivery was not settled, so the event is
            // written again as a whole.
            file.set_len(end)?;
            return Ok((file, end));
        }
        // Another program's text is kept and ended with a line break.
        write_all_or_nothing(&mut file, length, b"\n")?;
        Ok((file, length + 1))
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let opened = match open_private_file(self.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_private_dir(self.path())?;
                open_private_file(self.path())
            }
            opened => opened,
        };
        let file = opened?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((file, metadata.len()))
    }
}

/// Removes a partial line when the write fails, for example on a full disk.
fn write_all_or_nothing(file: &mut (impl Write + Resize), length: u64, line: &[u8]) -> io::Result<()> {
    file.write_all(line).inspect_err(|_| {
        // If this fails as well, the next append removes the partial line.
        let _ = file.resize(length);
    })
}

trait Resize {
    fn resize(&mut self, length: u64) -> io::Result<()>;
}

impl Resize for File {
    fn resize(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The position after the last line break; 0 without one.
fn last_line_end(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = Vec::new();
    // The last byte nearly always is a line break, so it is read alone first.
    let mut size = 1;
    while end > 0 {
        let start = end.saturating_sub(size);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&*file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
        size = READ_BLOCK_BYTES;
    }
    Ok(0)
}

fn is_own_partial_line(file: &mut File, at: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let mut beginning = Vec::new();
    file.take(record::LINE_PREFIX.len() as u64).read_to_end(&mut beginning)?;
    Ok(record::LINE_PREFIX.starts_with(&beginning))
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts `capacity` bytes, as a nearly full disk does.
    struct LimitedDisk {
        written: Vec<u8>,
        capacity: usize,
    }

    impl Write for LimitedDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let accepted = bytes.len().min(self.capacity - self.written.len());
            self.written.extend(&bytes[..accepted]);
            if accepted == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(accepted) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Resize for LimitedDisk {
        fn resize(&mut self, length: u64) -> io::Result<()> {
            self.written.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_no_partial_line() {
        let mut small = LimitedDisk { written: b"first\n".to_vec(), capacity: 10 };
        let error = write_all_or_nothing(&mut small, 6, b"second\n").unwrap_err();
        assert_eq!((error.kind(), small.written.as_slice()), (ErrorKind::StorageFull, b"first\n".as_slice()));
        write_all_or_nothing(&mut small, 6, b"3rd\n").unwrap();
        assert_eq!(small.written, b"first\n3rd\n");
    }
}
