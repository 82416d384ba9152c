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
/// nothing. Directly after its own writes it takes twice as long.
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
            let mut last_transactions = files.writer.status.transactions.load(Ordering::Relaxed);
            let mut is_writer_due = false;
            while !stop.is_stopping() {
                std::thread::sleep(INTERVAL);
                files.plan_cache.expire();
                let version = data_version(&conn).ok();
                let transactions = files.writer.status.transactions.load(Ordering::Relaxed);
                let is_writer_idle = transactions == last_transactions;
                if version != seen_version && is_writer_idle {
                    changes.send_modify(|changes| changes.external += 1);
                    files.writer.status.checkpoint_thread.wake();
                } else if is_writer_due && is_writer_idle {
                    files.writer.wake();
                }
                // The writer has committed, and maybe others as well, which it notices at its next transaction.
                is_writer_due = version != seen_version && !is_writer_idle;
                (seen_version, last_transactions) = (version, transactions);
                files.check();
            }
        })
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-watch: {error}")))
}

/// A number that differs after any other connection has committed. Reading it does not touch the database file.
fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
