//! Watches the files of an idle receiver: for commits of other connections, such as an operator's replay, and for files
//! that are deleted or replaced.
//!
//! One cheap query per interval replaces a poll of every handler. It also sees the commits of this receiver's own
//! writer; which of the two it saw is found out by the writer, whose connection notices the commits of others only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::OpenFiles;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::deliveries::PlanCache;
use crate::storage::sqlite::writer::StoreWriter;
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{StoreChanges, StoreError};

/// How long a change by another process goes unnoticed at most, and a file that differs, while this receiver writes
/// nothing. Directly after its own writes a change takes twice as long.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files that are compared with their paths.
pub(in crate::storage::sqlite) struct WatchedFiles {
    store: Arc<OpenFiles>,
    ledger: Arc<OpenFiles>,
    /// Woken when the files of the store differ.
    writer: StoreWriter,
    /// Holds events for a short time.
    plan_cache: Arc<PlanCache>,
}

impl WatchedFiles {
    pub(in crate::storage::sqlite) fn new(
        store: &Arc<OpenFiles>,
        ledger: &Arc<OpenFiles>,
        writer: &StoreWriter,
        plan_cache: &Arc<PlanCache>,
    ) -> Self {
        let (store, ledger) = (Arc::clone(store), Arc::clone(ledger));
        Self { store, ledger, writer: writer.clone(), plan_cache: Arc::clone(plan_cache) }
    }

    fn check(&self) {
        // The results are logged, and kept for readiness and alarms.
        if self.store.check().is_err() {
            self.writer.wake();
        }
        self.check_ledger();
    }

    fn check_ledger(&self) {
        let _ = self.ledger.check();
    }
}

/// Starts the thread that wakes the subscribers of `changes`; it ends when the service stops.
pub(in crate::storage::sqlite) fn start(
    url: &SqliteUrl,
    changes: &watch::Sender<StoreChanges>,
    files: WatchedFiles,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let conn = open::open_reader(url)?;
    let changes = changes.clone();
    let stop = supervisor.clone();
    supervisor
        .spawn_thread("store-watch", move || {
            let mut seen_version = data_version(&conn).ok();
            let mut seen_transactions = files.writer.status.transactions.load(Ordering::Relaxed);
            let mut was_writer_busy = false;
            let mut was_writer_woken = false;
            while !stop.is_stopping() {
                std::thread::sleep(INTERVAL);
                files.plan_cache.expire();
                let transactions = files.writer.status.transactions.load(Ordering::Relaxed);
                let is_writer_idle = transactions <= seen_transactions + i64::from(was_writer_woken);
                seen_transactions = transactions;
                if !is_writer_idle {
                    // It has looked for changes and at the files itself.
                    (was_writer_busy, was_writer_woken) = (true, false);
                    files.check_ledger();
                    continue;
                }
                let version = data_version(&conn).ok();
                was_writer_woken = was_writer_busy;
                if was_writer_busy {
                    // Others may have committed after its last transaction, which it notices at the next one.
                    files.writer.wake();
                } else if version != seen_version {
                    changes.send_modify(|changes| changes.external += 1);
                    files.writer.status.checkpoint_thread.wake();
                }
                (seen_version, was_writer_busy) = (version, false);
                files.check();
            }
        })
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-watch: {error}")))
}

/// A number that differs after any other connection has committed. Reading it does not touch the database file.
fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
