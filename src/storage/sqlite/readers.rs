//! A few threads with connections that can only read. In WAL mode they neither wait for the writer nor hold it up.

use rusqlite::Connection;

use super::bodies::BodyFiles;
use super::threads::Threads;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::{IdentityKey, StoreError};

/// What a reading thread owns.
pub(super) struct Reader {
    pub(super) conn: Connection,
    pub(super) bodies: BodyFiles,
    pub(super) identity_key: IdentityKey,
}

/// A handle to the reading threads, which end when it is dropped.
pub(super) struct Readers(Threads<Reader>);

impl Readers {
    pub(super) fn start(url: &SqliteUrl, threads: usize, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let reader = || {
            let conn = open::reader_of_both(url)?;
            let identity_key = open::identity_key(&conn)?;
            Ok(Reader { conn, bodies: BodyFiles::new(url), identity_key })
        };
        let readers = (0..threads).map(|_| reader()).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Self(Threads::start("store-reader", readers, supervisor)?))
    }

    /// Runs `work` on a free thread.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.run(|reader| work(reader)).await
    }
}
