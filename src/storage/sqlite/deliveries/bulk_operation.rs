//! Bulk operations: an operator replays, retries, cancels or discards deliveries.
//!
//! A delivery that is retried or replayed starts again: attempts count from 1, and its age and retry schedule count
//! from now. The records of earlier attempts stay; their start times distinguish them from later ones.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use crate::storage::{DeliveryBatch, DeliveryChange, DeliveryState, HandlerId, IdentityKey, Seq, StoreError};

/// Applies a change to those deliveries of the batch whose state allows it, and returns their number.
pub(in crate::storage::sqlite) fn apply_bulk_operation(
    conn: &Connection,
    key: &IdentityKey,
    batch: &DeliveryBatch,
    change: DeliveryChange,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let handler = batch.handler_id;
    let ordered: bool =
        conn.prepare_cached("SELECT ordered FROM handlers WHERE id = ?1")?.query_row([handler], |row| row.get(0))?;
    let is_restart = matches!(change, DeliveryChange::Replay | DeliveryChange::Retry);
    // Ordering key -> first changed event of that call sequence. Each call sequence is advanced once, after the whole
    // batch: what is due in it depends on all changes together.
    let mut first_changed = BTreeMap::new();
    let mut changed_count = 0;
    for seq in &batch.seqs {
        let ordering_key = if is_restart {
            restart_delivery(conn, key, handler, ordered, *seq, change, now_ms)?
        } else {
            skip_delivery(conn, handler, *seq, change, now_ms)?
        };
        if let Some(ordering_key) = ordering_key {
            // `seqs` is in journal order, so the first one entered is the earliest.
            first_changed.entry(ordering_key).or_insert(*seq);
            changed_count += 1;
        }
    }
    for (ordering_key, first_seq) in first_changed {
        if is_restart {
            clear_due_after(conn, handler, ordering_key, first_seq)?;
        }
        call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)?;
    }
    Ok(changed_count)
}

/// Puts a delivery back to pending, or inserts one for a replay. Returns the ordering key of the call sequence it
/// joined, or `None` when nothing changed.
fn restart_delivery(
    conn: &Connection,
    key: &IdentityKey,
    handler: HandlerId,
    ordered: bool,
    seq: Seq,
    change: DeliveryChange,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let event = conn
        .prepare_cached("SELECT company_id, call_id FROM events WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    // Erased or purged since it was selected.
    let Some((company, call_id)) = event else {
        return Ok(None);
    };
    let ordering_key = call_sequence::ordering_key(key, ordered, seq, call_id.as_deref());
    let is_replay = change == DeliveryChange::Replay;
    // The handler's `ordering` setting may have changed since the delivery was made. A finished delivery joins the
    // call sequence of today's setting. An unfinished one keeps its key: the sequence it left would never be
    // advanced. `max(replay, …)`: a retry of a replayed delivery is still a replay for the handler.
    let sql = format!(
        "UPDATE deliveries SET state = 0, ordering_key = CASE WHEN state < 3 THEN ordering_key ELSE ?3 END,
            due_ms = NULL, attempts = 0, since_ms = ?4, failed_at_ms = NULL, updated_ms = ?4, note = NULL,
            replay = max(replay, ?5), restarted = 1
         WHERE handler_id = ?1 AND event_seq = ?2 AND state IN ({}) RETURNING ordering_key",
        allowed_states_sql(change)
    );
    let restarted_key = conn
        .prepare_cached(&sql)?
        .query_row(params![handler, seq, ordering_key, now_ms, is_replay], |row| row.get(0))
        .optional()?;
    if restarted_key.is_some() || !is_replay {
        return Ok(restarted_key);
    }
    // A replay also delivers an event that the handler's filter had left out. `through >= ?2`: an event that the
    // handler has not planned yet will get its delivery from planning, which would then fail on this row.
    let inserted = conn
        .prepare_cached(
            "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                updated_ms, replay, restarted)
             SELECT ?1, ?2, 0, ?3, ?4, 0, ?5, ?5, 1, 1 FROM handlers WHERE id = ?1 AND through >= ?2
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![handler, seq, company, ordering_key, now_ms])?;
    Ok((inserted == 1).then_some(ordering_key))
}

/// Returns the ordering key of the delivery, or `None` when its state does not allow the change.
fn skip_delivery(
    conn: &Connection,
    handler: HandlerId,
    seq: Seq,
    change: DeliveryChange,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "UPDATE deliveries SET state = ?3, due_ms = NULL, updated_ms = ?4, note = ?5
         WHERE handler_id = ?1 AND event_seq = ?2 AND state IN ({}) RETURNING ordering_key",
        allowed_states_sql(change)
    );
    let skipped = DeliveryState::Skipped as i64;
    Ok(conn
        .prepare_cached(&sql)?
        .query_row(params![handler, seq, skipped, now_ms, change.skip_reason()], |row| row.get(0))
        .optional()?)
}

/// Takes the due time from pending deliveries after `first_seq`. They were at the head of their call sequence until
/// an earlier delivery was restarted; with their due time they would be claimed before it.
pub(super) fn clear_due_after(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    first_seq: Seq,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence SET due_ms = NULL
         WHERE handler_id = ?1 AND ordering_key = ?2 AND event_seq > ?3
         AND state < 3 AND state = 0 AND due_ms IS NOT NULL",
    )?
    .execute(params![handler, ordering_key, first_seq])?;
    Ok(())
}

fn allowed_states_sql(change: DeliveryChange) -> String {
    let numbers: Vec<String> = change.allowed_states().iter().map(|state| (*state as i64).to_string()).collect();
    numbers.join(",")
}
