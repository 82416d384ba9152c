//! Reads deliveries: lists, counts, and the outlook of one event per handler.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::delivery_query::{self, DeliveryQuery, HandlerCursor};
use super::parse_state;
use crate::base::id::EventId;
use crate::storage::sqlite::errors::{RowColumn, parse_column};
use crate::storage::{
    AttemptOutcome, AttemptRecord, DeliveryBatch, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryRow,
    DeliveryState, HandlerId, IdentityKey, Seq, StoreError,
};

const DELIVERY_COLUMNS: &str =
    "d.event_seq, e.id, e.event, e.call_id, d.state, d.attempts, d.due_ms, d.since_ms, d.updated_ms, d.note,
    d.replay";

/// The latest deliveries that match the filter, newest event first.
pub(in crate::storage::sqlite) fn list_deliveries(
    conn: &Connection,
    key: &IdentityKey,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<DeliveryRow>, StoreError> {
    // An event without a delivery has no row to show.
    let filter = DeliveryFilter { include_undelivered: false, ..filter.clone() };
    let selection = DeliveryQuery::resolve(conn, key, &filter)?;
    let mut deliveries: Vec<(i64, DeliveryRow)> = Vec::new();
    // One query per handler, each with the full limit: every query then follows the primary key (handler, event)
    // backwards and ends early, where one query over all handlers would have to sort.
    for handler in &selection.handlers {
        let (mut sql, mut values) = selection.select_sql(handler, DELIVERY_COLUMNS, true);
        sql += " ORDER BY d.event_seq DESC LIMIT ?";
        values.push(limit_value(limit));
        let mut statement = conn.prepare_cached(&sql)?;
        let rows =
            statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, delivery_from_row(row, handler)?)))?;
        for row in rows {
            deliveries.push(row?);
        }
    }
    deliveries.sort_by(|(a, _), (b, _)| b.cmp(a));
    deliveries.truncate(limit);
    Ok(deliveries.into_iter().map(|(_, row)| row).collect())
}

fn delivery_from_row(row: &Row, handler: &HandlerCursor) -> rusqlite::Result<DeliveryRow> {
    let seq: Seq = row.get(0)?;
    let state = parse_state(row.get(4)?, || format!("handler {} and event seq {seq}", handler.name))?;
    Ok(DeliveryRow {
        event_id: EventId::from_bytes(row.get(1)?),
        event_kind: row.get(2)?,
        call_id: row.get(3)?,
        handler: handler.name.clone(),
        state,
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

/// Counts deliveries by handler and state; skipped ones also by reason.
pub(in crate::storage::sqlite) fn count_deliveries(
    conn: &Connection,
    selection: &DeliveryQuery,
) -> Result<Vec<DeliveryCount>, StoreError> {
    let mut counts = Vec::new();
    for handler in &selection.handlers {
        // The note of a dead or scheduled delivery is an error text, which may differ in every row.
        let reason = format!("CASE d.state WHEN {} THEN d.note END", DeliveryState::Skipped as i64);
        let columns = format!("d.state, {reason}, count(*), min(d.event_seq)");
        let (mut sql, values) = selection.select_sql(handler, &columns, false);
        sql += " GROUP BY 1, 2 ORDER BY 1, 2";
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| {
            let first_seq: Option<i64> = row.get(3)?;
            let row_key = || format!("handler {} and event seq {}", handler.name, first_seq.unwrap_or_default());
            let parse = |number| parse_state(number, row_key);
            Ok(DeliveryCount {
                handler: handler.name.clone(),
                state: row.get::<_, Option<i64>>(0)?.map(parse).transpose()?,
                reason: row.get(1)?,
                count: row.get(2)?,
            })
        })?;
        for row in rows {
            counts.push(row?);
        }
    }
    Ok(counts)
}

/// The next deliveries of one handler, oldest event first. `handler_index` counts the handlers of the query; `None`
/// after the last one.
pub(in crate::storage::sqlite) fn next_batch(
    conn: &Connection,
    selection: &DeliveryQuery,
    handler_index: usize,
    limit: usize,
) -> Result<Option<DeliveryBatch>, StoreError> {
    let Some(handler) = selection.handlers.get(handler_index) else {
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

/// The outlook of an event for each handler in the store.
pub(in crate::storage::sqlite) fn list_outlooks(
    conn: &Connection,
    id: EventId,
) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
    // One snapshot: a purge between two reads could remove a delivery, and the event would appear as filtered.
    let snapshot = conn.unchecked_transaction()?;
    let seq = delivery_query::get_event_seq(&snapshot, id)?;
    let mut outlooks = Vec::new();
    for handler in delivery_query::list_handlers(&snapshot)? {
        let outlook = get_outlook(&snapshot, &handler, seq)?;
        outlooks.push((handler.name, outlook));
    }
    Ok(outlooks)
}

fn get_outlook(conn: &Connection, handler: &HandlerCursor, seq: Seq) -> Result<DeliveryOutlook, StoreError> {
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries d JOIN events e ON e.seq = d.event_seq
         WHERE d.handler_id = ?1 AND d.event_seq = ?2"
    );
    let row = conn
        .prepare_cached(&sql)?
        .query_row(params![handler.id, seq], |row| delivery_from_row(row, handler))
        .optional()?;
    // Without a row, the handler's positions tell why. The order matters: after a purge, the lack of a row says
    // nothing about the filter any more.
    Ok(match row {
        Some(row) => DeliveryOutlook::Delivery(row, list_attempts(conn, handler.id, seq)?),
        None if seq > handler.planned_through => DeliveryOutlook::Unplanned,
        None if seq <= handler.registered_at_seq => DeliveryOutlook::BeforeHandler,
        None if seq <= handler.purged_through => DeliveryOutlook::Removed,
        None => DeliveryOutlook::Filtered,
    })
}

fn list_attempts(conn: &Connection, handler: HandlerId, seq: Seq) -> Result<Vec<AttemptRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT attempt, started_at_ms, duration_ms, outcome, status, error, answer FROM attempts
         WHERE handler_id = ?1 AND event_seq = ?2 ORDER BY started_at_ms, attempt",
    )?;
    let rows = statement.query_map(params![handler, seq], |row| {
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            started_at_ms: row.get(1)?,
            duration_ms: row.get(2)?,
            outcome: parse_column(row, 3, AttemptOutcome::from_name, || RowColumn {
                table: "attempts",
                row: format!("handler id {handler} and event seq {seq}"),
                column: "outcome",
            })?,
            status: row.get(4)?,
            error: row.get(5)?,
            answer: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
