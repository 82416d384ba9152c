//! A live receiver in this process for the tests of operations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::{Receiver, ServeError};
use crate::base::clock::Clock;
use crate::base::id::EventId;
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::{Settings, StorageUrl};
use crate::handlers::Outcome;
use crate::operations::deliveries::bulk_change::{BulkChange, change_deliveries};
use crate::operations::deliveries::{DeliveryList, SearchLimit, show_deliveries};
use crate::operations::events::{EventExport, list_events};
use crate::operations::functions::{FunctionTest, test_function};
use crate::operations::receiver::{EventContent, EventToSend, local_base_url, send_event};
use crate::operations::{OperationError, Principal};
use crate::storage::{self, DeliveryChange, DeliveryFilter, DeliveryState, EventFilter, Role, Store};
use crate::view::{BulkChangeView, DeliveryView, ExportedEventView, OutlookView, SendResultView};

/// A receiver with the default handlers and one that fails on `call_ended` until it is told otherwise.
pub(super) struct LiveReceiver {
    folder: TempDir,
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) handler_succeeds: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

pub(super) const OPERATOR: Principal = Principal::LocalOperator;
pub(super) const CALL_ID: &str = "call_3f8a1c4de5588b2031fa7c0b3d1";

pub(super) fn store_settings(folder: &TempDir) -> Settings {
    let mut settings = Settings::default();
    settings.storage.url = StorageUrl::file(folder.path().join("store.db"));
    settings.security.keys = vec![Secret::new("key_0000000000000000000000test")];
    settings.log.dir = folder.path().join("logs").display().to_string();
    settings
}

impl LiveReceiver {
    pub(super) async fn start(change_settings: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut settings = store_settings(&folder);
        settings.server.port = listener.local_addr().unwrap().port();
        change_settings(&mut settings);
        let handler_succeeds = Arc::new(AtomicBool::new(false));
        let succeeds = Arc::clone(&handler_succeeds);
        let receiver = Receiver::builder().settings(settings.clone()).on_call_ended(move |_, _| {
            let succeeds = succeeds.load(Ordering::Relaxed);
            async move { if succeeds { Outcome::Done } else { Outcome::fail("the contact does not exist") } }
        });
        let receiver = receiver.build().await.unwrap();
        let (stop, stopped) = oneshot::channel();
        #[allow(clippy::disallowed_methods, reason = "`stop` waits for it")]
        let serving = tokio::spawn(receiver.serve_until(listener, async move {
            let _ = stopped.await;
        }));
        let store = storage::open(&settings.storage.url, Role::Operator, &Supervisor::default()).unwrap();
        Self { folder, settings, store, handler_succeeds, stop, serving }
    }

    pub(super) async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        self.folder
    }

    pub(super) async fn send(&self, content: EventContent) -> SendResultView {
        let url = Some(local_base_url(&self.settings));
        let event = EventToSend { content, url, company: None };
        send_event(&self.settings, &Clock::system(), &OPERATOR, event).await.unwrap()
    }

    pub(super) async fn send_body(&self, body: &Value) {
        assert_eq!(self.send(EventContent::Body(body.to_string().into_bytes())).await.status, 200, "{body}");
    }

    /// Sends the start and the end of one call.
    pub(super) async fn send_call(&self) {
        let call = json!({
            "call_id": CALL_ID, "agent_id": "agent_1", "call_type": "phone_call", "direction": "inbound",
            "from_number": "+12025550143", "to_number": "+12025550199",
        });
        self.send_body(&json!({ "event": "call_started", "call": call })).await;
        let mut ended = call;
        ended["duration_ms"] = 65_000.into();
        ended["disconnection_reason"] = "user_hangup".into();
        self.send_body(&json!({ "event": "call_ended", "call": ended })).await;
    }

    /// The id of the only event of this kind.
    pub(super) async fn event_id(&self, kind: &str) -> EventId {
        let filter = EventFilter { kinds: vec![kind.to_owned()], ..EventFilter::default() };
        let listed = list_events(&*self.store, &OPERATOR, filter).await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed[0].id.parse().unwrap()
    }

    pub(super) async fn wait_for_state(&self, id: EventId, handler: &str, wanted: DeliveryState) {
        let is_reached = async || {
            let outlooks = show_deliveries(&*self.store, &OPERATOR, id, None).await.unwrap();
            outlooks.iter().any(|outlook| match outlook {
                OutlookView::Delivery(details) => {
                    details.delivery.handler == handler && details.delivery.state.as_str() == wanted.as_str()
                }
                OutlookView::Undelivered { .. } => false,
            })
        };
        wait_until(is_reached).await;
    }

    pub(super) async fn change(&self, change: DeliveryChange, states: &[DeliveryState]) -> BulkChangeView {
        let operation = BulkChange {
            change,
            filter: DeliveryFilter { event_kinds: vec!["call_ended".to_owned()], ..DeliveryFilter::default() },
            states: states.iter().copied().map(Some).collect(),
            counts_excluded: true,
            dry_run: false,
            limit: None,
            rate: 1_000,
        };
        let mut steps = Vec::new();
        let mut progress = |progress| steps.push(progress);
        let result =
            change_deliveries(&*self.store, &Clock::system(), &OPERATOR, &operation, &mut progress).await.unwrap();
        assert_eq!(steps.last().map_or(0, |last| last.total), result.selected);
        result
    }

    pub(super) async fn export(&self) -> Vec<ExportedEventView> {
        let mut export = EventExport::new(EventFilter::default());
        let mut events = Vec::new();
        while let Some(batch) = export.next_batch(&*self.store).await.unwrap() {
            assert!(batch.unreadable.is_empty());
            events.extend(batch.events);
        }
        events
    }

    /// Calls a function in the call of [`Self::send_call`]; returns its answer.
    pub(super) async fn call_function(&self, name: &str, arguments: Value) -> Value {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is not an object") };
        let test = FunctionTest {
            function: name.to_owned(),
            arguments,
            call: Some(json!({ "call_id": CALL_ID, "call_status": "ongoing" })),
            company: None,
            base_url: Some(local_base_url(&self.settings)),
        };
        let result = test_function(&self.settings, &Clock::system(), &OPERATOR, test).await.unwrap();
        assert!(result.succeeded, "{}", result.answer_text);
        result.answer
    }
}

pub(super) async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not hold within 20 s");
}

pub(super) async fn first_page(store: &dyn Store, filter: DeliveryFilter) -> Result<Vec<DeliveryView>, OperationError> {
    Ok(DeliveryList::new(&OPERATOR, filter, 10, SearchLimit::Unlimited)
        .next_page(store, &mut |_| {})
        .await?
        .unwrap_or_default())
}
