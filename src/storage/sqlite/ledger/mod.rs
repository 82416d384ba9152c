//! The invocation ledger: a separate database file next to the store, with its own writer thread.
//!
//! A caller waits for each write here, so a write waits neither for a commit of events nor for the disk. A committed
//! write is in the file's log and survives a crash of the process. It is synced within about 100 ms, and survives a
//! power cut from then on.

pub(super) mod invocations;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;
use crate::storage::sqlite::worker_threads::WorkerThreads;
use crate::storage::sqlite::{SqliteUrl, errors, open};

/// Pause between two syncs: a power cut can lose the writes of about this long.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// Syncs per checkpoint. Rare, because the first write after a checkpoint starts the log over and waits for the disk.
const SYNCS_PER_CHECKPOINT: u32 = 100;

/// A handle to the thread that writes the ledger.
pub(in crate::storage::sqlite) struct LedgerWriter {
    url: SqliteUrl,
    thread: WorkerThreads<Connection>,
    /// Transactions committed since the start; the sync thread compares it with what it has synced.
    write_count: Arc<AtomicU64>,
}

impl LedgerWriter {
    /// Opens or creates the file.
    pub(in crate::storage::sqlite) fn start(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        // One thread, so that two requests with the same invocation key are decided one after the other.
        let conn = open::open_ledger(url)?;
        invocations::release_all_leases(&conn).map_err(|error| errors::unusable(url, error))?;
        let thread = WorkerThreads::start("store-ledger", [conn], supervisor)?;
        let write_count = Arc::new(AtomicU64::new(0));
        let sync = LedgerSync {
            url: url.ledger_url(),
            conn: open::open_checkpointer(url.ledger_url().path())?,
            synced_count: 0,
            sync_count: 0,
        };
        start_sync_thread(sync, Arc::clone(&write_count), supervisor)?;
        Ok(Self { url: url.ledger_url(), thread, write_count })
    }

    /// Syncs all committed writes to disk now.
    pub(in crate::storage::sqlite) async fn sync(&self) -> Result<(), StoreError> {
        // On the ledger's thread, behind the writes that are queued there.
        let url = self.url.clone();
        self.thread.run(move |_| sync_wal(&url)).await
    }

    /// Runs `work` in a separate transaction: all of it takes effect, or nothing.
    pub(in crate::storage::sqlite) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let write_count = Arc::clone(&self.write_count);
        let write = move |conn: &mut Connection| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            // After the commit: counted before, the sync thread could sync too early and consider the write done.
            write_count.fetch_add(1, Ordering::Release);
            Ok(result)
        };
        self.thread.run(write).await
    }
}

/// Syncs the ledger's log, and checkpoints it from time to time.
struct LedgerSync {
    url: SqliteUrl,
    conn: Connection,
    /// The write count at the last sync.
    synced_count: u64,
    sync_count: u32,
}

fn start_sync_thread(
    mut sync: LedgerSync,
    write_count: Arc<AtomicU64>,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let stop = supervisor.clone();
    let run = move || {
        let mut was_failing = false;
        while !stop.is_stopping() {
            std::thread::sleep(SYNC_INTERVAL);
            let outcome = sync.sync_if_written(write_count.load(Ordering::Acquire));
            if let Err(error) = &outcome
                && !was_failing
            {
                tracing::warn!(%error, "invocation ledger sync failed");
            }
            was_failing = outcome.is_err();
        }
    };
    supervisor
        .spawn_thread("store-ledger-sync", run)
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-ledger-sync: {error}")))
}

impl LedgerSync {
    fn sync_if_written(&mut self, write_count: u64) -> Result<(), StoreError> {
        if write_count == self.synced_count {
            return Ok(());
        }
        sync_wal(&self.url)?;
        // The count read before the sync: writes that were committed meanwhile are synced next time.
        self.synced_count = write_count;
        self.sync_count += 1;
        if self.sync_count.is_multiple_of(SYNCS_PER_CHECKPOINT) {
            self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

fn sync_wal(ledger: &SqliteUrl) -> Result<(), StoreError> {
    let path = ledger.wal_path();
    // A sync through any handle covers the whole file, including what SQLite has written through its own.
    let synced = OpenOptions::new().write(true).open(&path).and_then(|log| log.sync_data());
    match synced {
        // Without a log there is nothing to sync: no write has happened since the file was opened.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::unavailable(format!(
            "cannot sync the log of the invocation ledger {}: {error}",
            path.display()
        ))),
        Ok(()) => Ok(()),
    }
}
