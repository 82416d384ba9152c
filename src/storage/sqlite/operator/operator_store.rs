//! Operator store: the store as opened by an operator command while a receiver is running. Its transactions are so
//! small that intake and handlers do not notice them.
//!
//! The receiver's writer remembers the keys of events, so a command must not change the keys of stored events. It may
//! append internal events (`append.rs`). A command that changes many rows changes a few hundred per transaction and
//! pauses in between, because the receiver's commits wait during each one.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::storage::backup::ErasureLogWriter;
use crate::storage::sqlite::files::ReserveUse;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::wal::checkpoint::{CheckpointMode, run_checkpoint};
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{IdentityKey, StoreError};

/// How long a change waits for the lock. The receiver's transactions take milliseconds, and no caller waits for a
/// command.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that one attempt to truncate the write-ahead log may block the receiver's writer.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(40);
/// Size of the logs above which they are emptied while the disk reserve is in use.
const MAX_WAL_BYTES: u64 = 4 * 1024 * 1024;

/// A second writer of a store that a receiver may be writing at the same time.
pub(in crate::storage::sqlite) struct OperatorStore {
    conn: Connection,
    /// A separate connection, because a transaction over both databases would hold the lock of the ledger, for which
    /// callers wait, as long as it waits for that of the store. A damaged ledger fails only what needs it.
    ledger: Result<Connection, StoreError>,
    identity_key: IdentityKey,
    url: SqliteUrl,
    sync: SyncState,
    reserve: ReserveUse,
}

impl OperatorStore {
    /// Opens an existing store; does not create or migrate one.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when the file does not exist, its schema is not that of this version, or it
    /// cannot be written.
    pub(in crate::storage::sqlite) fn open(url: &SqliteUrl, sync: &SyncState) -> Result<Self, StoreError> {
        let open = || {
            open::check_readable(url)?;
            let conn = open::open_operator(url, BUSY_TIMEOUT)?;
            let ledger = open::open_operator(&url.ledger_url(), BUSY_TIMEOUT);
            let identity_key = open::load_identity_key(&conn)?;
            Ok((conn, ledger, identity_key))
        };
        let mut reserve = ReserveUse::new(url);
        let opened = match open() {
            // Without a receiver, SQLite has to create files.
            Err(error) | Ok((_, Err(error), _)) if reserve.release_for(&error) => open(),
            Err(error) if reserve.is_disk_full(&error) => Err(StoreError::full(format!(
                "{} (the disk is full and has no reserve; free space on the disk that holds the store)",
                error.message()
            ))),
            opened => opened,
        };
        let (conn, ledger, identity_key) = opened?;
        Ok(Self { conn, ledger, identity_key, url: url.clone(), sync: sync.clone(), reserve })
    }

