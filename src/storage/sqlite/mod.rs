//! The SQLite engine: a database in WAL mode with one writer thread (group commit) and a few reader threads, body
//! files for large bodies, blocks of compressed ones, and the invocation ledger in a second database. docs/storage.md describes it as a whole.

mod alarms;
mod appointments;
mod backup;
mod blocks;
mod bodies;
mod calls;
mod companies;
mod deliveries;
mod errors;
mod event_codes;
mod events;
mod facets;
mod files;
mod identity;
mod inbound;
mod inspection;
mod latency_totals;
mod ledger;
mod open;
mod operator;
mod overview;
#[cfg(test)]
mod page_reads;
mod query;
mod readers;
mod rejected;
mod removal;
#[cfg(test)]
mod tests;
mod wal;
mod worker_threads;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

pub(crate) use self::backup::{RestorePlace, check_copy};
pub(crate) use files::SqliteUrl;
pub(super) use files::unlocked_files;
pub(super) use inspection::inspect;

use self::blocks::CompressionTask;
use self::bodies::BodyFileWriter;
use self::deliveries::PlanCache;
use self::facets::ProbeCache;
use self::files::watch::{self as file_watch, WatchedFiles};
use self::files::{DiskReserve, FileId, OpenFiles, StoreLock};
use self::identity::filter::IdentityFilter;
use self::identity::recent_keys::RecentKeys;
use self::ledger::LedgerWriter;
use self::operator::Operator;
use self::readers::ReaderPool;
use self::wal::SyncState;
use self::writer::recent_events::StagedEvents;
use self::writer::{StoreWriter, WriterContext};
use super::{StoreChanges, StoreError};
use crate::base::supervise::Supervisor;

const READER_THREADS: usize = 2;

/// A store in a SQLite database. One receiver writes it; other processes may read it meanwhile.
pub(crate) struct SqliteStore {
    /// `None` when the store was opened read-only.
    writer: Option<StoreWriter>,
    readers: ReaderPool,
    /// `None` when the store was opened read-only.
    ledger: Option<LedgerWriter>,
    /// A separate thread for live requests, so that a caller never waits behind a long read of dispatch or of an
    /// operator.
    live_readers: Option<ReaderPool>,
    /// The files that a receiver has open, compared with their paths; `None` when the store was opened otherwise.
    files: Option<Arc<OpenFiles>>,
    operator: Operator,
    /// Events that were read for planning.
    plan_cache: Arc<PlanCache>,
    /// The number of the latest claim. Begins at random, so that a number does not return after a restart.
    claim_number: AtomicI64,
    changes: watch::Sender<StoreChanges>,
    url: SqliteUrl,
    /// The database file as it was opened, to notice when another one takes its place.
    file_id: Option<FileId>,
    last_probe: ProbeCache,
    last_ledger_probe: ProbeCache,
}

impl SqliteStore {
    /// Opens or creates the file, applies migrations, and starts the threads that serve it.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when the file was made by a newer version, belongs to another program, is
    /// used by another receiver, or cannot be created or opened.
    pub(crate) fn open(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        open::create_store_folder(url)?;
        // The lock comes first: everything below changes the files, and recovery assumes that no one else writes them.
        let lock = StoreLock::acquire(url)?;
        let sync = SyncState::of_receiver(url, supervisor);
        wal::recover(url, &sync)?;
        let conn = open::open_writer(url)?;
        let identity_key = open::load_identity_key(&conn)?;
        let unusable = |error| errors::unusable(url, error);
        release_interrupted_deliveries(&conn).map_err(unusable)?;
        facets::end_all_terms(&conn).map_err(unusable)?;
        let recent_keys = identity::index::load_recent_keys(&conn, &identity_key).map_err(unusable)?;
        let bodies = BodyFileWriter::open(url, &conn, &identity_key, &sync)?;
        let files = Arc::new(OpenFiles::of_store(url)?);
        files::log_kept_files(url);
        let ledger = ledger::open_ledger(url, &conn)?;
        let changes = watch::Sender::new(StoreChanges::default());
        let context = writer_context(url, conn, recent_keys, bodies, sync.clone(), Arc::clone(&files), changes.clone());
        let plan_cache = Arc::new(PlanCache::new(context.staged_events.recent()));
        let writer = StoreWriter::start(context, identity_key, lock, supervisor)?;
        // The readers attach the ledger and run on the migrated schema, so they are opened after both.
        let ledger = LedgerWriter::start(url, ledger, &sync, supervisor)?;
        let readers = ReaderPool::start(url, READER_THREADS, &sync, supervisor)?;
        let live_readers = Some(ReaderPool::start(url, 1, &sync, supervisor)?);
        let watched = WatchedFiles::new(&files, ledger.files(), &writer, &plan_cache);
        file_watch::start(url, &changes, watched, supervisor)?;
        wal::checkpoint::start(url, &writer, &sync, &files, supervisor)?;
        identity::index::start(&writer, &readers, supervisor);
        CompressionTask::start(url, &writer, &sync, supervisor)?;
        Ok(Self {
            writer: Some(writer),
            ledger: Some(ledger),
            files: Some(files),
            readers,
            live_readers,
            operator: Operator::new(url, &sync, supervisor),
            file_id: url.file_id(),
            url: url.clone(),
            plan_cache,
            claim_number: AtomicI64::new(fastrand::i64(1..i64::MAX / 2)),
            changes,
            last_probe: ProbeCache::default(),
            last_ledger_probe: ProbeCache::default(),
        })
    }

