//! What an operator does to deliveries. Whatever was changed, its lane is looked at again.
//!
//! A delivery that is retried or replayed begins anew: attempts are counted from 1 again, and age and schedule count from
//! now. The record of earlier attempts stays, told apart by when they were made.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use crate::storage::{DeliveryBatch, DeliveryChange, DeliveryState, HandlerId, IdentityKey, StoreError};

/// Changes those that are still in a state that allows it; says how many.
pub(in crate::storage::sqlite) fn apply_bulk_operation(
    conn: &Connection,
    key: &IdentityKey,
    chosen: &DeliveryBatch,
    change: DeliveryChange,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let handler = chosen.handler_id;
    let ordered: bool =
        conn.prepare_cached("SELECT ordered FROM handlers WHERE id = ?1")?.query_row([handler], |row| row.get(0))?;
    // By lane, the first event that changed in it.
    let (mut call_sequences, mut changed) = (BTreeMap::new(), 0);
    for seq in &chosen.seqs {
        let ordering_key = match change {
            DeliveryChange::Replay | DeliveryChange::Retry => {
                restart_delivery(conn, key, (handler, ordered), *seq, change, now_ms)?
            }
            DeliveryChange::Cancel | DeliveryChange::Discard => skip_delivery(conn, handler, *seq, change, now_ms)?,
        };
        if let Some(ordering_key) = ordering_key {
            call_sequences.entry(ordering_key).or_insert(*seq);
            changed += 1;
        }
    }
    for (ordering_key, first) in call_sequences {
        if matches!(change, DeliveryChange::Replay | DeliveryChange::Retry) {
            clear_due_after(conn, handler, ordering_key, first)?;
        }
        call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)?;
    }
    Ok(changed)
}

/// The lane it joins.
fn restart_delivery(
    conn: &Connection,
    key: &IdentityKey,
    (handler, ordered): (HandlerId, bool),
    seq: i64,
    change: DeliveryChange,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let event = conn
        .prepare_cached("SELECT company_id, call_id FROM events WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    // Erased since it was chosen.
    let Some((company, call_id)) = event else {
        return Ok(None);
    };
    // The handler may have been ordered otherwise before. One that waits already stays where it is.
    let ordering_key = call_sequence::ordering_key(key, ordered, seq, call_id.as_deref());
    let is_replay = change == DeliveryChange::Replay;
    let sql = format!(
        "UPDATE deliveries SET state = 0, ordering_key = CASE WHEN state < 3 THEN ordering_key ELSE ?3 END, due_ms = NULL, attempts = 0,
            since_ms = ?4, failed_at_ms = NULL, updated_ms = ?4, note = NULL, replay = max(replay, ?5)
         WHERE handler_id = ?1 AND event_seq = ?2 AND state IN ({}) RETURNING ordering_key",
        allowed_states_sql(change)
    );
    let joined = conn
        .prepare_cached(&sql)?
        .query_row(params![handler, seq, ordering_key, now_ms, is_replay], |row| row.get(0))
        .optional()?;
    if joined.is_some() || !is_replay {
        return Ok(joined);
    }
    // Not one the handler has yet to look at: it would be planned a second time.
    let made = conn
        .prepare_cached(
            "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms, updated_ms, replay)
             SELECT ?1, ?2, 0, ?3, ?4, 0, ?5, ?5, 1 FROM handlers WHERE id = ?1 AND through >= ?2
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![handler, seq, company, ordering_key, now_ms])?;
    Ok((made == 1).then_some(ordering_key))
}

fn skip_delivery(
    conn: &Connection,
    handler: HandlerId,
    seq: i64,
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

/// Later ones of the lane that nobody has taken yet wait for the one that joined.
fn clear_due_after(conn: &Connection, handler: HandlerId, ordering_key: i64, first: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence SET due_ms = NULL
         WHERE handler_id = ?1 AND ordering_key = ?2 AND event_seq > ?3 AND state < 3 AND state = 0 AND due_ms IS NOT NULL",
    )?
    .execute(params![handler, ordering_key, first])?;
    Ok(())
}

fn allowed_states_sql(change: DeliveryChange) -> String {
    let numbers: Vec<String> = change.allowed_states().iter().map(|state| (*state as i64).to_string()).collect();
    numbers.join(",")
}
