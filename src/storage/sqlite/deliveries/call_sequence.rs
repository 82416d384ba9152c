//! Lanes: which of the unfinished deliveries of a call may be taken.
//!
//! `due_ms` is set on the head of a lane, and on those an event waiting for another attempt lets pass. Whoever changes a
//! lane calls [`advance`], which sets it where it is due now.

use rusqlite::{Connection, params};

use crate::storage::{DeliveryState, HandlerId, IdentityKey, StoreError};

/// How far a lane is looked at: so many events of one call may wait for another attempt before later ones wait for them
/// whatever `ordering_timeout_ms` says.
const MAX_ROWS_SCANNED: i64 = 64;

/// The lane of an event: its call's, or one by itself.
pub(in crate::storage::sqlite) fn ordering_key(
    key: &IdentityKey,
    ordered: bool,
    seq: i64,
    call_id: Option<&str>,
) -> i64 {
    match call_id.filter(|_| ordered) {
        // Calls whose hashes are equal share a lane, which costs them nothing but waiting for each other.
        Some(call_id) => *key.call_key_range(call_id).start(),
        None => -seq,
    }
}

struct UnfinishedDelivery {
    seq: i64,
    state: DeliveryState,
    due_ms: Option<i64>,
    failed_at_ms: Option<i64>,
}

/// Lets go what may be taken now: the first unfinished delivery, and behind one that waits for another attempt the next one
/// from the end of its hold on.
pub(in crate::storage::sqlite) fn advance_call_sequence(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let ordering_timeout_ms = get_hold_ms(conn, handler)?;
    let mut from_ms = now_ms;
    for waiting in list_head(conn, handler, ordering_key)? {
        match (waiting.state, waiting.due_ms) {
            (DeliveryState::Scheduled, Some(_)) => {
                from_ms = from_ms.max(waiting.failed_at_ms.unwrap_or(now_ms).saturating_add(ordering_timeout_ms));
            }
            (DeliveryState::Pending, due_ms) if due_ms.is_none_or(|due_ms| due_ms > from_ms) => {
                return update_due_ms(conn, handler, waiting.seq, from_ms);
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn get_hold_ms(conn: &Connection, handler: HandlerId) -> Result<i64, StoreError> {
    let mut statement = conn.prepare_cached("SELECT ordering_timeout_ms FROM handlers WHERE id = ?1")?;
    Ok(statement.query_row([handler], |row| row.get(0))?)
}

fn list_head(conn: &Connection, handler: HandlerId, ordering_key: i64) -> Result<Vec<UnfinishedDelivery>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT event_seq, state, due_ms, failed_at_ms FROM deliveries INDEXED BY deliveries_call_sequence
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 ORDER BY event_seq LIMIT ?3",
    )?;
    let rows = statement.query_map([handler, ordering_key, MAX_ROWS_SCANNED], |row| {
        Ok(UnfinishedDelivery {
            seq: row.get(0)?,
            state: DeliveryState::from_number(row.get(1)?),
            due_ms: row.get(2)?,
            failed_at_ms: row.get(3)?,
        })
    })?;
    // Most lanes are decided by their first row.
    let mut front = Vec::new();
    for row in rows {
        let row = row?;
        let goes_on = row.state == DeliveryState::Scheduled;
        front.push(row);
        if !goes_on {
            break;
        }
    }
    Ok(front)
}

fn update_due_ms(conn: &Connection, handler: HandlerId, seq: i64, due_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE deliveries SET due_ms = ?3 WHERE handler_id = ?1 AND event_seq = ?2")?
        .execute(params![handler, seq, due_ms])?;
    Ok(())
}
