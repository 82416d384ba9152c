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

/// The start or the end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Start(Bytes),
    End(Bytes),
}

/// Records the steps of both workers by call, in the order in which they happen.
#[derive(Clone, Default)]
struct RecordingHandler(Arc<Mutex<BTreeMap<String, Vec<Step>>>>);

impl RecordingHandler {
    fn record(&self, event: &EventSummary, step: Step) {
        let call_id = event.call_id.clone().unwrap();
        self.0.lock().unwrap().entry(call_id).or_default().push(step);
    }
}

#[async_trait]
impl EventHandler for RecordingHandler {
    async fn deliver(&self, event: &EventSummary, body: &Bytes, _: &Context) -> AttemptResult {
        self.record(event, Step::Start(body.clone()));
        // Gives the other worker a turn, so that an attempt that it must not make would begin before this one ends.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.record(event, Step::End(body.clone()));
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
        is_only_receiver: false,
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
    let handler = RecordingHandler::default();
    for _ in 0..2 {
        start_worker(&store, &handler, &supervisor).await;
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
    let steps = handler.0.lock().unwrap();
    assert_eq!(steps.len(), CALLS as usize);
    for (call_id, steps) in &*steps {
        let call = call_id.trim_start_matches("call_");
        let bodies = (0..EVENTS_PER_CALL).map(|number| Bytes::from(format!("{call}/{number}")));
        // One attempt per event, in order, each ended before the next one began.
        let expected: Vec<_> = bodies.flat_map(|body| [Step::Start(body.clone()), Step::End(body)]).collect();
        assert_eq!(*steps, expected, "{call_id}");
    }
}
