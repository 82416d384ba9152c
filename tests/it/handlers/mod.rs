//! Handlers: filters, failures, order, and what survives a restart.

mod built_in;
mod exec;
mod file;
mod store_locked;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::Clock;
use retell_webhook::Filter;
use retell_webhook::internals::EventIdGenerator;
use retell_webhook::internals::Supervisor;
use retell_webhook::internals::{DEFAULT_COMPANY_ID, NewEvent};
use retell_webhook::internals::{Role, open_store};
use retell_webhook::{Call, Context, Event, EventHandler, Outcome, async_trait};
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::local::{LocalReceiver, database_path, list_deliveries, new_runtime, storage_url};
use crate::support::signing::now_ms;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// What handlers recorded, in order.
#[derive(Clone, Default)]
struct RecordedAttempts(Arc<Mutex<Vec<String>>>);

impl RecordedAttempts {
    fn record(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn list(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn wait_for_count(&self, count: usize) -> bool {
        wait_until(WAIT_LIMIT, || self.list().len() >= count)
    }
}

/// Records every event as `name/attempt` and returns the configured outcome.
struct RecordingHandler {
    seen: RecordedAttempts,
    outcome: fn(&Event) -> Outcome,
}

#[async_trait]
impl EventHandler for RecordingHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        self.seen.record(format!("{}/{}", event.name(), context.attempt));
        (self.outcome)(event)
    }

    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        self.seen.record(format!("unparsed {} bytes/{}", body.len(), context.attempt));
        Outcome::Done
    }
}

fn recording_handler(outcome: fn(&Event) -> Outcome) -> (RecordedAttempts, RecordingHandler) {
    let seen = RecordedAttempts::default();
    (seen.clone(), RecordingHandler { seen, outcome })
}

fn always_done(_: &Event) -> Outcome {
    Outcome::Done
}

/// Deliveries that are scheduled or dead: handler, state, attempts, reason.
fn unsuccessful_deliveries(folder: &Path) -> Vec<(String, String, u32, String)> {
    let is_unsuccessful = |row: &Value| matches!(row["state"].as_str(), Some("scheduled" | "dead"));
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let to_row = |row: Value| {
        let attempts = u32::try_from(row["attempts"].as_u64().unwrap()).unwrap();
        (text(&row, "handler"), text(&row, "state"), attempts, text(&row, "reason"))
    };
    let mut rows: Vec<_> = list_deliveries(folder).into_iter().filter(is_unsuccessful).map(to_row).collect();
    rows.sort();
    rows
}

#[test]
fn closures_receive_the_typed_call() {
    let folder = tempfile::tempdir().unwrap();
    let seen = RecordedAttempts::default();
    let recorder = |what: &'static str| {
        let seen = seen.clone();
        move |call: Call, context: Context| {
            let seen = seen.clone();
            async move {
                assert!(context.event_id.to_string().starts_with("evt_") && context.attempt == 1);
                seen.record(format!("{what} {} by {}", call.call_id.unwrap(), call.agent_id.unwrap()));
                Outcome::Done
            }
        }
    };
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .on_call_started(recorder("started"))
            .on_call_ended(recorder("ended"))
            .on_call_analyzed(recorder("analyzed"))
    });
    for name in ["call_started", "call_ended", "chat_ended", "call_analyzed"] {
        assert_eq!(local.post_signed(&event_body(name, "call_1")).status, 200);
    }
    assert!(seen.wait_for_count(3));
    assert_eq!(seen.list(), ["started call_1 by agent_1", "ended call_1 by agent_1", "analyzed call_1 by agent_1"]);
    local.stop();
    assert!(unsuccessful_deliveries(folder.path()).is_empty());
}

#[test]
fn filters_select_by_event_agent_and_company() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, ended_recorder) = recording_handler(always_done);
    let (agent, agent_recorder) = recording_handler(always_done);
    let (all, all_recorder) = recording_handler(always_done);
    let (company, company_recorder) = recording_handler(always_done);
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .handler("ended", Filter::all().events(["call_ended", "chat_ended"]), ended_recorder)
            .handler("agent", Filter::all().agents(["agent_2"]), agent_recorder)
            .handler("company", Filter::all().companies(["elsewhere"]), company_recorder)
            .handler("all", Filter::all(), all_recorder)
    });
    local.post_signed(&event_body("call_ended", "call_1"));
    local.post_signed(&event_body("call_started", "call_1"));
    local.post_signed(br#"{"event":"call_started","call":{"call_id":"call_2","agent_id":"agent_2"}}"#);
    local.post_signed(b"no json");
    local.post_signed(&event_body("call_teleported", "call_3"));
    assert!(all.wait_for_count(5));
    local.stop();
    let mut all_events = all.list();
    all_events.sort();
    let expected = ["call_ended/1", "call_started/1", "call_started/1", "call_teleported/1", "unparsed 7 bytes/1"];
    assert_eq!(all_events, expected);
    assert_eq!(ended.list(), ["call_ended/1"]);
    assert_eq!(agent.list(), ["call_started/1"]);
    assert!(company.list().is_empty());
}

#[test]
fn a_scheduled_retry_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, flaky) = recording_handler(|_| Outcome::retry("the destination is down"));
    let local = LocalReceiver::start(folder.path(), |builder| builder.handler("flaky", Filter::all(), flaky));
    local.post_signed(&event_body("call_ended", "call_1"));
    assert!(seen.wait_for_count(1) && wait_until(WAIT_LIMIT, || unsuccessful_deliveries(folder.path()).len() == 1));
    let row = ("flaky".into(), "scheduled".into(), 1, "the destination is down".into());
    assert_eq!(unsuccessful_deliveries(folder.path()), [row]);
    local.stop();
    assert_eq!(seen.list().len(), 1, "no attempt before it is due");

    let (seen, fixed) = recording_handler(always_done);
    let later = Clock::from_fn(|| now_ms() + 6_000);
    let local =
        LocalReceiver::start(folder.path(), |builder| builder.clock(later).handler("flaky", Filter::all(), fixed));
    assert!(seen.wait_for_count(1) && wait_until(WAIT_LIMIT, || unsuccessful_deliveries(folder.path()).is_empty()));
    assert_eq!(seen.list(), ["call_ended/2"]);
    local.stop();
}

