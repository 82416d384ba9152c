//! Leadership. With SQLite there is one receiver, so it always leads; the table keeps the contract testable.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use crate::base::id::InstanceId;
use crate::storage::sqlite::SqliteStore;
use crate::storage::{Duty, Leadership, StoreError};

#[async_trait]
impl Leadership for SqliteStore {
    async fn try_lead(&self, duty: Duty, holder: &InstanceId, until_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        let holder = holder.clone();
        let work = move |conn: &Connection| {
            let mut statement = conn.prepare_cached(
                "INSERT INTO leadership (duty, holder, until_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT (duty) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
                 WHERE holder = excluded.holder OR until_ms <= ?4",
            )?;
            Ok(statement.execute(params![duty.as_str(), holder.as_str(), until_ms, now_ms])? == 1)
        };
        self.writer()?.write_background(1, move |state| work(&state.conn)).await
    }

    async fn find_leader(&self, duty: Duty) -> Result<Option<String>, StoreError> {
        let work = move |conn: &Connection| {
            let mut statement = conn.prepare_cached("SELECT holder FROM leadership WHERE duty = ?1")?;
            Ok(statement.query_row([duty.as_str()], |row| row.get(0)).optional()?)
        };
        self.readers.read(move |reader| work(&reader.conn)).await
    }

    async fn resign(&self, duty: Duty, holder: &InstanceId) -> Result<(), StoreError> {
        let holder = holder.clone();
        let work = move |conn: &Connection| {
            conn.prepare_cached("DELETE FROM leadership WHERE duty = ?1 AND holder = ?2")?
                .execute(params![duty.as_str(), holder.as_str()])?;
            Ok(())
        };
        self.writer()?.write_background(1, move |state| work(&state.conn)).await
    }
}

/// Ends the terms that a previous receiver left behind when it crashed. The store lock proves that it is gone.
pub(in crate::storage::sqlite) fn end_all_terms(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM leadership", []).map(drop)
}
