//! Copies the bodies that a copied database names.
//!
//! Only those: what is between them may be bodies that were erased and not yet overwritten. Retention continues during the
//! copy, so bodies may be gone; then their events are removed from the copy as well. A body that was compressed meanwhile
//! is read from its block.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::copy::{CopyEnd, CopySource};
use super::databases::{cannot_write, open_copy, sync_folder};
use crate::base::id::EventId;
use crate::storage::sqlite::blocks::{self, DamagedBlock};
use crate::storage::sqlite::bodies::{self, BodyDigest, BodyFileReader, BodyLocation, BodyReader};
use crate::storage::sqlite::removal::{self, BodyDisposal};
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{BodyError, BodyErrorKind, IdentityKey, Seq, StoreError};

/// Bytes between two checks of what may end the copy.
const BYTES_PER_STEP: u64 = 1024 * 1024;
const BYTES_PER_SYNC: u64 = 16 * 1024 * 1024;

/// What happened to bodies that could not be copied as they were received.
#[derive(Default)]
pub(super) struct CopiedBodies {
    /// Ids of events whose bodies are damaged or missing in the store.
    pub(super) damaged_events: Vec<String>,
    /// Number of events that were removed from the store during the copy.
    pub(super) removed_events: u64,
}

/// An event with a body in a body file.
struct LargeEvent {
    seq: Seq,
    id: EventId,
    location: BodyLocation,
    size_bytes: usize,
    body: Result<Vec<u8>, BodyError>,
}

/// Copies the bodies and removes from the copy the events whose bodies are gone.
pub(super) fn copy_bodies(source: &CopySource, copy_url: &SqliteUrl, now_ms: i64) -> Result<CopiedBodies, CopyEnd> {
    let copy = open_copy(copy_url.path())?;
    let folder = copy_url.bodies_folder();
    open::create_private_folder(&folder).map_err(|error| cannot_write(&folder, &error))?;
    let unreadable = copy_files(source, &copy, &folder)?;
    let live = open::open_reader(source.url)?;
    let reader = BodyReader::new(source.url);
    let mut copied = CopiedBodies::default();
    for (seq, id) in unreadable {
        match read_again(&live, &reader, &source.key, seq)? {
            None => {
                removal::remove_event(&copy, &source.key, seq, now_ms)?;
                copied.removed_events += 1;
            }
            Some(Ok(body)) => {
                removal::delete_uncompressed_body(&copy, seq, body.len() as u64, BodyDisposal::Free, now_ms)?;
                copy.execute("INSERT INTO bodies (seq, body) VALUES (?1, ?2)", params![seq, &body[..]])?;
            }
            Some(Err(_)) => copied.damaged_events.push(id.to_string()),
        }
    }
    copied.damaged_events.extend(find_damaged_in_database(source, &copy, copy_url)?);
    while let Some(rewrite) = blocks::next_rewrite(&copy, i64::MAX, DamagedBlock::Keep)? {
        rewrite.apply(&copy)?;
    }
    // Nothing of them was copied, so there is nothing to reclaim.
    copy.execute_batch(
        "INSERT INTO body_file_ends (file, end_at) SELECT file, max(at + size_bytes) FROM freed_bodies WHERE 1 GROUP BY file
         ON CONFLICT (file) DO UPDATE SET end_at = max(end_at, excluded.end_at);
         DELETE FROM freed_bodies",
    )?;
    Ok(copied)
}

/// Reads a body that is not where the copied database says: meanwhile it may have been compressed. `None` when its event
/// was removed.
fn read_again(
    live: &Connection,
    reader: &BodyReader,
    key: &IdentityKey,
    seq: Seq,
) -> Result<Option<Result<Bytes, BodyError>>, StoreError> {
    let mut event = live
        .prepare_cached("SELECT size_bytes, company_id, identity, dedupe_discriminator FROM events WHERE seq = ?1")?;
    let mut rows = event.query([seq])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(match BodyDigest::from_row(row, 2, row.get(1)?, key) {
        Ok(digest) => reader.read(live, seq, row.get(0)?, &digest)?,
        Err(error) => Err(error),
    }))
}

