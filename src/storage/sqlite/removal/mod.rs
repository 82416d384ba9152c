//! What leaves the store. Every function here works inside a transaction of its caller's: the receiver's writer, or a
//! connection beside it.

mod appointments;
mod data_subject;
mod erase;
#[cfg(test)]
mod erase_tests;
mod operator;
mod purge;
mod space;
#[cfg(test)]
mod tests;

pub(crate) use data_subject::DataSubject;
pub(crate) use erase::{ErasureCounts, EventsByHandler};
pub(crate) use operator::OperatorRemoval;

pub(super) use purge::purge_batch;
pub(super) use space::{allocated_bytes, delete_freed_rows, is_full_batch, reclaim_bodies, reclaim_pages, used_bytes};

use rusqlite::{Connection, OptionalExtension, params};

use crate::storage::{CascadedCounts, HandlerId, Identity, IdentityKey, StoreError};

/// Whether bodies must not stay readable: what is kept too long is given back, what is erased is overwritten first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyDisposal {
    Free,
    Overwrite,
}

struct RemovedEvent {
    identity: Identity,
    company_id: i64,
    event: Option<String>,
    call_id: Option<String>,
    size_bytes: u64,
    body_location: Option<(i64, i64)>,
}

/// Removes an event from the journal and from the index. Says how large its body was; `None` when it is gone already.
fn delete_event(
    conn: &Connection,
    key: &IdentityKey,
    seq: i64,
    bodies: BodyDisposal,
    now_ms: i64,
) -> Result<Option<u64>, StoreError> {
    let row = conn
        .prepare_cached(
            "DELETE FROM events WHERE seq = ?1
             RETURNING identity, company_id, event, call_id, size_bytes, body_file, body_at",
        )?
        .query_row([seq], |row| {
            Ok(RemovedEvent {
                identity: Identity(row.get(0)?),
                company_id: row.get(1)?,
                event: row.get(2)?,
                call_id: row.get(3)?,
                size_bytes: row.get(4)?,
                body_location: row.get::<_, Option<i64>>(5)?.map(|file| row.get(6).map(|at| (file, at))).transpose()?,
            })
        })
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let mut unindex = conn.prepare_cached("DELETE FROM event_keys WHERE key = ?1 AND seq = ?2")?;
    unindex.execute([row.identity.index_key(), seq])?;
    if let (Some(call_id), Some(event)) = (&row.call_id, &row.event) {
        unindex.execute([key.call_key(row.company_id, call_id, event), seq])?;
    }
    conn.prepare_cached("DELETE FROM duplicates WHERE event_seq = ?1")?.execute([seq])?;
    conn.prepare_cached("DELETE FROM inbound_answers WHERE event_seq = ?1")?.execute([seq])?;
    if let Some((file, at)) = row.body_location {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO freed_bodies (file, at, size_bytes, overwrite, freed_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![file, at, row.size_bytes, bodies == BodyDisposal::Overwrite, now_ms])?;
    }
    Ok(Some(row.size_bytes))
}

/// Removes a delivery with its attempts; says how many of each there were.
fn delete_delivery(conn: &Connection, handler: HandlerId, seq: i64) -> Result<CascadedCounts, StoreError> {
    let attempts = delete_attempts(conn, handler, seq)?;
    let mut delivery = conn.prepare_cached("DELETE FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2")?;
    Ok(CascadedCounts { deliveries: delivery.execute([handler, seq])? as u64, attempts, body_bytes: 0 })
}

fn delete_attempts(conn: &Connection, handler: HandlerId, seq: i64) -> Result<u64, StoreError> {
    let mut attempts = conn.prepare_cached("DELETE FROM attempts WHERE handler_id = ?1 AND event_seq = ?2")?;
    Ok(attempts.execute([handler, seq])? as u64)
}

/// Removes the row of a call or chat with its texts; says how many rows there were.
fn delete_call(conn: &Connection, company: i64, call_id: &str) -> Result<u64, StoreError> {
    conn.prepare_cached("DELETE FROM call_texts WHERE kind IN ('call', 'chat') AND company_id = ?1 AND call_id = ?2")?
        .execute(params![company, call_id])?;
    let mut removed = 0;
    for table in ["calls", "chats"] {
        let sql = format!("DELETE FROM {table} WHERE company_id = ?1 AND call_id = ?2");
        removed += conn.prepare_cached(&sql)?.execute(params![company, call_id])? as u64;
    }
    Ok(removed)
}

fn list_handler_ids(conn: &Connection) -> Result<Vec<HandlerId>, StoreError> {
    let mut ids = conn.prepare_cached("SELECT id FROM handlers ORDER BY id")?;
    Ok(ids.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
