//! Merges events into the rows of their calls.

use std::sync::LazyLock;

use rusqlite::Connection;

use super::row::{self, CALL_COLUMNS, StoredCall, execute_with_values, table_name};
use super::totals::PendingTotals;
use crate::calls::{CallKind, CallRecord, CountedCall};
use crate::storage::{IdentityKey, StoreError};

/// Merges the facts of one event into the row of its call. Events may come in any order and more than once: for each
/// value, [`CallRecord::merge`] decides which event counts.
pub(in crate::storage::sqlite) fn merge_call(
    conn: &Connection,
    key: &IdentityKey,
    totals: &mut PendingTotals,
    update: &CallRecord,
) -> Result<(), StoreError> {
    let Some(stored) = row::find_row(conn, key, update.kind, update.company_id, &update.call_id)? else {
        insert_row(conn, key, update)?;
        totals.change(update.kind, None, Some(CountedCall::of(update)));
        return Ok(());
    };
    let mut merged = stored.record.clone();
    merged.merge(update.clone());
    if merged != stored.record {
        update_row(conn, key, &stored, &merged)?;
        // After the row: if its statement fails, other jobs of the transaction may still be committed.
        totals.change(update.kind, Some(CountedCall::of(&stored.record)), Some(CountedCall::of(&merged)));
    }
    Ok(())
}

fn insert_row(conn: &Connection, key: &IdentityKey, call: &CallRecord) -> Result<(), StoreError> {
    static INSERT: LazyLock<[String; 2]> = LazyLock::new(|| {
        let values: Vec<_> = (1..=CALL_COLUMNS.len()).map(|number| format!("?{number}")).collect();
        let (columns, values) = (CALL_COLUMNS.join(", "), values.join(", "));
        [CallKind::Call, CallKind::Chat]
            .map(|kind| format!("INSERT INTO {} ({columns}) VALUES ({values})", table_name(kind)))
    });
    execute_with_values(&mut conn.prepare_cached(&INSERT[call.kind as usize])?, key, None, call)
}

/// SQLite rewrites the entry of an index for every assigned column that the index contains, also when the value stays.
/// So columns of indexes are assigned only when they change.
fn update_row(conn: &Connection, key: &IdentityKey, old: &StoredCall, call: &CallRecord) -> Result<(), StoreError> {
    let stored = &old.record;
    let start_changes =
        (stored.started_at_ms, stored.first_event_at_ms) != (call.started_at_ms, call.first_event_at_ms);
    let numbers_change = (&stored.direction, &stored.from_number, &stored.to_number)
        != (&call.direction, &call.from_number, &call.to_number);
    let is_assigned = |column: &str| match column {
        "id" | "key" | "company_id" | "call_id" | "test" => false,
        "agent_id" => stored.agent_id != call.agent_id,
        "last_event_at_ms" => stored.last_event_at_ms != call.last_event_at_ms,
        "started_at_ms" | "first_event_at_ms" => start_changes,
        "direction" | "from_number" | "to_number" => numbers_change,
        _ => true,
    };
    let numbered = CALL_COLUMNS.iter().enumerate().filter(|(_, column)| is_assigned(column));
    let assignments: Vec<_> = numbered.map(|(at, column)| format!("{column} = ?{}", at + 1)).collect();
    let sql = format!("UPDATE {} SET {} WHERE id = ?1", table_name(call.kind), assignments.join(", "));
    execute_with_values(&mut conn.prepare_cached(&sql)?, key, Some(old.id), call)
}