/// The ids of the events whose bodies are in the copied database, in rows or blocks, and do not match their digest.
fn find_damaged_in_database(
    source: &CopySource,
    copy: &Connection,
    copy_url: &SqliteUrl,
) -> Result<Vec<String>, CopyEnd> {
    let reader = BodyReader::new(copy_url);
    let mut statement = copy.prepare(
        "SELECT seq, id, size_bytes, company_id, identity, dedupe_discriminator FROM events
         WHERE seq NOT IN (SELECT seq FROM bodies WHERE file IS NOT NULL) ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    let mut damaged = Vec::new();
    let mut unreported_bytes = 0;
    while let Some(row) = rows.next()? {
        let size_bytes = row.get(2)?;
        let checked = match BodyDigest::from_row(row, 4, row.get(3)?, &source.key) {
            Ok(digest) => reader.read(copy, row.get(0)?, size_bytes, &digest)?,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            damaged.push(EventId::from_bytes(row.get(1)?).to_string());
        }
        unreported_bytes += size_bytes as u64;
        if unreported_bytes >= BYTES_PER_STEP {
            unreported_bytes = 0;
            // They are copied and counted already.
            source.advance(0)?;
        }
    }
    Ok(damaged)
}

/// Copies the body files and returns the events whose bodies do not match their digest.
fn copy_files(source: &CopySource, copy: &Connection, folder: &Path) -> Result<Vec<(Seq, EventId)>, CopyEnd> {
    let reader = BodyFileReader::new(source.url);
    let mut target: Option<BodyFileCopy> = None;
    let mut unreadable = Vec::new();
    let mut uncounted_bytes = 0;
    let mut statement = copy.prepare(
        "SELECT e.seq, e.id, b.file, b.at, e.size_bytes, e.company_id, e.identity, e.dedupe_discriminator
         FROM bodies b JOIN events e ON e.seq = b.seq WHERE b.file IS NOT NULL ORDER BY b.file, b.at",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let event = LargeEvent::read(row, &reader, &source.key)?;
        let body = match event.body {
            Ok(body) => Some(body),
            Err(error) => {
                unreadable.push((event.seq, event.id));
                // Damaged bytes are copied as they are: part of them may be of use.
                let is_damaged = error.kind == BodyErrorKind::Damaged;
                if is_damaged { reader.read_damaged(event.location, event.size_bytes) } else { None }
            }
        };
        let number = event.location.file_number;
        if target.as_ref().is_none_or(|file| file.number != number) {
            if let Some(done) = target.take() {
                done.finish(copy)?;
            }
            target = Some(BodyFileCopy::create(folder, number)?);
        }
        if let (Some(file), Some(body)) = (&mut target, body) {
            file.write(event.location.offset, &body)?;
            uncounted_bytes += body.len() as u64;
        }
        if uncounted_bytes >= BYTES_PER_STEP {
            source.advance(std::mem::take(&mut uncounted_bytes))?;
        }
    }
    if let Some(done) = target.take() {
        done.finish(copy)?;
    }
    sync_folder(folder)?;
    source.advance(uncounted_bytes)?;
    Ok(unreadable)
}

impl LargeEvent {
    fn read(row: &Row, reader: &BodyFileReader, key: &IdentityKey) -> Result<Self, StoreError> {
        let location = BodyLocation { file_number: row.get(2)?, offset: row.get(3)? };
        let size_bytes = row.get(4)?;
        let digest = BodyDigest::from_row(row, 6, row.get(5)?, key);
        let body = digest.and_then(|digest| reader.read(location, size_bytes, &digest));
        Ok(Self { seq: row.get(0)?, id: row.get(1).map(EventId::from_bytes)?, location, size_bytes, body })
    }
}

/// A body file of the copy. Its bodies are where they are in the store; the rest is a hole.
struct BodyFileCopy {
    number: i64,
    path: std::path::PathBuf,
    file: File,
    unsynced_bytes: u64,
}

impl BodyFileCopy {
    fn create(folder: &Path, number: i64) -> Result<Self, StoreError> {
        let path = bodies::body_file_path(folder, number);
        let file = open::open_private_file(&path).map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { number, path, file, unsynced_bytes: 0 })
    }

    fn write(&mut self, offset: u64, body: &[u8]) -> Result<(), StoreError> {
        let failed = |error| cannot_write(&self.path, &error);
        self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.file.write_all(body).map_err(failed)?;
        self.unsynced_bytes += body.len() as u64;
        if self.unsynced_bytes >= BYTES_PER_SYNC {
            self.file.sync_data().map_err(failed)?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// Gives the file its length in the store, so that a receiver appends behind it, and syncs it.
    fn finish(self, copy: &Connection) -> Result<(), StoreError> {
        let end = bodies::known_end(copy, self.number)?;
        self.file.set_len(end).and_then(|()| self.file.sync_all()).map_err(|error| cannot_write(&self.path, &error))
    }
}
