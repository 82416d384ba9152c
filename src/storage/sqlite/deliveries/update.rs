//! Changes the queue of a handler for its worker: settles, claims and plans in one job of the writer.

use rusqlite::{Connection, params};

use super::claim::{self, ClaimedRow};
use super::plan::{self, PlanLease};
use super::settle;
use crate::storage::sqlite::calls::PendingTotals;
use crate::storage::{ClaimRoom, HandlerId, IdentityKey, PlanOutcome, QueueUpdate, StoreError};

/// As many unfinished deliveries are counted. A worker that has more is not about to finish them all.
const MAX_COUNTED: usize = 256;

/// What every part of an update needs.
pub(in crate::storage::sqlite) struct UpdateContext<'a> {
    pub(in crate::storage::sqlite) conn: &'a Connection,
    pub(in crate::storage::sqlite) key: &'a IdentityKey,
    pub(in crate::storage::sqlite) handler: HandlerId,
    pub(in crate::storage::sqlite) now_ms: i64,
}

/// The outcome of a [`QueueUpdate`] before the events of the claimed deliveries are read.
pub(in crate::storage::sqlite) struct UpdatedQueue {
    pub(in crate::storage::sqlite) refused: Result<usize, StoreError>,
    pub(in crate::storage::sqlite) planned: Result<Option<PlanOutcome>, StoreError>,
    pub(in crate::storage::sqlite) claimed: Result<Vec<ClaimedRow>, StoreError>,
    pub(in crate::storage::sqlite) next_due_ms: Option<i64>,
    pub(in crate::storage::sqlite) unfinished: Option<usize>,
    pub(in crate::storage::sqlite) has_waiting: bool,
}

/// Applies an update. No other claim may have the same `claim_number`.
pub(in crate::storage::sqlite) fn update_queue(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    claim_number: i64,
    update: &QueueUpdate,
) -> Result<UpdatedQueue, StoreError> {
    let mut update_totals = PendingTotals::default();
    // The transaction is shared with other writes; the savepoint undoes this update alone when it fails.
    let updated = in_savepoint(context.conn, || run_parts(context, &mut update_totals, claim_number, update))?;
    totals.append(update_totals);
    Ok(updated)
}

fn run_parts(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    claim_number: i64,
    update: &QueueUpdate,
) -> Result<UpdatedQueue, StoreError> {
    let UpdateContext { conn, handler, .. } = *context;
    let refused = run_part(conn, totals, |totals| settle::settle(context, totals, &update.settled))?;
    let mut claimed = run_part(conn, totals, |_| match &update.claim {
        Some(request) => claim::claim(conn, handler, claim_number, request),
        None => Ok(Vec::new()),
    })?;
    // Planned after the claim, so that what has waited for longer is claimed first.
    let request = update.claim.as_ref();
    let mut room = request.map(ClaimRoom::new).unwrap_or_default();
    for row in claimed.as_deref().unwrap_or_default() {
        room.take(row.company_id, row.size_bytes);
    }
    let until_ms = request.map_or(0, |request| request.lease_until_ms);
    let mut lease = PlanLease { room, claim_number, until_ms };
    let planned = run_part(conn, totals, |totals| match &update.plan {
        Some(plan) => plan::insert_planned(context, totals, plan, &mut lease).map(Some),
        None => Ok(None),
    })?;
    let mut has_waiting = false;
    let planned = planned.map(|planned| {
        let planned = planned?;
        has_waiting = planned.has_waiting;
        if let Ok(claimed) = &mut claimed {
            claimed.extend(planned.claimed);
        }
        Some(planned.outcome)
    });
    let next_due_ms = claim::next_due_ms(conn, handler)?;
    // Each unfinished call sequence has a delivery with a due time.
    let unfinished = if next_due_ms.is_none() { Some(0) } else { count_unfinished(conn, handler)? };
    Ok(UpdatedQueue { refused, planned, claimed, next_due_ms, unfinished, has_waiting })
}

/// The number of deliveries that have not ended; `None` for more than [`MAX_COUNTED`].
fn count_unfinished(conn: &Connection, handler: HandlerId) -> Result<Option<usize>, StoreError> {
    let mut count = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_call_sequence
           WHERE handler_id = ?1 AND state < 3 LIMIT ?2)",
    )?;
    let count = count.query_row(params![handler, MAX_COUNTED + 1], |row| row.get(0))?;
    Ok(Some(count).filter(|count| *count <= MAX_COUNTED))
}

/// Runs a part of the update in a savepoint. Its error is returned as the outcome of the part, unless the store is
/// unavailable: then the whole update fails.
fn run_part<T>(
    conn: &Connection,
    totals: &mut PendingTotals,
    part: impl FnOnce(&mut PendingTotals) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    let mut part_totals = PendingTotals::default();
    match in_savepoint(conn, || part(&mut part_totals)) {
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => Ok(Err(error)),
        Ok(outcome) => {
            totals.append(part_totals);
            Ok(Ok(outcome))
        }
    }
}

fn in_savepoint<T>(conn: &Connection, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    conn.prepare_cached("SAVEPOINT queue_update")?.execute([])?;
    let outcome = work();
    // When SQLite has rolled the whole transaction back, the savepoint is gone; the error of `work` says why.
    if outcome.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK TO queue_update")?.execute([])?;
    }
    if !conn.is_autocommit() {
        conn.prepare_cached("RELEASE queue_update")?.execute([])?;
    }
    outcome
}
