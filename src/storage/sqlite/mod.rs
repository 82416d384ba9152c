//! The embedded engine: a file in WAL mode, one writer thread that commits many requests at once, a few readers; large bodies
//! and the ledger of invocations beside it.

mod alarms;
mod append;
mod appointments;
mod bodies;
mod calls;
mod checkpoint;
mod companies;
mod deliveries;
mod errors;
mod events;
mod identity_filter;
mod identity_index;
mod inbound;
mod invocations;
mod ledger;
mod open;
mod operator_deliveries;
mod operator_store;
mod overview;
mod readers;
mod recent_keys;
mod rejected;
mod removal;
mod store;
#[cfg(test)]
mod tests;
mod url;
mod worker_threads;
mod write_queue;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::sync::Notify;

pub(crate) use operator_store::OperatorStore;
pub(crate) use removal::{DataSubject, ErasureCounts, EventsByHandler, OperatorRemoval};
pub use url::SqliteUrl;

use self::bodies::BodyFileWriter;
use self::ledger::LedgerWriter;
use self::readers::ReaderPool;
use self::writer::{StoreWriter, WriterContext};
use super::StoreError;
use crate::base::supervise::Supervisor;

/// Threads that read.
const READER_THREADS: usize = 2;

/// A store in one SQLite file. Two processes may read it, one receiver writes it.
pub struct SqliteStore {
    /// `None` when opened read-only.
    writer: Option<StoreWriter>,
    readers: ReaderPool,
    /// `None` when opened read-only.
    ledger: Option<LedgerWriter>,
    /// For those who wait on the line; a long read of dispatch or of an operator is never in front of theirs.
    live_readers: Option<ReaderPool>,
    append_notify: Arc<Notify>,
    appended_count: AtomicU64,
    /// The latest probe: whoever asks for readiness must not be able to keep the disk busy.
    last_probe: tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl SqliteStore {
    /// Opens or creates the file, applies migrations, and starts the threads that serve it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file was made by a newer version, is used by another receiver, or cannot be
    /// created or opened.
    pub fn open(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        open::create_folder_and_file(url)?;
        let lock = open::acquire_lock(url)?;
        let conn = open::open_writer(url)?;
        let identity_key = open::load_identity_key(&conn)?;
        release_interrupted_deliveries(&conn).map_err(|error| errors::unusable(url, &error))?;
        let recent =
            identity_index::load_recent_keys(&conn, &identity_key).map_err(|error| errors::unusable(url, &error))?;
        let filter = identity_index::build_filter(&conn).map_err(|error| errors::unusable(url, &error))?;
        let bodies = BodyFileWriter::open(url, &conn)?;
        let writer = StoreWriter::start(
            WriterContext {
                conn,
                recent_keys: recent,
                identity_filter: filter,
                bodies,
                transaction_begun: false,
                appended_events: 0,
            },
            identity_key,
            lock,
            supervisor,
        )?;
        let ledger = Some(LedgerWriter::start(url, supervisor)?);
        let readers = ReaderPool::start(url, READER_THREADS, supervisor)?;
        let live_readers = Some(ReaderPool::start(url, 1, supervisor)?);
        checkpoint::start(url, &writer, supervisor)?;
        identity_index::start(&writer, supervisor);
        Ok(Self {
            writer: Some(writer),
            ledger,
            readers,
            live_readers,
            append_notify: Arc::new(Notify::new()),
            appended_count: AtomicU64::new(0),
            last_probe: tokio::sync::Mutex::default(),
        })
    }

    /// Opens an existing file for reading beside a running receiver.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when there is no such file, or its schema is not this version's.
    pub fn open_read_only(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        open::check_readable(url)?;
        Ok(Self {
            writer: None,
            ledger: None,
            readers: ReaderPool::start(url, READER_THREADS, supervisor)?,
            live_readers: None,
            append_notify: Arc::new(Notify::new()),
            appended_count: AtomicU64::new(0),
            last_probe: tokio::sync::Mutex::default(),
        })
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

fn read_only_error() -> StoreError {
    StoreError::Unusable("the store was opened for reading only".into())
}

/// The process before this one is gone, whatever it was at.
fn release_interrupted_deliveries(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    let released = deliveries::release_all_leases(conn)?;
    if released > 0 {
        tracing::info!(
            deliveries = released,
            "attempts were under way when the process before this one ended; they are made again"
        );
    }
    Ok(())
}
