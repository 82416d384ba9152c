use crate::base::id::CompanyId;
use std::path::Path;

use jiff::tz::TimeZone;

use super::*;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::{
    AppointmentSlot, BookingAction, BookingContext, DEFAULT_COMPANY_ID, EventFilter, Journal, SLOT_STEP_MS,
};

const DAY_START_MS: i64 = 1_795_219_200_000;

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
async fn an_appointment_is_not_booked_without_its_event() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open_store(folder.path());
    let conn = rusqlite::Connection::open(url.path()).unwrap();
    conn.execute_batch("CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'no events'); END").unwrap();
    let request = || booking("a", &["A"], slot(1, 1));
    let error = store.book_appointment(request()).await.unwrap_err().to_string();
    assert!(error.contains("no events"), "{error}");
    assert!(store.slot_occupancy(DEFAULT_COMPANY_ID, 0, i64::MAX).await.unwrap().is_empty());
    conn.execute_batch("DROP TRIGGER t").unwrap();
    assert!(book(&store, request()).await.is_some(), "the same invocation can be repeated");
    assert_eq!(store.list_events(EventFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_action_is_an_error_and_not_a_new_booking() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open_store(folder.path());
    book(&store, booking("a", &["A"], slot(1, 1))).await.unwrap();
    let conn = rusqlite::Connection::open(url.path()).unwrap();
    conn.execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE appointment_invocations SET action = 'lost'")
        .unwrap();
    let repeated = store.book_appointment(booking("a", &["B"], slot(2, 1))).await.unwrap_err().to_string();
    let row = "unknown action `lost` in the row of table appointment_invocations with company id 1 and invocation a";
    assert!(repeated.contains(row), "{repeated}");
}
