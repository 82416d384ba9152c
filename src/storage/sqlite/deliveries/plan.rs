//! Turns events of the journal into deliveries, handler by handler.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use crate::storage::sqlite::events::{
    BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_body, read_chunk, read_damaged_summary,
};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{
    DeliveryState, EventSummary, HandlerId, IdentityKey, PlanBatch, PlanOutcome, PlanToken, PlannedDelivery, Seq,
    SkipReason, StoreError,
};

/// Events after the handler's position in the journal. The bodies are read only when its filter needs them.
pub(in crate::storage::sqlite) fn next_plan_batch(
    reader: &ReaderContext,
    handler: HandlerId,
    limit: usize,
    bodies: bool,
) -> Result<Option<PlanBatch>, StoreError> {
    let position = reader
        .conn
        .prepare_cached("SELECT through FROM handlers WHERE id = ?1")?
        .query_row([handler], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(from) = position else {
        return Ok(None);
    };
    let events = list_events_after(reader, from, limit, bodies)?;
    let Some((last, _)) = events.last() else {
        return Ok(None);
    };
    let token = PlanToken { from, through: last.seq.0 };
    Ok(Some(PlanBatch { events, token }))
}

fn list_events_after(
    reader: &ReaderContext,
    after: i64,
    limit: usize,
    bodies: bool,
) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError> {
    // An event with an unknown value is planned as well, so that the handler's position moves past it. Its delivery fails
    // with the reason, see `load_claimed_events`.
    let body_columns = if bodies { BODY_COLUMNS } else { "" };
    let sql = format!("{SELECT_SUMMARY}{body_columns}{FROM_EVENTS} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, limit])?;
    if !bodies {
        let rows = rows.mapped(|row| Ok((read_damaged_summary(row)?.0, None)));
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    // In a chunk bounded by bytes: `limit` bodies of the largest size would take too much memory.
    read_chunk(
        &mut rows,
        |row| Ok((read_damaged_summary(row)?.0, read_body(row, reader)?.ok())),
        |(_, body)| body.as_ref().map_or(0, Bytes::len),
    )
}

/// Inserts the planned deliveries and advances the handler's position past the batch, in one step: a crash can neither
/// lose an event nor plan it twice.
pub(in crate::storage::sqlite) fn insert_planned(
    conn: &mut Connection,
    key: &IdentityKey,
    handler: HandlerId,
    batch: PlanToken,
    planned: &[PlannedDelivery],
    now_ms: i64,
) -> Result<PlanOutcome, StoreError> {
    // The transaction is shared with other writes; the savepoint undoes this part alone when it fails.
    let savepoint = conn.savepoint()?;
    // A compare-and-set: the batch was read outside this transaction, and its events may have been planned since.
    let moved = savepoint
        .prepare_cached("UPDATE handlers SET through = ?3 WHERE id = ?1 AND through = ?2 RETURNING ordered")?
        .query_row(params![handler, batch.from, batch.through], |row| row.get(0))
        .optional()?;
    let Some(ordered) = moved else {
        return Ok(PlanOutcome::Stale);
    };
    for delivery in planned {
        insert_delivery(&savepoint, key, handler, ordered, delivery, now_ms)?;
    }
    savepoint.commit()?;
    Ok(PlanOutcome::Planned)
}

fn insert_delivery(
    conn: &Connection,
    key: &IdentityKey,
    handler: HandlerId,
    ordered: bool,
    planned: &PlannedDelivery,
    now_ms: i64,
) -> Result<(), StoreError> {
    let event = conn
        .prepare_cached("SELECT company_id, call_id FROM events WHERE seq = ?1")?
        .query_row([planned.seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    // Planning reads events outside this transaction, so the event may have been erased since.
    let Some((company, call_id)) = event else {
        return Ok(());
    };
    let ordering_key = call_sequence::ordering_key(key, ordered, planned.seq, call_id.as_deref());
    if planned.supersedes {
        skip_superseded(conn, handler, ordering_key, planned.seq, now_ms)?;
    }
    let is_skipped = planned.skip_reason.is_some();
    let state = if is_skipped { DeliveryState::Skipped } else { DeliveryState::Pending };
    let is_head = !is_skipped && !has_unfinished(conn, handler, ordering_key)?;
    conn.prepare_cached(
        "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, due_ms, attempts, since_ms,
            updated_ms, note, replay, body_unread)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, 0, ?9)",
    )?
    .execute(params![
        handler,
        planned.seq,
        state as i64,
        company,
        ordering_key,
        is_head.then_some(now_ms),
        now_ms,
        planned.skip_reason.map(SkipReason::as_str),
        planned.body_unread
    ])?;
    if !is_head && !is_skipped {
        // All earlier deliveries may be waiting for a retry. Then none of them is settled soon, and only this call
        // gives the new delivery the time from which it may overtake them.
        call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)?;
    }
    Ok(())
}

fn has_unfinished(conn: &Connection, handler: HandlerId, ordering_key: i64) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM deliveries INDEXED BY deliveries_call_sequence
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 LIMIT 1",
    )?;
    Ok(statement.exists(params![handler, ordering_key])?)
}

/// Skips earlier deliveries of the call sequence that have the same event kind and have not been attempted.
fn skip_superseded(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    seq: Seq,
    now_ms: i64,
) -> Result<(), StoreError> {
    // Only pending deliveries: one that was attempted may have had effects outside, so its retries are kept. `state <
    // 3` lets SQLite use the partial index.
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
    // The skipped delivery may have been the head.
    call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)
}
