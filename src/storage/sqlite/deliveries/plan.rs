//! Turns events of the journal into deliveries, handler by handler.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::call_sequence;
use super::claim::ClaimedRow;
use super::settle::{self, AttemptCounts};
use super::update::UpdateContext;
use crate::base::id::CompanyId;
use crate::storage::sqlite::calls::PendingTotals;
use crate::storage::sqlite::events::{
    self, BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_body, read_chunk, read_damaged_summary,
};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{
    ClaimRoom, DeliveryPlan, DeliveryState, EventSummary, HandlerId, PlanEvents, PlanOutcome, PlannedDelivery,
    PlannedProgress, Seq, SettledDelivery, SkipReason, StoreError,
};

/// Up to where the events are planned for this handler; `None` for an unknown handler.
pub(in crate::storage::sqlite) fn stored_position(
    conn: &Connection,
    handler: HandlerId,
) -> Result<Option<i64>, StoreError> {
    let mut position = conn.prepare_cached("SELECT through FROM handlers WHERE id = ?1")?;
    Ok(position.query_row([handler], |row| row.get(0)).optional()?)
}

/// The next events of the journal. With `bodies` they end at about 2 MiB of bodies.
pub(in crate::storage::sqlite) fn list_events_after(
    reader: &ReaderContext,
    after: i64,
    limit: usize,
    bodies: bool,
) -> Result<PlanEvents, StoreError> {
    // An event with an unknown value is planned as well, so that the handler's position moves past it. Its delivery fails
    // with the reason, see `load_claimed_events`.
    let body_columns = if bodies { BODY_COLUMNS } else { "" };
    let sql = format!("{SELECT_SUMMARY}{body_columns}{FROM_EVENTS} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, limit])?;
    if !bodies {
        let rows = rows.mapped(|row| Ok((read_damaged_summary(row)?.0, None)));
        return Ok(rows.collect::<Result<_, _>>()?);
    }
    // In a chunk bounded by bytes: `limit` bodies of the largest size would take too much memory.
    let chunk = read_chunk(
        &mut rows,
        |row| {
            let (summary, damage) = read_damaged_summary(row)?;
            let body = if damage.is_some() { None } else { read_body(row, reader)?.ok() };
            Ok((summary, body))
        },
        |(_, body)| body.as_ref().map_or(0, Bytes::len),
    )?;
    Ok(chunk.into())
}

/// What planning a batch has done.
pub(super) struct InsertedPlan {
    pub(super) outcome: PlanOutcome,
    /// The deliveries that were inserted as running.
    pub(super) claimed: Vec<ClaimedRow>,
    /// Whether a delivery waits for an earlier one of its call.
    pub(super) has_waiting: bool,
}

/// Inserts the planned deliveries and advances the handler's position past the batch, in one step: a crash can neither
/// lose an event nor plan it twice. The first delivery of a call is inserted as running while `lease` has room.
pub(super) fn insert_planned(
    context: &UpdateContext,
    totals: &mut PendingTotals,
    plan: &DeliveryPlan,
    lease: &mut PlanLease,
) -> Result<InsertedPlan, StoreError> {
    let mut inserted = InsertedPlan { outcome: PlanOutcome::Stale, claimed: Vec::new(), has_waiting: false };
    // A compare-and-set: the batch was read outside this transaction, and its events may have been planned since.
    let moved = context
        .conn
        .prepare_cached("UPDATE handlers SET through = ?3 WHERE id = ?1 AND through = ?2 RETURNING ordered")?
        .query_row(params![context.handler, plan.token.from, plan.token.through], |row| row.get(0))
        .optional()?;
    let Some(ordered) = moved else {
        return Ok(inserted);
    };
    inserted.outcome = PlanOutcome::Planned;
    let any_removed = events::is_any_removed(context.conn, &plan.events)?;
    let insertion = Insertion { context, ordered, any_removed };
    let mut counts = AttemptCounts::default();
    let mut events = plan.events.iter().map(|(event, _)| event);
    for planned in &plan.deliveries {
        // Both are in the order of the journal.
        match (events.find(|event| event.seq == planned.seq), &planned.progress) {
            (Some(event), PlannedProgress::Ended(settled)) => {
                insertion.insert_ended(event, planned, settled, totals, &mut counts)?;
            }
            (Some(event), PlannedProgress::Running(running)) => {
                let lease = RowLease { claim: running.claim, until_ms: plan.lease_until_ms };
                let key = insertion.ordering_key(event.seq, event.call_id.as_deref());
                insertion.insert_row(planned, event.company_id, key, true, Some(lease))?;
            }
            (Some(event), PlannedProgress::Waiting) => insertion.insert_known(event, planned, lease, &mut inserted)?,
            (None, _) => insertion.insert(planned, &mut inserted)?,
        }
    }
    counts.write(context.conn, context.handler)?;
    Ok(inserted)
}

/// The claim under which planned deliveries are inserted as running.
pub(super) struct PlanLease {
    pub(super) room: ClaimRoom,
    pub(super) claim_number: i64,
    pub(super) until_ms: i64,
}

#[derive(Clone, Copy)]
struct RowLease {
    claim: i64,
    until_ms: i64,
}

/// Inserts the deliveries of one batch.
struct Insertion<'a> {
    context: &'a UpdateContext<'a>,
    ordered: bool,
    /// Whether an event of the batch may have been removed since it was read.
    any_removed: bool,
}

