//! Copies of the store while a receiver writes it, checks of a copy, and putting a copy in the place of the store.
//! docs/backup.md describes the whole.

mod bodies;
mod check;
mod copy;
mod databases;
mod persons;
mod restore_place;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;

pub(crate) use self::check::check_copy;
pub(crate) use self::restore_place::RestorePlace;
use super::open;
use super::{SqliteStore, SqliteUrl};
use crate::base::supervise::run_blocking;
use crate::storage::backup::{BackupRecord, BackupStore, CopyRun, ErasureLogEntry, ErasureLogWriter, StoreCopy};
use crate::storage::{DataSubject, IdentityKey, StoreError};

#[async_trait]
impl BackupStore for SqliteStore {
    async fn copy_to(&self, folder: PathBuf, run: Arc<CopyRun>) -> Result<StoreCopy, StoreError> {
        let url = self.url.clone();
        // Not on a thread of the store: the copy takes minutes, and opens its own connections.
        blocking(move || copy::copy_store(&url, &folder, &run)).await
    }

    async fn record_backup(&self, backup: BackupRecord) -> Result<(), StoreError> {
        let insert = move |operator: &mut super::operator::OperatorRemoval| {
            operator.store.write(|conn, _| {
                conn.execute(
                    "INSERT OR REPLACE INTO backups (folder, taken_at_ms) VALUES (?1, ?2)",
                    params![backup.folder, backup.taken_at_ms],
                )?;
                Ok(())
            })
        };
        self.operator().await?.run(insert).await
    }

    async fn list_backups(&self) -> Result<Vec<BackupRecord>, StoreError> {
        let list = |reader: &super::readers::ReaderContext| {
            let mut rows = reader.conn.prepare("SELECT folder, taken_at_ms FROM backups ORDER BY taken_at_ms")?;
            let rows = rows.query_map([], |row| Ok(BackupRecord { folder: row.get(0)?, taken_at_ms: row.get(1)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.readers.read(list).await
    }

    async fn forget_backups(&self, folders: Vec<String>) -> Result<(), StoreError> {
        let delete = move |operator: &mut super::operator::OperatorRemoval| {
            operator.store.write(|conn, _| {
                for folder in &folders {
                    conn.execute("DELETE FROM backups WHERE folder = ?1", [folder])?;
                }
                Ok(())
            })
        };
        self.operator().await?.run(delete).await
    }

    async fn open_erasure_log(&self, now_ms: i64) -> Result<ErasureLogWriter, StoreError> {
        self.operator().await?.run(move |operator| operator.store.open_erasure_log(now_ms)).await
    }

    async fn find_logged_persons(&self, entries: Vec<ErasureLogEntry>) -> Result<Vec<DataSubject>, StoreError> {
        let url = self.url.clone();
        blocking(move || persons::find_logged_persons(&url, entries)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    run_blocking(work).await.unwrap_or_else(|| Err(StoreError::unavailable("the process is shutting down")))
}

fn read_key(url: &SqliteUrl) -> Result<IdentityKey, StoreError> {
    open::load_identity_key(&open::open_reader(url)?)
}
