//! The embedded engine: a file in WAL mode, one writer thread that commits many requests at once, a few readers; large bodies
//! and the ledger of invocations beside it.

mod append;
mod appointments;
mod beside;
mod bodies;
mod calls;
mod checkpoint;
mod companies;
mod deliveries;
mod errors;
mod filter;
mod inbound;
mod index;
mod invocations;
mod ledger;
mod open;
mod operate;
mod overview;
mod query;
mod readers;
mod recent;
mod rejected;
mod removal;
mod store;
#[cfg(test)]
mod tests;
mod threads;
mod turns;
mod url;
mod watch;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::sync::Notify;

pub use beside::Beside;
pub use operate::Walk;
pub use removal::{Erased, Found, Outside, Person, Removal};
pub use url::SqliteUrl;

use self::bodies::BodyLog;
use self::ledger::Ledger;
use self::readers::Readers;
use self::writer::{WriteState, Writer};
use super::StoreError;
use crate::base::supervise::Supervisor;

/// Threads that read.
const READERS: usize = 2;

/// A store in one SQLite file. Two processes may read it, one receiver writes it.
pub struct SqliteStore {
    /// `None` when opened read-only.
    writer: Option<Writer>,
    readers: Readers,
    /// `None` when opened read-only.
    ledger: Option<Ledger>,
    /// For those who wait on the line; a long read of dispatch or of an operator is never in front of theirs.
    lane: Option<Readers>,
    news: Arc<Notify>,
    appended: AtomicU64,
    /// The latest probe: whoever asks for readiness must not be able to keep the disk busy.
    probed: tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl SqliteStore {
    /// Opens or creates the file, applies migrations, and starts the threads that serve it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file was made by a newer version, is used by another receiver, or cannot be
    /// created or opened.
    pub fn open(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        open::prepare_folder(url)?;
        let lock = open::lock(url)?;
        let conn = open::writer(url)?;
        let identity_key = open::identity_key(&conn)?;
        give_back(&conn).map_err(|error| errors::unusable(url, &error))?;
        let recent = index::rebuild(&conn, &identity_key).map_err(|error| errors::unusable(url, &error))?;
        let filter = index::filter(&conn).map_err(|error| errors::unusable(url, &error))?;
        let bodies = BodyLog::open(url, &conn)?;
        let writer = Writer::start(
            WriteState { conn, recent, filter, bodies, began: false, appended: 0 },
            identity_key,
            lock,
            supervisor,
        )?;
        let ledger = Some(Ledger::start(url, supervisor)?);
        let readers = Readers::start(url, READERS, supervisor)?;
        let lane = Some(Readers::start(url, 1, supervisor)?);
        checkpoint::start(url, &writer, supervisor)?;
        index::start(&writer, supervisor);
        Ok(Self {
            writer: Some(writer),
            ledger,
            readers,
            lane,
            news: Arc::new(Notify::new()),
            appended: AtomicU64::new(0),
            probed: tokio::sync::Mutex::default(),
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
            readers: Readers::start(url, READERS, supervisor)?,
            lane: None,
            news: Arc::new(Notify::new()),
            appended: AtomicU64::new(0),
            probed: tokio::sync::Mutex::default(),
        })
    }

    fn lane(&self) -> &Readers {
        self.lane.as_ref().unwrap_or(&self.readers)
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(read_only)
    }

    fn ledger(&self) -> Result<&Ledger, StoreError> {
        self.ledger.as_ref().ok_or_else(read_only)
    }
}

fn read_only() -> StoreError {
    StoreError::Unusable("the store was opened for reading only".into())
}

/// The process before this one is gone, whatever it was at.
fn give_back(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    let released = deliveries::release_all(conn)?;
    if released > 0 {
        tracing::info!(
            deliveries = released,
            "attempts were under way when the process before this one ended; they are made again"
        );
    }
    Ok(())
}
