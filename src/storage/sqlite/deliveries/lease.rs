//! The leases of claimed deliveries: renewed while a worker holds them, released when the receiver starts.

use rusqlite::{Connection, params};

use crate::storage::{HandlerId, LeaseToken, StoreError};

/// Moves the end of each lease that is still held, and returns the others.
pub(in crate::storage::sqlite) fn renew_leases(
    conn: &mut Connection,
    handler: HandlerId,
    leases: &[LeaseToken],
    lease_until_ms: i64,
) -> Result<Vec<LeaseToken>, StoreError> {
    let savepoint = conn.savepoint()?;
    let mut lost = Vec::new();
    {
        let mut renew = savepoint.prepare_cached(
            "UPDATE deliveries SET due_ms = ?4 WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND claim = ?3",
        )?;
        for lease in leases {
            if renew.execute(params![handler, lease.seq, lease.claim, lease_until_ms])? == 0 {
                lost.push(*lease);
            }
        }
    }
    savepoint.commit()?;
    Ok(lost)
}

/// Releases the leases that a previous process left behind and returns their number, also those of handlers that no
/// longer run. Called once at start, before any worker runs: the store lock proves that no other receiver still makes
/// these attempts. An engine without such a lock has to let the leases end.
pub(in crate::storage::sqlite) fn release_all_leases(conn: &Connection) -> rusqlite::Result<usize> {
    // Due at once instead of at the end of the lease. The due time is one that the delivery had before, and not earlier
    // than `since_ms`: while a handler is disabled, its worker claims what has been due for longer than `max_age_ms`, to
    // end it as dead.
    conn.execute(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence
         SET state = CASE WHEN failed_at_ms IS NULL THEN 0 ELSE 2 END, due_ms = coalesce(failed_at_ms, since_ms),
            claim = NULL
         WHERE state < 3 AND state = 1",
        [],
    )
}
