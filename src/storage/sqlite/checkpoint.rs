//! Moves committed pages from the log into the database file, away from the writer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::writer::StoreWriter;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// Often, so that little is synced at a time: a commit of the writer's waits for the disk as long as that takes.
const INTERVAL: Duration = Duration::from_millis(20);
/// While the writer commits nothing; others may, such as a verb that purges.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// Past so many pages the writer is asked to finish, so that the log starts over instead of growing: under constant load
/// it never pauses long enough by itself. 8,192 pages are 32 MiB.
const MAX_WAL_PAGES: i64 = 8_192;
/// What the writer may have to move itself: it takes some milliseconds.
const MAX_REMAINING_PAGES: i64 = 128;
/// Each round moves what was written during the one before, which is less and less.
const MAX_PASSES: usize = 8;

/// Starts the thread that checkpoints; it ends when the service stops.
pub(super) fn start(url: &SqliteUrl, writer: &StoreWriter, supervisor: &Supervisor) -> Result<(), StoreError> {
    let conn = open::open_checkpointer(url.path())?;
    let (shared, stop) = (writer.status.clone(), supervisor.clone());
    supervisor
        .spawn_thread("store-checkpoint", move || {
            let (mut failing, mut seen) = (false, -1);
            while !stop.is_stopping() {
                let commits = shared.transactions.load(Ordering::Relaxed);
                std::thread::sleep(if commits == seen { IDLE_INTERVAL } else { INTERVAL });
                seen = commits;
                let outcome = checkpoint(&conn);
                match &outcome {
                    Ok(log) if *log > MAX_WAL_PAGES => shared.checkpoint_requested.store(true, Ordering::Relaxed),
                    Err(error) if !failing => tracing::warn!(%error, "checkpoint failed; trying again"),
                    _ => {}
                }
                failing = outcome.is_err();
            }
        })
        .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))
}

/// Moves pages until little is left to move; says how many pages the log holds.
fn checkpoint(conn: &Connection) -> rusqlite::Result<i64> {
    let (mut log, mut moved) = passive_checkpoint(conn)?;
    for _ in 1..MAX_PASSES {
        if log - moved <= MAX_REMAINING_PAGES {
            break;
        }
        let before = moved;
        (log, moved) = passive_checkpoint(conn)?;
        if moved <= before {
            break;
        }
    }
    Ok(log)
}

/// Moves the little that is left, between two transactions: then the next one starts the log over.
pub(super) fn finish_checkpoint(conn: &Connection) {
    if let Err(error) = passive_checkpoint(conn) {
        tracing::warn!(%error, "checkpoint failed; trying again");
    }
}

/// Pages in the log and how many of them are in the database file.
fn passive_checkpoint(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
}
