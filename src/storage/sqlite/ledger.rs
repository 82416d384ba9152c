//! The ledger of invocations: a database of its own beside the store's, with a thread of its own.
//!
//! Somebody on the line waits for what is written here, so it waits for nothing itself: not for a commit of events, and not
//! for the disk. What is written is in the file's log, and survives the death of the process; a tenth of a second later it is
//! on disk, and survives a power cut.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::worker_threads::WorkerThreads;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// How soon what was written is on disk.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// Its log is brought into the file once in so many looks: the first write after that waits for the disk.
const SYNCS_PER_CHECKPOINT: u32 = 100;

/// A handle to the ledger's thread.
pub(super) struct LedgerWriter {
    url: SqliteUrl,
    thread: WorkerThreads<Connection>,
    write_count: Arc<AtomicU64>,
}

impl LedgerWriter {
    /// Opens or creates the file.
    pub(super) fn start(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let threads = WorkerThreads::start("store-ledger", [open::open_ledger(url)?], supervisor)?;
        let written = Arc::new(AtomicU64::new(0));
        let syncing = LedgerSync {
            url: url.ledger_url(),
            conn: open::open_checkpointer(url.ledger_url().path())?,
            synced_count: 0,
            sync_count: 0,
        };
        start_sync_thread(syncing, Arc::clone(&written), supervisor)?;
        Ok(Self { url: url.ledger_url(), thread: threads, write_count: written })
    }

    /// Brings what was written to disk now.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let url = self.url.clone();
        self.thread.run(move |_| sync_wal(&url)).await
    }

    /// Runs `work` in a transaction of its own: all of it or nothing.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let written = Arc::clone(&self.write_count);
        let write = move |conn: &mut Connection| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            written.fetch_add(1, Ordering::Release);
            Ok(done)
        };
        self.thread.run(write).await
    }
}

/// Brings to disk what the ledger's thread has written.
struct LedgerSync {
    url: SqliteUrl,
    conn: Connection,
    synced_count: u64,
    sync_count: u32,
}

fn start_sync_thread(
    mut syncing: LedgerSync,
    written: Arc<AtomicU64>,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let stop = supervisor.clone();
    let run = move || {
        let mut failing = false;
        while !stop.is_stopping() {
            std::thread::sleep(SYNC_INTERVAL);
            let outcome = syncing.sync_if_written(written.load(Ordering::Acquire));
            if let Err(error) = &outcome
                && !failing
            {
                tracing::warn!(%error, "the ledger of invocations could not be brought to disk; trying again");
            }
            failing = outcome.is_err();
        }
    };
    supervisor
        .spawn_thread("store-ledger-sync", run)
        .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))
}

impl LedgerSync {
    fn sync_if_written(&mut self, written: u64) -> Result<(), StoreError> {
        if written == self.synced_count {
            return Ok(());
        }
        sync_wal(&self.url)?;
        self.synced_count = written;
        self.sync_count += 1;
        if self.sync_count.is_multiple_of(SYNCS_PER_CHECKPOINT) {
            self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

fn sync_wal(ledger: &SqliteUrl) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).open(ledger.wal_path()).and_then(|log| log.sync_data()) {
        // Nothing was written since it was brought into the file.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => {
            synced.map_err(|error| StoreError::Unavailable(format!("the log of the ledger of invocations: {error}")))
        }
    }
}
