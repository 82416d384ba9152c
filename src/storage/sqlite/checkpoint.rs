//! Moves committed pages from the log into the database file, away from the writer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::writer::Writer;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

const EVERY: Duration = Duration::from_millis(250);
/// Past so many pages the writer is asked to finish, so that the log starts over instead of growing: under constant load
/// it never pauses long enough by itself. 4,096 pages are 16 MiB.
const LOG_PAGES: i64 = 4_096;

/// Starts the thread that checkpoints; it ends when the service stops.
pub(super) fn start(url: &SqliteUrl, writer: &Writer, supervisor: &Supervisor) -> Result<(), StoreError> {
    let conn = open::checkpointer(url)?;
    let (shared, stop) = (writer.shared.clone(), supervisor.clone());
    supervisor
        .spawn_thread("store-checkpoint", move || {
            while !stop.is_stopping() {
                std::thread::sleep(EVERY);
                match passive(&conn) {
                    Ok((log, moved)) if log > LOG_PAGES && moved > 0 => {
                        shared.finish_checkpoint.store(true, Ordering::Relaxed)
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "checkpoint failed; trying again"),
                }
            }
        })
        .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))
}

/// Moves the little that is left, between two transactions: then the next one starts the log over.
pub(super) fn finish(conn: &Connection) {
    if let Err(error) = passive(conn) {
        tracing::warn!(%error, "checkpoint failed; trying again");
    }
}

/// Pages in the log and how many of them are in the database file.
fn passive(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
}
