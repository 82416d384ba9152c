//! Body files: large bodies, appended to files next to the database. SQLite would write each body twice in pages, to
//! the log and to the database; here it is written once in one piece. The row in `events` names the file, offset and
//! size.
//!
//! Bodies are synced before the transaction that names them commits, so an acknowledged event always has its body.
//! Bytes that a crash leaves after the last body named by a row are cut off at the next start.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::SqliteUrl;
use super::open::{create_private_folder, open_private_file};
use crate::storage::StoreError;

/// Bodies of at least this size go to a body file. A smaller one fits into the 4,096-byte page of its row.
pub(super) const LARGE_BODY_BYTES: usize = 4_000;
/// A file of at least this size gets no further bodies. Space is reclaimed by deleting a file without live bodies, so
/// a single file that grew without limit would never be deleted, see `removal/space.rs`.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The place of a body; its size is in its row.
#[derive(Clone, Copy)]
pub(super) struct BodyLocation {
    pub(super) file_number: i64,
    pub(super) offset: u64,
}

/// Appends bodies; owned by the writer thread.
pub(super) struct BodyFileWriter {
    folder: PathBuf,
    file_number: i64,
    file: File,
    /// End of the last committed body. Everything behind it belongs to the open transaction or is garbage.
    committed_end: u64,
    staged: Vec<Bytes>,
    staged_bytes: u64,
}

impl BodyFileWriter {
    /// Opens the newest file and truncates it after the last body that a row in the database names.
    pub(super) fn open(url: &SqliteUrl, conn: &Connection) -> Result<Self, StoreError> {
        let folder = url.bodies_folder();
        let (mut number, mut end) = last_body_end(conn)?.unwrap_or((1, 0));
        // A newer file that no row names was begun by a transaction that a crash prevented, or all its bodies were
        // removed. Continue in it instead of an older file: reclaiming deletes files below the highest number, so
        // appending to one of those could lose bodies.
        let highest = list_file_numbers(&folder).max().unwrap_or(0);
        if highest > number {
            number = highest;
            end = 0;
        }
        let failed = |error: io::Error| {
            StoreError::unusable(format!("cannot open the body files in {}: {error}", folder.display()))
        };
        create_private_folder(&folder).map_err(failed)?;
        let mut file = open_private_file(&body_file_path(&folder, number)).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < end {
            // Rows name bodies that are not there, as after restoring the database without its bodies folder.
            // Appending here would fill the gap with zeros, which would then be read as those bodies, so start a new
            // file.
            let path = body_file_path(&folder, number);
            tracing::error!(path = %path.display(), expected_bytes = end, "stored bodies missing");
            number += 1;
            end = 0;
            file = open_private_file(&body_file_path(&folder, number)).map_err(failed)?;
        }
        // Syncing a file does not sync its name: without this a power cut could remove a new file with all its bodies.
        sync_folder(&folder).and_then(|()| sync_folder(url.folder())).map_err(failed)?;
        // Bytes after the last named body were never acknowledged. They go now, because the next body is appended at
        // `end`.
        file.set_len(end).map_err(failed)?;
        Ok(Self { folder, file_number: number, file, committed_end: end, staged: Vec::new(), staged_bytes: 0 })
    }

    /// Starts a new file when the current one is full. Call it between two transactions only.
    pub(super) fn rotate_if_full(&mut self) -> Result<(), StoreError> {
        if self.committed_end < MAX_FILE_BYTES {
            return Ok(());
        }
        let number = self.file_number + 1;
        let file = open_private_file(&body_file_path(&self.folder, number)).map_err(unavailable)?;
        sync_folder(&self.folder).map_err(unavailable)?;
        // Assigned last: when a step above fails, the writer continues with the old file.
        (self.file, self.file_number, self.committed_end) = (file, number, 0);
        Ok(())
    }

    /// Adds a body to the transaction and returns the place where it will be written.
    pub(super) fn stage(&mut self, body: Bytes) -> BodyLocation {
        let offset = self.committed_end + self.staged_bytes;
        self.staged_bytes += body.len() as u64;
        self.staged.push(body);
        BodyLocation { file_number: self.file_number, offset }
    }

    /// Removes the body staged last, because its row was not inserted.
    pub(super) fn unstage(&mut self) {
        self.staged_bytes -= self.staged.pop().map_or(0, |body| body.len() as u64);
    }

