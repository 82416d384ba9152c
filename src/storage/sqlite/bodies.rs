//! Large bodies, appended to files of their own. SQLite would write each twice, into the log and into the database, in
//! pages; here it is written once, in one piece. The row in `events` says where it lies.
//!
//! The same promise holds: bodies are synced before the transaction that names them commits. What a crash leaves behind
//! the last body that is named is cut off at the next start.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::SqliteUrl;
use super::open::{create_private_folder, open_private_file};
use crate::storage::StoreError;

/// Bodies of at least this size go here: a smaller one fits into its row's page.
pub(super) const LARGE_BODY_BYTES: usize = 4_000;
/// A new file is begun past this size: one whose bodies are all gone is deleted, see `removal/space.rs`.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Where a body lies.
#[derive(Clone, Copy)]
pub(super) struct BodyLocation {
    pub(super) file_number: i64,
    pub(super) offset: u64,
}

/// The writing end.
pub(super) struct BodyFileWriter {
    folder: PathBuf,
    file_number: i64,
    file: File,
    /// Where the last body that is committed ends.
    committed_end: u64,
    staged: Vec<Bytes>,
    staged_bytes: u64,
}

impl BodyFileWriter {
    /// Opens the newest file, cut off behind the last body that `conn` knows of.
    pub(super) fn open(url: &SqliteUrl, conn: &Connection) -> Result<Self, StoreError> {
        let folder = url.bodies_folder();
        let (mut number, mut end) = last_body_end(conn)?.unwrap_or((1, 0));
        // A number is never used again: readers may have the file open.
        if let Some(highest) = list_file_numbers(&folder).max().filter(|highest| *highest > number) {
            (number, end) = (highest, 0);
        }
        let failed = |error: io::Error| StoreError::Unusable(format!("cannot open {}: {error}", folder.display()));
        create_private_folder(&folder).map_err(failed)?;
        let mut file = open_private_file(&body_file_path(&folder, number)).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < end {
            // Writing on would fill the hole with zeros, and those would pass for bodies.
            let short = body_file_path(&folder, number);
            tracing::error!(file = %short.display(), "stored bodies are missing: was the database restored without this folder?");
            (number, end) = (number + 1, 0);
            file = open_private_file(&body_file_path(&folder, number)).map_err(failed)?;
        }
        // A file whose name is not on disk is gone after a power cut, whatever was synced in it.
        sync_folder(&folder).and_then(|()| sync_folder(url.folder())).map_err(failed)?;
        file.set_len(end).map_err(failed)?;
        Ok(Self { folder, file_number: number, file, committed_end: end, staged: Vec::new(), staged_bytes: 0 })
    }

    /// A transaction begins; in a new file if the old one is full.
    pub(super) fn rotate_if_full(&mut self) -> Result<(), StoreError> {
        if self.committed_end < MAX_FILE_BYTES {
            return Ok(());
        }
        let number = self.file_number + 1;
        let file = open_private_file(&body_file_path(&self.folder, number)).map_err(unavailable)?;
        sync_folder(&self.folder).map_err(unavailable)?;
        (self.file, self.file_number, self.committed_end) = (file, number, 0);
        Ok(())
    }

    /// Takes a body into the transaction; says where it will lie.
    pub(super) fn stage(&mut self, body: Bytes) -> BodyLocation {
        let at = self.committed_end + self.staged_bytes;
        self.staged_bytes += body.len() as u64;
        self.staged.push(body);
        BodyLocation { file_number: self.file_number, offset: at }
    }

    /// Takes the last staged body back: its row was refused.
    pub(super) fn unstage(&mut self) {
        self.staged_bytes -= self.staged.pop().map_or(0, |body| body.len() as u64);
    }

    /// Writes and syncs what is staged. Comes before the commit.
    pub(super) fn write_staged(&mut self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.committed_end)).map_err(unavailable)?;
        self.staged.iter().try_for_each(|body| self.file.write_all(body)).map_err(unavailable)?;
        self.file.sync_data().map_err(unavailable)
    }

    /// The commit failed in a way that leaves open whether its row is on disk and comes back after a crash. Then its body
    /// must be there as well; if not, the next start cuts it off.
    pub(super) fn assume_committed(&mut self) {
        self.commit();
    }

    /// The transaction is committed.
    pub(super) fn commit(&mut self) {
        self.committed_end += self.staged_bytes;
        self.clear_staged();
    }

    /// The transaction failed: nothing half-written stays.
    pub(super) fn roll_back(&mut self) {
        if !self.staged.is_empty()
            && let Err(error) = self.file.set_len(self.committed_end)
        {
            tracing::error!(%error, "cannot cut off what a failed transaction wrote");
        }
        self.clear_staged();
    }

    fn clear_staged(&mut self) {
        self.staged.clear();
        self.staged_bytes = 0;
    }
}

/// The reading end: remembers the file it read from last.
pub(super) struct BodyFileReader {
    pub(super) folder: PathBuf,
    last_file: RefCell<Option<(i64, File)>>,
}

impl BodyFileReader {
    pub(super) fn new(url: &SqliteUrl) -> Self {
        Self { folder: url.bodies_folder(), last_file: RefCell::new(None) }
    }

    /// The body at `place`, or why it cannot be read.
    pub(super) fn read(&self, place: BodyLocation, size: usize) -> Result<Bytes, String> {
        let mut latest = self.last_file.borrow_mut();
        let open = latest.take().filter(|(number, _)| *number == place.file_number);
        let missing = |error: io::Error| {
            format!(
                "the body cannot be read from {}: {error}",
                body_file_path(&self.folder, place.file_number).display()
            )
        };
        let mut file = match open {
            Some((_, file)) => file,
            None => File::open(body_file_path(&self.folder, place.file_number)).map_err(missing)?,
        };
        let mut body = vec![0; size];
        file.seek(SeekFrom::Start(place.offset)).and_then(|_| file.read_exact(&mut body)).map_err(missing)?;
        if body.iter().all(|byte| *byte == 0) && size > 0 {
            // Its event was removed after the row was read.
            return Err("the body was removed".into());
        }
        *latest = Some((place.file_number, file));
        Ok(body.into())
    }
}

/// Where the last body ends, in which file; those that are freed and not cleared away yet count.
fn last_body_end(conn: &Connection) -> Result<Option<(i64, u64)>, StoreError> {
    let place = |sql| conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional();
    let kept = place(
        "SELECT body_file, body_at + size_bytes FROM events WHERE body_file IS NOT NULL
         ORDER BY body_file DESC, body_at DESC LIMIT 1",
    )?;
    let freed = place("SELECT file, at + size_bytes FROM freed_bodies ORDER BY file DESC, at DESC LIMIT 1")?;
    Ok(kept.max(freed))
}

/// The numbers of the files there are.
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

#[allow(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn unavailable(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("large bodies cannot be written: {error}"))
}
