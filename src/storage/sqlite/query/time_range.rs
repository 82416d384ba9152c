//! Translates times of receipt to bounds of sequence numbers, with the index on ids.
//!
//! An id begins with the time at which it was made, which is not before the time of receipt. Ids ascend with the
//! sequence numbers, except those of requests at the same time. Bounds contain every event of the times, and may contain
//! others: compare `received_at_ms` as well.

use rusqlite::{Connection, OptionalExtension, params};

use super::SeqBounds;
use crate::base::id::EventId;
use crate::storage::Seq;

/// A request is committed within this time after its arrival, so only ids that are closer together may be out of order.
const ID_REORDER_MS: i64 = 10_000;
/// Ids that are later than the time of receipt by more than this have their own index.
const LATE_MS: i64 = 1_000;

/// Whether the id of an event is much later than the event: the clock was set back, or the event was imported into a
/// store with newer ones.
pub(in crate::storage::sqlite) fn is_late(id: EventId, received_at_ms: i64) -> bool {
    id.created_at_ms().is_some_and(|created_at_ms| created_at_ms - received_at_ms > LATE_MS)
}

/// Bounds of the events received at or after `since_ms` and before `until_ms`.
pub(in crate::storage::sqlite) fn seq_bounds(
    conn: &Connection,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
) -> rusqlite::Result<SeqBounds> {
    let mut bounds = SeqBounds::ALL;
    if let Some(since_ms) = since_ms {
        bounds.after = seq_before_ids_since(conn, since_ms)?;
    }
    if let Some(until_ms) = until_ms {
        bounds.through = last_seq_received_before(conn, until_ms)?;
    }
    Ok(bounds)
}

/// The number before the first event whose id was made at or after this time.
fn seq_before_ids_since(conn: &Connection, since_ms: i64) -> rusqlite::Result<Seq> {
    let first: Option<[u8; 16]> = conn
        .prepare_cached("SELECT id FROM events WHERE id >= ?1 ORDER BY id LIMIT 1")?
        .query_row([EventId::lower_bound_at(since_ms).as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(first) = first else { return Ok(Seq(i64::MAX)) };
    let end_ms = made_at_ms(first).saturating_add(ID_REORDER_MS);
    conn.prepare_cached("SELECT min(seq) - 1 FROM events INDEXED BY events_id WHERE id >= ?1 AND id < ?2")?
        .query_row(params![first, EventId::lower_bound_at(end_ms).as_bytes()], |row| row.get(0))
}

/// The last event that was received before this time. Its id may be later.
fn last_seq_received_before(conn: &Connection, until_ms: i64) -> rusqlite::Result<Seq> {
    let last: Option<[u8; 16]> = conn
        .prepare_cached("SELECT id FROM events WHERE id < ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([EventId::lower_bound_at(until_ms.saturating_add(LATE_MS)).as_bytes()], |row| row.get(0))
        .optional()?;
    let in_time = match last {
        None => 0,
        Some(last) => {
            let start_ms = made_at_ms(last).saturating_sub(ID_REORDER_MS);
            conn.prepare_cached("SELECT max(seq) FROM events INDEXED BY events_id WHERE id >= ?1 AND id <= ?2")?
                .query_row(params![EventId::lower_bound_at(start_ms).as_bytes(), last], |row| row.get(0))?
        }
    };
    let late: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM events INDEXED BY events_late WHERE late = 1 AND received_at_ms < ?1")?
        .query_row([until_ms], |row| row.get(0))?;
    Ok(Seq(in_time.max(late.unwrap_or(0))))
}

/// The first 48 bits of an id, also of one that is not a UUIDv7.
fn made_at_ms(id: [u8; 16]) -> i64 {
    id[..6].iter().fold(0, |ms, byte| ms << 8 | i64::from(*byte))
}
