//! Removal of data: retention (by age or size) and erasure (one person's data). Every function runs inside a
//! transaction that its caller opened: the receiver's writer, or the connection of an operator command while the
//! receiver runs.

pub(super) mod appointments;
pub(super) mod data_subject;
pub(super) mod erase;
#[cfg(test)]
mod erase_tests;
mod purge;
pub(super) mod space;
#[cfg(test)]
mod tests;

pub(super) use purge::purge_batch;
pub(super) use space::{
    MIN_FREE_PAGES, allocated_bytes, delete_freed_rows, has_freed_bodies, is_full_batch, reclaim_bodies, reclaim_pages,
    used_bytes,
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::base::id::CompanyId;
use crate::storage::sqlite::blocks;
use crate::storage::sqlite::latency_totals::{PendingCounts, TotalsTable, subtract_attempts};
use crate::storage::{CascadedCounts, HandlerId, Identity, IdentityKey, Seq, StoreError};

/// What happens to a body in a body file once its event is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyDisposal {
    /// The space is released; the bytes may stay on disk until it is used again.
    Free,
    /// It is overwritten first: erased data must not stay readable in a file system that keeps released blocks.
    Overwrite,
}

struct RemovedEvent {
    identity: Identity,
    company_id: CompanyId,
    event: Option<String>,
    call_id: Option<String>,
    size_bytes: u64,
}

impl RemovedEvent {
    fn from_row(row: &rusqlite::Row) -> rusqlite::Result<Self> {
        Ok(Self {
            identity: Identity(row.get(0)?),
            company_id: row.get(1)?,
            event: row.get(2)?,
            call_id: row.get(3)?,
            size_bytes: row.get(4)?,
        })
    }
}

/// Deletes an event from the journal and its keys from the identity index. Returns the size of its body in bytes, or
/// `None` when the event does not exist any more.
fn delete_event(
    conn: &Connection,
    key: &IdentityKey,
    seq: Seq,
    bodies: BodyDisposal,
    now_ms: i64,
) -> Result<Option<u64>, StoreError> {
    let event = conn
        .prepare_cached(
            "DELETE FROM events WHERE seq = ?1
             RETURNING identity, company_id, event, call_id, size_bytes",
        )?
        .query_row([seq], RemovedEvent::from_row)
        .optional()?;
    let Some(event) = event else { return Ok(None) };
    // Key and number: another event may have the same key, by a hash collision or because it is a revision.
    let mut delete_key = conn.prepare_cached("DELETE FROM event_keys WHERE key = ?1 AND seq = ?2")?;
    delete_key.execute(params![event.identity.index_key(), seq])?;
    if let (Some(call_id), Some(kind)) = (&event.call_id, &event.event) {
        delete_key.execute(params![key.call_key(event.company_id, call_id, kind), seq])?;
    }
    conn.prepare_cached("DELETE FROM duplicates WHERE event_seq = ?1")?.execute([seq])?;
    conn.prepare_cached("DELETE FROM inbound_answers WHERE event_seq = ?1")?.execute([seq])?;
    if !delete_uncompressed_body(conn, seq, event.size_bytes, bodies, now_ms)? {
        blocks::record_removal(conn, seq, event.size_bytes, now_ms)?;
    }
    Ok(Some(event.size_bytes))
}

/// Deletes a body that is not compressed, and returns whether there was one. Its place in a body file is recorded: the
/// file itself is changed later and outside of any transaction. The record commits together with the deletion, so a crash
/// can neither leak the space nor leave an erased body readable.
pub(super) fn delete_uncompressed_body(
    conn: &Connection,
    seq: Seq,
    size_bytes: u64,
    disposal: BodyDisposal,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let location: Option<(Option<i64>, Option<i64>)> = conn
        .prepare_cached("DELETE FROM bodies WHERE seq = ?1 RETURNING file, at")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((Some(file), offset)) = location {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO freed_bodies (file, at, size_bytes, overwrite, freed_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![file, offset, size_bytes, disposal == BodyDisposal::Overwrite, now_ms])?;
    }
    Ok(location.is_some())
}

/// Removes one event with its deliveries, as retention does. Must run inside a transaction if it has to be atomic.
pub(super) fn remove_event(conn: &Connection, key: &IdentityKey, seq: Seq, now_ms: i64) -> Result<(), StoreError> {
    let mut counts = PendingCounts::default();
    for handler in list_handler_ids(conn)? {
        delete_delivery(conn, &mut counts, handler, seq)?;
    }
    counts.write(conn, TotalsTable::Attempts)?;
    delete_event(conn, key, seq, BodyDisposal::Free, now_ms).map(drop)
}

/// Deletes a delivery and its attempts, and returns how many of each there were. The caller writes the totals in the same
/// transaction.
fn delete_delivery(
    conn: &Connection,
    counts: &mut PendingCounts,
    handler: HandlerId,
    seq: Seq,
) -> Result<CascadedCounts, StoreError> {
    let attempts = delete_attempts(conn, counts, handler, seq)?;
    let mut delivery = conn.prepare_cached("DELETE FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2")?;
    Ok(CascadedCounts { deliveries: delivery.execute(params![handler, seq])? as u64, attempts, body_bytes: 0 })
}

/// Deletes the records of all attempts, the one in the row of the delivery included. The caller writes the totals in the
/// same transaction.
fn delete_attempts(
    conn: &Connection,
    counts: &mut PendingCounts,
    handler: HandlerId,
    seq: Seq,
) -> Result<u64, StoreError> {
    subtract_attempts(conn, counts, handler, seq)?;
    let mut first = conn.prepare_cached(
        "UPDATE deliveries SET started_at_ms = NULL, duration_ms = NULL, status = NULL
         WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms IS NOT NULL",
    )?;
    let mut others = conn.prepare_cached("DELETE FROM attempts WHERE handler_id = ?1 AND event_seq = ?2")?;
    Ok((first.execute(params![handler, seq])? + others.execute(params![handler, seq])?) as u64)
}

// Also handlers that are no longer in the settings: their deliveries hold data of the events, too.
fn list_handler_ids(conn: &Connection) -> Result<Vec<HandlerId>, StoreError> {
    let mut ids = conn.prepare_cached("SELECT id FROM handlers ORDER BY id")?;
    Ok(ids.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
