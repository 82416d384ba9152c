//! Order within a call: which of the unfinished deliveries of a call sequence may be claimed.
//!
//! A call sequence is the deliveries of one call for one handler; they share an `ordering_key`. Only deliveries with
//! a `due_ms` can be claimed. It is set on the head of the call sequence, and on the first pending delivery after
//! deliveries that wait for a retry, from the time on at which the ordering timeout lets it overtake them. Every
//! change to a call sequence (insert, settle, cancel, replay, erase) must be followed by [`advance_call_sequence`] in
//! the same transaction: a pending delivery without `due_ms` is found by no claim, so a missed call would leave it
//! waiting without limit.

use rusqlite::{Connection, params};

use super::parse_state;
use crate::storage::{DeliveryState, HandlerId, IdentityKey, Seq, StoreError};

/// Rows read per call sequence. When this many deliveries at its head wait for a retry, the ones after them wait too,
/// even past `ordering_timeout_ms`. The limit bounds the cost of every settlement; a call rarely has this many
/// events.
const MAX_ROWS_SCANNED: i64 = 64;

/// The ordering key of an event: derived from its call when the handler is ordered, otherwise unique to the event.
pub(in crate::storage::sqlite) fn ordering_key(
    key: &IdentityKey,
    ordered: bool,
    seq: Seq,
    call_id: Option<&str>,
) -> i64 {
    match call_id {
        // Two calls with the same hash share a call sequence. They wait for each other; nothing else goes wrong.
        Some(call_id) if ordered => *key.call_key_range(call_id).start(),
        // `seq` is unique, so its negative is a call sequence with this single delivery.
        _ => -seq.0,
    }
}

struct UnfinishedDelivery {
    seq: Seq,
    state: DeliveryState,
    due_ms: Option<i64>,
    failed_at_ms: Option<i64>,
}

/// Makes the next delivery of a call sequence claimable: the first unfinished one from now on, or, behind deliveries
/// that wait for a retry, the first pending one from the end of their ordering timeout on.
pub(in crate::storage::sqlite) fn advance_call_sequence(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let head = list_head(conn, handler, ordering_key)?;
    let waits_for_retry = head.iter().any(|delivery| delivery.state == DeliveryState::Scheduled);
    let ordering_timeout_ms = if waits_for_retry { get_ordering_timeout_ms(conn, handler)? } else { 0 };
    let mut due_from_ms = now_ms;
    for delivery in head {
        match (delivery.state, delivery.due_ms) {
            // Counted from the first failure, not from the latest: each retry would otherwise extend the blockade.
            // The latest end among all of them counts, because a later delivery overtakes every one of them.
            (DeliveryState::Scheduled, Some(_)) => {
                // Not later than now: the clock may have been set back since.
                let first_failure_ms = delivery.failed_at_ms.unwrap_or(now_ms).min(now_ms);
                due_from_ms = due_from_ms.max(first_failure_ms.saturating_add(ordering_timeout_ms));
            }
            // Only ever made earlier: once the ordering timeout has passed, `due_from_ms` is the current time, and
            // each further call would postpone the delivery.
            (DeliveryState::Pending, due_ms) if due_ms.is_none_or(|due_ms| due_ms > due_from_ms) => {
                return update_due_ms(conn, handler, delivery.seq, due_from_ms);
            }
            // An attempt is running, or the delivery is due already: the rest waits, and settling it comes back here.
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Like [`advance_call_sequence`], after a change of the delivery of this event. An event that is alone in its sequence
/// is followed by no other.
pub(super) fn advance_after(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    seq: Seq,
    now_ms: i64,
) -> Result<(), StoreError> {
    if is_alone(ordering_key, seq) { Ok(()) } else { advance_call_sequence(conn, handler, ordering_key, now_ms) }
}

/// Whether no other delivery can have this key.
pub(super) fn is_alone(ordering_key: i64, seq: Seq) -> bool {
    ordering_key == -seq.0
}

fn get_ordering_timeout_ms(conn: &Connection, handler: HandlerId) -> Result<i64, StoreError> {
    let mut statement = conn.prepare_cached("SELECT ordering_timeout_ms FROM handlers WHERE id = ?1")?;
    Ok(statement.query_row([handler], |row| row.get(0))?)
}

/// The deliveries waiting for a retry at the start of the call sequence, and the first one after them.
fn list_head(conn: &Connection, handler: HandlerId, ordering_key: i64) -> Result<Vec<UnfinishedDelivery>, StoreError> {
    // `state < 3` (unfinished) repeats the WHERE of the partial index: SQLite uses it only for a query that implies
    // it. `state >= 0` leaves out a damaged row, so that the call continues without it.
    let mut statement = conn.prepare_cached(
        "SELECT event_seq, state, due_ms, failed_at_ms FROM deliveries INDEXED BY deliveries_call_sequence
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 AND state >= 0 ORDER BY event_seq LIMIT ?3",
    )?;
    let rows = statement.query_map(params![handler, ordering_key, MAX_ROWS_SCANNED], |row| {
        let seq = row.get(0)?;
        Ok(UnfinishedDelivery {
            seq,
            state: parse_state(row.get(1)?, || format!("handler id {handler} and event seq {seq}"))?,
            due_ms: row.get(2)?,
            failed_at_ms: row.get(3)?,
        })
    })?;
    let mut head = Vec::new();
    for row in rows {
        let delivery = row?;
        let waits_for_retry = delivery.state == DeliveryState::Scheduled;
        head.push(delivery);
        // Rows are read lazily, so for most call sequences SQLite reads one row only.
        if !waits_for_retry {
            break;
        }
    }
    Ok(head)
}

fn update_due_ms(conn: &Connection, handler: HandlerId, seq: Seq, due_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE deliveries SET due_ms = ?3 WHERE handler_id = ?1 AND event_seq = ?2")?
        .execute(params![handler, seq, due_ms])?;
    Ok(())
}
