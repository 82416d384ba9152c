//! The invocation ledger: a separate database file next to the store, with its own writer thread.
//!
//! A caller waits for each write here, so a write waits neither for a commit of events nor for the disk. A committed
//! write is in the file's log and survives a crash of the process. It is synced within about 100 ms, and survives a
//! power cut from then on.

mod invocation_list;
pub(super) mod invocations;
mod start;

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub(super) use self::start::open_ledger;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::files::OpenFiles;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::wal::checkpoint::{self, CheckpointMode};
use crate::storage::sqlite::worker_threads::{ThreadWaker, WorkerThreads};
use crate::storage::sqlite::{SqliteUrl, bodies, errors, open};
use crate::storage::{StoreError, StoreErrorKind};

/// Pause between two syncs: a power cut can lose the writes of about this long.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// How long the sync thread waits without a write before it looks whether the service stops, unless the ledger is closed.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Syncs per checkpoint. Rare, because the first write after a checkpoint starts the log over and waits for the disk.
const SYNCS_PER_CHECKPOINT: u32 = 100;

/// A handle to the thread that writes the ledger.
pub(in crate::storage::sqlite) struct LedgerWriter {
    url: SqliteUrl,
    sync: WalSync,
    thread: WorkerThreads<Connection>,
    /// Transactions committed since the start; the sync thread compares it with what it has synced.
    write_count: Arc<WriteCount>,
    files: Arc<OpenFiles>,
    damage: LedgerDamage,
}

/// What happens when SQLite finds the ledger damaged while the receiver runs: it is set aside and the service stops, so
/// that it starts again with a new ledger. The damaged one is out of the way by then, so no start fails for it.
#[derive(Clone)]
struct LedgerDamage {
    url: SqliteUrl,
    files: Arc<OpenFiles>,
    supervisor: Supervisor,
}

impl LedgerDamage {
    fn observe<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && error.kind() == StoreErrorKind::Corrupt
            && !self.supervisor.is_stopping()
            // Another file at the path is not the damaged one.
            && self.files.check().is_ok()
        {
            if let Err(error) = start::set_damaged_aside(&self.url, &errors::cause_text(error)) {
                tracing::error!(%error, "invocation ledger damaged");
            }
            self.supervisor.fail("store-ledger");
        }
        result
    }
}

impl LedgerWriter {
    /// Starts the threads of a ledger that [`open_ledger`] has opened.
    pub(in crate::storage::sqlite) fn start(
        url: &SqliteUrl,
        conn: Connection,
        sync_state: &SyncState,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        invocations::release_all_leases(&conn).map_err(|error| errors::unusable(url, error))?;
        let sync = WalSync::new(&url.ledger_url(), sync_state)?;
        // One thread, so that two requests with the same invocation key are decided one after the other.
        let thread = WorkerThreads::start("store-ledger", [conn], supervisor)?;
        let write_count = Arc::new(WriteCount::default());
        let ledger_sync = LedgerSync {
            url: url.ledger_url(),
            conn: open::open_checkpointer(&url.ledger_url())?,
            wal: sync.clone(),
            synced_count: 0,
            sync_count: 0,
        };
        start_sync_thread(ledger_sync, Arc::clone(&write_count), supervisor)?;
        let files = Arc::new(OpenFiles::of_ledger(&url.ledger_url())?);
        let damage = LedgerDamage { url: url.ledger_url(), files: Arc::clone(&files), supervisor: supervisor.clone() };
        Ok(Self { url: url.ledger_url(), sync, thread, write_count, files, damage })
    }

    pub(in crate::storage::sqlite) fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    /// Syncs all committed writes to disk and empties the log. Writes that follow are still possible.
    pub(in crate::storage::sqlite) async fn close(&self) -> Result<(), StoreError> {
        // On the ledger's thread, behind the writes that are queued there.
        let (url, sync) = (self.url.clone(), self.sync.clone());
        let close = move |conn: &mut Connection| {
            sync.sync()?;
            checkpoint::empty_wal_at_close(conn, &url, &sync.state);
            Ok(())
        };
        let closed = self.thread.run(close).await;
        self.write_count.sync_thread.wake();
        closed
    }

    /// Runs `work` in a separate transaction: all of it takes effect, or nothing.
    pub(in crate::storage::sqlite) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let write_count = Arc::clone(&self.write_count);
        let (url, state) = (self.url.clone(), self.sync.state.clone());
        let (files, damage) = (Arc::clone(&self.files), self.damage.clone());
        let write = move |conn: &mut Connection| {
            state.check()?;
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // The first write after a checkpoint syncs the header of the log.
            let result = work(&transaction).and_then(|result| Ok(transaction.commit().map(|()| result)?));
            let result = damage.observe(state.observe(&url, result))?;
            // After the commit: counted before, the sync thread could sync too early and consider the write done.
            write_count.written.fetch_add(1, Ordering::Release);
            write_count.sync_thread.wake();
            // The write stays, but no one may rely on it when a restart would open another ledger.
            files.check()?;
            Ok(result)
        };
        self.thread.run(write).await
    }
}

/// The number of committed writes, and the thread that syncs them.
#[derive(Debug, Default)]
struct WriteCount {
    written: AtomicU64,
    sync_thread: ThreadWaker,
}

/// Syncs the ledger's log, and checkpoints it from time to time.
struct LedgerSync {
    url: SqliteUrl,
    conn: Connection,
    wal: WalSync,
    /// The write count at the last sync.
    synced_count: u64,
    sync_count: u32,
}

fn start_sync_thread(
    mut sync: LedgerSync,
    write_count: Arc<WriteCount>,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let stop = supervisor.clone();
    let run = move || {
        let mut was_failing = false;
        while !stop.is_stopping() {
            write_count.sync_thread.wait(IDLE_INTERVAL);
            if write_count.written.load(Ordering::Acquire) != sync.synced_count {
                std::thread::sleep(SYNC_INTERVAL);
            }
            let outcome = sync.sync_if_written(write_count.written.load(Ordering::Acquire));
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
        self.wal.sync()?;
        // The count read before the sync: writes that were committed meanwhile are synced next time.
        self.synced_count = write_count;
        self.sync_count += 1;
        if self.sync_count.is_multiple_of(SYNCS_PER_CHECKPOINT) {
            checkpoint::run_checkpoint(&self.conn, &self.url, &self.wal.state, CheckpointMode::Passive)?;
        }
        Ok(())
    }
}

/// Syncs the log of the ledger.
#[derive(Clone)]
struct WalSync {
    /// Opened once: the file stays the same while the ledger is open, and a sync must not need a free descriptor.
    wal: Arc<File>,
    path: PathBuf,
    state: SyncState,
}

impl WalSync {
    /// The ledger must be open, so that its log exists.
    fn new(ledger: &SqliteUrl, state: &SyncState) -> Result<Self, StoreError> {
        let path = ledger.wal_path();
        let failed = |error: std::io::Error| StoreError::unusable(format!("cannot open {}: {error}", path.display()));
        let wal = Arc::new(OpenOptions::new().write(true).open(&path).map_err(failed)?);
        // SQLite ignores a failed sync of the folder, without which a power cut could remove the log.
        bodies::sync_folder(ledger.folder(), state)?;
        Ok(Self { wal, path: path.clone(), state: state.clone() })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.state.check()?;
        // A sync through any handle covers the whole file, including what SQLite has written through its own.
        self.wal.sync_data().map_err(|error| self.state.report(&self.path, &error))
    }
}
