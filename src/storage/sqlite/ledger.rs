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

use super::threads::Threads;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// How soon what was written is on disk.
const EVERY: Duration = Duration::from_millis(100);
/// Its log is brought into the file once in so many looks: the first write after that waits for the disk.
const CHECKPOINTED: u32 = 100;

/// A handle to the ledger's thread.
pub(super) struct Ledger {
    url: SqliteUrl,
    threads: Threads<Connection>,
    written: Arc<AtomicU64>,
}

impl Ledger {
    /// Opens or creates the file.
    pub(super) fn start(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let threads = Threads::start("store-ledger", [open::ledger(url)?], supervisor)?;
        let written = Arc::new(AtomicU64::new(0));
        let syncing =
            Syncing { url: url.ledger(), conn: open::checkpointer(url.ledger().path())?, synced: 0, looks: 0 };
        start_syncing(syncing, Arc::clone(&written), supervisor)?;
        Ok(Self { url: url.ledger(), threads, written })
    }

    /// Brings what was written to disk now.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let url = self.url.clone();
        self.threads.run(move |_| sync(&url)).await
    }

    /// Runs `work` in a transaction of its own: all of it or nothing.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let written = Arc::clone(&self.written);
        let write = move |conn: &mut Connection| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            written.fetch_add(1, Ordering::Release);
            Ok(done)
        };
        self.threads.run(write).await
    }
}

/// Brings to disk what the ledger's thread has written.
struct Syncing {
    url: SqliteUrl,
    conn: Connection,
    synced: u64,
    looks: u32,
}

fn start_syncing(mut syncing: Syncing, written: Arc<AtomicU64>, supervisor: &Supervisor) -> Result<(), StoreError> {
    let stop = supervisor.clone();
    let run = move || {
        let mut failing = false;
        while !stop.is_stopping() {
            std::thread::sleep(EVERY);
            let outcome = syncing.look(written.load(Ordering::Acquire));
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

impl Syncing {
    fn look(&mut self, written: u64) -> Result<(), StoreError> {
        if written == self.synced {
            return Ok(());
        }
        sync(&self.url)?;
        self.synced = written;
        self.looks += 1;
        if self.looks.is_multiple_of(CHECKPOINTED) {
            self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

fn sync(ledger: &SqliteUrl) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).open(ledger.log()).and_then(|log| log.sync_data()) {
        // Nothing was written since it was brought into the file.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => {
            synced.map_err(|error| StoreError::Unavailable(format!("the log of the ledger of invocations: {error}")))
        }
    }
}