    /// Writes and syncs the staged bodies. Must precede the commit.
    pub(super) fn write_staged(&mut self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        // An explicit position: a failed transaction may have left the file's position behind the committed end.
        self.file.seek(SeekFrom::Start(self.committed_end)).map_err(unavailable)?;
        self.staged.iter().try_for_each(|body| self.file.write_all(body)).map_err(unavailable)?;
        // `sync_data` also persists the new file size, which is needed to read the bytes back.
        self.file.sync_data().map_err(unavailable)
    }

    /// Keeps the staged bytes after a commit whose result is unknown: its rows may be back after a crash, and then
    /// their bodies must exist. If the rows are not back, the next start cuts the bytes off.
    pub(super) fn assume_committed(&mut self) {
        self.commit();
    }

    /// Call after the transaction has committed.
    pub(super) fn commit(&mut self) {
        self.committed_end += self.staged_bytes;
        self.clear_staged();
    }

    /// Cuts off what a failed transaction has written.
    pub(super) fn roll_back(&mut self) {
        // If this fails, the bytes are overwritten by the next body or cut off at the next start; they only take
        // space.
        if !self.staged.is_empty()
            && let Err(error) = self.file.set_len(self.committed_end)
        {
            let path = body_file_path(&self.folder, self.file_number);
            tracing::error!(path = %path.display(), %error, "body file truncation failed");
        }
        self.clear_staged();
    }

    fn clear_staged(&mut self) {
        self.staged.clear();
        self.staged_bytes = 0;
    }
}

/// Reads bodies; one per reader thread. Keeps the file open that it read last, because neighboring events share a
/// file.
pub(super) struct BodyFileReader {
    pub(super) folder: PathBuf,
    last_file: RefCell<Option<(i64, File)>>,
}

impl BodyFileReader {
    pub(super) fn new(url: &SqliteUrl) -> Self {
        Self { folder: url.bodies_folder(), last_file: RefCell::new(None) }
    }

    /// The body at `location`, or the reason why it cannot be read. Not a [`StoreError`]: one lost body must not fail
    /// a batch of events.
    pub(super) fn read(&self, location: BodyLocation, size: usize) -> Result<Bytes, String> {
        let path = body_file_path(&self.folder, location.file_number);
        let failed = |error: io::Error| format!("the body cannot be read from {}: {error}", path.display());
        // Taken out, and put back only after a successful read: after an error the file is opened again next time.
        let mut last_file = self.last_file.borrow_mut();
        let mut file = match last_file.take() {
            Some((number, file)) if number == location.file_number => file,
            _ => File::open(&path).map_err(failed)?,
        };
        let mut body = vec![0; size];
        file.seek(SeekFrom::Start(location.offset)).map_err(failed)?;
        file.read_exact(&mut body).map_err(failed)?;
        // Removed bodies read as zeros. The event was removed between reading its row and reading here; no body that
        // Retell sends consists of zeros.
        if size > 0 && body.iter().all(|byte| *byte == 0) {
            return Err("the body was removed".into());
        }
        *last_file = Some((location.file_number, file));
        Ok(body.into())
    }
}

/// The file of the last body and the offset of its end.
fn last_body_end(conn: &Connection) -> Result<Option<(i64, u64)>, StoreError> {
    let end = |sql| conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional();
    let stored = end("SELECT body_file, body_at + size_bytes FROM events WHERE body_file IS NOT NULL
         ORDER BY body_file DESC, body_at DESC LIMIT 1")?;
    // Freed bodies that are not reclaimed yet count too: reclaiming writes zeros over them, and would do so to a new
    // body that was appended in their place.
    let freed = end("SELECT file, at + size_bytes FROM freed_bodies ORDER BY file DESC, at DESC LIMIT 1")?;
    Ok(stored.max(freed))
}

/// The numbers of the existing body files, unsorted.
pub(super) fn list_file_numbers(folder: &Path) -> impl Iterator<Item = i64> + use<> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".bodies")?.parse().ok())
}

pub(super) fn body_file_path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("{number:08}.bodies"))
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[allow(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn unavailable(error: io::Error) -> StoreError {
    StoreError::unavailable(format!("cannot write to the body files: {error}"))
}
