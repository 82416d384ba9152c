//! The budget for prefetched bodies, with more handlers than could reserve their whole share of it at the same time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Barrier;

use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::{DispatchDeps, Workers};
use crate::handlers::{AttemptResult, Context, EventHandler, Filter, HandlerRegistry, Outcome, RegisteredHandler};
use crate::storage::{self, DEFAULT_COMPANY_ID, EventSummary, NewEvent, Role};
use crate::telemetry::deliveries::DeliveryMetrics;

const IDLE_HANDLERS: usize = 40;
const CONCURRENCY: u16 = 4;

/// An attempt ends when all concurrent attempts of the handler have begun.
struct ConcurrentHandler(Barrier);

#[async_trait]
impl EventHandler for ConcurrentHandler {
    async fn deliver(&self, _: &EventSummary, _: &Bytes, _: &Context) -> AttemptResult {
        self.0.wait().await;
        Outcome::Done.into()
    }
}

#[tokio::test]
async fn idle_workers_leave_the_budget_to_a_handler_with_a_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let store = storage::open(&StorageUrl::file(folder.path().join("store.db")), Role::Receiver, &supervisor).unwrap();
    let workers = Workers::new(DispatchDeps {
        queue: store.clone(),
        journal: store.clone(),
        clock: Clock::system(),
        supervisor: supervisor.clone(),
        delivery_metrics: DeliveryMetrics::default(),
        is_only_receiver: true,
    });
    let mut registry = HandlerRegistry::default();
    let mut add_handler = |name: String, kind: &str| {
        let handler = Arc::new(ConcurrentHandler(Barrier::new(usize::from(CONCURRENCY))));
        let mut registered = RegisteredHandler::new(name, Filter::all().events([kind]), handler);
        registered.delivery.concurrency = CONCURRENCY;
        registry.register(registered.clone()).unwrap();
        registered
    };
    let idle: Vec<_> = (0..IDLE_HANDLERS).map(|number| add_handler(format!("idle_{number}"), "chat_ended")).collect();
    let busy = add_handler("busy".into(), "call_ended");
    workers.register_handlers(&registry).await.unwrap();
    for registered in idle {
        workers.start(registered);
    }
    let now_ms = Clock::system().now_ms();
    let ids = EventIdGenerator::default();
    for number in 0..3 * CONCURRENCY {
        let event = NewEvent {
            kind: Some("call_ended".into()),
            call_id: Some(format!("call_{number}")),
            ..NewEvent::new(ids.next_id(now_ms), DEFAULT_COMPANY_ID, now_ms, format!("{number}"))
        };
        store.append(event).await.unwrap();
    }
    let backlog_of = async |handler: &str| {
        let backlogs = store.list_backlogs(1_000, now_ms).await.unwrap();
        backlogs.into_iter().find(|backlog| backlog.handler == handler).unwrap()
    };
    let all_delivered = async {
        // The idle workers run batches until they have passed all events, and wait after that.
        for number in 0..IDLE_HANDLERS {
            while backlog_of(&format!("idle_{number}")).await.behind > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        workers.start(busy);
        while backlog_of("busy").await.behind > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_delivered).await.expect("the attempts are not concurrent");
    supervisor.stop();
    let rows = store.list_deliveries(storage::DeliveryFilter::default(), 100, None).await.unwrap().rows;
    assert_eq!(rows.len(), usize::from(3 * CONCURRENCY));
    assert!(rows.iter().all(|row| row.attempts == 1 && row.handler == "busy"), "{rows:?}");
}
