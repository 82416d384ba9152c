//! Settles deliveries: records attempts and moves each delivery to its next state.

use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use super::update::UpdateContext;
use crate::base::id::CompanyId;
use crate::storage::sqlite::calls::{self, PendingTotals};
use crate::storage::sqlite::latency_totals::{EndedRun, PendingCounts, TotalsTable};
use crate::storage::{
    AttemptRecord, DeliveryState, HandlerId, LeaseToken, Seq, SettledDelivery, Settlement, StoreError,
};

/// Records the attempts and the new states, and advances the call sequence of each delivery. Returns the number of
/// settlements that were refused because their lease is no longer held.
pub(super) fn settle(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    settled: &[SettledDelivery],
) -> Result<usize, StoreError> {
    let UpdateContext { conn, handler, now_ms, .. } = *context;
    let mut refused = 0;
    let mut counts = AttemptCounts::default();
    // After an error the worker sends all of it again, which is safe: a delivery that is no longer running is left as
    // it is.
    for delivery in settled {
        let ordering_key = match succeed_at_first_attempt(context, totals, delivery, &mut counts)? {
            Some(ordering_key) => Some(ordering_key),
            None => {
                if let Some(attempt) = &delivery.attempt {
                    insert_attempt(conn, handler, delivery.seq, attempt, &mut counts)?;
                }
                let may_merge = delivery.call.is_some() && is_running(conn, handler, delivery)?;
                let error = if may_merge { merge_call(context, totals, delivery)? } else { None };
                let settlement = error.map(|error| Settlement::Dead { error });
                settle_delivery(context, delivery, settlement.as_ref().unwrap_or(&delivery.settlement))?
            }
        };
        match ordering_key {
            // In the same transaction, or a crash in between would leave the next delivery without a due time.
            Some(ordering_key) => {
                call_sequence::advance_after(conn, handler, ordering_key, delivery.seq, now_ms)?;
            }
            None => refused += 1,
        }
    }
    counts.write(conn, handler)?;
    Ok(refused)
}

/// Merges what the event says of its call into the row of the call. The error, when the row cannot take it: the delivery
/// is dead then, because another attempt would end the same.
pub(super) fn merge_call(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    settled: &SettledDelivery,
) -> Result<Option<String>, StoreError> {
    let Some(call) = &settled.call else { return Ok(None) };
    match calls::merge_call(context.conn, context.key, totals, call) {
        Ok(()) => Ok(None),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => Ok(Some(error.message().to_owned())),
    }
}

/// Whether the delivery still has this lease. After an erasure it has no row, and nothing of its event may be stored.
fn is_running(conn: &Connection, handler: HandlerId, settled: &SettledDelivery) -> Result<bool, StoreError> {
    let mut running = conn.prepare_cached(
        "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND claim = ?3",
    )?;
    Ok(running.exists(params![handler, settled.lease.seq, settled.lease.claim])?)
}

/// Recorded attempts, each with the company of its delivery, that the totals do not count yet.
#[derive(Default)]
pub(super) struct AttemptCounts<'a>(Vec<(CompanyId, &'a AttemptRecord)>);

impl<'a> AttemptCounts<'a> {
    pub(super) fn add(&mut self, company_id: CompanyId, attempt: &'a AttemptRecord) {
        self.0.push((company_id, attempt));
    }

    pub(super) fn write(&self, conn: &Connection, handler: HandlerId) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let name: String =
            conn.prepare_cached("SELECT name FROM handlers WHERE id = ?1")?.query_row([handler], |row| row.get(0))?;
        let mut pending = PendingCounts::default();
        for (company_id, attempt) in &self.0 {
            pending.add(&EndedRun {
                company_id: company_id.get(),
                name: &name,
                outcome: attempt.outcome.as_str(),
                began_at_ms: attempt.started_at_ms,
                duration_ms: attempt.duration_ms,
            });
        }
        pending.write(conn, TotalsTable::Attempts)
    }
}

/// The attempt, if it is what most deliveries come to: the first one, and successful. It is recorded in the row of the
/// delivery.
pub(super) fn successful_first_attempt(settled: &SettledDelivery) -> Option<&AttemptRecord> {
    let attempt = settled.attempt.as_ref()?;
    let is_plain = attempt.attempt == 1 && attempt.error.is_none() && attempt.answer.is_none() && !settled.body_unread;
    (is_plain && settled.settlement == Settlement::Succeeded).then_some(attempt)
}

