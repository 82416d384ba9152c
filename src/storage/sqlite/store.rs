//! Implements [`Store`]: each method runs a job on the writer thread or on a reader thread.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::append::{self, EventKeys};
use super::write_queue::WritePriority;
use super::writer::WriterContext;
use super::{SqliteStore, alarms, calls, companies, deliveries, events, inbound, overview, readers, rejected, removal};
use crate::base::id::EventId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStats, CallStatsFilter};
use crate::storage::{
    ActivityRow, AlarmRow, AppendOutcome, BreakerState, CallerHistory, ClaimRequest, ClaimedDelivery, DeliveryFilter,
    DeliveryOutlook, DeliveryRow, EventFilter, EventSummary, HandlerBacklog, HandlerId, HandlerRow,
    InboundAnswerRecord, NewEvent, PlannedDelivery, PurgeBatch, PurgeBatchResult, RejectedId, RejectedRequest,
    SettledDelivery, Store, StoreError, StoreOverview, StoreStats, StoredEvent, StoredRejectedRequest,
};

/// Approximate number of rows that one batch of a purge changes, see [`StoreWriter::write_background`].
///
/// [`StoreWriter::write_background`]: super::writer::StoreWriter::write_background
const PURGE_BATCH_ROWS: usize = 256;
/// How long [`Store::probe`] waits for the writer, and how long its result is reused.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[async_trait]
impl Store for SqliteStore {
    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, StoreError> {
        let writer = self.writer()?;
        // Hashed on the caller's task, so that the bodies of many requests are hashed in parallel and not by the
        // writer.
        let keys = EventKeys::from_event(&event, &writer.identity_key);
        let priority = if event.live { WritePriority::Live } else { WritePriority::Ingest };
        let outcome = writer.write_with_priority(priority, move |state| append::append(state, &event, keys)).await?;
        // Counted before the wake-up: a woken task that finds the old count would wait again. Duplicates count as
        // well; dispatch then finds nothing new, which costs one query.
        self.appended_count.fetch_add(1, Ordering::Relaxed);
        self.append_notify.notify_waiters();
        Ok(outcome)
    }

    async fn get_or_create_company_ids(&self, slugs: Vec<String>) -> Result<Vec<i64>, StoreError> {
        self.writer()?.write(move |state| companies::get_or_create_ids(&state.conn, &slugs)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Held during the probe: concurrent callers wait for its result instead of each writing to the disk.
        let mut last_probe = self.last_probe.lock().await;
        if let Some((at, outcome)) = &*last_probe
            && at.elapsed() < PROBE_TIMEOUT
        {
            return outcome.clone();
        }
        // With the priority of an event: what is measured is whether an event would be stored in time.
        let write = self.writer()?.write(|state| append::probe(&state.conn));
        let outcome = tokio::time::timeout(PROBE_TIMEOUT, write)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the writer did not respond within 1 s".into())));
        *last_probe = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError> {
        self.writer()?.write(move |state| deliveries::register_handler(&state.conn, &handler)).await
    }

    async fn unplanned_events(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError> {
        self.readers.read(move |reader| deliveries::list_unplanned(reader, handler, limit, bodies)).await
    }

    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        planned: Vec<PlannedDelivery>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let rows = planned.len();
        let work = move |state: &mut WriterContext| {
            deliveries::insert_planned(&mut state.conn, &key, handler, &planned, through, now_ms)
        };
        writer.write_background(rows, work).await
    }

    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let rows = claim.limit;
        let work = move |state: &mut WriterContext| deliveries::claim(&mut state.conn, handler, &claim);
        let claimed = self.writer()?.write_background(rows, work).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // Only the leases need the writer. Reading up to `limit_bytes` of bodies there would hold up every event
        // meanwhile.
        self.readers.read(move |reader| deliveries::load_claimed_events(reader, claimed)).await
    }

    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError> {
        self.readers.read(move |reader| deliveries::next_due_ms(&reader.conn, handler)).await
    }

    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let rows = settled.len();
        let work = move |state: &mut WriterContext| deliveries::settle(&mut state.conn, handler, &settled, now_ms);
        self.writer()?.write_background(rows, work).await
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

    fn appended_count(&self) -> u64 {
        self.appended_count.load(Ordering::Relaxed)
    }

    async fn wait_for_append(&self, seen: u64) {
        // Created before the check: `notify_waiters` wakes it from then on, so an append between check and wait is
        // not missed.
        let notified = std::pin::pin!(self.append_notify.notified());
        if self.appended_count() == seen {
            notified.await;
        }
    }

    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError> {
        // A row of `calls` or `chats`, its texts, and the entries of their indexes.
        self.writer()?.write_background(8, move |state| calls::merge_call(&state.conn, &call)).await
    }

    async fn caller_history(&self, company_id: i64, number: &str) -> Result<CallerHistory, StoreError> {
        let number = number.to_owned();
        self.live_readers().read(move |reader| inbound::caller_history(&reader.conn, company_id, &number)).await
    }

    async fn insert_inbound_answer(&self, answered: InboundAnswerRecord) -> Result<(), StoreError> {
        self.writer()?.write_background(1, move |state| inbound::insert_answer(&state.conn, &answered)).await
    }

    async fn get_inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError> {
        self.live_readers().read(move |reader| inbound::get_answer(&reader.conn, event_id)).await
    }

    async fn list_events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError> {
        self.readers.read(move |reader| events::list(reader, &filter)).await
    }

    async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.read(move |reader| events::get(reader, id)).await
    }

