//! What became of attempts.

use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use crate::storage::{AttemptRecord, DeliveryState, HandlerId, SettledDelivery, Settlement, StoreError};

/// Writes down the attempts and what they led to, and lets the next of each call go.
pub(in crate::storage::sqlite) fn settle(
    conn: &mut Connection,
    handler: HandlerId,
    settled: &[SettledDelivery],
    now_ms: i64,
) -> Result<(), StoreError> {
    // All or nothing, inside a transaction shared with others.
    let part = conn.savepoint()?;
    for delivery in settled {
        if let Some(attempt) = &delivery.attempt {
            insert_attempt(&part, handler, delivery.seq, attempt)?;
        }
        if let Some(ordering_key) = settle_delivery(&part, handler, delivery, now_ms)? {
            call_sequence::advance_call_sequence(&part, handler, ordering_key, now_ms)?;
        }
    }
    Ok(part.commit()?)
}

/// The lane it was in; none when somebody has put an end to it meanwhile.
fn settle_delivery(
    conn: &Connection,
    handler: HandlerId,
    settled: &SettledDelivery,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let (state, due_ms, note) = match &settled.settlement {
        Settlement::Succeeded => (DeliveryState::Succeeded, None, None),
        Settlement::Scheduled { next_attempt_at_ms, error } => {
            (DeliveryState::Scheduled, Some(*next_attempt_at_ms), Some(error))
        }
        Settlement::Dead { error } => (DeliveryState::Dead, None, Some(error)),
        Settlement::Released => return release_delivery(conn, handler, settled.seq, now_ms),
    };
    let attempts = settled.attempt.as_ref().map(|attempt| attempt.attempt);
    let failed_at_ms = note.map(|_| now_ms);
    Ok(conn
        .prepare_cached(
            "UPDATE deliveries SET state = ?3, due_ms = ?4, attempts = coalesce(?5, attempts), note = ?6,
                failed_at_ms = coalesce(failed_at_ms, ?7), updated_ms = ?8
             WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 RETURNING ordering_key",
        )?
        .query_row(params![handler, settled.seq, state as i64, due_ms, attempts, note, failed_at_ms, now_ms], |row| {
            row.get(0)
        })
        .optional()?)
}

/// Back to where it was before it was taken. One that nobody tried is as old as it was: while attempts rest, only what
/// became too old is taken.
fn release_delivery(conn: &Connection, handler: HandlerId, seq: i64, now_ms: i64) -> Result<Option<i64>, StoreError> {
    Ok(conn
        .prepare_cached(
            "UPDATE deliveries SET state = CASE WHEN failed_at_ms IS NULL THEN 0 ELSE 2 END,
                due_ms = CASE WHEN failed_at_ms IS NULL THEN since_ms ELSE ?3 END, updated_ms = ?3
             WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 RETURNING ordering_key",
        )?
        .query_row([handler, seq, now_ms], |row| row.get(0))
        .optional()?)
}

/// Nothing is written about an event that is gone: the answer may repeat what was in it.
fn insert_attempt(conn: &Connection, handler: HandlerId, seq: i64, attempt: &AttemptRecord) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO attempts (handler_id, event_seq, started_at_ms, attempt, duration_ms, outcome, status, error,
            answer)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE EXISTS (SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2)
         AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = ?2)",
    )?
    .execute(params![
        handler,
        seq,
        attempt.started_at_ms,
        attempt.attempt,
        attempt.duration_ms,
        attempt.outcome,
        attempt.status,
        attempt.error,
        attempt.answer
    ])?;
    Ok(())
}