    /// Opens an existing store for reading, also while a receiver is running. Methods that write fail.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when the file does not exist or its schema is not that of this version.
    pub(crate) fn open_read_only(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let sync = SyncState::of_command(url);
        sync.check()?;
        open::check_readable(url)?;
        // Read before opening: a file that is replaced in between then counts as replaced.
        let file_id = url.file_id();
        let changes = watch::Sender::new(StoreChanges::default());
        Ok(Self {
            operator: Operator::ReadOnly,
            file_id,
            url: url.clone(),
            writer: None,
            ledger: None,
            files: None,
            readers: ReaderPool::start(url, READER_THREADS, &sync, supervisor)?,
            live_readers: None,
            plan_cache: Arc::default(),
            claim_number: AtomicI64::new(0),
            changes,
            last_probe: ProbeCache::default(),
            last_ledger_probe: ProbeCache::default(),
        })
    }

    /// Opens an existing store for reading and for the changes of an operator, also while a receiver is running.
    ///
    /// # Errors
    /// As [`SqliteStore::open_read_only`], and when the file cannot be written.
    pub(crate) fn open_as_operator(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let sync = SyncState::of_command(url);
        sync.check()?;
        // First, because on a full disk it may have to release the reserve, without which nothing can be opened.
        let operator = Operator::start(url, &sync, supervisor)?;
        Ok(Self { operator, ..Self::open_read_only(url, supervisor)? })
    }

    fn next_claim_number(&self) -> i64 {
        self.claim_number.fetch_add(1, Ordering::Relaxed)
    }

    fn live_readers(&self) -> &ReaderPool {
        self.live_readers.as_ref().unwrap_or(&self.readers)
    }

    fn writer(&self) -> Result<&StoreWriter, StoreError> {
        self.writer.as_ref().ok_or_else(read_only_error)
    }

    fn ledger(&self) -> Result<&LedgerWriter, StoreError> {
        self.ledger.as_ref().ok_or_else(read_only_error)
    }
}

/// The state of a writer that has run no transaction yet.
fn writer_context(
    url: &SqliteUrl,
    conn: rusqlite::Connection,
    recent_keys: RecentKeys,
    bodies: BodyFileWriter,
    sync: SyncState,
    files: Arc<OpenFiles>,
    changes: watch::Sender<StoreChanges>,
) -> WriterContext {
    WriterContext {
        url: url.clone(),
        conn,
        sync,
        reserve: DiskReserve::open(url),
        intake_refusal: None,
        files,
        recent_keys,
        identity_filter: IdentityFilter::default(),
        call_totals: calls::PendingTotals::default(),
        bodies,
        transaction_begun: false,
        appended_events: 0,
        staged_events: StagedEvents::default(),
        data_version: None,
        changes,
    }
}

fn read_only_error() -> StoreError {
    StoreError::unusable("the store was opened read-only")
}

/// Releases the deliveries that the previous process had claimed. The lock proves that it has ended, so their leases
/// need not expire first.
fn release_interrupted_deliveries(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    let released = deliveries::release_all_leases(conn)?;
    if released > 0 {
        tracing::info!(deliveries = released, "interrupted deliveries released");
    }
    Ok(())
}
