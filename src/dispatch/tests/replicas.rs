//! Two workers of one handler on the same store, as in two receivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::{DispatchDeps, Workers};
use crate::handlers::{AttemptResult, Context, EventHandler, Filter, HandlerRegistry, Outcome, RegisteredHandler};
use crate::storage::{self, DEFAULT_COMPANY_ID, EventSummary, NewEvent, Role, Store};
use crate::telemetry::deliveries::DeliveryMetrics;

const CALLS: u32 = 40;
const EVENTS_PER_CALL: u32 = 5;

/// Records the attempted events: call and body.
#[derive(Clone, Default)]
struct RecordingHandler(Arc<Mutex<Vec<(String, Bytes)>>>);

#[async_trait]
impl EventHandler for RecordingHandler {
    async fn deliver(&self, event: &EventSummary, body: &Bytes, _: &Context) -> AttemptResult {
        // Gives the other worker a turn, so that both have deliveries in progress.
        tokio::task::yield_now().await;
        self.0.lock().unwrap().push((event.call_id.clone().unwrap(), body.clone()));
        Outcome::Done.into()
    }
}

async fn start_worker(store: &Arc<dyn Store>, handler: &RecordingHandler, supervisor: &Supervisor) {
    let workers = Workers::new(DispatchDeps {
        queue: store.clone(),
        journal: store.clone(),
        clock: Clock::system(),
        supervisor: supervisor.clone(),
        delivery_metrics: DeliveryMetrics::default(),
    });
    let mut registered = RegisteredHandler::new("crm", Filter::all(), Arc::new(handler.clone()));
    // Few, so that no worker claims everything that is due.
    registered.delivery.concurrency = 2;
    let mut registry = HandlerRegistry::default();
    registry.register(registered.clone()).unwrap();
    workers.register_handlers(&registry).await.unwrap();
    workers.start(registered);
}

#[tokio::test]
async fn two_workers_of_a_handler_deliver_each_event_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    let handlers = [RecordingHandler::default(), RecordingHandler::default()];
    for handler in &handlers {
        start_worker(&store, handler, &supervisor).await;
    }
    let ids = EventIdGenerator::default();
    let now_ms = Clock::system().now_ms();
    for number in 0..EVENTS_PER_CALL {
        let appends = (0..CALLS).map(|call| {
            let event = NewEvent {
                kind: Some("call_ended".into()),
                call_id: Some(format!("call_{call}")),
                ..NewEvent::new(ids.next_id(now_ms), DEFAULT_COMPANY_ID, now_ms, format!("{call}/{number}"))
            };
            store.append(event)
        });
        futures_util::future::try_join_all(appends).await.unwrap();
    }
    let all_delivered = async {
        loop {
            let backlogs = store.list_backlogs(1_000, now_ms).await.unwrap();
            if backlogs[0].behind == 0 && backlogs[0].scheduled == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_delivered).await.expect("not every event was delivered");
    supervisor.stop();
    supervisor.wait_for_tasks().await;
    let [first, second] = handlers.map(|handler| handler.0.lock().unwrap().clone());
    assert!(!first.is_empty() && !second.is_empty(), "{} and {} attempts", first.len(), second.len());
    assert_eq!(first.len() + second.len(), (CALLS * EVENTS_PER_CALL) as usize);
    // Within each worker the events of a call are in order, and no event was attempted twice.
    let mut attempts: BTreeMap<Bytes, u32> = BTreeMap::new();
    for attempted in [first, second] {
        let mut last_of_call = BTreeMap::new();
        for (call_id, body) in attempted {
            *attempts.entry(body.clone()).or_default() += 1;
            assert!(last_of_call.insert(call_id, body.clone()) < Some(body));
        }
    }
    assert!(attempts.values().all(|count| *count == 1), "{attempts:?}");
}
