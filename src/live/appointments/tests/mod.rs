mod caller_input;
mod dst;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::base::supervise::Supervisor;
use crate::config::{ServiceSettings, StorageUrl};
use crate::live::{FunctionContext, FunctionOutcome};
use crate::storage::{self, DEFAULT_COMPANY_ID, EventFilter, Role, Store};

/// 2026-11-21T09:00:00Z, a Saturday.
const NOW: i64 = 1_795_251_600_000;

struct BookingFixture {
    _supervisor: Supervisor,
    store: Arc<dyn Store>,
    functions: Vec<BuiltInFunction>,
    invocation_counter: AtomicI64,
}

fn settings(zone: &str) -> Settings {
    let mut settings = Settings::default();
    settings.appointments.enabled = true;
    settings.appointments.time_zone = zone.to_owned();
    settings
}

impl BookingFixture {
    fn open(folder: &Path, settings: &Settings, now_ms: i64) -> Self {
        let supervisor = Supervisor::default();
        let url = StorageUrl::file(folder.join("store.db"));
        let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
        let functions = built_in_functions(settings, store.clone(), Clock::from_fn(move || now_ms)).unwrap();
        Self { _supervisor: supervisor, store, functions, invocation_counter: AtomicI64::new(0) }
    }

    fn context(&self, invocation: Option<&str>) -> FunctionContext {
        let number = self.invocation_counter.fetch_add(1, Ordering::Relaxed);
        let invocation = invocation.map_or(format!("invocation_{number}"), str::to_owned);
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut context = FunctionContext::new("f", DEFAULT_COMPANY_ID, "default", &invocation, NOW, deadline);
        context.from_number = Some("+12025550143".to_owned());
        context.to_number = Some("+12025550199".to_owned());
        context
    }

    async fn call_with_context(&self, context: &FunctionContext, name: &str, arguments: Value) -> Value {
        let function = self.functions.iter().find(|function| function.name.starts_with(name)).unwrap();
        match function.function.call(arguments.as_object().unwrap(), context).await {
            FunctionOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn call(&self, name: &str, arguments: Value) -> Value {
        self.call_with_context(&self.context(None), name, arguments).await
    }

    async fn event_names(&self) -> Vec<String> {
        let events = self.store.list_events(EventFilter::default()).await.unwrap();
        events.into_iter().rev().filter_map(|event| event.kind).collect()
    }
}

fn booking_arguments(name: &str, date: &str, time: &str) -> Value {
    json!({"name": name, "date": date, "time": time})
}

fn alternative_starts(answer: &Value) -> Vec<String> {
    let alternatives = answer["alternatives"].as_array().unwrap();
    alternatives.iter().map(|slot| format!("{} {}", slot["date"], slot["time"]).replace('"', "")).collect()
}

#[tokio::test]
async fn booking_confirms_time_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("Europe/Berlin"), NOW);
    let booked = fixture.call("collect", booking_arguments("Ada  Lovelace", "Nov 23", "2:30 PM")).await;
    assert_eq!(booked["result"], "booked", "{booked}");
    assert_eq!(booked["start"], "2026-11-23T14:30:00+01:00");
    assert_eq!(booked["end"], "2026-11-23T15:00:00+01:00");
    assert_eq!((&booked["name"], &booked["time"]), (&json!("Ada Lovelace"), &json!("14:30")));
    let message = booked["message"].as_str().unwrap();
    assert!(message.starts_with("Your appointment is booked for Monday, November 23 at 2:30 PM."), "{message}");
    assert_eq!(booked["confirmation_number"].as_str().unwrap().len(), 6);
    assert_eq!(fixture.event_names().await, ["appointment_booked"]);
}

#[tokio::test]
async fn unavailable_time_offers_the_next_three_free_times() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    for time in ["15:30", "16:30"] {
        assert_eq!(fixture.call("collect", booking_arguments("A", "2026-11-23", time)).await["result"], "booked");
    }
    let taken = fixture.call("collect", booking_arguments("B", "2026-11-23", "15:30")).await;
    assert_eq!(taken["result"], "unavailable");
    assert_eq!(alternative_starts(&taken), ["2026-11-23 16:00", "2026-11-24 09:00", "2026-11-24 09:30"]);
    assert!(taken["message"].as_str().unwrap().contains("Monday, November 23 at 4:00 PM"), "{taken}");
    let closed = fixture.call("collect", booking_arguments("B", "2026-11-22", "10:00")).await;
    assert_eq!(
        (closed["result"].as_str(), alternative_starts(&closed)[0].as_str()),
        (Some("unavailable"), "2026-11-23 09:00")
    );
    let off = fixture.call("collect", booking_arguments("B", "2026-11-24", "10:10")).await;
    assert_eq!(
        (off["result"].as_str(), alternative_starts(&off)[0].as_str()),
        (Some("unavailable"), "2026-11-24 10:30")
    );
}

