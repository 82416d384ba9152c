//! The queue of deliveries: writes of dispatch give way to webhook requests, see `writer/queue.rs`.

use async_trait::async_trait;

use crate::storage::sqlite::writer::WriterContext;
use crate::storage::sqlite::{SqliteStore, deliveries};
use crate::storage::{
    BreakerState, ClaimRequest, ClaimedDelivery, DeliveryQueue, HandlerId, HandlerRow, LeaseToken, PlanBatch,
    PlanOutcome, PlanToken, PlannedDelivery, SettledDelivery, StoreError,
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
