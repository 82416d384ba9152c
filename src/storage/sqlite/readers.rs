//! Reader threads with read-only connections. In WAL mode readers and the writer do not wait for each other.

use rusqlite::Connection;

use super::bodies::BodyReader;
use super::wal::SyncState;
use super::worker_threads::WorkerThreads;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::{IdentityKey, StoreError};

/// The state of a reader thread.
pub(super) struct ReaderContext {
    pub(super) conn: Connection,
    /// Why the ledger is not attached. Everything else can be read without it.
    pub(super) ledger: Result<(), StoreError>,
    pub(super) bodies: BodyReader,
    pub(super) identity_key: IdentityKey,
    pub(super) sync: SyncState,
}

/// A handle to the reader threads, which end when its last clone is dropped.
#[derive(Clone)]
pub(super) struct ReaderPool(WorkerThreads<ReaderContext>);

impl ReaderPool {
    pub(super) fn start(
        url: &SqliteUrl,
        threads: usize,
        sync: &SyncState,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let reader = || {
            let conn = open::open_reader(url)?;
            let identity_key = open::load_identity_key(&conn)?;
            let ledger = match open::attach_ledger(&conn, url) {
                Err(error) if !error.is_retryable() => return Err(error),
                attached => attached,
            };
            Ok(ReaderContext { conn, ledger, bodies: BodyReader::new(url), identity_key, sync: sync.clone() })
        };
        // Opened here and not on their threads, so that a file that cannot be opened fails the start.
        let readers = (0..threads).map(|_| reader()).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Self(WorkerThreads::start("store-reader", readers, supervisor)?))
    }

    /// Runs `work` on a free reader thread.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&ReaderContext) -> Result<T, StoreError> + Send + 'static,
    {
        let read = |reader: &mut ReaderContext| {
            reader.sync.check()?;
            work(reader)
        };
        self.0.run(read).await
    }
}
