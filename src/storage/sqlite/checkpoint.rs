//! Moves committed pages from the log into the database file, away from the writer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::writer::Writer;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// Often, so that little is synced at a time: a commit of the writer's waits for the disk as long as that takes.
const EVERY: Duration = Duration::from_millis(20);
/// While the writer commits nothing; others may, such as a verb that purges.
const WHILE_QUIET: Duration = Duration::from_millis(100);
/// Past so many pages the writer is asked to finish, so that the log starts over instead of growing: under constant load
/// it never pauses long enough by itself. 8,192 pages are 32 MiB.
const LOG_PAGES: i64 = 8_192;
/// What the writer may have to move itself: it takes some milliseconds.
const LITTLE: i64 = 128;
/// Each round moves what was written during the one before, which is less and less.
const ROUNDS: usize = 8;

/// Starts the thread that checkpoints; it ends when the service stops.
pub(super) fn start(url: &SqliteUrl, writer: &Writer, supervisor: &Supervisor) -> Result<(), StoreError> {
    let conn = open::checkpointer(url.path())?;
    let (shared, stop) = (writer.shared.clone(), supervisor.clone());
    supervisor
        .spawn_thread("store-checkpoint", move || {
            let (mut failing, mut seen) = (false, -1);
            while !stop.is_stopping() {
                let commits = shared.commits.load(Ordering::Relaxed);
                std::thread::sleep(if commits == seen { WHILE_QUIET } else { EVERY });
                seen = commits;
                let outcome = catch_up(&conn);
                match &outcome {
                    Ok(log) if *log > LOG_PAGES => shared.finish_checkpoint.store(true, Ordering::Relaxed),
                    Err(error) if !failing => tracing::warn!(%error, "checkpoint failed; trying again"),
                    _ => {}
                }
                failing = outcome.is_err();
            }
        })
        .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))
}

/// Moves pages until little is left to move; says how many pages the log holds.
fn catch_up(conn: &Connection) -> rusqlite::Result<i64> {
    let (mut log, mut moved) = passive(conn)?;
    for _ in 1..ROUNDS {
        if log - moved <= LITTLE {
            break;
        }
        let before = moved;
        (log, moved) = passive(conn)?;
        if moved <= before {
            break;
        }
    }
    Ok(log)
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
