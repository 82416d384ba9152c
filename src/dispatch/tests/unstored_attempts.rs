//! Events that are attempted before their deliveries are stored.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::faulty_queue::{FaultyQueue, QueueFaults};
use super::wait_for_deliveries;
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::{DispatchDeps, Workers};
use crate::handlers::{AttemptResult, Context, EventHandler, Filter, HandlerRegistry, Outcome, RegisteredHandler};
use crate::storage::{
    self, DEFAULT_COMPANY_ID, DeliveryRow, DeliveryState, EventSummary, NewEvent, PlannedDelivery, PlannedProgress,
    Role, Store,
};
use crate::telemetry::deliveries::DeliveryMetrics;

/// Records the bodies in the order of their attempts. The attempts of bodies that begin with `fail` are to be retried;
/// those of `slow` take longer than a plan waits.
#[derive(Clone, Default)]
struct RecordingHandler(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl EventHandler for RecordingHandler {
    async fn deliver(&self, _: &EventSummary, body: &Bytes, _: &Context) -> AttemptResult {
        let body = String::from_utf8_lossy(body).into_owned();
        self.0.lock().unwrap().push(body.clone());
        if body.starts_with("slow") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if body.starts_with("wait") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if body.starts_with("fail") { Outcome::retry("refused").into() } else { Outcome::Done.into() }
    }
}

struct Fixture {
    store: Arc<dyn Store>,
    faults: Arc<QueueFaults>,
    handler: RecordingHandler,
    workers: Workers,
    supervisor: Supervisor,
    ids: EventIdGenerator,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// Starts a worker, and waits until it has delivered a first event: before that it does not know whether the handler
    /// has anything unfinished.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::default();
        let url = StorageUrl::file(folder.path().join("store.db"));
        let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
        let faults = Arc::new(QueueFaults::default());
        let workers = Workers::new(DispatchDeps {
            queue: Arc::new(FaultyQueue::new(store.clone(), Arc::clone(&faults))),
            journal: store.clone(),
            clock: Clock::system(),
            supervisor: supervisor.clone(),
            delivery_metrics: DeliveryMetrics::default(),
            is_only_receiver: true,
        });
        let handler = RecordingHandler::default();
        let ids = EventIdGenerator::default();
        let fixture = Self { store, faults, handler, workers, supervisor, ids, _folder: folder };
        let mut registry = HandlerRegistry::default();
        registry.register(fixture.registered()).unwrap();
        fixture.workers.register_handlers(&registry).await.unwrap();
        fixture.workers.start(fixture.registered());
        fixture.append(&[("call_0", "first")]).await;
        fixture.wait_for(|rows| rows.len() == 1 && rows[0].state == DeliveryState::Succeeded).await;
        fixture.faults.plans.lock().unwrap().clear();
        fixture.handler.0.lock().unwrap().clear();
        fixture
    }

    fn registered(&self) -> RegisteredHandler {
        RegisteredHandler::new("crm", Filter::all(), Arc::new(self.handler.clone()))
    }

    /// Appends events with these calls and bodies in one transaction.
    async fn append(&self, events: &[(&str, &str)]) {
        let now_ms = Clock::system().now_ms();
        let appends = events.iter().map(|(call_id, body)| {
            let event = NewEvent {
                kind: Some("call_ended".into()),
                call_id: Some((*call_id).into()),
                ..NewEvent::new(self.ids.next_id(now_ms), DEFAULT_COMPANY_ID, now_ms, (*body).to_owned())
            };
            self.store.append(event)
        });
        futures_util::future::try_join_all(appends).await.unwrap();
    }

    async fn wait_for(&self, condition: impl Fn(&[DeliveryRow]) -> bool) -> Vec<DeliveryRow> {
        wait_for_deliveries(&*self.store, condition).await
    }

    fn attempts(&self) -> Vec<String> {
        self.handler.0.lock().unwrap().clone()
    }

    fn planned(&self) -> Vec<PlannedDelivery> {
        self.faults.plans.lock().unwrap().concat()
    }

    async fn stop(self) {
        self.supervisor.stop();
        self.supervisor.wait_for_tasks().await;
    }
}

fn all_succeeded(count: usize) -> impl Fn(&[DeliveryRow]) -> bool {
    move |rows| rows.len() == count && rows.iter().all(|row| row.state == DeliveryState::Succeeded)
}