#[test]
fn a_failed_delivery_is_dead_and_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, strict) = recording_handler(|_| Outcome::fail("invalid order"));
    let local = LocalReceiver::start(folder.path(), |builder| builder.handler("strict", Filter::all(), strict));
    local.post_signed(&event_body("call_ended", "call_1"));
    assert!(wait_until(WAIT_LIMIT, || unsuccessful_deliveries(folder.path()).len() == 1));
    local.stop();
    assert_eq!(unsuccessful_deliveries(folder.path()), [("strict".into(), "dead".into(), 1, "invalid order".into())]);
    let (again, strict) = recording_handler(always_done);
    let later = Clock::from_fn(|| now_ms() + 90_000_000);
    let local =
        LocalReceiver::start(folder.path(), |builder| builder.clock(later).handler("strict", Filter::all(), strict));
    std::thread::sleep(Duration::from_millis(300));
    local.stop();
    assert_eq!((seen.list().len(), again.list().len()), (1, 0));
}

#[test]
fn a_panicking_handler_does_not_affect_others() {
    let folder = tempfile::tempdir().unwrap();
    let (panicked, panicking) =
        recording_handler(|event| if event.name() == "call_ended" { panic!("on purpose") } else { Outcome::Done });
    let (steady_attempts, steady) = recording_handler(always_done);
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.handler("panicking", Filter::all(), panicking).handler("steady", Filter::all(), steady)
    });
    for (name, call_id) in [("call_ended", "call_1"), ("call_started", "call_2"), ("call_analyzed", "call_3")] {
        assert_eq!(local.post_signed(&event_body(name, call_id)).status, 200);
    }
    assert!(panicked.wait_for_count(3) && steady_attempts.wait_for_count(3));
    assert!(!local.receiver.supervisor().is_stopping());
    assert_eq!(local.post_signed(&event_body("call_started", "call_4")).status, 200);
    assert!(steady_attempts.wait_for_count(4));
    local.stop();
    let rows = unsuccessful_deliveries(folder.path());
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), rows[0].1.as_str()), ("panicking", "scheduled"));
}

#[test]
fn events_of_a_call_are_delivered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let seen = RecordedAttempts::default();
    let recorded = seen.clone();
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.on_other(move |event, _| {
            let recorded = recorded.clone();
            async move {
                let call_id = event.identifiers().call_id.unwrap();
                if call_id == "call_0" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                recorded.record(format!("{call_id} {}", event.to_json().len()));
                Outcome::Done
            }
        })
    });
    for number in 1..=30_usize {
        for call in 0..2 {
            let body = json!({ "event": "transcript_updated", "call": { "call_id": format!("call_{call}") },
                "pad": "x".repeat(number) });
            local.post_signed(body.to_string().as_bytes());
        }
    }
    assert!(seen.wait_for_count(60));
    local.stop();
    for call in ["call_0", "call_1"] {
        let lengths: Vec<usize> =
            seen.list().iter().filter_map(|line| line.strip_prefix(call)?.trim().parse().ok()).collect();
        assert_eq!(lengths.len(), 30);
        assert!(lengths.is_sorted(), "{call}: {lengths:?}");
    }
}

/// Appends events to the store while no receiver runs.
fn append_without_dispatch(folder: &Path, bodies: &[Vec<u8>]) {
    let url = storage_url(folder).parse().unwrap();
    let supervisor = Supervisor::default();
    new_runtime().block_on(async {
        let store = open_store(&url, Role::Receiver, &supervisor).unwrap();
        let ids = EventIdGenerator::default();
        for (number, body) in (1..).zip(bodies) {
            let event = NewEvent {
                kind: Some("call_ended".into()),
                call_id: Some(format!("call_{number}")),
                revisable: true,
                ..NewEvent::new(ids.next_id(now_ms()), DEFAULT_COMPANY_ID, now_ms(), body.clone())
            };
            store.append(event).await.unwrap();
        }
        supervisor.stop();
        supervisor.wait_for_tasks().await;
        store.close().await.unwrap();
    });
}

#[test]
fn events_stored_while_no_handler_ran_are_delivered_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (before, first) = recording_handler(always_done);
    let local = LocalReceiver::start(folder.path(), |builder| builder.handler("crm", Filter::all(), first));
    local.post_signed(&event_body("call_started", "call_0"));
    assert!(before.wait_for_count(1));
    local.stop();
    append_without_dispatch(folder.path(), &[event_body("call_ended", "call_1"), event_body("call_ended", "call_2")]);
    let ((after, second), (newcomer, new)) = (recording_handler(always_done), recording_handler(always_done));
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.handler("crm", Filter::all(), second).handler("newcomer", Filter::all(), new)
    });
    assert!(after.wait_for_count(2));
    local.post_signed(&event_body("call_analyzed", "call_1"));
    assert!(after.wait_for_count(3) && newcomer.wait_for_count(1));
    local.stop();
    assert_eq!(after.list(), ["call_ended/1", "call_ended/1", "call_analyzed/1"]);
    assert_eq!(newcomer.list(), ["call_analyzed/1"], "a new handler starts with new events");
}
