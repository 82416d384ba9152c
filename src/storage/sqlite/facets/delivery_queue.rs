//! The queue of deliveries: writes of dispatch give way to webhook requests, see `writer/queue.rs`.

use async_trait::async_trait;

use crate::storage::sqlite::deliveries::ReadableDeliveries;
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::sqlite::{SqliteStore, deliveries};
use crate::storage::{
    BodyRecheck, BreakerState, ClaimRequest, ClaimedDelivery, DeliveryQueue, HandlerId, HandlerRow, LeaseToken,
    PlanBatch, PlanOutcome, PlanToken, PlannedDelivery, Position, SettledDelivery, StoreError,
};

/// Leases renewed in one job, so that no webhook request waits for thousands of updates.
const MAX_LEASES_PER_JOB: usize = 128;

#[async_trait]
impl DeliveryQueue for SqliteStore {
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError> {
        self.writer()?.write(move |state| deliveries::register_handler(&state.conn, &handler)).await
    }

    async fn next_plan_batch(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Option<PlanBatch>, StoreError> {
        self.readers.read(move |reader| deliveries::next_plan_batch(reader, handler, limit, bodies)).await
    }

    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        batch: PlanToken,
        planned: Vec<PlannedDelivery>,
        now_ms: i64,
    ) -> Result<PlanOutcome, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let rows = planned.len();
        let work = move |state: &mut WriterContext| {
            deliveries::insert_planned(&mut state.conn, &key, handler, batch, &planned, now_ms)
        };
        writer.write_background(rows, work).await
    }

    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let rows = claim.limit;
        let claim_number = self.next_claim_number();
        let work = move |state: &mut WriterContext| deliveries::claim(&mut state.conn, handler, claim_number, &claim);
        let claimed = self.writer()?.write_background(rows, work).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // Only the leases need the writer. Reading up to `limit_bytes` of bodies there would hold up every event
        // meanwhile.
        self.readers.read(move |reader| deliveries::load_claimed_events(reader, claim_number, claimed)).await
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

    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let rows = settled.len();
        let work = move |state: &mut WriterContext| deliveries::settle(&mut state.conn, handler, &settled, now_ms);
        self.writer()?.write_background(rows, work).await
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
