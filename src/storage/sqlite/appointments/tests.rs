use crate::base::id::CompanyId;
use std::path::Path;

use jiff::tz::TimeZone;

use super::*;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::Journal;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::{AppointmentSlot, BookingContext, DEFAULT_COMPANY_ID, EventFilter, SLOT_STEP_MS, StoreErrorKind};

const DAY_START_MS: i64 = 1_795_219_200_000;
const MONTH_MS: i64 = 31 * 24 * 3_600_000;

fn open_store(folder: &Path) -> (SqliteStore, SqliteUrl) {
    let url = SqliteUrl::file(folder.join("store.db"));
    (SqliteStore::open(&url, &Supervisor::default()).unwrap(), url)
}

fn event_data(now_ms: i64) -> BookingEventData {
    BookingEventData {
        event_id: EventIdGenerator::default().next_id(now_ms),
        time_zone: TimeZone::UTC,
        time_zone_name: "UTC".to_owned(),
        call_id: None,
    }
}

fn booking_context(invocation: &str, now_ms: i64) -> BookingContext {
    BookingContext {
        company_id: DEFAULT_COMPANY_ID,
        idempotency_key: Some(invocation.to_owned()),
        now_ms,
        event: event_data(now_ms),
    }
}

fn slot(start: i64, steps: i64) -> AppointmentSlot {
    let start_ms = DAY_START_MS + start * SLOT_STEP_MS;
    AppointmentSlot { start_ms, end_ms: start_ms + steps * SLOT_STEP_MS, service: None, capacity: 1 }
}

fn booking(invocation: &str, confirmations: &[&str], slot: AppointmentSlot) -> BookingRequest {
    BookingRequest {
        context: booking_context(invocation, DAY_START_MS),
        slot,
        confirmation_candidates: confirmations.iter().map(|&number| number.to_owned()).collect(),
        name: invocation.to_owned(),
        name_key: invocation.to_owned(),
        from_number: None,
        to_number: None,
        call_id: None,
        time_zone: "UTC".to_owned(),
    }
}

async fn book(store: &SqliteStore, booking: BookingRequest) -> Option<Appointment> {
    match store.book_appointment(booking).await.unwrap() {
        BookingOutcome::Done(BookingAction::Booked, appointment) => Some(*appointment),
        _ => None,
    }
}

#[tokio::test]
async fn overlapping_times_are_booked_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_store(folder.path());
    assert!(book(&store, booking("a", &["A"], slot(10, 6))).await.is_some());
    for (start, steps, free) in [(15, 1, false), (5, 6, false), (4, 20, false), (16, 6, true), (4, 6, true)] {
        let name = format!("{start}+{steps}");
        assert_eq!(book(&store, booking(&name, &[&name], slot(start, steps))).await.is_some(), free, "{name}");
    }
    let taken = store.slot_occupancy(DEFAULT_COMPANY_ID, DAY_START_MS, DAY_START_MS + 13 * SLOT_STEP_MS).await.unwrap();
    assert_eq!(taken, (4..13).map(|step| (DAY_START_MS + step * SLOT_STEP_MS, 1)).collect::<Vec<_>>());
    assert_eq!(
        store.list_events(EventFilter::default()).await.unwrap().len(),
        3,
        "one event per booking, and none for an unavailable time"
    );
}

#[tokio::test]
async fn the_database_rejects_a_second_row_for_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open_store(folder.path());
    let appointment = book(&store, booking("a", &["A"], slot(10, 1))).await.unwrap();
    let conn = rusqlite::Connection::open(url.path()).unwrap();
    let again = conn.execute(
        "INSERT INTO appointment_slots (company_id, start_ms, place, appointment_id) VALUES (?1, ?2, 0, 99)",
        [DEFAULT_COMPANY_ID, CompanyId::new(appointment.start_ms)],
    );
    assert!(again.unwrap_err().to_string().contains("UNIQUE"));
}

#[tokio::test]
async fn a_confirmation_number_is_used_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_store(folder.path());
    assert_eq!(book(&store, booking("a", &["A", "B"], slot(1, 1))).await.unwrap().confirmation, "A");
    assert_eq!(book(&store, booking("b", &["A", "B"], slot(2, 1))).await.unwrap().confirmation, "B");
    let none_left = store.book_appointment(booking("c", &["A", "B"], slot(3, 1))).await;
    assert!(matches!(none_left, Err(error) if error.kind() == StoreErrorKind::Constraint));
    let taken = store.slot_occupancy(DEFAULT_COMPANY_ID, DAY_START_MS, i64::MAX).await.unwrap();
    assert_eq!(taken.len(), 2, "the failed booking left no slot");
}

#[tokio::test]
async fn failed_work_is_undone_without_affecting_other_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_store(folder.path());
    let failing = store.write_with_event(event_data(DAY_START_MS), |conn| {
        conn.execute("INSERT INTO appointment_slots VALUES (1, 300000, 0, 1)", [])?;
        Err(StoreError::constraint("half way"))
    });
    let (failed, booked) = tokio::join!(failing, book(&store, booking("a", &["A"], slot(1, 1))));
    assert!(failed.is_err() && booked.is_some());
    assert!(store.slot_occupancy(DEFAULT_COMPANY_ID, 0, DAY_START_MS).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_can_cancel_while_the_receiver_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open_store(folder.path());
    let appointment = book(&store, booking("a", &["A"], slot(10, 6))).await.unwrap();
    let mut operator_store = OperatorStore::open(&url).unwrap();
    let cancellation = |company_id| {
        let event = event_data(DAY_START_MS);
        let context = BookingContext { company_id, idempotency_key: None, now_ms: DAY_START_MS, event };
        AppointmentCancellation { context, appointment_id: appointment.id }
    };
    for _ in 0..2 {
        let cancelled = operator_store.cancel_appointment(&cancellation(DEFAULT_COMPANY_ID)).unwrap();
        assert!(
            matches!(cancelled, BookingOutcome::Done(BookingAction::Cancelled, it) if it.cancelled && it.revision == 1)
        );
    }
    let other = operator_store.cancel_appointment(&cancellation(CompanyId::new(2))).unwrap();
    assert_eq!(other, BookingOutcome::NotFound, "an appointment of another company");
    assert!(book(&store, booking("b", &["B"], slot(10, 6))).await.is_some());
}

#[tokio::test]
async fn expired_slots_and_invocations_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open_store(folder.path());
    book(&store, booking("a", &["A"], slot(1, 1))).await.unwrap();
    let later = BookingRequest {
        context: booking_context("b", DAY_START_MS + MONTH_MS),
        ..booking("b", &["B"], slot(31 * 288, 1))
    };
    book(&store, later).await.unwrap();
    let taken = store.slot_occupancy(DEFAULT_COMPANY_ID, 0, i64::MAX).await.unwrap();
    assert_eq!(taken.len(), 1);
    let before = store.find_invocation_outcome(DEFAULT_COMPANY_ID, "a".into()).await.unwrap();
    assert_eq!(before, None);
    assert_eq!(store.list_appointments(AppointmentFilter::default()).await.unwrap().len(), 2, "the appointments stay");
}
