//! Appends bodies; owned by the writer thread.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::Connection;

use super::files::{body_file_path, create_file, sync_folder};
use super::transaction_header::{self, HEADER_BYTES};
use super::{BodyLocation, LARGE_BODY_BYTES, MAX_FILE_BYTES, append_position, inspection};
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::open::create_private_folder;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::{IdentityKey, StoreError};

pub(in crate::storage::sqlite) struct BodyFileWriter {
    folder: PathBuf,
    file: File,
    /// End of the last committed body. Everything behind it belongs to the open transaction or is garbage.
    committed_end: BodyLocation,
    key: IdentityKey,
    sync: SyncState,
    staged: Vec<Bytes>,
    staged_bytes: u64,
    /// Whether the next transaction begins a new file, because the current one has no body any more.
    is_file_left: bool,
}

impl BodyFileWriter {
    /// Opens the newest file behind the last body that a row in the database names, or a new file. Logs what the files
    /// lack, and what they have that no row names.
    pub(in crate::storage::sqlite) fn open(
        url: &SqliteUrl,
        conn: &Connection,
        key: &IdentityKey,
        sync: &SyncState,
    ) -> Result<Self, StoreError> {
        let folder = url.bodies_folder();
        let failed = |error: io::Error| {
            StoreError::unusable(format!("cannot open the body files in {}: {error}", folder.display()))
        };
        create_private_folder(&folder).map_err(failed)?;
        let (file, committed_end) = append_position::open(&folder, conn, key)?;
        // Also when neither is new: the previous process may have ended before it synced the names.
        sync_folder(&folder, sync)?;
        sync_folder(url.folder(), sync)?;
        inspection::log_findings(&inspection::inspect(&folder, conn, key)?);
        let (key, sync) = (key.clone(), sync.clone());
        Ok(Self { folder, file, committed_end, key, sync, staged: Vec::new(), staged_bytes: 0, is_file_left: false })
    }

    /// The file that new bodies are appended to, with its number.
    pub(in crate::storage::sqlite) fn current_file(&self) -> (i64, &File) {
        (self.committed_end.file_number, &self.file)
    }

    pub(in crate::storage::sqlite) fn folder(&self) -> &Path {
        &self.folder
    }

    /// If no body is left in the current file, the next transaction begins a new one, so that this one can be deleted.
    pub(in crate::storage::sqlite) fn leave_unused_file(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let number = self.committed_end.file_number;
        let is_used = conn.prepare_cached("SELECT 1 FROM bodies WHERE file = ?1 LIMIT 1")?.exists([number])?;
        if is_used || self.has_staged() || self.committed_end.offset == 0 {
            return Ok(());
        }
        // Before the file exists, so that the start after a crash takes it for the end of the journal.
        conn.prepare_cached("INSERT OR IGNORE INTO body_file_ends (file, end_at) VALUES (?1, 0)")?
            .execute([number + 1])?;
        self.is_file_left = true;
        Ok(())
    }

    /// Starts a new file when the current one is full or has been left. Call it between two transactions only.
    pub(in crate::storage::sqlite) fn rotate_if_needed(&mut self) -> Result<(), StoreError> {
        if self.committed_end.offset < MAX_FILE_BYTES && !self.is_file_left {
            return Ok(());
        }
        let (file_number, file) = create_file(&self.folder, self.committed_end.file_number + 1).map_err(unavailable)?;
        sync_folder(&self.folder, &self.sync)?;
        // Assigned last: when a step above fails, the writer continues with the old file.
        self.file = file;
        self.committed_end = BodyLocation { file_number, offset: 0 };
        self.is_file_left = false;
        Ok(())
    }

    /// Adds a body to the transaction and returns the place where it will be written.
    pub(in crate::storage::sqlite) fn stage(&mut self, body: Bytes) -> BodyLocation {
        let offset = self.committed_end.offset + HEADER_BYTES + self.staged_bytes;
        self.staged_bytes += body.len() as u64;
        self.staged.push(body);
        BodyLocation { offset, ..self.committed_end }
    }

    /// Removes the body staged last, because its row was not inserted.
    pub(in crate::storage::sqlite) fn unstage(&mut self) {
        self.staged_bytes -= self.staged.pop().map_or(0, |body| body.len() as u64);
    }

    /// Writes and syncs the staged bodies. Must precede the commit.
    pub(in crate::storage::sqlite) fn write_staged(&mut self) -> Result<(), StoreError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let header = transaction_header::encode(&self.key, self.committed_end, self.staged_bytes);
        // An explicit position: a failed transaction may have left the file's position behind the committed end.
        self.file.seek(SeekFrom::Start(self.committed_end.offset)).map_err(unavailable)?;
        self.file.write_all(&header).map_err(unavailable)?;
        self.staged.iter().try_for_each(|body| self.file.write_all(body)).map_err(unavailable)?;
        // `sync_data` also persists the new file size, which is needed to read the bytes back.
        let path = body_file_path(&self.folder, self.committed_end.file_number);
        self.file.sync_data().map_err(|error| self.sync.report(&path, &error))
    }

    pub(in crate::storage::sqlite) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Checks that bodies can be written: writes and syncs what a transaction with a body would, and cuts it off.
    pub(in crate::storage::sqlite) fn probe(&mut self) -> Result<(), StoreError> {
        let written = self.write_probe();
        let cut_off = self.file.set_len(self.committed_end.offset).map_err(unavailable);
        written.and(cut_off)
    }

    fn write_probe(&mut self) -> Result<(), StoreError> {
        // With a header, so that a crash in between leaves what an interrupted transaction leaves.
        let header = transaction_header::encode(&self.key, self.committed_end, LARGE_BODY_BYTES as u64);
        self.file.seek(SeekFrom::Start(self.committed_end.offset)).map_err(unavailable)?;
        self.file.write_all(&header).map_err(unavailable)?;
        self.file.write_all(&[0; LARGE_BODY_BYTES]).map_err(unavailable)?;
        let path = body_file_path(&self.folder, self.committed_end.file_number);
        self.file.sync_data().map_err(|error| self.sync.report(&path, &error))
    }

    /// Keeps the staged bytes after a commit whose result is unknown: its rows may be back after a crash, and then
    /// their bodies must exist. If the rows are not back, the next start cuts the bytes off.
    pub(in crate::storage::sqlite) fn assume_committed(&mut self) {
        self.commit();
    }

    /// Call after the transaction has committed.
    pub(in crate::storage::sqlite) fn commit(&mut self) {
        if !self.staged.is_empty() {
            self.committed_end.offset += HEADER_BYTES + self.staged_bytes;
        }
        self.clear_staged();
    }

    /// Cuts off what a failed transaction has written.
    pub(in crate::storage::sqlite) fn roll_back(&mut self) {
        // If this fails, the bytes are overwritten by the next transaction. What is left of them at the next start is
        // kept, because it cannot be distinguished from bodies of another database.
        if !self.staged.is_empty()
            && let Err(error) = self.file.set_len(self.committed_end.offset)
        {
            let path = body_file_path(&self.folder, self.committed_end.file_number);
            tracing::error!(path = %path.display(), %error, "body file truncation failed");
        }
        // Its record was rolled back, too.
        self.is_file_left = false;
        self.clear_staged();
    }

    fn clear_staged(&mut self) {
        self.staged.clear();
        self.staged_bytes = 0;
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn unavailable(error: io::Error) -> StoreError {
    StoreError::unavailable(format!("cannot write to the body files: {error}"))
}