#[tokio::test]
async fn deliveries_are_stored_once_with_the_results_of_their_attempts() {
    let fixture = Fixture::start().await;
    fixture.append(&[("call_1", "a"), ("call_2", "b"), ("call_3", "c")]).await;
    let rows = fixture.wait_for(all_succeeded(4)).await;
    assert!(rows.iter().all(|row| row.attempts == 1), "{rows:?}");
    assert_eq!(fixture.attempts(), ["a", "b", "c"]);
    let planned = fixture.planned();
    assert_eq!(planned.len(), 3);
    assert!(planned.iter().all(|planned| matches!(planned.progress, PlannedProgress::Ended(_))), "{planned:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn later_events_of_a_call_wait_for_the_first_one() {
    let fixture = Fixture::start().await;
    fixture
        .append(&[("call_1", "a"), ("call_1", "b"), ("call_2", "fail"), ("call_2", "after fail"), ("call_1", "c")])
        .await;
    let rows = fixture.wait_for(|rows| rows.len() == 6 && rows[5].state == DeliveryState::Succeeded).await;
    let states: Vec<_> = rows[1..].iter().map(|row| row.state).collect();
    let (succeeded, scheduled) = (DeliveryState::Succeeded, DeliveryState::Scheduled);
    assert_eq!(states, [succeeded, succeeded, scheduled, DeliveryState::Pending, succeeded]);
    let mut attempts = fixture.attempts();
    attempts.retain(|body| body != "fail");
    assert_eq!(attempts, ["a", "b", "c"], "the event after the failed one is not attempted");
    fixture.stop().await;
}

#[tokio::test]
async fn a_slow_attempt_is_stored_as_running_and_settled_later() {
    let fixture = Fixture::start().await;
    fixture.append(&[("call_1", "slow"), ("call_2", "b")]).await;
    let rows = fixture.wait_for(|rows| rows.len() == 3).await;
    assert_eq!((rows[1].state, rows[2].state), (DeliveryState::Running, DeliveryState::Succeeded));
    fixture.wait_for(all_succeeded(3)).await;
    assert_eq!(fixture.attempts(), ["slow", "b"]);
    fixture.stop().await;
}

/// The disk may be full for hours: each retry of the write would send the events again.
#[tokio::test]
async fn nothing_is_attempted_twice_when_the_store_fails() {
    let fixture = Fixture::start().await;
    fixture.faults.updates.store(2, Ordering::Relaxed);
    fixture.append(&[("call_1", "a"), ("call_2", "slow")]).await;
    fixture.wait_for(all_succeeded(3)).await;
    assert_eq!(fixture.attempts(), ["a", "slow"]);
    assert_eq!(fixture.faults.updates.load(Ordering::Relaxed), 0, "two writes failed");
    assert!(fixture.planned().len() > 2, "a plan that failed was written again");
    fixture.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_stores_what_it_has_begun() {
    let fixture = Fixture::start().await;
    fixture.append(&[("call_1", "slow")]).await;
    while fixture.attempts().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.workers.stop("crm");
    let rows = fixture.wait_for(all_succeeded(2)).await;
    assert_eq!(rows[1].attempts, 1);
    assert_eq!(fixture.attempts(), ["slow"]);
    fixture.stop().await;
}

/// Begins with deliveries that are stored first, because the worker knows nothing yet; it must not stay with that.
#[tokio::test]
async fn a_backlog_is_attempted_before_it_is_stored() {
    let fixture = Fixture::start().await;
    fixture.workers.stop("crm");
    let names: Vec<_> = (0..2_000).map(|number| (format!("call_{number}"), format!("wait {number}"))).collect();
    let events: Vec<_> = names.iter().map(|(call, body)| (call.as_str(), body.as_str())).collect();
    fixture.append(&events).await;
    fixture.workers.start(fixture.registered());
    let ended = async {
        while fixture.attempts().len() < 500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fixture.faults.updates.store(2, Ordering::Relaxed);
        while fixture.attempts().len() < events.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the backlog is not delivered");
    let succeeded = async {
        while fixture.store.list_backlogs(10_000, 0).await.unwrap()[0].behind > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), succeeded).await.expect("the results are not stored");
    let attempts = fixture.attempts();
    let distinct: BTreeSet<_> = attempts.iter().collect();
    assert_eq!((attempts.len(), distinct.len()), (2_000, 2_000), "each event is attempted once");
    let planned = fixture.planned();
    let early = planned.iter().filter(|planned| planned.progress != PlannedProgress::Waiting).count();
    assert!(early > planned.len() / 2, "{early} of {} were attempted before they were stored", planned.len());
    fixture.stop().await;
}