/// Settles a successful first attempt by one statement. `None` when it is something else, or when the delivery is not
/// running under this lease.
fn succeed_at_first_attempt<'a>(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    settled: &'a SettledDelivery,
    counts: &mut AttemptCounts<'a>,
) -> Result<Option<i64>, StoreError> {
    let UpdateContext { conn, handler, now_ms, .. } = *context;
    let Some(attempt) = successful_first_attempt(settled) else { return Ok(None) };
    // `restarted = 0 AND started_at_ms IS NULL`: the record of an attempt before a retry or replay stays. Two statements,
    // because a RETURNING clause costs more than the lookup.
    let delivery = conn
        .prepare_cached(
            "SELECT ordering_key, company_id FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1
             AND claim = ?3 AND restarted = 0 AND started_at_ms IS NULL",
        )?
        .query_row(params![handler, settled.lease.seq, settled.lease.claim], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((ordering_key, company_id)) = delivery else { return Ok(None) };
    if merge_call(context, totals, settled)?.is_some() {
        return Ok(None);
    }
    conn.prepare_cached(
        "UPDATE deliveries SET state = 3, due_ms = NULL, attempts = 1, note = NULL, updated_ms = ?3, body_unread = 0,
            claim = NULL, started_at_ms = ?4, duration_ms = ?5, status = ?6
         WHERE handler_id = ?1 AND event_seq = ?2",
    )?
    .execute(params![
        handler,
        settled.lease.seq,
        now_ms,
        attempt.started_at_ms,
        attempt.duration_ms,
        attempt.status
    ])?;
    counts.add(company_id, attempt);
    Ok(Some(ordering_key))
}

/// Returns the ordering key of the delivery, or `None` when it is not running under this lease any more: it was claimed
/// again, erased, or settled before.
fn settle_delivery(
    context: &UpdateContext,
    settled: &SettledDelivery,
    settlement: &Settlement,
) -> Result<Option<i64>, StoreError> {
    let UpdateContext { conn, handler, now_ms, .. } = *context;
    let (state, due_ms, note) = match settlement {
        Settlement::Succeeded => (DeliveryState::Succeeded, None, None),
        Settlement::Scheduled { next_attempt_at_ms, error } => {
            (DeliveryState::Scheduled, Some(*next_attempt_at_ms), Some(error.as_str()))
        }
        Settlement::Dead { error } => (DeliveryState::Dead, None, Some(error.as_str())),
        Settlement::Skipped { reason } => (DeliveryState::Skipped, None, Some(reason.as_str())),
        Settlement::Released => return release_delivery(conn, handler, settled.lease, now_ms),
    };
    let attempts = settled.attempt.as_ref().map(|attempt| attempt.attempt);
    let has_failed = matches!(settlement, Settlement::Scheduled { .. } | Settlement::Dead { .. });
    let failed_at_ms = has_failed.then_some(now_ms);
    // `failed_at_ms` keeps the first failure: the ordering timeout counts from it. `state = 1` (running) and the claim
    // make this a compare-and-set: a settlement that is repeated, or comes after another claim or an erasure, changes
    // nothing.
    Ok(conn
        .prepare_cached(
            "UPDATE deliveries SET state = ?4, due_ms = ?5, attempts = coalesce(?6, attempts), note = ?7,
                failed_at_ms = coalesce(failed_at_ms, ?8), updated_ms = ?9, body_unread = ?10, claim = NULL
             WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND claim = ?3 RETURNING ordering_key",
        )?
        .query_row(
            params![
                handler,
                settled.lease.seq,
                settled.lease.claim,
                state as i64,
                due_ms,
                attempts,
                note,
                failed_at_ms,
                now_ms,
                settled.body_unread
            ],
            |row| row.get(0),
        )
        .optional()?)
}

/// Returns a claimed delivery to the state it had before the claim.
fn release_delivery(
    conn: &Connection,
    handler: HandlerId,
    lease: LeaseToken,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    // A delivery without a failure becomes due as of `since_ms`, not as of now. While the circuit breaker is open,
    // the worker claims only what has been due for longer than `max_age_ms`: with a due time of now, each release
    // would put off the end of a delivery that is too old. `min`: the clock may have been set back since.
    Ok(conn
        .prepare_cached(
            "UPDATE deliveries SET state = CASE WHEN failed_at_ms IS NULL THEN 0 ELSE 2 END,
                due_ms = CASE WHEN failed_at_ms IS NULL THEN min(since_ms, ?4) ELSE ?4 END, updated_ms = ?4, claim = NULL
             WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND claim = ?3 RETURNING ordering_key",
        )?
        .query_row(params![handler, lease.seq, lease.claim, now_ms], |row| row.get(0))
        .optional()?)
}

fn insert_attempt<'a>(
    conn: &Connection,
    handler: HandlerId,
    seq: Seq,
    attempt: &'a AttemptRecord,
    counts: &mut AttemptCounts<'a>,
) -> Result<(), StoreError> {
    // Nothing is recorded for an event that was erased or removed during the attempt: the response excerpt may repeat
    // what was in the event. OR IGNORE and the comparison with `started_at_ms` make a repeated settlement harmless.
    let inserted = conn
        .prepare_cached(
        "INSERT OR IGNORE INTO attempts (handler_id, event_seq, started_at_ms, attempt, duration_ms, outcome, status,
            error, answer)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE EXISTS (SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms IS NOT ?3)
         AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = ?2)",
    )?
    .execute(params![
        handler,
        seq,
        attempt.started_at_ms,
        attempt.attempt,
        attempt.duration_ms,
        attempt.outcome.as_str(),
        attempt.status,
        attempt.error,
        attempt.answer
    ])?;
    if inserted > 0 {
        let mut company =
            conn.prepare_cached("SELECT company_id FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2")?;
        counts.add(company.query_row(params![handler, seq], |row| row.get(0))?, attempt);
    }
    Ok(())
}
