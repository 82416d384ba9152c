//! Copies a database page by page from a snapshot.

use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use super::copy::{CopyEnd, CopySource};
use crate::storage::StoreError;
use crate::storage::sqlite::{SqliteUrl, open};

/// Pages per step, 1 MiB.
const PAGES_PER_STEP: i32 = 256;
const PAGE_BYTES: u64 = 4_096;
/// The copy is synced in parts of this size: one sync of everything would make the commits of the receiver wait for it.
const BYTES_PER_SYNC: u64 = 16 * 1024 * 1024;

/// Copies the state that the read transaction of `source` sees.
pub(super) fn copy_database(copying: &CopySource, source: &Connection, to: &Path) -> Result<(), CopyEnd> {
    let file = open::open_private_file(to).map_err(|error| cannot_write(to, &error))?;
    let mut copy = open_copy(to)?;
    // Without a journal and without syncs: a copy that is interrupted is thrown away.
    copy.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    copy.pragma_update(None, "synchronous", "OFF")?;
    let backup = Backup::new(source, &mut copy)?;
    let mut unsynced_bytes = 0;
    loop {
        let step = backup.step(PAGES_PER_STEP).map_err(|error| match error.sqlite_error_code() {
            // The text of other errors is about the store.
            Some(ErrorCode::DiskFull) => {
                StoreError::unavailable(format!("cannot write {}: the disk is full", to.display()))
            }
            _ => error.into(),
        })?;
        let bytes = u64::from(PAGES_PER_STEP.unsigned_abs()) * PAGE_BYTES;
        unsynced_bytes += bytes;
        if unsynced_bytes >= BYTES_PER_SYNC || step == StepResult::Done {
            file.sync_data().map_err(|error| cannot_write(to, &error))?;
            unsynced_bytes = 0;
        }
        copying.advance(bytes)?;
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

/// Opens the database of a copy for changes.
pub(super) fn open_copy(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "secure_delete", "ON")?;
    Ok(conn)
}

/// Ends the write-ahead mode of the databases, so that each is a single file that can be read without creating others,
/// and syncs everything to disk.
pub(super) fn finish_copy(copy_url: &SqliteUrl) -> Result<(), StoreError> {
    for path in [copy_url.path(), copy_url.ledger_url().path()] {
        let conn = open_copy(path)?;
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
        if mode != "delete" {
            return Err(StoreError::unavailable(format!("{} stays in the journal mode {mode}", path.display())));
        }
        drop(conn);
        File::open(path).and_then(|file| file.sync_all()).map_err(|error| cannot_write(path, &error))?;
    }
    sync_folder(copy_url.folder())
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot_write(folder, &error))
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("cannot write {}: {error}", path.display()))
}
