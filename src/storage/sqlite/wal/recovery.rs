//! What a receiver does with the logs that it finds, before anything else opens the databases.
//!
//! A log that is not empty was left by a process that did not stop in order. What it holds may be in memory only: the
//! sync that covered it may have failed, and the process may have been killed before it could say so. So the log is
//! written once more, in place, and synced. Then it is moved into the database and begins again at its start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::SyncState;
use super::frames::{Repair, WalCheck, check_wal, log_bytes};
use crate::base::clock::Clock;
use crate::storage::sqlite::files::set_aside_log_without_database;
use crate::storage::sqlite::{SqliteUrl, errors, open};
use crate::storage::{StoreError, StoreErrorKind};

/// How long a start waits for commands to close the store. They notice within a second; one that reads a lot needs
/// longer.
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
const COPY_BYTES: usize = 1024 * 1024;

/// Checks the logs of the store and of its ledger, and moves what they hold into the databases.
///
/// # Errors
/// [`StoreError`] of the kind `Unusable` when another process keeps a database open that has to be rebuilt, or a log is
/// damaged and cannot be copied.
pub(in crate::storage::sqlite) fn recover(url: &SqliteUrl, sync: &SyncState) -> Result<(), StoreError> {
    let ledger = url.ledger_url();
    // At most one transaction of the database is not synced at any time; of the ledger, those of about 100 ms.
    let (unsynced, unsynced_in_ledger) = if sync.is_same_boot() { (0, 0) } else { (1, u64::MAX) };
    set_aside_log_without_database(url)?;
    set_aside_log_without_database(&ledger)?;
    check_log(url, unsynced, MISSING_EVENTS_ADVICE)?;
    check_log(&ledger, unsynced_in_ledger, MISSING_INVOCATIONS_ADVICE)?;
    let reason = sync.rebuild_reason();
    if let Some(reason) = &reason {
        tracing::warn!(reason, "store is rebuilt from its write-ahead log");
        sync.announce_rebuild(reason).map_err(|error| state_error(url, &error))?;
    }
    let recovery = Recovery { sync, alone_required: reason.is_some() };
    recovery.run(url, open::check_own_database)?;
    match recovery.run(&ledger, |_, _| Ok(())) {
        // A damaged ledger is dealt with when it is opened: events must still be received.
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {}
        result => result?,
    }
    sync.reset().map_err(|error| state_error(url, &error))
}

const MISSING_EVENTS_ADVICE: &str = "events, deliveries or bookings are missing: restore the store from a backup that has \
                                     them, or continue without; keep the copy, which still contains them";
const MISSING_INVOCATIONS_ADVICE: &str = "answers of custom functions are missing: a repeated request runs its function \
                                          again; keep the copy, which still contains them";

fn state_error(url: &SqliteUrl, error: &io::Error) -> StoreError {
    StoreError::unusable(format!(
        "cannot write {}: {error}; make the file and its folder writable for this user",
        url.path_with_suffix(".sync-state").display()
    ))
}

/// A log without its database is dealt with when the database is opened.
fn has_log(database: &SqliteUrl) -> bool {
    let has_content = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    has_content(&database.wal_path()) && has_content(database.path())
}

