//! The queue of deliveries: writes of dispatch give way to webhook requests, see `writer/queue.rs`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::storage::sqlite::deliveries::{ClaimedRow, PlanRead, ReadableDeliveries, UpdateContext};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::sqlite::writer::queue::WritePriority;
use crate::storage::sqlite::{SqliteStore, deliveries};
use crate::storage::{
    BodyRecheck, BreakerState, ClaimedDelivery, DeliveryQueue, HandlerId, HandlerRow, LeaseToken, PlanBatch,
    PlanEvents, PlanToken, PlannedProgress, Position, QueueUpdate, QueueUpdateOutcome, StoreError, StoredEvent,
};

/// Leases renewed in one job, so that no webhook request waits for thousands of updates.
const MAX_LEASES_PER_JOB: usize = 128;

#[async_trait]
impl DeliveryQueue for SqliteStore {
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError> {
        self.writer()?.write(move |state| deliveries::register_handler(&state.conn, &handler)).await
    }

    async fn plan_batch_after(
        &self,
        handler: HandlerId,
        after: Option<PlanToken>,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError> {
        let token = match after {
            Some(token) => token,
            None => {
                let position = move |reader: &ReaderContext| deliveries::stored_position(&reader.conn, handler);
                let Some(position) = self.readers.read(position).await? else { return Ok(None) };
                PlanToken { from: position, through: position }
            }
        };
        // Counted before the read: a change during it makes the next one read again.
        let read = PlanRead { after: token.through, limit, bodies, changes: *self.changes.borrow() };
        let load = self.readers.read(move |reader| deliveries::list_events_after(reader, read.after, limit, bodies));
        let events = self.plan_cache.get(read, load).await?;
        let Some((last, _)) = events.last() else { return Ok(None) };
        let token = PlanToken { from: token.from, through: last.seq.0 };
        Ok(Some(PlanBatch { events, token, claim: self.next_claim_number() }))
    }

    async fn update_queue(
        &self,
        handler: HandlerId,
        update: Arc<QueueUpdate>,
    ) -> Result<QueueUpdateOutcome, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let claim_number = self.next_claim_number();
        let planned_rows = update.plan.as_ref().map_or(0, |plan| plan.deliveries.len());
        // A planned delivery is claimed by its insertion.
        let claimed_rows = update.claim.as_ref().map_or(0, |claim| claim.limit.saturating_sub(planned_rows));
        let rows = update.settled.len() + planned_rows + claimed_rows + ROWS_PER_MERGE * count_merges(&update);
        let priority =
            if update.is_deferrable { WritePriority::Deferrable(rows) } else { WritePriority::Background(rows) };
        let events = update.plan.as_ref().map_or_else(|| [].into(), |plan| PlanEvents::clone(&plan.events));
        let work = move |state: &mut WriterContext| {
            let context = UpdateContext { conn: &state.conn, key: &key, handler, now_ms: update.now_ms };
            deliveries::update_queue(&context, &mut state.call_totals, claim_number, &update)
        };
        let updated = writer.write_with_priority(priority, work).await?;
        let claimed = match updated.claimed {
            Ok(rows) => self.load_claimed(claim_number, rows, &events).await,
            Err(error) => Err(error),
        };
        Ok(QueueUpdateOutcome {
            refused: updated.refused,
            planned: updated.planned,
            claimed,
            next_due_ms: updated.next_due_ms,
            unfinished: updated.unfinished,
            has_waiting: updated.has_waiting,
        })
    }

    async fn renew_leases(
        &self,
        handler: HandlerId,
        leases: Vec<LeaseToken>,
        lease_until_ms: i64,
    ) -> Result<Vec<LeaseToken>, StoreError> {
        let writer = self.writer()?;
        let jobs = leases.chunks(MAX_LEASES_PER_JOB).map(|leases| {
            let leases = leases.to_vec();
            writer.write_background(leases.len(), move |state| {
                deliveries::renew_leases(&mut state.conn, handler, &leases, lease_until_ms)
            })
        });
        Ok(futures_util::future::try_join_all(jobs).await?.concat())
    }

    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError> {
        self.readers.read(move |reader| deliveries::next_due_ms(&reader.conn, handler)).await
    }

    async fn resume_readable(
        &self,
        handler: HandlerId,
        after: Position,
        now_ms: i64,
    ) -> Result<BodyRecheck, StoreError> {
        let writer = self.writer()?;
        let find = move |reader: &ReaderContext| deliveries::find_readable(reader, handler, after.seq());
        let ReadableDeliveries { seqs, next_after } = self.readers.read(find).await?;
        let next_after = next_after.map(Position::after);
        if seqs.is_empty() {
            return Ok(BodyRecheck { resumed: 0, next_after });
        }
        let key = writer.identity_key.clone();
        let work = move |state: &mut WriterContext| deliveries::resume(&mut state.conn, &key, handler, &seqs, now_ms);
        let resumed = writer.write_background(deliveries::MAX_ROWS_RECHECKED, work).await?;
        Ok(BodyRecheck { resumed, next_after })
    }

    async fn correct_future_times(&self, handler: HandlerId, now_ms: i64) -> Result<u64, StoreError> {
        let mut corrected = 0;
        loop {
            let find = move |reader: &ReaderContext| deliveries::find_future(&reader.conn, handler, now_ms);
            let found = self.readers.read(find).await?;
            let rows = found.len();
            if rows > 0 {
                let work = move |state: &mut WriterContext| {
                    deliveries::correct_times(&mut state.conn, handler, &found, now_ms)
                };
                corrected += self.writer()?.write_background(rows, work).await?;
            }
            if rows < deliveries::MAX_ROWS_CORRECTED {
                return Ok(corrected);
            }
        }
    }

    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        breaker: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.writer()?
            .write_background(1, move |state| deliveries::update_breaker_state(&state.conn, handler, breaker, now_ms))
            .await
    }
}

/// Approximate cost of a merge: a row of `calls` or `chats`, the entries of its indexes, and its share of the totals.
const ROWS_PER_MERGE: usize = 3;

/// Number of rows of calls that an update changes.
fn count_merges(update: &QueueUpdate) -> usize {
    let planned = update.plan.iter().flat_map(|plan| &plan.deliveries);
    let ended = planned.filter_map(|planned| match &planned.progress {
        PlannedProgress::Ended(settled) => Some(&**settled),
        _ => None,
    });
    update.settled.iter().chain(ended).filter(|settled| settled.call.is_some()).count()
}

impl SqliteStore {
    /// The claimed deliveries with their events. Those that were read for planning with their bodies are taken from there.
    async fn load_claimed(
        &self,
        claim_number: i64,
        rows: Vec<ClaimedRow>,
        events: &PlanEvents,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut planned = Vec::new();
        let mut unread = Vec::new();
        for row in rows {
            match events.binary_search_by_key(&row.seq, |(event, _)| event.seq).map(|at| &events[at]) {
                Ok((summary, Some(body))) => {
                    let event = StoredEvent { summary: summary.clone(), body: Ok(body.clone()) };
                    planned.push(row.into_claimed(event, claim_number));
                }
                _ => unread.push(row),
            }
        }
        if unread.is_empty() {
            return Ok(planned);
        }
        // Only the leases need the writer. Reading up to `limit_bytes` of bodies there would hold up every event
        // meanwhile.
        let mut claimed =
            self.readers.read(move |reader| deliveries::load_claimed_events(reader, claim_number, unread)).await?;
        claimed.extend(planned);
        Ok(claimed)
    }
}