impl Insertion<'_> {
    fn ordering_key(&self, seq: Seq, call_id: Option<&str>) -> i64 {
        call_sequence::ordering_key(self.context.key, self.ordered, seq, call_id)
    }

    fn insert(&self, planned: &PlannedDelivery, inserted: &mut InsertedPlan) -> Result<(), StoreError> {
        let event = self
            .context
            .conn
            .prepare_cached("SELECT company_id, call_id FROM events WHERE seq = ?1")?
            .query_row([planned.seq], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))
            .optional()?;
        // Erased since the batch was read.
        let Some((company_id, call_id)) = event else { return Ok(()) };
        let ordering_key = self.ordering_key(planned.seq, call_id.as_deref());
        let is_head = self.is_head(planned, ordering_key)?;
        self.insert_row(planned, company_id, ordering_key, is_head, None)?;
        self.advance_if_waiting(planned, ordering_key, is_head, inserted)
    }

    /// Inserts the delivery of an event that was read with the batch.
    fn insert_known(
        &self,
        event: &EventSummary,
        planned: &PlannedDelivery,
        lease: &mut PlanLease,
        inserted: &mut InsertedPlan,
    ) -> Result<(), StoreError> {
        let ordering_key = self.ordering_key(event.seq, event.call_id.as_deref());
        let is_head = self.is_head(planned, ordering_key)?;
        let is_claimed = is_head && lease.room.try_take(event.company_id, event.size_bytes);
        let row_lease = is_claimed.then_some(RowLease { claim: lease.claim_number, until_ms: lease.until_ms });
        // Not inserted when the event was erased since the batch was read.
        if self.insert_row(planned, event.company_id, ordering_key, is_head, row_lease)? {
            if is_claimed {
                inserted.claimed.push(ClaimedRow::newly_planned(event, self.context.now_ms, planned.body_unread));
            }
            self.advance_if_waiting(planned, ordering_key, is_head, inserted)?;
        }
        Ok(())
    }

    /// Inserts a delivery whose first attempt has ended.
    fn insert_ended<'a>(
        &self,
        event: &EventSummary,
        planned: &PlannedDelivery,
        settled: &'a SettledDelivery,
        totals: &mut PendingTotals,
        counts: &mut AttemptCounts<'a>,
    ) -> Result<(), StoreError> {
        let UpdateContext { conn, handler, now_ms, .. } = *self.context;
        let ordering_key = self.ordering_key(event.seq, event.call_id.as_deref());
        let attempt = settle::successful_first_attempt(settled).filter(|_| !self.any_removed);
        let is_merged = attempt.is_some() && settle::merge_call(self.context, totals, settled)?.is_none();
        let Some(attempt) = attempt.filter(|_| is_merged) else {
            // Everything else is settled like a delivery that was stored before.
            let lease = RowLease { claim: settled.lease.claim, until_ms: now_ms };
            if self.insert_row(planned, event.company_id, ordering_key, true, Some(lease))? {
                settle::settle(self.context, totals, std::slice::from_ref(settled))?;
            }
            return Ok(());
        };
        conn.prepare_cached(
            "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                updated_ms, replay, started_at_ms, duration_ms, status)
             VALUES (?1, ?2, 3, ?3, ?4, 1, ?5, ?5, 0, ?6, ?7, ?8)",
        )?
        .execute(params![
            handler,
            event.seq,
            event.company_id,
            ordering_key,
            now_ms,
            attempt.started_at_ms,
            attempt.duration_ms,
            attempt.status
        ])?;
        counts.add(event.company_id, attempt);
        Ok(())
    }

    /// Whether the delivery may be attempted before any other of its call.
    fn is_head(&self, planned: &PlannedDelivery, ordering_key: i64) -> Result<bool, StoreError> {
        if planned.supersedes {
            let UpdateContext { conn, handler, now_ms, .. } = *self.context;
            skip_superseded(conn, handler, ordering_key, planned.seq, now_ms)?;
        }
        if planned.skip_reason.is_some() {
            return Ok(false);
        }
        Ok(call_sequence::is_alone(ordering_key, planned.seq)
            || !has_unfinished(self.context.conn, self.context.handler, ordering_key)?)
    }

    fn insert_row(
        &self,
        planned: &PlannedDelivery,
        company_id: CompanyId,
        ordering_key: i64,
        is_head: bool,
        lease: Option<RowLease>,
    ) -> Result<bool, StoreError> {
        let UpdateContext { conn, handler, now_ms, .. } = *self.context;
        let (state, due_ms) = match (planned.skip_reason, lease) {
            (Some(_), _) => (DeliveryState::Skipped, None),
            (None, Some(lease)) => (DeliveryState::Running, Some(lease.until_ms)),
            (None, None) => (DeliveryState::Pending, is_head.then_some(now_ms)),
        };
        if self.any_removed && !events::exists(conn, planned.seq)? {
            return Ok(false);
        }
        conn.prepare_cached(
            "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, due_ms, claim, attempts,
                since_ms, updated_ms, note, replay, body_unread)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?8, ?9, 0, ?10)",
        )?
        .execute(params![
            handler,
            planned.seq,
            state as i64,
            company_id,
            ordering_key,
            due_ms,
            lease.map(|lease| lease.claim),
            now_ms,
            planned.skip_reason.map(SkipReason::as_str),
            planned.body_unread
        ])?;
        Ok(true)
    }

    fn advance_if_waiting(
        &self,
        planned: &PlannedDelivery,
        ordering_key: i64,
        is_head: bool,
        inserted: &mut InsertedPlan,
    ) -> Result<(), StoreError> {
        if is_head || planned.skip_reason.is_some() {
            return Ok(());
        }
        inserted.has_waiting = true;
        // All earlier deliveries may be waiting for a retry. Then none of them is settled soon, and only this call
        // gives the new delivery the time from which it may overtake them.
        let UpdateContext { conn, handler, now_ms, .. } = *self.context;
        call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)
    }
}