    /// Runs `work` in one transaction: all of it takes effect, or nothing. Split work that takes longer than about 50
    /// ms.
    pub(in crate::storage::sqlite) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction, &IdentityKey) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Immediate, so that it waits for the lock here. A deferred transaction that has read before its first write
        // fails at once when the receiver has committed in between.
        self.sync.check()?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction, &self.identity_key);
        self.sync.observe(&self.url, result.and_then(|result| Ok(transaction.commit().map(|()| result)?)))
    }

    /// Like [`OperatorStore::write`], in the ledger.
    pub(in crate::storage::sqlite) fn write_ledger<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.sync.check()?;
        let ledger = self.ledger.as_mut().map_err(|error| error.clone())?;
        let transaction = ledger.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction).and_then(|result| Ok(transaction.commit().map(|()| result)?));
        self.sync.observe(&self.url.ledger_url(), result)
    }

    /// Like [`OperatorStore::write`], for removing data: on a full disk `work` runs a second time, with the disk reserve.
    pub(in crate::storage::sqlite) fn remove<T>(
        &mut self,
        work: impl Fn(&Transaction, &IdentityKey) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_reserve(|store| store.write(&work))
    }

    /// Like [`OperatorStore::remove`], in the ledger.
    pub(in crate::storage::sqlite) fn remove_from_ledger<T>(
        &mut self,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_reserve(|store| store.write_ledger(&work))
    }

    /// Opens the erasure log; on a full disk with the disk reserve.
    pub(in crate::storage::sqlite) fn open_erasure_log(&mut self, now_ms: i64) -> Result<ErasureLogWriter, StoreError> {
        // Its entries are written through the writer that is returned, without this store.
        self.reserve.release_if_full();
        self.with_reserve(|store| ErasureLogWriter::open(&store.url.erasure_log_path(), &store.identity_key, now_ms))
    }

    fn with_reserve<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut result = work(self);
        if let Err(error) = &result
            && self.make_room(error)
        {
            result = work(self);
        }
        match &result {
            Ok(_) => self.bound_wal(),
            Err(_) => self.reserve.end(),
        }
        result
    }

    /// Ends the use of the disk reserve, after a removal.
    pub(in crate::storage::sqlite) fn end_reserve_use(&mut self) {
        self.reserve.end();
    }

    /// Makes room on a full disk. Returns whether it is worth trying again.
    fn make_room(&mut self, error: &StoreError) -> bool {
        self.reserve.is_disk_full(error)
            && (self.reserve.release_for(error) || self.empty_wal().is_ok_and(|empty| empty))
    }

    /// Keeps the log from using up the reserve. A full log could not be emptied any more, because the database may have
    /// to grow for it.
    fn bound_wal(&self) {
        if self.reserve.is_released() && wal_bytes(&self.url) + wal_bytes(&self.url.ledger_url()) > MAX_WAL_BYTES {
            // A reader may prevent it. The next change tries again.
            let _ = self.empty_wal();
        }
    }

    /// Moves everything from the logs into the databases and empties the logs. `false` when readers, or another
    /// checkpoint, prevent it.
    pub(in crate::storage::sqlite) fn empty_wal(&self) -> Result<bool, StoreError> {
        let mut is_empty = true;
        for url in [&self.url, &self.url.ledger_url()] {
            let conn = open::open_checkpointer(url)?;
            conn.busy_timeout(CHECKPOINT_BUSY_TIMEOUT)?;
            is_empty &= !run_checkpoint(&conn, url, &self.sync, CheckpointMode::Truncate)?.was_busy;
        }
        Ok(is_empty)
    }

    pub(super) fn url(&self) -> &SqliteUrl {
        &self.url
    }

    /// The connection of the ledger, for reading.
    pub(in crate::storage::sqlite) fn ledger(&self) -> Result<&Connection, StoreError> {
        self.ledger.as_ref().map_err(Clone::clone)
    }

    /// Runs `work` on one snapshot of the store. `work` must not write.
    pub(in crate::storage::sqlite) fn read<T>(
        &self,
        work: impl FnOnce(&Connection, &IdentityKey) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.sync.check()?;
        // A read transaction: all statements see the same state, even while the receiver commits.
        let snapshot = self.conn.unchecked_transaction()?;
        let result = work(&snapshot, &self.identity_key)?;
        snapshot.commit()?;
        Ok(result)
    }
}

fn wal_bytes(url: &SqliteUrl) -> u64 {
    std::fs::metadata(url.wal_path()).map_or(0, |file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::supervise::Supervisor;
    use crate::storage::Maintenance;
    use crate::storage::sqlite::SqliteStore;

    #[tokio::test]
    async fn an_operator_store_needs_an_existing_store_of_this_version() {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("events.db"));
        let sync = SyncState::of_command(&url);
        let missing = OperatorStore::open(&url, &sync).err().unwrap().to_string();
        assert!(missing.contains("no store at") && !url.path().exists(), "{missing}");
        let supervisor = Supervisor::default();
        let receiver = SqliteStore::open(&url, &supervisor).unwrap();
        let mut operator = OperatorStore::open(&url, &sync).unwrap();
        let name = |conn: &Connection| conn.query_row("SELECT slug FROM companies", [], |row| row.get::<_, String>(0));
        let changed = operator.write(|conn, _| {
            conn.execute("UPDATE companies SET slug = 'x'", [])?;
            Err::<(), _>(StoreError::unavailable("half-way"))
        });
        assert!(changed.is_err());
        assert_eq!(operator.read(|conn, _| Ok(name(conn)?)).unwrap(), "default");
        supervisor.stop();
        receiver.close().await.unwrap();
        operator.write(|conn, _| Ok(conn.pragma_update(None, "user_version", 2)?)).unwrap();
        let older = OperatorStore::open(&url, &sync).err().unwrap().to_string();
        assert!(older.contains("before 0.1.0"), "{older}");
    }
}
