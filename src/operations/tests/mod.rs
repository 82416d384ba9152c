//! The operations against a live receiver in this process, each asserted by its typed result.

mod live_receiver;
mod retell_api;

use std::io::Cursor;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::live_receiver::{CALL_ID, LiveReceiver, OPERATOR, first_page, store_settings, wait_until};
use super::{ItemKind, OperationError};
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::calls::{CallFilter, CallGrouping, CallKind, CallStatsFilter};
use crate::event::EventKind;
use crate::operations::deliveries::show_deliveries;
use crate::operations::doctor::{DoctorRequest, diagnose_setup};
use crate::operations::events::{EventTail, TailFilter, TailOutput, TailStart, event_body, list_events, show_event};
use crate::operations::receiver::{EventContent, EventToSend, SimulationUpdate, simulate};
use crate::storage::{
    self, AppointmentFilter, DeliveryChange, DeliveryFilter, DeliveryState, EventFilter, InvocationFilter,
    RejectedFilter, Role, Store,
};
use crate::view::{
    AppointmentStateView, AttemptOutcomeView, ConversationView, EventStateView, FindingLevel, InvocationStateView,
    OutlookView, StoreComparisonView,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_events_are_listed_shown_and_followed() {
    let live = LiveReceiver::start(|_| {}).await;
    let sent = live.send(EventContent::Sample(EventKind::CallStarted)).await;
    assert_eq!((sent.status, sent.response_body.as_str()), (200, r#"{"received":true}"#));
    live.send_call().await;
    let listed = list_events(&*live.store, &OPERATOR, EventFilter::default()).await.unwrap();
    let kinds: Vec<_> = listed.iter().map(|event| event.event.as_deref().unwrap()).collect();
    assert_eq!(kinds, ["call_ended", "call_started", "call_started"]);
    assert_eq!(
        (listed[0].state, listed[0].call_id.as_deref(), listed[0].duplicates),
        (EventStateView::Stored, Some(CALL_ID), 0)
    );

    let id = live.event_id("call_ended").await;
    let unknown = EventIdGenerator::default().next_id(1_790_000_000_000);
    let is_unknown_event =
        |error: OperationError| matches!(error, OperationError::NotFound { kind: ItemKind::Event, .. });
    let by_id = DeliveryFilter { event_handler_pairs: vec![(unknown, None)], ..DeliveryFilter::default() };
    assert!(is_unknown_event(first_page(&*live.store, by_id).await.unwrap_err()));
    assert!(is_unknown_event(show_deliveries(&*live.store, &OPERATOR, unknown, None).await.unwrap_err()));
    assert!(is_unknown_event(show_event(&*live.store, &OPERATOR, unknown).await.unwrap_err()));
    let shown = show_event(&*live.store, &OPERATOR, id).await.unwrap();
    assert_eq!((shown.event.id, shown.inbound_answer.is_none()), (id.to_string(), true));
    let body: Value = serde_json::from_slice(&event_body(&*live.store, &OPERATOR, id).await.unwrap()).unwrap();
    assert_eq!(body["call"]["disconnection_reason"], "user_hangup");

    let filter = TailFilter { kinds: vec!["call_ended".to_owned()], ..TailFilter::default() };
    let mut tail = EventTail::new(&live.settings, filter, TailStart::Latest(5));
    let mut followed = Vec::new();
    while followed.is_empty() {
        let TailOutput::Events(batch) = tail.next().await.unwrap() else { panic!("the store can be read") };
        followed = batch.events;
    }
    assert_eq!((followed.len(), followed[0].duration_ms), (1, Some(65_000)));
    assert_eq!(followed[0].disconnection_reason.as_deref(), Some("user_hangup"));
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_retried_and_replayed() {
    let live = LiveReceiver::start(|_| {}).await;
    live.send_call().await;
    let id = live.event_id("call_ended").await;
    let dead = || DeliveryFilter { states: Some(vec![DeliveryState::Dead]), ..DeliveryFilter::default() };
    wait_until(async || first_page(&*live.store, dead()).await.unwrap().len() == 1).await;
    let dead_letter = first_page(&*live.store, dead()).await.unwrap().remove(0);
    assert_eq!((dead_letter.event_id, dead_letter.attempts), (id.to_string(), 1));
    assert_eq!(dead_letter.reason.as_deref(), Some("the contact does not exist"));

    live.handler_succeeds.store(true, Ordering::Relaxed);
    let retried = live.change(DeliveryChange::Retry, &[DeliveryState::Dead]).await;
    assert_eq!((retried.selected, retried.changed), (1, 1));
    live.wait_for_state(id, &dead_letter.handler, DeliveryState::Succeeded).await;

    live.wait_for_state(id, "log", DeliveryState::Succeeded).await;
    live.wait_for_state(id, "call_store", DeliveryState::Succeeded).await;
    let replayed = live.change(DeliveryChange::Replay, &[DeliveryState::Succeeded]).await;
    assert_eq!((replayed.selected, replayed.changed), (3, 3));
    live.wait_for_state(id, &dead_letter.handler, DeliveryState::Succeeded).await;
    let outlooks = show_deliveries(&*live.store, &OPERATOR, id, Some(&dead_letter.handler)).await.unwrap();
    let OutlookView::Delivery(details) = &outlooks[0] else { panic!("{outlooks:?}") };
    assert!(details.delivery.replay);
    let outcomes: Vec<_> = details.attempt_records.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes[..2], [AttemptOutcomeView::Fail, AttemptOutcomeView::Done]);
    assert!(show_deliveries(&*live.store, &OPERATOR, id, Some("crm")).await.is_err());
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_listed_shown_and_counted() {
    let live = LiveReceiver::start(|_| {}).await;
    live.send_call().await;
    live.wait_for_state(live.event_id("call_ended").await, "call_store", DeliveryState::Succeeded).await;
    let filter = CallFilter {
        kind: CallKind::Call,
        company: None,
        agent_id: None,
        include_tests: true,
        since_ms: None,
        until_ms: None,
        limit: 10,
    };
    let calls =
        crate::operations::conversations::list_conversations(&*live.store, &OPERATOR, filter, false).await.unwrap();
    let [ConversationView::Call(call)] = &calls[..] else { panic!("{} calls", calls.len()) };
    assert_eq!((call.call_id.as_str(), call.base.duration_ms), (CALL_ID, Some(65_000)));
    assert_eq!(call.from_number.as_deref(), Some("+12•••43"));
    let shown =
        crate::operations::conversations::show_conversation(&*live.store, &OPERATOR, CallKind::Call, CALL_ID, true)
            .await
            .unwrap();
    let ConversationView::Call(call) = shown.conversation else { panic!("a chat") };
    assert_eq!(call.from_number.as_deref(), Some("+12025550143"));
    let missing =
        crate::operations::conversations::show_conversation(&*live.store, &OPERATOR, CallKind::Chat, CALL_ID, false)
            .await;
    assert!(matches!(missing, Err(OperationError::NotFound { kind: ItemKind::Chat, .. })));
    let chats = CallStatsFilter { kind: CallKind::Chat, ..CallStatsFilter::default() };
    let by_reason = Some(CallGrouping::Reason);
    let refused =
        crate::operations::conversations::count_conversations(&*live.store, &OPERATOR, chats, by_reason).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.starts_with("chats cannot be grouped by reason; group them by one of day, agent"), "{refused}");
    let stats = crate::operations::conversations::count_conversations(
        &*live.store,
        &OPERATOR,
        CallStatsFilter::default(),
        None,
    )
    .await
    .unwrap();
    assert_eq!((stats.total.count, stats.total.duration_ms), (1, 65_000));
    assert_eq!(stats.by["agent"][0].key.as_deref(), Some("agent_1"));
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_wrong_key_is_listed_as_rejected() {
    let live = LiveReceiver::start(|_| {}).await;
    let mut other = live.settings.clone();
    other.security.keys = vec![Secret::new("key_1111111111111111111111test")];
    let url = Some(crate::operations::receiver::local_base_url(&live.settings));
    let event = EventToSend { content: EventContent::Sample(EventKind::CallEnded), url, company: None };
    let sent = crate::operations::receiver::send_event(&other, &Clock::system(), &OPERATOR, event).await.unwrap();
    assert_eq!(sent.status, 401);
    let is_listed = async || {
        !crate::operations::rejected::list_rejected_requests(&*live.store, &OPERATOR, RejectedFilter::default(), 10)
            .await
            .unwrap()
            .is_empty()
    };
    wait_until(is_listed).await;
    let listed =
        crate::operations::rejected::list_rejected_requests(&*live.store, &OPERATOR, RejectedFilter::default(), 10)
            .await
            .unwrap();
    let id = listed[0].id.parse().unwrap();
    let shown = crate::operations::rejected::show_rejected_request(&*live.store, &OPERATOR, id).await.unwrap();
    assert_eq!((shown.method.as_str(), shown.has_body, shown.diagnosis.is_empty()), ("POST", false, false));
    let error =
        crate::operations::rejected::rejected_request_body(&*live.store, &OPERATOR, id).await.unwrap_err().to_string();
    assert!(error.contains("security.keep_rejected_bodies"), "{error}");
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appointment_is_booked_by_a_function_and_canceled() {
    let live = LiveReceiver::start(|settings| {
        settings.appointments.enabled = true;
        settings.appointments.time_zone = "UTC".to_owned();
    })
    .await;
    let names: Vec<_> = crate::operations::functions::list_functions(&live.settings).unwrap();
    assert_eq!(names.len(), 3);
    let arguments = json!({ "name": "Ada Lovelace", "date": next_monday(), "time": "10:00" });
    let booked = live.call_function("collect_appointment_information", arguments).await;
    assert_eq!(booked["result"], "booked", "{booked}");
    let number = booked["confirmation_number"].as_str().unwrap().to_owned();

    let filter = || InvocationFilter { call_id: Some(CALL_ID.to_owned()), ..InvocationFilter::default() };
    let invocations =
        crate::operations::functions::list_invocations(&*live.store, &OPERATOR, filter(), 10).await.unwrap();
    assert_eq!((invocations.len(), invocations[0].state), (1, InvocationStateView::Done));

    let clock = Clock::system();
    let list = async || {
        let filter = AppointmentFilter::default();
        crate::operations::appointments::list_appointments(&*live.store, &clock, &OPERATOR, filter, true).await.unwrap()
    };
    let listed = list().await;
    assert_eq!((listed.len(), listed[0].state), (1, AppointmentStateView::Booked));
    assert_eq!(listed[0].name.as_deref(), Some("Ada Lovelace"));
    let reference = crate::operations::appointments::AppointmentReference { confirmation: number, company: None };
    let canceled =
        crate::operations::appointments::cancel_appointment(&*live.store, &clock, &OPERATOR, &reference, false)
            .await
            .unwrap();
    assert_eq!((canceled.state, canceled.name), (AppointmentStateView::Cancelled, None));
    let calendar = crate::operations::appointments::export_appointments(
        &*live.store,
        &clock,
        &OPERATOR,
        AppointmentFilter::default(),
    )
    .await
    .unwrap();
    assert!(calendar.appointments == 1 && calendar.text.contains("STATUS:CANCELLED"), "{}", calendar.text);
    live.stop().await;
}

fn next_monday() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.nth_weekday(2, jiff::civil::Weekday::Monday).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_covers_the_receiver_and_its_store() {
    let live = LiveReceiver::start(|_| {}).await;
    live.send_call().await;
    let url = crate::operations::receiver::local_base_url(&live.settings);
    let health = crate::operations::receiver::check_health(&url).await.unwrap();
    assert!(health.up && health.ready);
    let (settings, clock) = (&live.settings, Clock::system());
    let status = crate::operations::status::show_status(Ok(&*live.store), settings, &clock, &OPERATOR, health).await;
    assert_eq!(status.events.unwrap().accepted, 2);
    assert_eq!(status.last_event.unwrap().event.as_deref(), Some("call_ended"));
    let handlers = status.handlers.unwrap();
    assert!(handlers.iter().any(|handler| handler.handler == "call_store" && handler.configured));
    assert!(status.store.error.is_none() && status.store.size_bytes.unwrap() > 0 && status.alarms.unwrap().is_empty());

    let store = Arc::clone(&live.store);
    let settings = live.settings.clone();
    live.stop().await;
    let health = crate::operations::receiver::check_health(&url).await.unwrap();
    assert!(!health.up && health.response.is_none());
    let gone = storage::StoreError::unavailable("the disk is gone");
    let status =
        crate::operations::status::show_status(Err::<&dyn Store, _>(gone), &settings, &clock, &OPERATOR, health).await;
    assert!(status.events.is_none() && status.store.error.unwrap().contains("the disk is gone"));
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_receiver_passes_the_checks_and_a_simulation() {
    let live = LiveReceiver::start(|_| {}).await;
    let (settings, clock) = (&live.settings, Clock::system());
    let findings =
        diagnose_setup(Ok(settings.clone()), &clock, &OPERATOR, DoctorRequest::default(), &mut |_| {}).await.unwrap();
    let level = |check: &str| findings.iter().find(|finding| finding.check == check).map(|finding| finding.level);
    for check in ["configuration", "keys", "port", "storage folder", "store"] {
        assert_eq!(level(check), Some(FindingLevel::Ok), "{findings:?}");
    }
    assert_eq!(level("server.url"), Some(FindingLevel::Warning), "no public URL: {findings:?}");

    let shown = crate::operations::config::show_settings(settings).unwrap();
    let port = shown.settings.iter().find(|setting| setting.key == "server.port").unwrap();
    assert_eq!((&port.value, port.origin.as_str()), (&Value::from(settings.server.port), "built in"));
    assert!(!shown.tree.to_string().contains("key_0000"));

    let header = crate::operations::signatures::sign_body(settings, &clock, None, b"body", None).unwrap();
    let check =
        |body| crate::operations::signatures::check_signature(settings, &clock, None, &header, body, None).unwrap();
    assert!(check(b"body").valid);
    assert!(!check(b"another").valid && check(b"another").diagnosis.is_some());

    let request = crate::operations::receiver::SimulationRequest {
        scenarios: Vec::new(),
        calls: 6,
        rate: None,
        seed: Some(7),
        effects: false,
        url: None,
        company: None,
        confirmed: false,
    };
    let open_store = || storage::open(&settings.storage.url, Role::Reader, &Supervisor::default());
    let updates = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&updates);
    let on_update = move |update| recorded.lock().unwrap().push(update);
    let stop = CancellationToken::new();
    let simulation = simulate(settings, &clock, &OPERATOR, request, open_store, on_update, stop);
    let report = simulation.await.unwrap();
    let updates = std::mem::take(&mut *updates.lock().unwrap());
    assert!(matches!(&updates[0], SimulationUpdate::Started { seed: 7, url } if url.contains("127.0.0.1")));
    assert!(matches!(updates.last(), Some(SimulationUpdate::Running(progress)) if progress.completed_calls > 0));
    assert!(report.ok && matches!(report.store, StoreComparisonView::Compared { missing: 0, .. }), "{report:?}");
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_events_are_imported_into_another_store() {
    let live = LiveReceiver::start(|_| {}).await;
    live.send_call().await;
    let exported = live.export().await;
    assert_eq!(exported.len(), 2);
    assert!(exported.iter().all(|event| event.headers.signature.is_some() && event.company == "default"));
    let mut lines: String = exported.iter().flat_map(|it| [serde_json::to_string(it).unwrap(), "\n".into()]).collect();
    lines.push_str("not an event\n");
    let first_folder = live.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let settings = store_settings(&folder);
    let clock = Clock::system();
    let mut progress = Vec::new();
    let mut on_progress = |step| progress.push(step);
    let import = crate::operations::import::import_events(
        &settings,
        &clock,
        &OPERATOR,
        |supervisor| storage::open(&settings.storage.url, Role::Receiver, supervisor),
        Cursor::new(lines.clone()),
        &mut on_progress,
    );
    let imported = import.await.unwrap();
    assert_eq!((imported.stored, imported.new_ids, imported.duplicates, imported.bad_lines), (2, 0, 0, 1));
    assert_eq!(imported.line_errors[0].line, 3);
    assert_eq!(progress.last(), Some(&crate::operations::import::ImportProgress::Read(lines.len() as u64)));
    let store = storage::open(&settings.storage.url, Role::Reader, &Supervisor::default()).unwrap();
    let listed = list_events(&*store, &OPERATOR, EventFilter::default()).await.unwrap();
    let ids: Vec<_> = listed.iter().rev().map(|event| event.id.clone()).collect();
    assert_eq!(ids, exported.iter().map(|event| event.id.clone()).collect::<Vec<_>>());
    drop(first_folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_data_is_deleted_with_progress() {
    let live = LiveReceiver::start(|settings| settings.retention.events_days = Some(1)).await;
    live.send_call().await;
    for kind in ["call_started", "call_ended"] {
        live.wait_for_state(live.event_id(kind).await, "call_store", DeliveryState::Succeeded).await;
    }
    let in_a_month = Clock::from_fn(|| Clock::system().now_ms() + 30 * 86_400_000);
    let mut progress = Vec::new();
    let mut record = |reported| progress.push(reported);
    let purge = crate::operations::purge::purge;
    let purged = purge(&*live.store, &live.settings, &in_a_month, &OPERATOR, false, &mut record).await.unwrap();
    let last = progress.last().expect("progress");
    assert_eq!((purged.dry_run, purged.by_age[0].rows, last.done, last.total), (false, 2, 2, 2), "{purged:?}");
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_data_is_counted_and_a_person_is_erased() {
    let live = LiveReceiver::start(|settings| settings.retention.events_days = Some(1)).await;
    live.send_call().await;
    live.wait_for_state(live.event_id("call_ended").await, "call_store", DeliveryState::Succeeded).await;
    let in_a_month = Clock::from_fn(|| Clock::system().now_ms() + 30 * 86_400_000);
    let purged =
        crate::operations::purge::purge(&*live.store, &live.settings, &in_a_month, &OPERATOR, true, &mut |_| {})
            .await
            .unwrap();
    assert!(purged.dry_run && purged.by_age[0].rows > 0, "{purged:?}");

    let request = |dry_run| crate::operations::erase::ErasureRequest {
        subject: crate::operations::erase::ErasureSubject::Phone("+1 202 555 0143".parse().unwrap()),
        company: None,
        dry_run,
    };
    let clock = Clock::system();
    let mut no_progress = |_| {};
    let counted = crate::operations::erase::erase(
        &*live.store,
        &live.settings,
        &clock,
        &OPERATOR,
        &request(true),
        &mut no_progress,
    )
    .await;
    let counted = counted.unwrap();
    let id = live.event_id("call_ended").await;
    assert_eq!((counted.dry_run, counted.erased.events, counted.erased.calls), (true, 2, 1));
    let erased = crate::operations::erase::erase(
        &*live.store,
        &live.settings,
        &clock,
        &OPERATOR,
        &request(false),
        &mut no_progress,
    )
    .await;
    assert_eq!(erased.unwrap().erased.events, 2);
    assert!(event_body(&*live.store, &OPERATOR, id).await.is_err());
    live.stop().await;
}
