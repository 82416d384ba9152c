//! Deliveries: filtering and skipping, order within a call, retries, timeouts, and the circuit breaker.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::Clock;
use retell_webhook::Filter;
use retell_webhook::internals::DeliveryState;
use retell_webhook::internals::RegisteredHandler;
use retell_webhook::internals::{DeliverySettings, RevisionPolicy, TranscriptPolicy};
use retell_webhook::{Context, Event, EventHandler, Outcome, async_trait};
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::client::post_to;
use crate::support::local::{LocalReceiver, command_json, list_deliveries};
use crate::support::signing::{now_ms, sign};
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(15);

type OutcomeFn = Arc<dyn Fn(&str, u32) -> Outcome + Send + Sync>;

/// Records each attempt as `<call id>/<attempt>` (with the `n` of the body, if it has one) and returns the given
/// outcome.
struct ScriptedHandler {
    seen: Arc<Mutex<Vec<String>>>,
    outcome: OutcomeFn,
    has_external_effects: bool,
    /// While set, attempts for calls whose id starts with `call_slow` do not end.
    is_blocked: Arc<AtomicBool>,
}

#[async_trait]
impl EventHandler for ScriptedHandler {
    fn has_external_effects(&self) -> bool {
        self.has_external_effects
    }

    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let call_id = event.identifiers().call_id.unwrap_or_default();
        let body: serde_json::Value = serde_json::from_str(&event.to_json()).unwrap();
        let number = body["n"].as_i64().map(|n| format!(" {n}")).unwrap_or_default();
        self.seen.lock().unwrap().push(format!("{call_id}{number}/{}", context.attempt));
        while call_id.starts_with("call_slow") && self.is_blocked.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (self.outcome)(&call_id, context.attempt)
    }
}

struct DispatchFixture {
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    is_blocked: Arc<AtomicBool>,
    clock_offset_ms: Arc<AtomicI64>,
    local: LocalReceiver,
}

impl DispatchFixture {
    /// Starts a receiver with one handler, `h`.
    fn start(
        settings: DeliverySettings,
        has_external_effects: bool,
        outcome: impl Fn(&str, u32) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self::start_with_handler(settings, has_external_effects, true, outcome)
    }

    fn start_with_handler(
        settings: DeliverySettings,
        has_external_effects: bool,
        enabled: bool,
        outcome: impl Fn(&str, u32) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seen = Arc::default();
        let is_blocked = Arc::default();
        let clock_offset_ms = Arc::new(AtomicI64::new(0));
        let handler = ScriptedHandler {
            seen: Arc::clone(&seen),
            outcome: Arc::new(outcome),
            has_external_effects,
            is_blocked: Arc::clone(&is_blocked),
        };
        let mut registered = RegisteredHandler::new("h", Filter::all(), Arc::new(handler));
        registered.delivery = settings;
        registered.enabled = enabled;
        let offset = Arc::clone(&clock_offset_ms);
        let clock = Clock::from_fn(move || now_ms() + offset.load(Ordering::Relaxed));
        let local = LocalReceiver::start(folder.path(), |builder| builder.clock(clock).registered_handler(registered));
        Self { folder, seen, is_blocked, clock_offset_ms, local }
    }

    fn deliver_numbered(&self, call_id: &str, n: i64) {
        let body = json!({ "event": "transcript_updated", "call": { "call_id": call_id }, "n": n });
        assert_eq!(self.local.post_signed(body.to_string().as_bytes()).status, 200);
    }

