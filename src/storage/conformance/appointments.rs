//! The calendar, see [`AppointmentStore`](crate::storage::AppointmentStore).

use jiff::tz::TimeZone;

use super::TestStore;
use crate::base::id::CompanyId;
use crate::storage::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, AppointmentSlot, BookingAction,
    BookingContext, BookingEventData, BookingOutcome, BookingRequest, DEFAULT_COMPANY_ID, EventFilter, EventOrigin,
    Role, SLOT_STEP_MS, StoreErrorKind,
};

const DAY_START_MS: i64 = 1_795_219_200_000;
const MONTH_MS: i64 = 31 * 24 * 3_600_000;

fn context(store: &TestStore, invocation: &str, now_ms: i64) -> BookingContext {
    BookingContext {
        company_id: DEFAULT_COMPANY_ID,
        idempotency_key: Some(invocation.to_owned()),
        now_ms,
        event: BookingEventData {
            event_id: store.event_ids.next_id(now_ms),
            time_zone: TimeZone::UTC,
            time_zone_name: "UTC".to_owned(),
            call_id: Some("call_1".to_owned()),
        },
    }
}

fn slot(start: i64, steps: i64) -> AppointmentSlot {
    let start_ms = DAY_START_MS + start * SLOT_STEP_MS;
    AppointmentSlot { start_ms, end_ms: start_ms + steps * SLOT_STEP_MS, service: None, capacity: 1 }
}

