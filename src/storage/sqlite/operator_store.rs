//! Writing beside a running receiver: changes an operator asks for, in transactions so small that intake and handlers do not
//! notice them.
//!
//! The receiver's writer remembers the keys of events, so nothing here may touch those that are there; an event of the
//! receiver's own, which nobody sends, may be appended (`append.rs`). Whoever has many
//! rows to change does a few hundred at a time and pauses in between: the receiver's commits wait while one of ours runs.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{SqliteUrl, open};
use crate::storage::{IdentityKey, StoreError};

/// How long a change waits for its turn: the receiver's transactions are short, and nobody waits for ours.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A second writer of a store that a receiver may be writing.
pub(crate) struct OperatorStore {
    conn: Connection,
    /// The ledger's: apart, since one that locks both would hold up whoever is on the line.
    ledger: Connection,
    identity_key: IdentityKey,
}

impl OperatorStore {
    /// Opens an existing store. Creates and migrates nothing.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when there is no such file, its schema is not this version's, or it cannot be written.
    pub(crate) fn open(url: &SqliteUrl) -> Result<Self, StoreError> {
        open::check_readable(url)?;
        let (conn, ledger) =
            (open::open_operator(url, BUSY_TIMEOUT)?, open::open_operator(&url.ledger_url(), BUSY_TIMEOUT)?);
        let identity_key = open::load_identity_key(&conn)?;
        Ok(Self { conn, ledger, identity_key })
    }

    /// What is to be changed at once: all of it or nothing. Work that takes longer than some 50 ms is to be split.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction, &IdentityKey) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Begun as a writer's: a lock that is taken is waited for here, and not found out half-way.
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction, &self.identity_key)?;
        transaction.commit()?;
        Ok(done)
    }

    /// The same in the ledger.
    pub(super) fn write_ledger<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.ledger.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// The ledger, to look at.
    pub(super) fn ledger(&self) -> &Connection {
        &self.ledger
    }

    /// A look that changes nothing.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection, &IdentityKey) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // One moment for all that is looked at.
        let at_once = self.conn.unchecked_transaction()?;
        let seen = work(&at_once, &self.identity_key)?;
        at_once.commit()?;
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::supervise::Supervisor;
    use crate::storage::Store;
    use crate::storage::sqlite::SqliteStore;

    #[tokio::test]
    async fn a_second_writer_opens_what_is_there_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("events.db"));
        let missing = OperatorStore::open(&url).err().unwrap().to_string();
        assert!(missing.contains("there is no store") && !url.path().exists(), "{missing}");
        let supervisor = Supervisor::default();
        let receiver = SqliteStore::open(&url, &supervisor).unwrap();
        let mut beside = OperatorStore::open(&url).unwrap();
        let name = |conn: &Connection| conn.query_row("SELECT slug FROM companies", [], |row| row.get::<_, String>(0));
        let changed = beside.write(|conn, _| {
            conn.execute("UPDATE companies SET slug = 'x'", [])?;
            Err::<(), _>(StoreError::Unavailable("half-way".into()))
        });
        assert!(changed.is_err());
        assert_eq!(beside.read(|conn, _| Ok(name(conn)?)).unwrap(), "default");
        supervisor.stop();
        receiver.close().await.unwrap();
        beside.write(|conn, _| Ok(conn.pragma_update(None, "user_version", 2)?)).unwrap();
        let older = OperatorStore::open(&url).err().unwrap().to_string();
        assert!(older.contains("older version"), "{older}");
    }
}