    fn deliver_call_ended(&self, call_id: &str) {
        assert_eq!(self.local.post_signed(&event_body("call_ended", call_id)).status, 200);
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn wait_for_attempts(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let all = || self.seen().into_iter().collect::<BTreeSet<_>>();
        assert!(wait_until(WAIT_LIMIT, || wanted.is_subset(&all())), "{wanted:?} in {:?}", self.seen());
    }

    /// State and note of each delivery, in journal order.
    fn list_deliveries(&self) -> Vec<(DeliveryState, String)> {
        read_deliveries(self.folder.path())
    }

    fn wait_for_deliveries(&self, wanted: &[(DeliveryState, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(state, note)| (*state, (*note).to_owned())).collect();
        assert!(wait_until(WAIT_LIMIT, || self.list_deliveries() == wanted), "{:?}", self.list_deliveries());
    }
}

fn read_deliveries(folder: &Path) -> Vec<(DeliveryState, String)> {
    let state = |name: &str| DeliveryState::ALL.into_iter().find(|state| state.as_str() == name).unwrap();
    let to_row = |row: &Value| (state(row["state"].as_str().unwrap()), row["reason"].as_str().unwrap_or("").to_owned());
    list_deliveries(folder).iter().rev().map(to_row).collect()
}

fn one_retry_after(wait: Duration) -> DeliverySettings {
    DeliverySettings { retry_schedule: vec![wait], ..DeliverySettings::default() }
}

#[test]
fn a_scheduled_retry_delays_only_its_own_call() {
    let was_up = AtomicBool::new(false);
    let failing =
        move |_: &str, _| if was_up.swap(true, Ordering::Relaxed) { Outcome::Done } else { Outcome::retry("down") };
    let settings =
        DeliverySettings { ordering_timeout: Duration::from_secs(3_600), ..one_retry_after(Duration::from_secs(600)) };
    let fixture = DispatchFixture::start(settings, false, failing);
    fixture.deliver_numbered("call_1", 1);
    fixture.wait_for_attempts(&["call_1 1/1"]);
    fixture.deliver_numbered("call_1", 2);
    fixture.deliver_numbered("call_2", 3);
    fixture.wait_for_attempts(&["call_2 3/1"]);
    let (pending, scheduled, succeeded) = (DeliveryState::Pending, DeliveryState::Scheduled, DeliveryState::Succeeded);
    fixture.wait_for_deliveries(&[(scheduled, "down"), (pending, ""), (succeeded, "")]);
    fixture.clock_offset_ms.store(800_000, Ordering::Relaxed);
    fixture.wait_for_deliveries(&[(succeeded, ""), (succeeded, ""), (succeeded, "")]);
    assert_eq!(fixture.seen(), ["call_1 1/1", "call_2 3/1", "call_1 1/2", "call_1 2/1"]);
    fixture.local.stop();
}

#[test]
fn later_events_overtake_after_the_ordering_timeout() {
    let failing = |_: &str, _| Outcome::retry("down");
    let settings =
        DeliverySettings { ordering_timeout: Duration::from_secs(60), ..one_retry_after(Duration::from_secs(3_600)) };
    let fixture = DispatchFixture::start(settings, false, failing);
    fixture.deliver_numbered("call_1", 1);
    fixture.wait_for_attempts(&["call_1 1/1"]);
    fixture.deliver_numbered("call_1", 2);
    // The failure counts from when it was stored.
    fixture.wait_for_deliveries(&[(DeliveryState::Scheduled, "down"), (DeliveryState::Pending, "")]);
    fixture.clock_offset_ms.store(30_000, Ordering::Relaxed);
    fixture.deliver_numbered("call_2", 3);
    fixture.wait_for_attempts(&["call_2 3/1"]);
    assert!(!fixture.seen().contains(&"call_1 2/1".to_owned()));
    fixture.clock_offset_ms.store(70_000, Ordering::Relaxed);
    // Wakes the worker, which sleeps by the real clock.
    fixture.deliver_numbered("call_3", 4);
    fixture.wait_for_attempts(&["call_1 2/1"]);
    fixture.local.stop();
}

#[test]
fn skipped_deliveries_have_a_reason() {
    let settings = || DeliverySettings { revisions: RevisionPolicy::Skip, ..DeliverySettings::default() };
    let fixture = DispatchFixture::start(settings(), true, |_, _| Outcome::Done);
    fixture.deliver_call_ended("call_1");
    let again = event_body("call_ended", "call_1").into_iter().chain(*b" ").collect::<Vec<_>>();
    assert_eq!(fixture.local.post_signed(&again).status, 200);
    fixture.deliver_call_ended("call_test_1");
    let chat = br#"{"event":"chat_ended","chat":{"chat_id":"chat_test_1"}}"#;
    assert_eq!(fixture.local.post_signed(chat).status, 200);
    let wanted = event_body("call_ended", "call_test_2");
    assert_eq!(post_to(fixture.local.address, "/webhook?effects=true", &wanted, &sign(&wanted)).status, 200);
    let (succeeded, skipped) = (DeliveryState::Succeeded, DeliveryState::Skipped);
    fixture.wait_for_deliveries(&[
        (succeeded, ""),
        (skipped, "revision"),
        (skipped, "test"),
        (skipped, "test"),
        (succeeded, ""),
    ]);
    // Of different calls, so in any order.
    let mut seen = fixture.seen();
    seen.sort();
    assert_eq!(seen, ["call_1/1", "call_test_2/1"]);
    fixture.local.stop();

    let fixture = DispatchFixture::start(DeliverySettings::default(), false, |_, _| Outcome::Done);
    fixture.deliver_call_ended("call_test_1");
    fixture.wait_for_attempts(&["call_test_1/1"]);
    fixture.local.stop();

    let fixture = DispatchFixture::start_with_handler(DeliverySettings::default(), false, false, |_, _| Outcome::Done);
    fixture.deliver_call_ended("call_1");
    fixture.wait_for_deliveries(&[(skipped, "disabled")]);
    assert!(fixture.seen().is_empty());
    fixture.local.stop();
}

#[test]
fn a_transcript_update_supersedes_pending_ones() {
    let settings = DeliverySettings { transcripts: TranscriptPolicy::Latest, ..DeliverySettings::default() };
    let fixture = DispatchFixture::start(settings, false, |_, _| Outcome::Done);
    fixture.is_blocked.store(true, Ordering::Relaxed);
    fixture.deliver_numbered("call_slow", 1);
    fixture.wait_for_attempts(&["call_slow 1/1"]);
    (2..=4).for_each(|n| fixture.deliver_numbered("call_slow", n));
    let (succeeded, skipped) = (DeliveryState::Succeeded, (DeliveryState::Skipped, "superseded"));
    assert!(wait_until(WAIT_LIMIT, || fixture
        .list_deliveries()
        .iter()
        .filter(|(_, note)| note == "superseded")
        .count()
        == 2));
    fixture.is_blocked.store(false, Ordering::Relaxed);
    fixture.wait_for_deliveries(&[(succeeded, ""), skipped, skipped, (succeeded, "")]);
    assert_eq!(fixture.seen(), ["call_slow 1/1", "call_slow 4/1"]);
    fixture.local.stop();
}

#[test]
fn an_attempt_that_times_out_is_retried() {
    let settings =
        DeliverySettings { attempt_timeout: Duration::from_millis(200), ..one_retry_after(Duration::from_millis(100)) };
    let fixture = DispatchFixture::start(settings, false, |_, _| Outcome::Done);
    fixture.is_blocked.store(true, Ordering::Relaxed);
    fixture.deliver_call_ended("call_slow");
    fixture.wait_for_deliveries(&[(DeliveryState::Dead, "no result within 200 ms")]);
    assert_eq!(fixture.seen(), ["call_slow/1", "call_slow/2"]);
    let event_id = list_deliveries(fixture.folder.path())[0]["event_id"].as_str().unwrap().to_owned();
    let shown = command_json(fixture.folder.path(), &["deliveries", "show", &event_id]);
    let records = shown[0]["attempt_records"].as_array().unwrap();
    let attempts: Vec<_> = records.iter().map(|record| (&record["attempt"], &record["outcome"])).collect();
    assert_eq!(attempts, [(&json!(1), &json!("retry")), (&json!(2), &json!("retry"))]);
    fixture.local.stop();
}

#[test]
fn slow_attempts_leave_permits_for_others_up_to_the_concurrency() {
    let settings = DeliverySettings { concurrency: 2, ..DeliverySettings::default() };
    let fixture = DispatchFixture::start(settings, false, |_, _| Outcome::Done);
    fixture.is_blocked.store(true, Ordering::Relaxed);
    fixture.deliver_call_ended("call_slow_1");
    fixture.wait_for_attempts(&["call_slow_1/1"]);
    fixture.deliver_call_ended("call_1");
    fixture.wait_for_attempts(&["call_1/1"]);
    fixture.deliver_call_ended("call_slow_2");
    fixture.wait_for_attempts(&["call_slow_2/1"]);
    fixture.deliver_call_ended("call_2");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!fixture.seen().contains(&"call_2/1".to_owned()), "two running attempts at most");
    fixture.is_blocked.store(false, Ordering::Relaxed);
    fixture.wait_for_attempts(&["call_2/1"]);
    fixture.local.stop();
}

#[test]
fn the_circuit_breaker_stops_attempts_while_the_destination_is_down() {
    let up = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(AtomicUsize::new(0));
    let (handler_up, handler_attempts) = (Arc::clone(&up), Arc::clone(&attempts));
    let outcome = move |_: &str, _| {
        handler_attempts.fetch_add(1, Ordering::Relaxed);
        if handler_up.load(Ordering::Relaxed) { Outcome::Done } else { Outcome::retry("down") }
    };
    let settings = DeliverySettings { concurrency: 1, ..one_retry_after(Duration::from_secs(3_600)) };
    let fixture = DispatchFixture::start(settings, true, outcome);
    (0..40).for_each(|n| fixture.deliver_call_ended(&format!("call_{n}")));
    let breaker = || command_json(fixture.folder.path(), &["status"])["handlers"][0]["breaker"].clone();
    assert!(wait_until(WAIT_LIMIT, || breaker() == "open"));
    assert_eq!(attempts.load(Ordering::Relaxed), 5);
    let pending = |(state, _): &(DeliveryState, String)| *state == DeliveryState::Pending;
    assert!(wait_until(WAIT_LIMIT, || fixture.list_deliveries().iter().filter(|row| pending(row)).count() == 35));
    up.store(true, Ordering::Relaxed);
    fixture.clock_offset_ms.store(11_000, Ordering::Relaxed);
    assert!(wait_until(WAIT_LIMIT, || breaker() == "closed" && attempts.load(Ordering::Relaxed) == 40));
    assert!(!fixture.list_deliveries().iter().any(pending));
    fixture.local.stop();
}

#[test]
fn deliveries_expire_while_the_circuit_breaker_is_open() {
    let settings = DeliverySettings {
        max_age: Duration::from_secs(60),
        concurrency: 1,
        ..one_retry_after(Duration::from_secs(30))
    };
    let fixture = DispatchFixture::start(settings, true, |_, _| Outcome::retry("down"));
    (0..8).for_each(|n| fixture.deliver_call_ended(&format!("call_{n}")));
    let breaker_open =
        || fixture.list_deliveries().iter().filter(|(state, _)| *state == DeliveryState::Pending).count() == 3;
    assert!(wait_until(WAIT_LIMIT, || fixture.seen().len() == 5 && breaker_open()));
    fixture.clock_offset_ms.store(61_000, Ordering::Relaxed);
    let all_dead = || fixture.list_deliveries().iter().all(|(state, _)| *state == DeliveryState::Dead);
    assert!(wait_until(WAIT_LIMIT, all_dead), "{:?}", fixture.list_deliveries());
    assert!(fixture.list_deliveries()[7].1.contains("longer than max_age_ms"), "{:?}", fixture.list_deliveries());
    fixture.local.stop();
}
