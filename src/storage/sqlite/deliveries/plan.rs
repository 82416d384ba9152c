//! From the journal to deliveries.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::lanes;
use crate::storage::sqlite::query::{BODY, FROM, SUMMARY, summary, take_chunk, with_body};
use crate::storage::sqlite::readers::Reader;
use crate::storage::{DeliveryState, EventSummary, HandlerId, IdentityKey, Planned, Skip, StoreError};

/// The events behind those a handler has looked at, oldest first, with their bodies if it needs them.
pub(in crate::storage::sqlite) fn unplanned(
    reader: &Reader,
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
    let body = if bodies { BODY } else { "" };
    let sql = format!("{SUMMARY}{body}{FROM} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![through, limit])?;
    if !bodies {
        let rows = rows.mapped(|row| Ok((summary(row)?, None)));
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    take_chunk(
        &mut rows,
        |row| with_body(row, &reader.bodies).map(|event| (event.summary, event.body.ok())),
        |(_, body)| body.as_ref().map_or(0, Bytes::len),
    )
}

/// Writes down which events become deliveries, and that everything up to `through` was looked at.
pub(in crate::storage::sqlite) fn plan(
    conn: &mut Connection,
    key: &IdentityKey,
    handler: HandlerId,
    (planned, through): (&[Planned], i64),
    now_ms: i64,
) -> Result<(), StoreError> {
    // All or nothing, inside a transaction shared with others.
    let part = conn.savepoint()?;
    let (before, ordered): (i64, bool) = part
        .prepare_cached("SELECT through, ordered FROM handlers WHERE id = ?1")?
        .query_row([handler], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for delivery in planned.iter().filter(|delivery| delivery.seq > before) {
        insert(&part, key, (handler, ordered), delivery, now_ms)?;
    }
    part.prepare_cached("UPDATE handlers SET through = max(through, ?2) WHERE id = ?1")?
        .execute(params![handler, through])?;
    Ok(part.commit()?)
}

fn insert(
    conn: &Connection,
    key: &IdentityKey,
    (handler, ordered): (HandlerId, bool),
    planned: &Planned,
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
    let lane = lanes::of(key, ordered, planned.seq, call_id.as_deref());
    if planned.supersedes {
        supersede(conn, (handler, lane), planned.seq, now_ms)?;
    }
    let state = if planned.skipped.is_some() { DeliveryState::Skipped } else { DeliveryState::Pending };
    let is_head = planned.skipped.is_none() && !is_busy(conn, handler, lane)?;
    conn.prepare_cached(
        "INSERT INTO deliveries (handler_id, event_seq, state, company_id, lane, due_ms, attempts, since_ms, updated_ms, note,
            replay)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, 0)",
    )?
    .execute(params![
        handler,
        planned.seq,
        state as i64,
        company,
        lane,
        is_head.then_some(now_ms),
        now_ms,
        planned.skipped.map(Skip::as_str)
    ])?;
    if !is_head && planned.skipped.is_none() {
        // What is in front may be past its hold.
        lanes::advance(conn, handler, lane, now_ms)?;
    }
    Ok(())
}

fn is_busy(conn: &Connection, handler: HandlerId, lane: i64) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM deliveries INDEXED BY deliveries_lane WHERE handler_id = ?1 AND lane = ?2 AND state < 3 LIMIT 1",
    )?;
    Ok(statement.exists([handler, lane])?)
}

/// Skips earlier transcripts of the lane that nobody has tried yet.
fn supersede(conn: &Connection, (handler, lane): (HandlerId, i64), seq: i64, now_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE deliveries INDEXED BY deliveries_lane SET state = ?4, due_ms = NULL, updated_ms = ?5, note = ?6
         WHERE handler_id = ?1 AND lane = ?2 AND state < 3 AND state = 0 AND attempts = 0 AND event_seq < ?3
         AND (SELECT event FROM events WHERE seq = event_seq) = (SELECT event FROM events WHERE seq = ?3)",
    )?
    .execute(params![handler, lane, seq, DeliveryState::Skipped as i64, now_ms, Skip::Superseded.as_str()])?;
    lanes::advance(conn, handler, lane, now_ms)
}