    async fn export_events(&self, after: i64, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        self.readers.read(move |reader| events::export(reader, after, &filter)).await
    }

    async fn seq_before(&self, ms: i64) -> Result<i64, StoreError> {
        self.readers.read(move |reader| Ok(events::seq_before(&reader.conn, ms)?)).await
    }

    async fn overview(&self, now_ms: i64) -> Result<StoreOverview, StoreError> {
        self.readers.read(move |reader| Ok(overview::overview(&reader.conn, now_ms)?)).await
    }

    async fn list_backlogs(&self, max_counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError> {
        let max_counted = i64::try_from(max_counted).unwrap_or(i64::MAX);
        self.readers.read(move |reader| Ok(overview::backlogs(&reader.conn, max_counted, dead_since_ms)?.1)).await
    }

    async fn replace_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError> {
        self.writer()?.write_background(64, move |state| alarms::replace_alarms(&mut state.conn, &alarms)).await
    }

    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        self.readers.read(|reader| alarms::list_alarms(&reader.conn)).await
    }

    async fn upsert_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError> {
        self.writer()?
            .write_background(64, move |state| alarms::upsert_activity(&mut state.conn, &rows, forget_before))
            .await
    }

    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError> {
        self.readers.read(|reader| alarms::list_activity(&reader.conn)).await
    }

    async fn list_calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError> {
        self.readers.read(move |reader| calls::list_calls(&reader.conn, &filter)).await
    }

    async fn get_call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError> {
        let call_id = call_id.to_owned();
        self.readers.read(move |reader| calls::find_by_id(&reader.conn, kind, &call_id)).await
    }

    async fn call_stats(&self, filter: CallStatsFilter) -> Result<CallStats, StoreError> {
        self.readers.read(move |reader| calls::compute_stats(&reader.conn, &filter)).await
    }

    async fn list_deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
        self.readers
            .read(move |reader| deliveries::list_deliveries(&reader.conn, &reader.identity_key, &filter, limit))
            .await
    }

    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
        self.readers.read(move |reader| deliveries::list_outlooks(&reader.conn, id)).await
    }

    async fn insert_rejected(&self, request: RejectedRequest) -> Result<RejectedId, StoreError> {
        self.writer()?.write_background(1, move |state| rejected::insert(&state.conn, &request)).await
    }

    async fn list_rejected(&self, limit: usize) -> Result<Vec<StoredRejectedRequest>, StoreError> {
        self.readers.read(move |reader| rejected::list(&reader.conn, limit)).await
    }

    async fn get_rejected(&self, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError> {
        self.readers.read(move |reader| rejected::get(&reader.conn, id)).await
    }

    async fn purge_batch(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let work = move |state: &mut WriterContext| {
            // All or nothing: a failure half-way must undo this batch and leave the other jobs of the transaction
            // alone.
            let savepoint = state.conn.savepoint()?;
            let result = removal::purge_batch(&savepoint, &key, &purge)?;
            savepoint.commit()?;
            Ok(result)
        };
        writer.write_background(PURGE_BATCH_ROWS, work).await
    }

    async fn reclaim_space(&self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let writer = self.writer()?;
        // Overwriting and punching holes takes long and needs no transaction, so a reader thread does it. The rows
        // are deleted afterwards: a crash in between repeats the work, while the other order could leave erased bytes
        // on the disk.
        let reclaim = move |reader: &readers::ReaderContext| {
            removal::reclaim_bodies(&reader.conn, &reader.bodies.folder, freed_before_ms)
        };
        let reclaimed = self.readers.read(reclaim).await?;
        let bodies_left = removal::is_full_batch(&reclaimed);
        let work = move |state: &mut WriterContext| {
            removal::delete_freed_rows(&state.conn, &reclaimed)?;
            removal::reclaim_pages(&state.conn)
        };
        Ok(writer.write_background(PURGE_BATCH_ROWS, work).await? || bodies_left)
    }

    async fn used_bytes(&self) -> Result<u64, StoreError> {
        self.readers.read(|reader| removal::used_bytes(&reader.conn, &reader.bodies.folder)).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        // With `dead_since_ms` in the far future `recent_dead` stays 0; `list_backlogs` counts it.
        let count = |reader: &readers::ReaderContext| {
            Ok(overview::backlogs(&reader.conn, HandlerBacklog::MAX_COUNTED, i64::MAX)?)
        };
        let (last_seq, backlogs) = self.readers.read(count).await?;
        let writer_stats = self.writer.as_ref().map(|writer| writer.status.stats()).unwrap_or_default();
        Ok(StoreStats { last_seq, backlogs, ..writer_stats })
    }

    async fn close(&self) -> Result<(), StoreError> {
        let ledger_synced = match &self.ledger {
            Some(ledger) => ledger.sync().await,
            None => Ok(()),
        };
        match &self.writer {
            // The writer is closed in any case; a failed sync of the ledger is reported afterwards.
            Some(writer) => writer.close().await.and(ledger_synced),
            None => Ok(()),
        }
    }
}
