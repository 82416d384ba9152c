//! Makes one consistent copy of the databases and of the bodies that they name.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::bodies::copy_bodies;
use super::check::count_rows;
use super::databases::{copy_database, finish_copy};
use crate::base::clock::Clock;
use crate::storage::backup::{
    COPY_NAME, CopyRun, ErasureLogMark, StoreCopy, is_erasure_log_unchanged, mark_erasure_log,
};
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{IdentityKey, StoreError};

/// How long both databases together are waited for. The receiver's transactions take milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a copy waits for an erasure, in total.
const ERASURE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// What ends a copy before it is complete.
pub(super) enum CopyEnd {
    /// A person is being erased, and would be in the copy.
    Erasure,
    Failed(StoreError),
}

impl<E: Into<StoreError>> From<E> for CopyEnd {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A source that is being copied.
pub(super) struct CopySource<'a> {
    pub(super) url: &'a SqliteUrl,
    pub(super) key: IdentityKey,
    pub(super) run: &'a CopyRun,
    sync: SyncState,
    mark: ErasureLogMark,
}

impl CopySource<'_> {
    /// Counts a part that was copied. Ends the copy when its caller, an erasure or a failed sync of the store demands it:
    /// both of the latter need that no process keeps an older state of the store open.
    pub(super) fn advance(&self, bytes: u64) -> Result<(), CopyEnd> {
        self.run.advance(bytes)?;
        self.sync.check()?;
        if is_erasure_log_unchanged(&self.url.erasure_log_path(), &self.mark) { Ok(()) } else { Err(CopyEnd::Erasure) }
    }
}

/// Copies the store into `folder`, which is empty.
pub(super) fn copy_store(url: &SqliteUrl, folder: &Path, run: &CopyRun) -> Result<StoreCopy, StoreError> {
    let started = Instant::now();
    let sync = SyncState::of_command(url);
    let key = super::read_key(url)?;
    let copy_url = SqliteUrl::file(folder.join(COPY_NAME));
    loop {
        sync.check()?;
        let taken_at_ms = Clock::system().now_ms();
        let marked = mark_erasure_log(&url.erasure_log_path(), &key, taken_at_ms)?;
        if let Some(mark) = marked {
            let source = CopySource { url, key: key.clone(), run, sync: sync.clone(), mark };
            match copy_once(&source, &copy_url, taken_at_ms) {
                Ok(copy) => return Ok(copy),
                Err(CopyEnd::Failed(error)) => return Err(error),
                Err(CopyEnd::Erasure) => remove_copy(&copy_url)?,
            }
        }
        if started.elapsed() > ERASURE_TIMEOUT {
            return Err(StoreError::unavailable("erasures kept the copy from being completed; try again later"));
        }
        run.advance(0)?;
        std::thread::sleep(RETRY_INTERVAL);
    }
}

fn copy_once(source: &CopySource, copy_url: &SqliteUrl, taken_at_ms: i64) -> Result<StoreCopy, CopyEnd> {
    source.run.begin(source.url.size_bytes());
    {
        let snapshot = Snapshot::take(source.url)?;
        copy_database(source, &snapshot.store, copy_url.path())?;
        copy_database(source, &snapshot.ledger, copy_url.ledger_url().path())?;
        // Dropped here: as long as it is held, the write-ahead logs of the receiver grow.
    }
    let copied_bodies = copy_bodies(source, copy_url, taken_at_ms)?;
    finish_copy(copy_url)?;
    source.advance(0)?;
    let counts = count_rows(copy_url)?;
    Ok(StoreCopy {
        store_id: source.key.store_id(),
        taken_at_ms,
        erasure_mark: source.mark.clone(),
        counts,
        damaged_events: copied_bodies.damaged_events,
        removed_events: copied_bodies.removed_events,
    })
}

/// One state of both databases, held open by read transactions.
struct Snapshot {
    store: Connection,
    ledger: Connection,
}

impl Snapshot {
    /// Keeps everyone from writing for the moment in which both read transactions begin. A transaction over both databases
    /// would not do: readers of two databases see two moments.
    fn take(url: &SqliteUrl) -> Result<Self, StoreError> {
        let ledger_url = url.ledger_url();
        let snapshot = Self { store: open::open_reader(url)?, ledger: open::open_reader(&ledger_url)? };
        let store_lock = open::open_operator(url, LOCK_TIMEOUT)?;
        let ledger_lock = open::open_operator(&ledger_url, LOCK_TIMEOUT)?;
        // The store first: callers wait for the ledger, so its lock is held only after the other one has been waited for.
        store_lock.execute_batch("BEGIN IMMEDIATE")?;
        ledger_lock.execute_batch("BEGIN IMMEDIATE")?;
        for conn in [&snapshot.store, &snapshot.ledger] {
            // The transaction begins with its first read.
            conn.execute_batch("BEGIN")?;
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        }
        // Dropping the connections ends their transactions, too; explicitly, so that it is at once.
        ledger_lock.execute_batch("ROLLBACK")?;
        store_lock.execute_batch("ROLLBACK")?;
        Ok(snapshot)
    }
}

/// Removes what a copy that has ended early has left.
fn remove_copy(copy_url: &SqliteUrl) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::unavailable(format!("cannot empty the folder {}: {error}", copy_url.folder().display()))
    };
    for entry in std::fs::read_dir(copy_url.folder()).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(failed)?;
    }
    Ok(())
}