#[tokio::test]
async fn unclear_past_or_too_distant_times_are_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    for (name, date, time) in [
        ("", "2026-11-23", "10:00"),
        ("A", "", "10:00"),
        ("A", "2026-11-23", ""),
        ("A", "03/04/2027", "10:00"),
        ("A", "2026-11-23", "2:30"),
        ("A", "2026-11-20", "10:00"),
        ("A", "2027-11-23", "10:00"),
        ("A", "2026-11-23T10:00", "11:00"),
    ] {
        let answer = fixture.call("collect", booking_arguments(name, date, time)).await;
        assert_eq!(answer["result"], "invalid", "{name} {date} {time}: {answer}");
        assert!(answer["message"].as_str().unwrap().ends_with(['?', '.']), "{answer}");
    }
    assert!(fixture.event_names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "a test may spawn")]
async fn a_thousand_concurrent_bookings_fill_exactly_ten_slots() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Arc::new(BookingFixture::open(folder.path(), &settings("UTC"), NOW));
    let attempts = (0..1_000).map(|number| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            let minutes = 540 + number % 10 * 30;
            let time = format!("{:02}:{:02}", minutes / 60, minutes % 60);
            fixture.call("collect", booking_arguments(&format!("Caller {number}"), "2026-11-23", &time)).await
        })
    });
    let answers: Vec<Value> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    let count = |result: &str| answers.iter().filter(|answer| answer["result"] == result).count();
    assert_eq!((count("booked"), count("unavailable")), (10, 990));
    assert_eq!(fixture.event_names().await.len(), 10);
}

#[tokio::test]
async fn repeated_invocation_gets_the_same_answer_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = booking_arguments("Ada", "2026-11-23", "10:00");
    let open = || BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let first = open();
    let context = first.context(Some("once"));
    let booked = first.call_with_context(&context, "collect", arguments.clone()).await;
    first.store.close().await.unwrap();
    drop(first);
    let second = open();
    assert_eq!(second.call_with_context(&context, "collect", arguments.clone()).await, booked);
    // Another invocation in the same call: the model calls the function twice.
    let mut first_in_call = second.context(None);
    first_in_call.call_id = Some("call_1".to_owned());
    let other =
        second.call_with_context(&first_in_call, "collect", booking_arguments("Grace", "2026-11-23", "11:00")).await;
    let mut second_in_call = second.context(None);
    second_in_call.call_id = Some("call_1".to_owned());
    assert_eq!(
        second.call_with_context(&second_in_call, "collect", booking_arguments("grace", "23.11.2026", "11 am")).await,
        other
    );
    assert_eq!(second.event_names().await, ["appointment_booked", "appointment_booked"]);
    let change = json!({"confirmation_number": booked["confirmation_number"], "time": "12:00"});
    let change_context = second.context(Some("move"));
    let changed = second.call_with_context(&change_context, "change", change.clone()).await;
    assert_eq!(changed["start"], "2026-11-23T12:00:00+00:00", "{changed}");
    assert_eq!(second.call_with_context(&change_context, "change", change).await, changed);
    assert_eq!(second.call_with_context(&context, "collect", arguments).await, booked, "the recorded answer");
}

#[tokio::test]
async fn concurrent_repeats_of_an_invocation_book_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let context = fixture.context(Some("once"));
    let answers = join_all(
        (0..50).map(|_| fixture.call_with_context(&context, "collect", booking_arguments("A", "2026-11-23", "10:00"))),
    )
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["result"] == "booked"), "{answers:?}");
    assert_eq!(fixture.event_names().await.len(), 1);
}

#[tokio::test]
async fn failed_change_keeps_the_old_slot() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let ada = fixture.call("collect", booking_arguments("Ada", "2026-11-23", "10:00")).await;
    fixture.call("collect", booking_arguments("Bob", "2026-11-23", "11:00")).await;
    let number = &ada["confirmation_number"];
    let to = |time: &str| json!({"confirmation_number": number, "time": time});
    let taken = fixture.call("change", to("11:00")).await;
    assert_eq!(taken["result"], "unavailable");
    assert_eq!(
        fixture.call("collect", booking_arguments("Cyd", "2026-11-23", "10:00")).await["result"],
        "unavailable",
        "the old slot is still occupied"
    );
    let changed = fixture.call("change", to("12:00")).await;
    assert_eq!((&changed["result"], &changed["date"]), (&json!("changed"), &json!("2026-11-23")));
    assert_eq!(&changed["confirmation_number"], number);
    assert_eq!(
        fixture.call("collect", booking_arguments("Cyd", "2026-11-23", "10:00")).await["result"],
        "booked",
        "the old slot is free"
    );
    let spelled = number.as_str().unwrap().to_lowercase().split("").collect::<Vec<_>>().join("-");
    let cancelled = fixture.call("cancel", json!({"confirmation_number": spelled})).await;
    assert_eq!(cancelled["result"], "cancelled", "{cancelled}");
    assert_eq!(fixture.call("cancel", json!({"confirmation_number": number})).await["result"], "cancelled");
    assert_eq!(fixture.call("change", to("13:00")).await["result"], "not_found");
    assert_eq!(fixture.call("cancel", json!({"confirmation_number": "ZZZZZZ"})).await["result"], "not_found");
    let events = fixture.event_names().await;
    assert_eq!(events.iter().filter(|name| *name == "appointment_changed").count(), 1);
    assert_eq!(events.iter().filter(|name| *name == "appointment_cancelled").count(), 1, "{events:?}");
}

