//! From the journal to deliveries.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use crate::storage::sqlite::events::{BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_chunk, read_event, read_summary};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{DeliveryState, EventSummary, HandlerId, IdentityKey, PlannedDelivery, SkipReason, StoreError};

/// The events behind those a handler has looked at, oldest first, with their bodies if it needs them.
pub(in crate::storage::sqlite) fn list_unplanned(
    reader: &ReaderContext,
    handler: HandlerId,
    limit: usize,
    bodies: bool,
) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError> {
    let through = reader
        .conn
        .prepare_cached("SELECT through FROM handlers WHERE id = ?1")?
        .query_row([handler], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(through) = through else {
        return Ok(Vec::new());
    };
    let body = if bodies { BODY_COLUMNS } else { "" };
    let sql = format!("{SELECT_SUMMARY}{body}{FROM_EVENTS} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![through, limit])?;
    if !bodies {
        let rows = rows.mapped(|row| Ok((read_summary(row)?, None)));
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    read_chunk(
        &mut rows,
        |row| read_event(row, &reader.bodies).map(|event| (event.summary, event.body.ok())),
        |(_, body)| body.as_ref().map_or(0, Bytes::len),
    )
}

/// Writes down which events become deliveries, and that everything up to `through` was looked at.
pub(in crate::storage::sqlite) fn insert_planned(
    conn: &mut Connection,
    key: &IdentityKey,
    handler: HandlerId,
    (planned, through): (&[PlannedDelivery], i64),
    now_ms: i64,
) -> Result<(), StoreError> {
    // All or nothing, inside a transaction shared with others.
    let part = conn.savepoint()?;
    let (before, ordered): (i64, bool) = part
        .prepare_cached("SELECT through, ordered FROM handlers WHERE id = ?1")?
        .query_row([handler], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for delivery in planned.iter().filter(|delivery| delivery.seq > before) {
        insert_delivery(&part, key, (handler, ordered), delivery, now_ms)?;
    }
    part.prepare_cached("UPDATE handlers SET through = max(through, ?2) WHERE id = ?1")?
        .execute(params![handler, through])?;
    Ok(part.commit()?)
}

fn insert_delivery(
    conn: &Connection,
    key: &IdentityKey,
    (handler, ordered): (HandlerId, bool),
    planned: &PlannedDelivery,
    now_ms: i64,
) -> Result<(), StoreError> {
    let event = conn
        .prepare_cached("SELECT company_id, call_id FROM events WHERE seq = ?1")?
        .query_row([planned.seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    // Erased since it was read.
    let Some((company, call_id)) = event else {
        return Ok(());
    };
    let ordering_key = call_sequence::ordering_key(key, ordered, planned.seq, call_id.as_deref());
    if planned.supersedes {
        skip_superseded(conn, (handler, ordering_key), planned.seq, now_ms)?;
    }
    let state = if planned.skip_reason.is_some() { DeliveryState::Skipped } else { DeliveryState::Pending };
    let is_head = planned.skip_reason.is_none() && !has_unfinished(conn, handler, ordering_key)?;
    conn.prepare_cached(
        "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, due_ms, attempts, since_ms, updated_ms, note,
            replay)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, 0)",
    )?
    .execute(params![
        handler,
        planned.seq,
        state as i64,
        company,
        ordering_key,
        is_head.then_some(now_ms),
        now_ms,
        planned.skip_reason.map(SkipReason::as_str)
    ])?;
    if !is_head && planned.skip_reason.is_none() {
        // What is in front may be past its hold.
        call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)?;
    }
    Ok(())
}

fn has_unfinished(conn: &Connection, handler: HandlerId, ordering_key: i64) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM deliveries INDEXED BY deliveries_call_sequence WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 LIMIT 1",
    )?;
    Ok(statement.exists([handler, ordering_key])?)
}

/// Skips earlier transcripts of the lane that nobody has tried yet.
fn skip_superseded(
    conn: &Connection,
    (handler, ordering_key): (HandlerId, i64),
    seq: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence SET state = ?4, due_ms = NULL, updated_ms = ?5, note = ?6
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 AND state = 0 AND attempts = 0 AND event_seq < ?3
         AND (SELECT event FROM events WHERE seq = event_seq) = (SELECT event FROM events WHERE seq = ?3)",
    )?
    .execute(params![
        handler,
        ordering_key,
        seq,
        DeliveryState::Skipped as i64,
        now_ms,
        SkipReason::Superseded.as_str()
    ])?;
    call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)
}
