//! Leases of a worker: renewed while it holds deliveries, and what happens to those that it loses.

use crate::base::id::CompanyId;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::tests::faulty_queue::{FaultyQueue, QueueFaults};
use crate::dispatch::tests::wait_for_deliveries;
use crate::dispatch::{DispatchDeps, Workers};
use crate::handlers::{AttemptResult, Context, EventHandler, Filter, HandlerRegistry, Outcome, RegisteredHandler};
use crate::storage::{
    self, ClaimRequest, ClaimedDelivery, DEFAULT_COMPANY_ID, DeliveryQueue, DeliveryRow, DeliveryState, EventSummary,
    HandlerId, HandlerRow, NewEvent, Role, SettledDelivery, Settlement, Store,
};
use crate::telemetry::deliveries::DeliveryMetrics;

const NOW_MS: i64 = 1_790_000_000_000;
const HANDLER: &str = "slow";

/// Records the attempted calls; an attempt ends when the test adds a permit.
#[derive(Clone)]
struct SlowHandler {
    attempted: Arc<Mutex<Vec<String>>>,
    permits: Arc<Semaphore>,
}

#[async_trait]
impl EventHandler for SlowHandler {
    async fn deliver(&self, event: &EventSummary, _: &Bytes, _: &Context) -> AttemptResult {
        self.attempted.lock().unwrap().push(event.call_id.clone().unwrap());
        self.permits.acquire().await.unwrap().forget();
        Outcome::Done.into()
    }
}

/// A receiver with one handler that makes one attempt at a time, and a clock that only the test moves.
struct LeaseFixture {
    store: Arc<dyn Store>,
    now_ms: Arc<AtomicI64>,
    supervisor: Supervisor,
    metrics: DeliveryMetrics,
    handler: SlowHandler,
    ids: EventIdGenerator,
}

impl LeaseFixture {
    async fn start(folder: &Path, enabled: bool) -> Self {
        Self::start_with_queue(folder, enabled, |store| store).await
    }

    /// Starts a receiver whose workers use the queue that `wrap_queue` makes of the store.
    async fn start_with_queue(
        folder: &Path,
        enabled: bool,
        wrap_queue: impl FnOnce(Arc<dyn Store>) -> Arc<dyn DeliveryQueue>,
    ) -> Self {
        let url = StorageUrl::file(folder.join("store.db"));
        let supervisor = Supervisor::default();
        let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let clock = Arc::clone(&now_ms);
        let metrics = DeliveryMetrics::default();
        let workers = Workers::new(DispatchDeps {
            queue: wrap_queue(store.clone()),
            journal: store.clone(),
            clock: Clock::from_fn(move || clock.load(Ordering::Relaxed)),
            supervisor: supervisor.clone(),
            delivery_metrics: metrics.clone(),
            is_only_receiver: true,
        });
        let handler = SlowHandler { attempted: Arc::default(), permits: Arc::new(Semaphore::new(0)) };
        let mut registered = RegisteredHandler::new(HANDLER, Filter::all(), Arc::new(handler.clone()));
        registered.delivery.concurrency = 1;
        registered.delivery.attempt_timeout = Duration::from_secs(600);
        registered.enabled = enabled;
        let mut registry = HandlerRegistry::default();
        registry.register(registered.clone()).unwrap();
        workers.register_handlers(&registry).await.unwrap();
        workers.start(registered);
        Self { store, now_ms, supervisor, metrics, handler, ids: EventIdGenerator::default() }
    }

    async fn handler_id(&self) -> HandlerId {
        let row = HandlerRow { name: HANDLER.into(), ordered: true, ordering_timeout_ms: 600_000 };
        self.store.register_handler(row).await.unwrap()
    }

    async fn append(&self, call_id: &str) {
        let body = format!("{{\"event\":\"call_ended\",\"call\":{{\"call_id\":\"{call_id}\"}}}}");
        let event = NewEvent {
            kind: Some("call_ended".into()),
            call_id: Some(call_id.into()),
            ..NewEvent::new(self.ids.next_id(NOW_MS), DEFAULT_COMPANY_ID, NOW_MS, body)
        };
        self.store.append(event).await.unwrap();
    }