fn has_unfinished(conn: &Connection, handler: HandlerId, ordering_key: i64) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM deliveries INDEXED BY deliveries_call_sequence
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 LIMIT 1",
    )?;
    Ok(statement.exists(params![handler, ordering_key])?)
}

/// Skips earlier deliveries of the call sequence that have the same event kind and have not been attempted.
fn skip_superseded(
    conn: &Connection,
    handler: HandlerId,
    ordering_key: i64,
    seq: Seq,
    now_ms: i64,
) -> Result<(), StoreError> {
    // Only pending deliveries: one that was attempted may have had effects outside, so its retries are kept. `state <
    // 3` lets SQLite use the partial index.
    conn.prepare_cached(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence SET state = ?4, due_ms = NULL, updated_ms = ?5, note = ?6
         WHERE handler_id = ?1 AND ordering_key = ?2 AND state < 3 AND state = 0 AND attempts = 0 AND event_seq < ?3
         AND (SELECT event FROM events WHERE seq = event_seq) = (SELECT event FROM events WHERE seq = ?3)",
    )?
    .execute(params![
        handler,
        ordering_key,
        seq,
        DeliveryState::Skipped as i64,
        now_ms,
        SkipReason::Superseded.as_str()
    ])?;
    // The skipped delivery may have been the head.
    call_sequence::advance_call_sequence(conn, handler, ordering_key, now_ms)
}
