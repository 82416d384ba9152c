//! Reading deliveries: lists, counts, and what became of one event.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::delivery_query::{self, DeliveryQuery, HandlerCursor};
use crate::base::id::EventId;
use crate::storage::{
    AttemptRecord, DeliveryBatch, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryRow, DeliveryState,
    HandlerId, IdentityKey, StoreError,
};

const DELIVERY_COLUMNS: &str =
    "d.event_seq, e.id, e.event, e.call_id, d.state, d.attempts, d.due_ms, d.since_ms, d.updated_ms, d.note,
    d.replay";

/// Deliveries, the newest event first.
pub(in crate::storage::sqlite) fn list_deliveries(
    conn: &Connection,
    key: &IdentityKey,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<DeliveryRow>, StoreError> {
    // Only what has a row can be listed.
    let selection =
        DeliveryQuery::resolve(conn, key, &DeliveryFilter { include_undelivered: false, ..filter.clone() })?;
    let mut found: Vec<(i64, DeliveryRow)> = Vec::new();
    for handler in &selection.handlers {
        let (mut sql, mut values) = selection.select_sql(handler, DELIVERY_COLUMNS, true);
        sql += " ORDER BY d.event_seq DESC LIMIT ?";
        values.push(limit_value(limit));
        let mut statement = conn.prepare_cached(&sql)?;
        let rows =
            statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, delivery_from_row(row, handler)?)))?;
        for row in rows {
            found.push(row?);
        }
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.truncate(limit);
    Ok(found.into_iter().map(|(_, row)| row).collect())
}

fn delivery_from_row(row: &Row, handler: &HandlerCursor) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        event_id: EventId::from_bytes(row.get(1)?),
        event_kind: row.get(2)?,
        call_id: row.get(3)?,
        handler: handler.name.clone(),
        state: DeliveryState::from_number(row.get(4)?),
        attempts: row.get(5)?,
        due_ms: row.get(6)?,
        queued_at_ms: row.get(7)?,
        updated_ms: row.get(8)?,
        reason: row.get(9)?,
        is_replay: row.get(10)?,
    })
}

fn limit_value(limit: usize) -> Value {
    Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))
}

/// How many there are, by handler, state and, of those skipped, reason.
pub(in crate::storage::sqlite) fn count_deliveries(
    conn: &Connection,
    selection: &DeliveryQuery,
) -> Result<Vec<DeliveryCount>, StoreError> {
    let mut counted = Vec::new();
    for handler in &selection.handlers {
        let reason = format!("CASE d.state WHEN {} THEN d.note END", DeliveryState::Skipped as i64);
        let columns = format!("d.state, {reason}, count(*)");
        let (mut sql, values) = selection.select_sql(handler, &columns, false);
        sql += " GROUP BY 1, 2 ORDER BY 1, 2";
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| {
            Ok(DeliveryCount {
                handler: handler.name.clone(),
                state: row.get::<_, Option<i64>>(0)?.map(DeliveryState::from_number),
                reason: row.get(1)?,
                count: row.get(2)?,
            })
        })?;
        for row in rows {
            counted.push(row?);
        }
    }
    Ok(counted)
}

/// The next few of the handler numbered `part`, oldest first.
pub(in crate::storage::sqlite) fn next_batch(
    conn: &Connection,
    selection: &DeliveryQuery,
    part: usize,
    limit: usize,
) -> Result<Option<DeliveryBatch>, StoreError> {
    let Some(handler) = selection.handlers.get(part) else {
        return Ok(None);
    };
    let seq = selection.seq_column();
    let (mut sql, mut values) = selection.select_sql(handler, seq, false);
    sql.extend([" ORDER BY ", seq, " LIMIT ?"]);
    values.push(limit_value(limit));
    let mut statement = conn.prepare_cached(&sql)?;
    let seqs = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(Some(DeliveryBatch { handler_id: handler.id, seqs: seqs.collect::<Result<_, _>>()? }))
}

/// What became of an event, for each handler the store knows.
pub(in crate::storage::sqlite) fn list_outlooks(
    conn: &Connection,
    id: EventId,
) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
    let at_once = conn.unchecked_transaction()?;
    let seq = delivery_query::get_event_seq(&at_once, id)?;
    let handlers = delivery_query::list_handlers(&at_once)?;
    handlers.into_iter().map(|handler| Ok((handler.name.clone(), get_outlook(&at_once, &handler, seq)?))).collect()
}

fn get_outlook(conn: &Connection, handler: &HandlerCursor, seq: i64) -> Result<DeliveryOutlook, StoreError> {
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.handler_id = ?1 AND d.event_seq = ?2"
    );
    let row =
        conn.prepare_cached(&sql)?.query_row([handler.id, seq], |row| delivery_from_row(row, handler)).optional()?;
    Ok(match row {
        Some(row) => DeliveryOutlook::Delivery(row, list_attempts(conn, handler.id, seq)?),
        None if seq > handler.planned_through => DeliveryOutlook::Unplanned,
        None if seq <= handler.registered_at_seq => DeliveryOutlook::BeforeHandler,
        None if seq <= handler.purged_through => DeliveryOutlook::Removed,
        None => DeliveryOutlook::Filtered,
    })
}

fn list_attempts(conn: &Connection, handler: HandlerId, seq: i64) -> Result<Vec<AttemptRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT attempt, started_at_ms, duration_ms, outcome, status, error, answer FROM attempts
         WHERE handler_id = ?1 AND event_seq = ?2 ORDER BY started_at_ms, attempt",
    )?;
    let rows = statement.query_map(params![handler, seq], |row| {
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            started_at_ms: row.get(1)?,
            duration_ms: row.get(2)?,
            outcome: row.get(3)?,
            status: row.get(4)?,
            error: row.get(5)?,
            answer: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
