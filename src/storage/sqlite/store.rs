//! What the rest of the program sees of the store: each request goes to the writer or to a reader.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::append::{self, Keys};
use super::turns::Waits;
use super::writer::WriteState;
use super::{SqliteStore, calls, companies, deliveries, inbound, overview, query, readers, rejected, removal, watch};
use crate::base::id::EventId;
use crate::storage::{
    ActivityRow, AlarmRow, Appended, Backlog, BreakerState, CallFilter, CallKind, CallRecord, CallStats, CallerHistory,
    Claim, Claimed, DeliveryFilter, DeliveryRow, EventFilter, EventSummary, Fate, HandlerId, HandlerRow,
    InboundAnswered, NewEvent, Overview, Planned, Purge, Purged, Rejected, RejectedId, Rejection, Settled, StatsFilter,
    Store, StoreError, StoreStats, StoredEvent,
};

/// What a part of a purge may change, about: see `Writer::write_behind`.
const PURGE_ROWS: usize = 256;
/// How long [`Store::probe`] waits for the writer, and how long its answer is good.
const PROBE: Duration = Duration::from_secs(1);

#[async_trait]
impl Store for SqliteStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let writer = self.writer()?;
        // Here, on the request's own task, rather than on the one thread that writes.
        let keys = Keys::of(&event, &writer.identity_key);
        let waits = if event.on_the_line { Waits::Caller } else { Waits::Sender };
        let appended = writer.ask(waits, move |state| append::append(state, &event, keys)).await?;
        self.appended.fetch_add(1, Ordering::Relaxed);
        self.news.notify_waiters();
        Ok(appended)
    }

    async fn company_ids(&self, slugs: Vec<String>) -> Result<Vec<i64>, StoreError> {
        self.writer()?.write(move |state| companies::ids(&state.conn, &slugs)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut latest = self.probed.lock().await;
        if let Some((at, outcome)) = &*latest
            && at.elapsed() < PROBE
        {
            return outcome.clone();
        }
        let written = self.writer()?.write(|state| append::probe(&state.conn));
        let outcome = tokio::time::timeout(PROBE, written)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the writer did not answer within a second".into())));
        *latest = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError> {
        self.writer()?.write(move |state| deliveries::register(&state.conn, &handler)).await
    }

    async fn unplanned(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError> {
        self.readers.read(move |reader| deliveries::unplanned(reader, handler, limit, bodies)).await
    }

    async fn plan(
        &self,
        handler: HandlerId,
        planned: Vec<Planned>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let rows = planned.len();
        let work =
            move |state: &mut WriteState| deliveries::plan(&mut state.conn, &key, handler, (&planned, through), now_ms);
        writer.write_behind(rows, work).await
    }

    async fn claim(&self, handler: HandlerId, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        let rows = claim.limit;
        let work = move |state: &mut WriteState| deliveries::claim(&mut state.conn, handler, &claim);
        let taken = self.writer()?.write_behind(rows, work).await?;
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        self.readers.read(move |reader| deliveries::events(reader, taken)).await
    }

    async fn next_due(&self, handler: HandlerId) -> Result<Option<i64>, StoreError> {
        self.readers.read(move |reader| deliveries::next_due(&reader.conn, handler)).await
    }

    async fn settle(&self, handler: HandlerId, settled: Vec<Settled>, now_ms: i64) -> Result<(), StoreError> {
        let rows = settled.len();
        let work = move |state: &mut WriteState| deliveries::settle(&mut state.conn, handler, &settled, now_ms);
        self.writer()?.write_behind(rows, work).await
    }

    async fn note_breaker(&self, handler: HandlerId, breaker: BreakerState, now_ms: i64) -> Result<(), StoreError> {
        self.writer()?
            .write_behind(1, move |state| deliveries::note_breaker(&state.conn, handler, breaker, now_ms))
            .await
    }

    fn appended_so_far(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    async fn appended_beyond(&self, seen: u64) {
        // Registered before looking: what is appended in between is not missed.
        let news = std::pin::pin!(self.news.notified());
        if self.appended_so_far() == seen {
            news.await;
        }
    }

    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError> {
        self.writer()?.write_behind(8, move |state| calls::merge(&state.conn, &call)).await
    }

    async fn caller(&self, company_id: i64, number: &str) -> Result<CallerHistory, StoreError> {
        let number = number.to_owned();
        self.lane().read(move |reader| inbound::caller(&reader.conn, company_id, &number)).await
    }

    async fn keep_inbound_answer(&self, answered: InboundAnswered) -> Result<(), StoreError> {
        self.writer()?.write_behind(1, move |state| inbound::keep(&state.conn, &answered)).await
    }

    async fn inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswered>, StoreError> {
        self.lane().read(move |reader| inbound::answered(&reader.conn, event_id)).await
    }

    async fn events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError> {
        self.readers.read(move |reader| query::list(reader, &filter)).await
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.read(move |reader| query::by_id(reader, id)).await
    }

    async fn export(&self, after: i64, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        self.readers.read(move |reader| query::export(reader, after, &filter)).await
    }

    async fn seq_before(&self, ms: i64) -> Result<i64, StoreError> {
        self.readers.read(move |reader| Ok(query::seq_before(&reader.conn, ms)?)).await
    }

    async fn overview(&self, now_ms: i64) -> Result<Overview, StoreError> {
        self.readers.read(move |reader| Ok(overview::overview(&reader.conn, now_ms)?)).await
    }

    async fn backlogs(&self, counted: usize, dead_since_ms: i64) -> Result<Vec<Backlog>, StoreError> {
        let counted = i64::try_from(counted).unwrap_or(i64::MAX);
        self.readers.read(move |reader| Ok(overview::backlogs(&reader.conn, counted, dead_since_ms)?.1)).await
    }

    async fn note_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError> {
        self.writer()?.write_behind(64, move |state| watch::note_alarms(&mut state.conn, &alarms)).await
    }

    async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        self.readers.read(|reader| watch::alarms(&reader.conn)).await
    }

    async fn note_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError> {
        self.writer()?.write_behind(64, move |state| watch::note_activity(&mut state.conn, &rows, forget_before)).await
    }

    async fn activity(&self) -> Result<Vec<ActivityRow>, StoreError> {
        self.readers.read(|reader| watch::activity(&reader.conn)).await
    }

    async fn calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError> {
        self.readers.read(move |reader| calls::list(&reader.conn, &filter)).await
    }

    async fn call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError> {
        let call_id = call_id.to_owned();
        self.readers.read(move |reader| calls::by_id(&reader.conn, kind, &call_id)).await
    }

    async fn call_stats(&self, filter: StatsFilter) -> Result<CallStats, StoreError> {
        self.readers.read(move |reader| calls::stats(&reader.conn, &filter)).await
    }

    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
        self.readers.read(move |reader| deliveries::list(&reader.conn, &reader.identity_key, &filter, limit)).await
    }

    async fn fates(&self, id: EventId) -> Result<Vec<(String, Fate)>, StoreError> {
        self.readers.read(move |reader| deliveries::fates(&reader.conn, id)).await
    }

    async fn reject(&self, request: Rejection) -> Result<RejectedId, StoreError> {
        self.writer()?.write_behind(1, move |state| rejected::insert(&state.conn, &request)).await
    }

    async fn rejected(&self, limit: usize) -> Result<Vec<Rejected>, StoreError> {
        self.readers.read(move |reader| rejected::list(&reader.conn, limit)).await
    }

    async fn rejected_by_id(&self, id: RejectedId) -> Result<Option<Rejected>, StoreError> {
        self.readers.read(move |reader| rejected::by_id(&reader.conn, id)).await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let work = move |state: &mut WriteState| {
            // All or nothing, inside a transaction shared with others.
            let part = state.conn.savepoint()?;
            let purged = removal::purge(&part, &key, &purge)?;
            part.commit()?;
            Ok(purged)
        };
        writer.write_behind(PURGE_ROWS, work).await
    }

    async fn give_back_space(&self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let writer = self.writer()?;
        let clear =
            move |reader: &readers::Reader| removal::clear_bodies(&reader.conn, &reader.bodies.folder, freed_before_ms);
        let cleared = self.readers.read(clear).await?;
        let bodies_left = removal::is_full(&cleared);
        let work = move |state: &mut WriteState| {
            removal::forget_cleared(&state.conn, &cleared)?;
            removal::give_back_pages(&state.conn)
        };
        Ok(writer.write_behind(PURGE_ROWS, work).await? || bodies_left)
    }

    async fn used_bytes(&self) -> Result<u64, StoreError> {
        self.readers.read(|reader| removal::used_bytes(&reader.conn, &reader.bodies.folder)).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let counted = |reader: &readers::Reader| Ok(overview::backlogs(&reader.conn, Backlog::COUNTED, i64::MAX)?);
        let (last_seq, backlogs) = self.readers.read(counted).await?;
        let counted = self.writer.as_ref().map(|writer| writer.shared.stats()).unwrap_or_default();
        Ok(StoreStats { last_seq, backlogs, ..counted })
    }

    async fn close(&self) -> Result<(), StoreError> {
        let ledger = match &self.ledger {
            Some(ledger) => ledger.sync().await,
            None => Ok(()),
        };
        match &self.writer {
            Some(writer) => writer.close().await.and(ledger),
            None => Ok(()),
        }
    }
}
