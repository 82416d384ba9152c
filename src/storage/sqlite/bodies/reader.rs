//! Reads bodies; one per reader thread.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::files::body_file_path;
use super::{BodyDigest, BodyLocation};
use crate::storage::BodyError;
use crate::storage::sqlite::SqliteUrl;

/// Keeps the file open that it read last, because neighboring events share a file.
pub(in crate::storage::sqlite) struct BodyFileReader {
    pub(in crate::storage::sqlite) folder: PathBuf,
    last_file: RefCell<Option<(i64, File)>>,
}

impl BodyFileReader {
    pub(in crate::storage::sqlite) fn new(url: &SqliteUrl) -> Self {
        Self { folder: url.bodies_folder(), last_file: RefCell::new(None) }
    }

    /// The body at `location`, if it matches its digest. Not a [`StoreError`](crate::storage::StoreError): one lost
    /// body must not fail a batch of events.
    pub(in crate::storage::sqlite) fn read(
        &self,
        location: BodyLocation,
        size: usize,
        digest: &BodyDigest,
    ) -> Result<Vec<u8>, BodyError> {
        // Taken out, and put back only after a successful read: after an error the file is opened again, because
        // another one may have been put in its place.
        let last_file = self.last_file.borrow_mut().take();
        let (body, file) = self.read_unchecked(location, size, last_file)?;
        if !digest.matches(&body) {
            let path = body_file_path(&self.folder, location.file_number);
            return Err(mismatch(&body, &format!("{} at byte {}", path.display(), location.offset)));
        }
        *self.last_file.borrow_mut() = Some((location.file_number, file));
        Ok(body)
    }

    /// The bytes in the place of a body, whether they are intact or not: an erasure searches damaged bodies too.
    pub(in crate::storage::sqlite) fn read_damaged(&self, location: BodyLocation, size: usize) -> Option<Vec<u8>> {
        self.read_unchecked(location, size, None).ok().map(|(body, _)| body)
    }

    fn read_unchecked(
        &self,
        location: BodyLocation,
        size: usize,
        last_file: Option<(i64, File)>,
    ) -> Result<(Vec<u8>, File), BodyError> {
        let path = body_file_path(&self.folder, location.file_number);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BodyError::gone(format!("the body is not in {}", path.display())),
            _ => BodyError::unreadable(format!("the body cannot be read from {}: {error}", path.display())),
        };
        let mut file = match last_file {
            Some((number, file)) if number == location.file_number => file,
            _ => File::open(&path).map_err(failed)?,
        };
        // Checked before memory is reserved: the size is from a row that may be damaged.
        let end = location.offset.checked_add(size as u64);
        if end.is_none_or(|end| file.metadata().is_ok_and(|file| file.len() < end)) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut body = vec![0; size];
        file.seek(SeekFrom::Start(location.offset)).map_err(failed)?;
        file.read_exact(&mut body).map_err(failed)?;
        Ok((body, file))
    }
}

/// Why a body does not match its digest.
fn mismatch(body: &[u8], place: &str) -> BodyError {
    // Removed bodies read as zeros: the event was removed between reading its row and reading here.
    if body.iter().all(|byte| *byte == 0) {
        return BodyError::gone(format!("the body was removed from {place}"));
    }
    BodyError::damaged(format!("the body in {place} does not match its digest; restore the store from a backup"))
}
