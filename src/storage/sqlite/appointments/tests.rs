use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::base::id::EventIds;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::{Asked, DEFAULT_COMPANY, EventFilter, GRAIN_MS, INTERNAL, NewEvent, Slot, Store};

/// A whole number of five minutes.
const DAY: i64 = 1_795_219_200_000;
const MONTH_MS: i64 = 31 * 24 * 3_600_000;

fn open(folder: &Path) -> (SqliteStore, SqliteUrl) {
    let url = SqliteUrl::file(folder.join("store.db"));
    (SqliteStore::open(&url, &Supervisor::default()).unwrap(), url)
}

fn event(deed: Deed, appointment: &Appointment) -> NewEvent {
    NewEvent {
        event: Some(format!("appointment_{}", deed.as_str())),
        call_id: appointment.call_id.clone(),
        key_fingerprint: Some(INTERNAL.to_owned()),
        ..NewEvent::new(
            EventIds::default().next(appointment.changed_at_ms),
            appointment.company_id,
            appointment.changed_at_ms,
            Bytes::from(format!("{}{}", appointment.confirmation, appointment.revision)),
        )
    }
}

fn asked(invocation: &str, now_ms: i64) -> Asked {
    Asked { company_id: DEFAULT_COMPANY, invocation: Some(invocation.to_owned()), now_ms, announce: Arc::new(event) }
}

fn slot(start: i64, steps: i64) -> Slot {
    let start_ms = DAY + start * GRAIN_MS;
    Slot { start_ms, end_ms: start_ms + steps * GRAIN_MS, service: None, capacity: 1 }
}

fn booking(invocation: &str, confirmations: &[&str], slot: Slot) -> Booking {
    Booking {
        asked: asked(invocation, DAY),
        slot,
        confirmations: confirmations.iter().map(|&number| number.to_owned()).collect(),
        name: invocation.to_owned(),
        name_key: invocation.to_owned(),
        from_number: None,
        to_number: None,
        call_id: None,
        time_zone: "UTC".to_owned(),
    }
}

async fn booked(store: &SqliteStore, booking: Booking) -> Option<Appointment> {
    match store.book_appointment(booking).await.unwrap() {
        Arranged::Done(Deed::Booked, appointment) => Some(*appointment),
        _ => None,
    }
}

#[tokio::test]
async fn times_that_meet_in_one_step_are_not_both_given() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    assert!(booked(&store, booking("a", &["A"], slot(10, 6))).await.is_some());
    for (start, steps, free) in [(15, 1, false), (5, 6, false), (4, 20, false), (16, 6, true), (4, 6, true)] {
        let name = format!("{start}+{steps}");
        assert_eq!(booked(&store, booking(&name, &[&name], slot(start, steps))).await.is_some(), free, "{name}");
    }
    let taken = store.places_taken(DEFAULT_COMPANY, DAY, DAY + 13 * GRAIN_MS).await.unwrap();
    assert_eq!(taken, (4..13).map(|step| (DAY + step * GRAIN_MS, 1)).collect::<Vec<_>>());
    assert_eq!(store.events(EventFilter::default()).await.unwrap().len(), 3, "one each, and none for the refused");
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_row_for_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open(folder.path());
    let appointment = booked(&store, booking("a", &["A"], slot(10, 1))).await.unwrap();
    let conn = rusqlite::Connection::open(url.path()).unwrap();
    let again = conn.execute(
        "INSERT INTO appointment_slots (company_id, start_ms, place, appointment_id) VALUES (?1, ?2, 0, 99)",
        [DEFAULT_COMPANY, appointment.start_ms],
    );
    assert!(again.unwrap_err().to_string().contains("UNIQUE"));
}

#[tokio::test]
async fn a_confirmation_number_is_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    assert_eq!(booked(&store, booking("a", &["A", "B"], slot(1, 1))).await.unwrap().confirmation, "A");
    assert_eq!(booked(&store, booking("b", &["A", "B"], slot(2, 1))).await.unwrap().confirmation, "B");
    let none_left = store.book_appointment(booking("c", &["A", "B"], slot(3, 1))).await;
    assert!(matches!(none_left, Err(StoreError::Refused(_))));
    let taken = store.places_taken(DEFAULT_COMPANY, DAY, i64::MAX).await.unwrap();
    assert_eq!(taken.len(), 2, "nothing is left of what failed");
}

#[tokio::test]
async fn work_that_fails_half_way_leaves_nothing_and_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let broken = store.keep(Arc::new(event), |conn| {
        conn.execute("INSERT INTO appointment_slots VALUES (1, 300000, 0, 1)", [])?;
        Err(StoreError::Refused("half way".into()))
    });
    let (broken, kept) = tokio::join!(broken, booked(&store, booking("a", &["A"], slot(1, 1))));
    assert!(broken.is_err() && kept.is_some());
    assert!(store.places_taken(DEFAULT_COMPANY, 0, DAY).await.unwrap().is_empty());
}

#[tokio::test]
async fn cancelled_beside_the_receiver_it_is_free_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = open(folder.path());
    let appointment = booked(&store, booking("a", &["A"], slot(10, 6))).await.unwrap();
    let (mut beside, announce): (_, Announce) = (Beside::open(&url).unwrap(), Arc::new(event));
    for _ in 0..2 {
        let cancelled = beside.cancel_appointment(DEFAULT_COMPANY, appointment.id, DAY, &announce).unwrap();
        assert!(matches!(cancelled, Arranged::Done(Deed::Cancelled, it) if it.cancelled && it.revision == 1));
    }
    let other = beside.cancel_appointment(DEFAULT_COMPANY + 1, appointment.id, DAY, &announce).unwrap();
    assert_eq!(other, Arranged::NotFound, "another company's");
    assert!(booked(&store, booking("b", &["B"], slot(10, 6))).await.is_some());
}

#[tokio::test]
async fn what_nobody_can_ask_for_any_more_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    booked(&store, booking("a", &["A"], slot(1, 1))).await.unwrap();
    let later = Booking { asked: asked("b", DAY + MONTH_MS), ..booking("b", &["B"], slot(31 * 288, 1)) };
    booked(&store, later).await.unwrap();
    let taken = store.places_taken(DEFAULT_COMPANY, 0, i64::MAX).await.unwrap();
    assert_eq!(taken.len(), 1);
    let before = store.appointment_invocation(DEFAULT_COMPANY, "a".into()).await.unwrap();
    assert_eq!(before, None);
    assert_eq!(store.appointments(AppointmentFilter::default()).await.unwrap().len(), 2, "they themselves stay");
}