#[tokio::test]
async fn without_a_confirmation_number_name_and_phone_numbers_must_match() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    fixture.call("collect", booking_arguments("Ada Lovelace", "2026-11-23", "10:00")).await;
    let stranger = FunctionContext { from_number: Some("+12025550111".to_owned()), ..fixture.context(None) };
    let name = json!({"name": "ada lovelace"});
    assert_eq!(fixture.call_with_context(&stranger, "cancel", name.clone()).await["result"], "not_found");
    fixture.call("collect", booking_arguments("Ada Lovelace", "2026-11-24", "10:00")).await;
    assert_eq!(fixture.call("cancel", name.clone()).await["result"], "invalid", "two appointments");
    assert_eq!(fixture.call("cancel", json!({})).await["result"], "invalid");
    let none = FunctionContext { from_number: None, to_number: None, ..fixture.context(None) };
    assert_eq!(fixture.call_with_context(&none, "cancel", name).await["result"], "not_found");
}

#[tokio::test]
async fn service_durations_and_capacity_are_respected() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    let service = |name: &str, minutes| ServiceSettings { name: name.to_owned(), duration_minutes: minutes };
    settings.appointments.services = vec![service("Check-up", None), service("Filling", Some(90))];
    settings.appointments.capacity = 2;
    let fixture = BookingFixture::open(folder.path(), &settings, NOW);
    let book = |service: &str, time: &str| {
        fixture.call("collect", json!({"name": "A", "date": "2026-11-23", "time": time, "service": service}))
    };
    let booked = book("filling", "10:00").await;
    assert_eq!((&booked["service"], &booked["end"]), (&json!("Filling"), &json!("2026-11-23T11:30:00+00:00")));
    assert_eq!(book("Check-up", "11:00").await["result"], "booked", "capacity is 2");
    assert_eq!(book("Check-up", "11:00").await["result"], "unavailable");
    // From 9:30 to 11:00 one place is free throughout. After that both are occupied until 11:30.
    assert_eq!(book("Filling", "09:30").await["result"], "booked");
    let long = book("Filling", "10:30").await;
    assert_eq!(
        (long["result"].as_str(), alternative_starts(&long)[0].as_str()),
        (Some("unavailable"), "2026-11-23 11:30")
    );
    assert_eq!(book("Filling", "16:00").await["result"], "unavailable", "it would end after closing");
    assert_eq!(book("Surgery", "12:00").await["result"], "invalid");
    let without_service = fixture.call("collect", booking_arguments("A", "2026-11-23", "12:00")).await;
    assert_eq!(without_service["result"], "invalid", "the services differ in length: {without_service}");
}

#[tokio::test]
async fn lower_capacity_counts_earlier_bookings() {
    let folder = tempfile::tempdir().unwrap();
    let mut wide = settings("UTC");
    wide.appointments.capacity = 3;
    let fixture = BookingFixture::open(folder.path(), &wide, NOW);
    let first = fixture.call("collect", booking_arguments("A", "2026-11-23", "10:00")).await;
    for name in ["B", "C"] {
        fixture.call("collect", booking_arguments(name, "2026-11-23", "10:00")).await;
    }
    fixture.call("cancel", json!({"confirmation_number": first["confirmation_number"]})).await;
    fixture.store.close().await.unwrap();
    drop(fixture);
    wide.appointments.capacity = 2;
    wide.appointments.slot_minutes = 20;
    let narrow = BookingFixture::open(folder.path(), &wide, NOW);
    narrow.invocation_counter.store(100, Ordering::Relaxed);
    assert_eq!(narrow.call("collect", booking_arguments("D", "2026-11-23", "10:00")).await["result"], "unavailable");
    let off_grid = narrow.call("collect", booking_arguments("D", "2026-11-23", "10:20")).await;
    assert_eq!(off_grid["result"], "unavailable", "overlaps bookings made with another slot length");
}
