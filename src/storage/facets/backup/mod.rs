//! Copies of the store, and the log of erasures that restoring an older copy applies again.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::storage::backup::{BackupRecord, CopyRun, ErasureLogEntry, ErasureLogWriter, StoreCopy};
use crate::storage::{DataSubject, StoreError};

/// Makes copies of a store that a receiver may be writing.
#[async_trait]
pub trait BackupStore: Send + Sync {
    /// Copies the store into an empty folder: one state of everything that it keeps, synced to disk. Every event that was
    /// acknowledged before the call is in it. An erasure during the copy makes it begin again, so the copy contains no one
    /// who was erased before the call returns.
    ///
    /// # Errors
    /// The folder may contain parts of a copy.
    async fn copy_to(&self, folder: PathBuf, run: Arc<CopyRun>) -> Result<StoreCopy, StoreError>;

    /// Remembers a finished backup, so that an erasure can name it.
    async fn record_backup(&self, backup: BackupRecord) -> Result<(), StoreError>;

    /// The backups that were recorded, oldest first. Some may have been deleted.
    async fn list_backups(&self) -> Result<Vec<BackupRecord>, StoreError>;

    /// Forgets backups that no longer exist.
    async fn forget_backups(&self, folders: Vec<String>) -> Result<(), StoreError>;

    /// Opens the erasure log. Until it is dropped, no copy begins.
    async fn open_erasure_log(&self, now_ms: i64) -> Result<ErasureLogWriter, StoreError>;

    /// The persons in entries of the erasure log, with those of their calls that are in this store. One per scope of the
    /// erasures: all companies, or a single one.
    async fn find_logged_persons(&self, entries: Vec<ErasureLogEntry>) -> Result<Vec<DataSubject>, StoreError>;
}
