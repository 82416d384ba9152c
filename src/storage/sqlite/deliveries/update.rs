//! Changes the queue of a handler for its worker: settles, claims and plans in one job of the writer.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::claim::{self, ClaimedRow};
use super::{plan, settle};
use crate::base::id::CompanyId;
use crate::storage::{ClaimRequest, HandlerId, IdentityKey, PlanOutcome, QueueUpdate, StoreError};

/// The outcome of a [`QueueUpdate`] before the events of the claimed deliveries are read.
pub(in crate::storage::sqlite) struct UpdatedQueue {
    pub(in crate::storage::sqlite) refused: Result<usize, StoreError>,
    pub(in crate::storage::sqlite) planned: Result<Option<PlanOutcome>, StoreError>,
    pub(in crate::storage::sqlite) claimed: Result<Vec<ClaimedRow>, StoreError>,
    pub(in crate::storage::sqlite) next_due_ms: Option<i64>,
    pub(in crate::storage::sqlite) has_waiting: bool,
}

/// Applies an update. No other claim may have the same `claim_number`.
pub(in crate::storage::sqlite) fn update_queue(
    conn: &Connection,
    key: &IdentityKey,
    handler: HandlerId,
    claim_number: i64,
    update: &QueueUpdate,
) -> Result<UpdatedQueue, StoreError> {
    // The transaction is shared with other writes; the savepoint undoes this update alone when it fails.
    in_savepoint(conn, || {
        let now_ms = update.now_ms;
        let refused = run_part(conn, || settle::settle(conn, handler, &update.settled, now_ms))?;
        let mut claimed = run_part(conn, || match &update.claim {
            Some(request) => claim::claim(conn, handler, claim_number, request),
            None => Ok(Vec::new()),
        })?;
        // Planned after the claim, so that what has waited for longer is claimed first.
        let mut room = ClaimRoom::after(update.claim.as_ref(), claim_number, &claimed);
        let planned = run_part(conn, || match &update.plan {
            Some(plan) => plan::insert_planned(conn, key, handler, plan, now_ms, &mut room).map(Some),
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
        Ok(UpdatedQueue { refused, planned, claimed, next_due_ms, has_waiting })
    })
}

/// Runs a part of the update in a savepoint. Its error is returned as the outcome of the part, unless the store is
/// unavailable: then the whole update fails.
fn run_part<T>(
    conn: &Connection,
    part: impl FnOnce() -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    match in_savepoint(conn, part) {
        Err(error) if error.is_retryable() => Err(error),
        outcome => Ok(outcome),
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

/// What is left of a claim for deliveries that are planned now: they are inserted as running.
pub(super) struct ClaimRoom<'a> {
    /// `None` when no planned delivery may be claimed.
    request: Option<&'a ClaimRequest>,
    claim_number: i64,
    deliveries: usize,
    bytes: u64,
    by_company: BTreeMap<CompanyId, usize>,
}

/// The lease of a delivery that is claimed when it is planned.
#[derive(Clone, Copy)]
pub(super) struct PlannedLease {
    pub(super) claim_number: i64,
    pub(super) until_ms: i64,
}

impl<'a> ClaimRoom<'a> {
    fn after(
        request: Option<&'a ClaimRequest>,
        claim_number: i64,
        claimed: &Result<Vec<ClaimedRow>, StoreError>,
    ) -> Self {
        let claimed = claimed.as_deref().unwrap_or_default();
        // A circuit breaker that is not closed chooses its deliveries from all that are due.
        let request = request.filter(|request| !request.prefer_untried && request.due_before_ms >= request.now_ms);
        let mut by_company = request.map(|request| request.prefetched_by_company.clone()).unwrap_or_default();
        for row in claimed {
            *by_company.entry(row.company_id).or_default() += 1;
        }
        let claimed_bytes: u64 = claimed.iter().map(|row| row.size_bytes).sum();
        Self {
            request,
            claim_number,
            deliveries: request.map_or(0, |request| request.limit.saturating_sub(claimed.len())),
            bytes: request.map_or(0, |request| request.limit_bytes.saturating_sub(claimed_bytes)),
            by_company,
        }
    }

    /// Takes room for one delivery of a company.
    pub(super) fn take(&mut self, company_id: CompanyId, size_bytes: u64) -> Option<PlannedLease> {
        let request = self.request?;
        let of_company = self.by_company.entry(company_id).or_default();
        if self.deliveries == 0 || self.bytes == 0 || *of_company >= request.limit_per_company {
            return None;
        }
        *of_company += 1;
        self.deliveries -= 1;
        self.bytes = self.bytes.saturating_sub(size_bytes);
        Some(PlannedLease { claim_number: self.claim_number, until_ms: request.lease_until_ms })
    }
}
