//! Corrects the times of deliveries after the clock was set back. A retry that was planned while the clock was a day
//! ahead would wait for a day, and its call with it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::bulk_operation::clear_due_after;
use super::call_sequence::advance_call_sequence;
use super::claim::list_due_companies;
use crate::storage::{HandlerId, Seq, StoreError};

/// Deliveries corrected in one transaction.
pub(in crate::storage::sqlite) const MAX_ROWS_CORRECTED: usize = 256;

/// Deliveries that are due in the future and were written in the future: the clock was ahead then. A row that was
/// written before `now_ms` has a due time that someone asked for.
pub(in crate::storage::sqlite) fn find_future(
    conn: &Connection,
    handler: HandlerId,
    now_ms: i64,
) -> Result<Vec<Seq>, StoreError> {
    let mut future = conn.prepare_cached(
        "SELECT event_seq FROM deliveries INDEXED BY deliveries_due
         WHERE handler_id = ?1 AND company_id = ?2 AND due_ms > ?3 AND (updated_ms > ?3 OR failed_at_ms > ?3)
         LIMIT ?4",
    )?;
    let mut seqs = Vec::new();
    for company in list_due_companies(conn, handler, i64::MAX)? {
        let rows = future.query_map(params![handler, company, now_ms, MAX_ROWS_CORRECTED - seqs.len()], |row| {
            row.get::<_, Seq>(0)
        })?;
        for seq in rows {
            seqs.push(seq?);
        }
        if seqs.len() >= MAX_ROWS_CORRECTED {
            break;
        }
    }
    Ok(seqs)
}

/// Corrects these deliveries, and the holds on later deliveries of their calls. Returns the number of corrected ones.
pub(in crate::storage::sqlite) fn correct_times(
    conn: &mut Connection,
    handler: HandlerId,
    seqs: &[Seq],
    now_ms: i64,
) -> Result<u64, StoreError> {
    let savepoint = conn.savepoint()?;
    // Ordering key -> first corrected event of that call sequence.
    let mut first_corrected: BTreeMap<i64, Seq> = BTreeMap::new();
    let mut corrected = 0;
    for seq in seqs {
        if let Some(ordering_key) = correct_delivery(&savepoint, handler, *seq, now_ms)? {
            let first = first_corrected.entry(ordering_key).or_insert(*seq);
            *first = (*first).min(*seq);
            corrected += 1;
        }
    }
    for (ordering_key, first_seq) in first_corrected {
        // A hold was counted from a failure in the future. It is set again by the same rule as always.
        clear_due_after(&savepoint, handler, ordering_key, first_seq)?;
        advance_call_sequence(&savepoint, handler, ordering_key, now_ms)?;
    }
    savepoint
        .prepare_cached("UPDATE handlers SET breaker_since_ms = min(breaker_since_ms, ?2) WHERE id = ?1")?
        .execute(params![handler, now_ms])?;
    savepoint.commit()?;
    Ok(corrected)
}

/// Returns the ordering key of the delivery, or `None` when it has changed since it was found.
fn correct_delivery(conn: &Connection, handler: HandlerId, seq: Seq, now_ms: i64) -> Result<Option<i64>, StoreError> {
    // A delivery that waits for a retry, or runs under a lease, keeps the length of its wait. A pending one gets its due
    // time from its call sequence.
    Ok(conn
        .prepare_cached(
            "UPDATE deliveries SET
                due_ms = CASE WHEN state = 0 THEN NULL
                   WHEN updated_ms > ?3 THEN ?3 + max(due_ms - updated_ms, 0) ELSE due_ms END,
                since_ms = min(since_ms, ?3), failed_at_ms = min(failed_at_ms, ?3), updated_ms = min(updated_ms, ?3)
             WHERE handler_id = ?1 AND event_seq = ?2 AND due_ms > ?3 AND (updated_ms > ?3 OR failed_at_ms > ?3)
             RETURNING ordering_key",
        )?
        .query_row(params![handler, seq, now_ms], |row| row.get(0))
        .optional()?)
}
