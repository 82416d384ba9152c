//! Checkpoints: moves committed pages from the write-ahead log (WAL) into the database file, outside the writer
//! thread.
//!
//! SQLite's automatic checkpoint runs within a commit, and the sender of that event would wait for it. Here a thread
//! does the work, and the writer only moves the last few pages when the log has to start over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;
use crate::storage::sqlite::writer::StoreWriter;
use crate::storage::sqlite::{SqliteUrl, open};

/// Pause between checkpoints. Short, so that each syncs little: a commit that needs the disk meanwhile waits for it.
const INTERVAL: Duration = Duration::from_millis(20);
/// Pause while the writer commits nothing. Not without limit, because operator commands such as `purge` write too.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// Size of the log, in pages, above which the writer is asked to finish the checkpoint (8,192 pages are 32 MiB). Only
/// a log that has been moved completely starts over, and under constant load the writer never pauses long enough for
/// that.
const MAX_WAL_PAGES: i64 = 8_192;
/// Pages that may be left to the writer, which moves them in a few milliseconds.
const MAX_REMAINING_PAGES: i64 = 128;
/// Passes per checkpoint. Each moves what was written during the previous one, which is less every time.
const MAX_PASSES: usize = 8;

/// Starts the checkpoint thread; it ends when the service stops.
pub(in crate::storage::sqlite) fn start(
    url: &SqliteUrl,
    writer: &StoreWriter,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let conn = open::open_checkpointer(url.path())?;
    let status = writer.status.clone();
    let stop = supervisor.clone();
    supervisor
        .spawn_thread("store-checkpoint", move || {
            let mut was_failing = false;
            let mut last_transactions = -1;
            while !stop.is_stopping() {
                let transactions = status.transactions.load(Ordering::Relaxed);
                std::thread::sleep(if transactions == last_transactions { IDLE_INTERVAL } else { INTERVAL });
                last_transactions = transactions;
                let outcome = checkpoint(&conn);
                match &outcome {
                    Ok(log) if *log > MAX_WAL_PAGES => status.checkpoint_requested.store(true, Ordering::Relaxed),
                    // A failure loses nothing: the pages stay in the log, and the next pass tries again.
                    Err(error) if !was_failing => tracing::warn!(%error, "checkpoint failed"),
                    _ => {}
                }
                was_failing = outcome.is_err();
            }
        })
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-checkpoint: {error}")))
}

/// Moves pages until few are left, and returns the number of pages in the log.
fn checkpoint(conn: &Connection) -> rusqlite::Result<i64> {
    let (mut log, mut moved) = passive_checkpoint(conn)?;
    for _ in 1..MAX_PASSES {
        if log - moved <= MAX_REMAINING_PAGES {
            break;
        }
        let moved_before = moved;
        (log, moved) = passive_checkpoint(conn)?;
        if moved <= moved_before {
            // No progress: a reader still needs an older state of the database. Further passes would only spin.
            break;
        }
    }
    Ok(log)
}

/// Moves the remaining pages. The writer calls it between two transactions, when no page can be added meanwhile: once
/// the whole log is in the database file, the next transaction starts the log over.
pub(in crate::storage::sqlite) fn finish_checkpoint(conn: &Connection) {
    if let Err(error) = passive_checkpoint(conn) {
        tracing::warn!(%error, "checkpoint failed");
    }
}

/// Returns the number of pages in the log and how many of them are in the database file.
fn passive_checkpoint(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    // PASSIVE takes no lock that a writer or reader waits for. The stronger modes would block commits until readers
    // finish.
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
}