fn booking(store: &TestStore, invocation: &str, confirmations: &[&str], slot: AppointmentSlot) -> BookingRequest {
    BookingRequest {
        context: context(store, invocation, DAY_START_MS),
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

async fn book(store: &TestStore, booking: BookingRequest) -> Option<Appointment> {
    match store.book_appointment(booking).await.unwrap() {
        BookingOutcome::Done(BookingAction::Booked, appointment) => Some(*appointment),
        _ => None,
    }
}

fn done(outcome: BookingOutcome) -> (BookingAction, Appointment) {
    let BookingOutcome::Done(action, appointment) = outcome else { panic!("{outcome:?}") };
    (action, *appointment)
}

pub(in crate::storage) async fn overlapping_times_are_booked_once(store: TestStore) {
    assert!(book(&store, booking(&store, "a", &["A"], slot(10, 6))).await.is_some());
    for (start, steps, free) in [(15, 1, false), (5, 6, false), (4, 20, false), (16, 6, true), (4, 6, true)] {
        let name = format!("{start}+{steps}");
        let request = booking(&store, &name, &[&name], slot(start, steps));
        assert_eq!(book(&store, request).await.is_some(), free, "{name}");
    }
    let taken = store.slot_occupancy(DEFAULT_COMPANY_ID, DAY_START_MS, DAY_START_MS + 13 * SLOT_STEP_MS).await.unwrap();
    assert_eq!(taken, (4..13).map(|step| (DAY_START_MS + step * SLOT_STEP_MS, 1)).collect::<Vec<_>>());
    let events = store.list_events(EventFilter::default()).await.unwrap();
    assert_eq!(events.len(), 3, "one event per booking, and none for an unavailable time");
}

pub(in crate::storage) async fn concurrent_bookings_share_no_place(store: TestStore) {
    let requests = (0..20).map(|number| {
        let name = format!("caller {number}");
        book(&store, booking(&store, &name, &[&name], AppointmentSlot { capacity: 3, ..slot(10, 6) }))
    });
    let booked = futures_util::future::join_all(requests.collect::<Vec<_>>()).await;
    assert_eq!(booked.into_iter().flatten().count(), 3);
}

pub(in crate::storage) async fn a_confirmation_number_is_used_once(store: TestStore) {
    let confirmation = async |name: &str, step| {
        book(&store, booking(&store, name, &["A", "B"], slot(step, 1))).await.unwrap().confirmation
    };
    assert_eq!((confirmation("a", 1).await, confirmation("b", 2).await), ("A".to_owned(), "B".to_owned()));
    let none_left = store.book_appointment(booking(&store, "c", &["A", "B"], slot(3, 1))).await;
    assert_eq!(none_left.unwrap_err().kind(), StoreErrorKind::Constraint);
    let taken = store.slot_occupancy(DEFAULT_COMPANY_ID, DAY_START_MS, i64::MAX).await.unwrap();
    assert_eq!(taken.len(), 2, "the failed booking left no slot");
}

pub(in crate::storage) async fn a_repeated_invocation_gets_its_first_outcome(store: TestStore) {
    let booked = book(&store, booking(&store, "a", &["A"], slot(1, 1))).await.unwrap();
    let change = |invocation: &str, start| AppointmentChange {
        context: context(&store, invocation, DAY_START_MS + 1),
        appointment_id: booked.id,
        new_slot: slot(start, 1),
    };
    let (action, moved) = done(store.change_appointment(change("b", 5)).await.unwrap());
    assert_eq!((action, moved.start_ms, moved.revision), (BookingAction::Changed, slot(5, 1).start_ms, 1));
    assert_eq!(book(&store, booking(&store, "a", &["B"], slot(1, 1))).await.unwrap().start_ms, booked.start_ms);
    let (_, repeated) = done(store.change_appointment(change("b", 7)).await.unwrap());
    assert_eq!(repeated.start_ms, moved.start_ms);
    let store = store.restart().await;
    let recorded = store.find_invocation_outcome(DEFAULT_COMPANY_ID, "b".to_owned()).await.unwrap().unwrap();
    assert_eq!(done(recorded), (BookingAction::Changed, moved));
    assert_eq!(store.list_events(EventFilter::default()).await.unwrap().len(), 2, "a repetition has no event");
}

pub(in crate::storage) async fn a_change_is_appended_to_the_journal(store: TestStore) {
    let booked = book(&store, booking(&store, "a", &["A"], slot(1, 1))).await.unwrap();
    let context = context(&store, "b", DAY_START_MS + 1);
    let event_id = context.event.event_id;
    let cancellation = AppointmentCancellation { context, appointment_id: booked.id };
    let (action, cancelled) = done(store.cancel_appointment(cancellation).await.unwrap());
    assert_eq!((action, cancelled.cancelled), (BookingAction::Cancelled, true));
    let event = store.get_event(event_id).await.unwrap().unwrap();
    assert_eq!((event.summary.origin, event.summary.call_id.as_deref()), (EventOrigin::Internal, Some("call_1")));
    assert_eq!(event.summary.kind.as_deref(), Some("appointment_cancelled"));
    let body: serde_json::Value = serde_json::from_slice(&event.body.unwrap()).unwrap();
    assert_eq!(body["appointment"]["confirmation_number"], "A");
}

pub(in crate::storage) async fn an_operator_cancels_while_the_receiver_runs(store: TestStore) {
    let appointment = book(&store, booking(&store, "a", &["A"], slot(10, 6))).await.unwrap();
    let operator = store.open_as(Role::Operator);
    let cancellation = |company_id| {
        let context = context(&store, "operator", DAY_START_MS);
        AppointmentCancellation {
            context: BookingContext { company_id, idempotency_key: None, ..context },
            appointment_id: appointment.id,
        }
    };
    for _ in 0..2 {
        let (action, cancelled) = done(operator.cancel_appointment(cancellation(DEFAULT_COMPANY_ID)).await.unwrap());
        assert_eq!((action, cancelled.cancelled, cancelled.revision), (BookingAction::Cancelled, true, 1));
    }
    let other = operator.cancel_appointment(cancellation(CompanyId::new(2))).await.unwrap();
    assert_eq!(other, BookingOutcome::NotFound, "an appointment of another company");
    assert!(book(&store, booking(&store, "b", &["B"], slot(10, 6))).await.is_some());
}

pub(in crate::storage) async fn expired_slots_and_outcomes_are_deleted(store: TestStore) {
    book(&store, booking(&store, "a", &["A"], slot(1, 1))).await.unwrap();
    let later = BookingRequest {
        context: context(&store, "b", DAY_START_MS + MONTH_MS),
        ..booking(&store, "b", &["B"], slot(31 * 288, 1))
    };
    book(&store, later).await.unwrap();
    assert_eq!(store.slot_occupancy(DEFAULT_COMPANY_ID, 0, i64::MAX).await.unwrap().len(), 1);
    assert_eq!(store.find_invocation_outcome(DEFAULT_COMPANY_ID, "a".into()).await.unwrap(), None);
    assert_eq!(store.list_appointments(AppointmentFilter::default()).await.unwrap().len(), 2, "the appointments stay");
}
