//! Checkpoints: moves committed pages from the write-ahead log (WAL) into the database file, outside the writer
//! thread.
//!
//! SQLite's automatic checkpoint runs within a commit, and the sender of that event would wait for it. Here a thread
//! does the work, and the writer only moves the last few pages when the log has to start over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;
use crate::storage::sqlite::files::OpenFiles;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::writer::StoreWriter;
use crate::storage::sqlite::{SqliteUrl, open};

/// Shortest pause between checkpoints. Short, so that each syncs little: a commit that needs the disk meanwhile waits for
/// it.
const INTERVAL: Duration = Duration::from_millis(20);
/// Longest pause, while the writer commits little: a checkpoint of a few pages costs as much as one of a few hundred. Not
/// without limit, because operator commands such as `purge` write too.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Size of the log, in pages, above which the writer is asked to finish the checkpoint (8,192 pages are 32 MiB). Only
/// a log that has been moved completely starts over, and under constant load the writer never pauses long enough for
/// that.
const MAX_WAL_PAGES: i64 = 8_192;
/// Pages that may be left to the writer, which moves them in a few milliseconds.
const MAX_REMAINING_PAGES: i64 = 128;
/// Passes per checkpoint. Each moves what was written during the previous one, which is less every time.
const MAX_PASSES: usize = 8;
/// How often, and how long each time, a closing store tries to empty its log.
const CLOSE_ATTEMPTS: usize = 10;
const CLOSE_BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// Starts the checkpoint thread; it ends when the service stops.
pub(in crate::storage::sqlite) fn start(
    url: &SqliteUrl,
    writer: &StoreWriter,
    sync: &SyncState,
    files: &Arc<OpenFiles>,
    supervisor: &Supervisor,
) -> Result<(), StoreError> {
    let files = Arc::clone(files);
    let database = CheckpointedDatabase { conn: open::open_checkpointer(url)?, url: url.clone(), sync: sync.clone() };
    let status = writer.status.clone();
    let stop = supervisor.clone();
    supervisor
        .spawn_thread("store-checkpoint", move || {
            let mut was_failing = false;
            while !stop.is_stopping() {
                std::thread::sleep(INTERVAL);
                status.checkpoint_thread.wait(IDLE_INTERVAL);
                if files.is_database_moved() {
                    // The file for the state of syncs may belong to another receiver now.
                    continue;
                }
                let outcome = database.checkpoint();
                match &outcome {
                    Ok(log) if *log > MAX_WAL_PAGES => status.checkpoint_requested.store(true, Ordering::Relaxed),
                    // The pages stay in the log, and the next pass tries again. After a failed sync no pass
                    // follows, see `SyncState`.
                    Err(error) if !was_failing => database.sync.log_checkpoint_failure(error),
                    _ => {}
                }
                was_failing = outcome.is_err();
            }
        })
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-checkpoint: {error}")))
}

/// A database and the connection for its checkpoints.
struct CheckpointedDatabase {
    conn: Connection,
    url: SqliteUrl,
    sync: SyncState,
}

impl CheckpointedDatabase {
    /// Moves pages until few are left, and returns the number of pages in the log.
    fn checkpoint(&self) -> Result<i64, StoreError> {
        let waiting = read_progress(&self.conn, "PRAGMA wal_checkpoint(NOOP)")?;
        if waiting.log_pages == waiting.moved_pages {
            // An idle receiver writes nothing to the disk, but notices a failed sync of another process.
            self.sync.check_other_processes()?;
            return Ok(waiting.log_pages);
        }
        let mut progress = run_checkpoint(&self.conn, &self.url, &self.sync, CheckpointMode::Passive)?;
        for _ in 1..MAX_PASSES {
            if progress.log_pages - progress.moved_pages <= MAX_REMAINING_PAGES {
                break;
            }
            let moved_before = progress.moved_pages;
            progress = run_checkpoint(&self.conn, &self.url, &self.sync, CheckpointMode::Passive)?;
            if progress.moved_pages <= moved_before {
                // No progress: a reader still needs an older state of the database. Further passes would only spin.
                break;
            }
        }
        Ok(progress.log_pages)
    }
}

/// Moves the remaining pages. The writer calls it between two transactions, when no page can be added meanwhile: once
/// the whole log is in the database file, the next transaction starts the log over.
pub(in crate::storage::sqlite) fn finish_checkpoint(conn: &Connection, url: &SqliteUrl, sync: &SyncState) {
    if let Err(error) = run_checkpoint(conn, url, sync, CheckpointMode::Passive) {
        sync.log_checkpoint_failure(&error);
    }
}

/// Moves everything from the log into the database and empties the log, so that a copy of the stopped store is complete
/// without it. If `conn` is the last connection, closing it then deletes the log. A command that is reading leaves the
/// log in place, which loses nothing.
pub(in crate::storage::sqlite) fn empty_wal_at_close(conn: &Connection, url: &SqliteUrl, sync: &SyncState) {
    let emptied = conn.busy_timeout(CLOSE_BUSY_TIMEOUT).map_err(StoreError::from).and_then(|()| {
        // The checkpoint thread may be in its last pass.
        for _ in 0..CLOSE_ATTEMPTS {
            if !run_checkpoint(conn, url, sync, CheckpointMode::Truncate)?.was_busy {
                conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
                break;
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(())
    });
    if let Err(error) = emptied {
        sync.log_checkpoint_failure(&error);
    }
}

/// Called while the open files are not those at the paths. If another database has taken the place of the open one,
/// moves the whole log into the open database and removes it, so that it is not replayed into the other one. While a
/// reader needs the log, it stays until the next call.
pub(in crate::storage::sqlite) fn release_log(conn: &Connection, url: &SqliteUrl, sync: &SyncState, files: &OpenFiles) {
    if !files.is_log_next_to_other_database() {
        return;
    }
    match run_checkpoint(conn, url, sync, CheckpointMode::Truncate) {
        Ok(progress) if progress.was_busy => {}
        Ok(_) => files.remove_log(),
        Err(error) => tracing::warn!(%error, "checkpoint failed"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage::sqlite) enum CheckpointMode {
    /// Takes no lock that a writer or reader waits for. The other modes block commits until readers finish.
    Passive,
    /// Moves everything and truncates the log to 0 bytes. Waits for the connection's busy timeout.
    Truncate,
}

/// The outcome of a checkpoint.
#[derive(Default)]
pub(in crate::storage::sqlite) struct CheckpointProgress {
    /// Another checkpoint, or a reader of an older state, prevented a complete one.
    pub(in crate::storage::sqlite) was_busy: bool,
    log_pages: i64,
    moved_pages: i64,
}

/// The only place that checkpoints a store in use: never after a failed sync.
pub(in crate::storage::sqlite) fn run_checkpoint(
    conn: &Connection,
    url: &SqliteUrl,
    sync: &SyncState,
    mode: CheckpointMode,
) -> Result<CheckpointProgress, StoreError> {
    let Some(permit) = sync.begin_checkpoint()? else {
        return Ok(CheckpointProgress { was_busy: true, ..CheckpointProgress::default() });
    };
    let sql = match mode {
        CheckpointMode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        CheckpointMode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    permit.finish(url, read_progress(conn, sql))
}

fn read_progress(conn: &Connection, sql: &str) -> Result<CheckpointProgress, StoreError> {
    Ok(conn.query_row(sql, [], |row| {
        Ok(CheckpointProgress { was_busy: row.get(0)?, log_pages: row.get(1)?, moved_pages: row.get(2)? })
    })?)
}