/// Compares the end of the log that SQLite will find with its real end. If transactions are missing, says so and keeps a
/// copy, because SQLite overwrites them.
fn check_log(database: &SqliteUrl, max_unsynced: u64, next: &str) -> Result<(), StoreError> {
    let path = database.wal_path();
    let unreadable = |error: io::Error| StoreError::unusable(format!("cannot read {}: {error}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let WalCheck { missing_frames, missing_transactions, repairs, .. } =
        check_wal(BufReader::with_capacity(COPY_BYTES, file)).map_err(unreadable)?;
    if !repairs.is_empty() {
        repair_log(&path, &repairs).map_err(unreadable)?;
        tracing::warn!(path = %path.display(), bits = repairs.len(), "flipped bits in write-ahead log repaired");
    }
    if missing_transactions == 0 {
        return Ok(());
    }
    if missing_transactions <= max_unsynced {
        // The machine was switched off or crashed while these were being written; nothing of them was acknowledged.
        tracing::info!(path = %path.display(), missing_frames, missing_transactions, "unsynced end of log ignored");
        return Ok(());
    }
    let copy = keep_copies(database)?;
    tracing::error!(
        path = %path.display(),
        missing_frames,
        missing_transactions,
        copy = %copy.display(),
        next,
        "write-ahead log damaged"
    );
    Ok(())
}

fn repair_log(path: &Path, repairs: &[Repair]) -> io::Result<()> {
    let mut log = OpenOptions::new().write(true).open(path)?;
    for repair in repairs {
        log.seek(SeekFrom::Start(repair.offset))?;
        log.write_all(&[repair.byte])?;
    }
    Ok(())
}

/// Copies the log and its database to names next to them, readable only by this user, and returns that of the log. The
/// database too: it may hold pages of frames behind the damage, which SQLite replaces by older ones of frames before it.
fn keep_copies(database: &SqliteUrl) -> Result<PathBuf, StoreError> {
    let suffix = format!(".damaged-{}", Clock::system().now_ms());
    let log_copy = database.path_with_suffix(&format!("-wal{suffix}"));
    let database_copy = database.path_with_suffix(&suffix);
    let copied =
        copy_private(&database.wal_path(), &log_copy).and_then(|()| copy_private(database.path(), &database_copy));
    match copied {
        Ok(()) => Ok(log_copy),
        Err(error) => {
            let _ = fs::remove_file(&log_copy);
            let _ = fs::remove_file(&database_copy);
            Err(StoreError::unusable(format!(
                "the write-ahead log {} is damaged and cannot be copied: {error}; starting would overwrite what is left. \
                 Make room for a copy of it and of the database, or move both to another disk",
                database.wal_path().display()
            )))
        }
    }
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = open::open_private_file(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// Moves logs into their databases.
struct Recovery<'a> {
    sync: &'a SyncState,
    /// A sync has failed, or may have: what an earlier process noted as moved may not be on disk.
    alone_required: bool,
}

impl Recovery<'_> {
    /// `check` fails for a database that must stay unchanged.
    fn run(
        &self,
        database: &SqliteUrl,
        check: fn(&Connection, &SqliteUrl) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !has_log(database) {
            return Ok(());
        }
        let conn = open::open_for_recovery(database)?;
        let started = Instant::now();
        loop {
            match begin(&conn) {
                Ok(()) => {
                    check(&conn, database)?;
                    return self.rebuild_alone(&conn, database);
                }
                Err(error) if error.kind() != StoreErrorKind::Busy => return Err(error),
                Err(_) if !self.alone_required => {
                    // It would keep a lock, because it still waits for being alone.
                    drop(conn);
                    let conn = open::open_checkpointer(database)?;
                    check(&conn, database)?;
                    return self.rewrite_shared(&conn, database);
                }
                Err(_) if started.elapsed() > EXCLUSIVE_TIMEOUT => return Err(in_use_error(database)),
                Err(_) => std::thread::sleep(RETRY_INTERVAL),
            }
        }
    }

    /// The connection has locked out every other process. SQLite has read the whole log anew and keeps its index in
    /// memory, so nothing is left of what an earlier process had noted as moved already.
    fn rebuild_alone(&self, conn: &Connection, database: &SqliteUrl) -> Result<(), StoreError> {
        self.rewrite_log(database)?;
        conn.execute_batch("ROLLBACK")?;
        let emptied = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        let was_busy = self.sync.observe(database, emptied.map_err(StoreError::from))?;
        if was_busy { Err(in_use_error(database)) } else { Ok(()) }
    }

    /// Other processes have the database open, and no sync is known to have failed. Then only the log is written again, up
    /// to the end that they see; frames behind it are from a transaction that was never acknowledged.
    fn rewrite_shared(&self, conn: &Connection, database: &SqliteUrl) -> Result<(), StoreError> {
        begin(conn)?;
        let frames: u64 = open::open_checkpointer(database)?
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1))?
            .try_into()
            .unwrap_or(0);
        let page_bytes: u64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        cut_log(&database.wal_path(), log_bytes(frames, page_bytes))?;
        self.rewrite_log(database)?;
        Ok(conn.execute_batch("ROLLBACK")?)
    }

    /// Writes the log over itself and syncs it. Pages that an earlier sync has dropped are written this time; bytes that are
    /// on disk already do not change, so a power cut in between does no harm. Needs a lock against other writers.
    fn rewrite_log(&self, database: &SqliteUrl) -> Result<(), StoreError> {
        let path = database.wal_path();
        let log = rewrite_file(&path).map_err(|error| errors::unusable_file(&path, &error))?;
        log.sync_all().map_err(|error| self.sync.report(&path, &error))?;
        File::open(database.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.sync.report(database.folder(), &error))
    }
}

/// In WAL mode this also reads the log, if no other process has done so.
fn begin(conn: &Connection) -> Result<(), StoreError> {
    Ok(conn.execute_batch("BEGIN IMMEDIATE")?)
}

fn in_use_error(database: &SqliteUrl) -> StoreError {
    let path = database.path().display();
    StoreError::unusable(format!(
        "{path} has to be rebuilt after a failed sync, which needs that no other process uses it; end those that do \
         (`fuser {path}` lists them), then start the receiver again"
    ))
}

fn cut_log(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let log = OpenOptions::new().write(true).open(path);
    log.and_then(|log| if log.metadata()?.len() > bytes { log.set_len(bytes) } else { Ok(()) })
        .map_err(|error| errors::unusable_file(path, &error))
}

fn rewrite_file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut part = vec![0; COPY_BYTES];
    let mut position = 0;
    loop {
        file.seek(SeekFrom::Start(position))?;
        let length = file.read(&mut part)?;
        if length == 0 {
            return Ok(file);
        }
        file.seek(SeekFrom::Start(position))?;
        file.write_all(&part[..length])?;
        position += length as u64;
    }
}