    fn advance_clock(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn attempted(&self) -> Vec<String> {
        self.handler.attempted.lock().unwrap().clone()
    }

    fn late_settlements(&self) -> u64 {
        self.metrics.for_handler(HANDLER).late_settlements.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, condition: impl Fn(&[DeliveryRow]) -> bool) -> Vec<DeliveryRow> {
        wait_for_deliveries(&*self.store, condition).await
    }

    /// Waits until the leases of all running deliveries end at this time after the start.
    async fn wait_for_lease_end(&self, count: usize, ms: i64) {
        let is_renewed = |row: &DeliveryRow| row.state == DeliveryState::Running && row.due_ms == Some(NOW_MS + ms);
        self.wait_for(|rows| rows.len() == count && rows.iter().all(is_renewed)).await;
    }

    /// Claims everything as another worker does after the leases have ended.
    async fn claim_as_other_worker(&self) -> Vec<ClaimedDelivery> {
        let handler = self.handler_id().await;
        let now_ms = NOW_MS + 1_000_000;
        let claim = ClaimRequest {
            now_ms,
            lease_until_ms: now_ms + 1_000_000,
            due_before_ms: now_ms,
            limit: 9,
            prefer_untried: false,
            limit_per_company: 9,
            prefetched_by_company: BTreeMap::new(),
            limit_bytes: u64::MAX,
            after_company_id: CompanyId::new(0),
        };
        self.store.claim_deliveries(handler, claim).await.unwrap()
    }
}

#[tokio::test]
async fn leases_are_renewed_while_an_attempt_is_slow_and_during_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = LeaseFixture::start(folder.path(), true).await;
    fixture.append("call_1").await;
    fixture.append("call_2").await;
    fixture.wait_for_lease_end(2, 30_000).await;
    // Twice as long as a lease in steps, then once longer than a lease, as after the machine was suspended.
    for (step_ms, lease_end_ms) in [(25_000, 55_000), (25_000, 80_000), (100_000, 180_000)] {
        fixture.advance_clock(step_ms);
        fixture.wait_for_lease_end(2, lease_end_ms).await;
    }
    assert_eq!(fixture.attempted(), ["call_1"]);
    fixture.supervisor.stop();
    let is_released = |row: &DeliveryRow| row.state == DeliveryState::Pending;
    fixture.advance_clock(20_000);
    let is_renewed = |row: &DeliveryRow| row.due_ms == Some(NOW_MS + 200_000);
    fixture.wait_for(|rows| is_renewed(&rows[0])).await;
    fixture.handler.permits.add_permits(1);
    let rows = fixture.wait_for(|rows| rows[0].state == DeliveryState::Succeeded && is_released(&rows[1])).await;
    assert_eq!((rows[0].attempts, rows[1].attempts), (1, 0));
    assert_eq!((fixture.attempted(), fixture.late_settlements()), (vec!["call_1".to_owned()], 0));
}

/// Otherwise the worker would attempt the same delivery a second time, at the same time as the first.
#[tokio::test]
async fn nothing_is_claimed_while_leases_cannot_be_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(QueueFaults::default());
    let wrap_queue = |store| -> Arc<dyn DeliveryQueue> { Arc::new(FaultyQueue::new(store, Arc::clone(&faults))) };
    let fixture = LeaseFixture::start_with_queue(folder.path(), true, wrap_queue).await;
    fixture.append("call_1").await;
    fixture.wait_for_lease_end(1, 30_000).await;
    faults.renewals.store(2, Ordering::Relaxed);
    fixture.advance_clock(100_000);
    // The lease that is renewed in the end is still the one of the running attempt.
    fixture.wait_for_lease_end(1, 130_000).await;
    fixture.handler.permits.add_permits(2);
    fixture.wait_for(|rows| rows[0].state == DeliveryState::Succeeded).await;
    assert_eq!((fixture.attempted(), fixture.late_settlements()), (vec!["call_1".to_owned()], 0));
    assert_eq!(faults.renewals.load(Ordering::Relaxed), 0);
    fixture.supervisor.stop();
}

#[tokio::test]
async fn deliveries_whose_lease_was_lost_are_dropped_or_their_settlement_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = LeaseFixture::start(folder.path(), true).await;
    fixture.append("call_1").await;
    fixture.append("call_2").await;
    fixture.wait_for_lease_end(2, 30_000).await;
    let claimed = fixture.claim_as_other_worker().await;
    assert_eq!(claimed.len(), 2);
    // The renewal finds out that both leases are lost, and the prefetched delivery is dropped.
    fixture.advance_clock(10_000);
    fixture.append("call_3").await;
    let lease_ends_at = |row: &DeliveryRow, ms| row.due_ms == Some(NOW_MS + ms);
    fixture.wait_for(|rows| rows.len() == 3 && lease_ends_at(&rows[2], 40_000)).await;
    // The next renewal shows that the result of the first one has been applied.
    fixture.advance_clock(10_000);
    fixture.wait_for(|rows| lease_ends_at(&rows[2], 50_000)).await;
    fixture.handler.permits.add_permits(2);
    let running = DeliveryState::Running;
    let rows = fixture.wait_for(|rows| rows.len() == 3 && rows[2].state == DeliveryState::Succeeded).await;
    assert_eq!((rows[0].state, rows[1].state), (running, running));
    assert_eq!(fixture.attempted(), ["call_1", "call_3"]);
    // Counted after the commit.
    let counted = async {
        while fixture.late_settlements() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    assert_eq!(fixture.late_settlements(), 1);
    let settlement = Settlement::Succeeded;
    let settled = claimed
        .iter()
        .map(|claimed| SettledDelivery::without_attempt(claimed.event.summary.seq, claimed.lease, settlement.clone()));
    let handler = fixture.handler_id().await;
    assert_eq!(fixture.store.settle_deliveries(handler, settled.collect(), NOW_MS).await.unwrap(), 0);
    fixture.supervisor.stop();
}

/// A handler that is disabled after a crash: what it was delivering waits until it is enabled again.
#[tokio::test]
async fn a_disabled_handler_attempts_nothing_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = LeaseFixture::start(folder.path(), true).await;
    fixture.append("call_1").await;
    fixture.wait_for_lease_end(1, 30_000).await;
    fixture.store.close().await.unwrap();
    // The attempt ends, and its result is lost.
    fixture.handler.permits.add_permits(1);
    fixture.supervisor.stop();
    fixture.supervisor.wait_for_tasks().await;
    drop(fixture);

    let fixture = LeaseFixture::start(folder.path(), false).await;
    for (count, call_id) in [(2, "call_2"), (3, "call_3")] {
        fixture.append(call_id).await;
        let skipped = DeliveryState::Skipped;
        let rows = fixture.wait_for(|rows| rows.len() == count && rows[count - 1].state == skipped).await;
        assert_eq!((rows[0].state, rows[0].attempts), (DeliveryState::Pending, 0));
    }
    assert!(fixture.attempted().is_empty());
    fixture.supervisor.stop();
}
