//! Removes rows of calls and chats, and finds the ones that are old.

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{self, table_name};
use super::totals::PendingTotals;
use crate::base::id::CompanyId;
use crate::calls::{CallKind, CountedCall};
use crate::storage::{IdentityKey, StoreError};

/// The rows of one company, with tests apart: the indexes of lists begin with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage::sqlite) struct CallPartition {
    pub(in crate::storage::sqlite) company_id: CompanyId,
    pub(in crate::storage::sqlite) test: bool,
}

/// The partitions that have rows, in order. Finds each with a few lookups.
pub(in crate::storage::sqlite) fn list_partitions(
    conn: &Connection,
    kind: CallKind,
) -> Result<Vec<CallPartition>, StoreError> {
    let table = table_name(kind);
    // A comparison of (company_id, test) with the previous partition would visit every row of that one.
    let next = format!(
        "SELECT company_id FROM {table} INDEXED BY {table}_latest WHERE company_id > ?1 ORDER BY company_id LIMIT 1"
    );
    let exists = format!("SELECT 1 FROM {table} INDEXED BY {table}_latest WHERE company_id = ?1 AND test = ?2 LIMIT 1");
    let (mut next, mut exists) = (conn.prepare_cached(&next)?, conn.prepare_cached(&exists)?);
    let mut partitions = Vec::new();
    let mut after = i64::MIN;
    while let Some(company) = next.query_row([after], |row| row.get::<_, i64>(0)).optional()? {
        for test in [false, true] {
            if exists.exists(params![company, test])? {
                partitions.push(CallPartition { company_id: CompanyId::new(company), test });
            }
        }
        after = company;
    }
    Ok(partitions)
}

/// Rows of a partition whose latest event was before `before_ms`, after the entry `after`, as time of the latest event and
/// id.
pub(in crate::storage::sqlite) fn list_old_rows(
    conn: &Connection,
    kind: CallKind,
    partition: CallPartition,
    before_ms: i64,
    after: (i64, i64),
    limit: usize,
) -> Result<Vec<(i64, i64)>, StoreError> {
    let table = table_name(kind);
    let sql = format!(
        "SELECT last_event_at_ms, id FROM {table} INDEXED BY {table}_latest
         WHERE company_id = ?1 AND test = ?2 AND (last_event_at_ms, id) > (?3, ?4) AND last_event_at_ms < ?5
         ORDER BY last_event_at_ms, id LIMIT ?6"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let CallPartition { company_id, test } = partition;
    let values = params![company_id, test, after.0, after.1, before_ms, i64::try_from(limit).unwrap_or(i64::MAX)];
    let rows = select.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes a row. The caller writes the totals in the same transaction.
pub(in crate::storage::sqlite) fn delete_row(
    conn: &Connection,
    totals: &mut PendingTotals,
    kind: CallKind,
    id: i64,
) -> Result<u64, StoreError> {
    let Some(stored) = row::get_row(conn, kind, id)? else { return Ok(0) };
    let sql = format!("DELETE FROM {} WHERE id = ?1", table_name(kind));
    conn.prepare_cached(&sql)?.execute([id])?;
    totals.change(kind, Some(CountedCall::of(&stored.record)), None);
    Ok(1)
}

/// Deletes the rows of a call and of a chat with this id, and returns their number. The kind is not known to the caller: an
/// id from an event can be that of a call or of a chat.
pub(in crate::storage::sqlite) fn delete_call(
    conn: &Connection,
    key: &IdentityKey,
    totals: &mut PendingTotals,
    company_id: CompanyId,
    call_id: &str,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    for kind in [CallKind::Call, CallKind::Chat] {
        if let Some(stored) = row::find_row(conn, key, kind, company_id, call_id)? {
            removed += delete_row(conn, totals, kind, stored.id)?;
        }
    }
    Ok(removed)
}
