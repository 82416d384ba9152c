//! Books, moves and cancels appointments. Every function runs inside a transaction that its caller opened.
//!
//! Functions are retried: a voice agent that gets no answer in time invokes them again, often with other words. The
//! same invocation (idempotency key) therefore gets its first outcome again, and a call that books again may mean an
//! appointment it has made already.

use rusqlite::{Connection, params};

use super::{name_similarity, read};
use crate::base::id::CompanyId;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::{
    Appointment, AppointmentChange, AppointmentSlot, BookingAction, BookingContext, BookingOutcome, BookingRequest,
    SLOT_STEP_MS, StoreError,
};

/// Invocations, and slots of times in the past, are kept for 30 days: no call lasts that long, so no invocation is
/// repeated after it.
const INVOCATION_RETENTION_MS: i64 = 30 * 24 * 3_600_000;

pub(super) enum AppointmentWrite {
    /// The appointment was changed now, so an event has to be appended.
    Applied(BookingAction, Box<Appointment>),
    /// The change was made before, or is not possible.
    Unchanged(BookingOutcome),
}

impl AppointmentWrite {
    pub(super) fn into_outcome(self) -> BookingOutcome {
        match self {
            Self::Applied(action, appointment) => BookingOutcome::Done(action, appointment),
            Self::Unchanged(outcome) => outcome,
        }
    }

    fn unchanged(action: BookingAction, appointment: Appointment) -> Self {
        Self::Unchanged(BookingOutcome::Done(action, Box::new(appointment)))
    }
}

/// Runs `work` in a savepoint: the transaction is shared with other writes, and a failure must undo this part alone.
pub(super) fn with_savepoint<T>(
    state: &mut WriterContext,
    work: impl FnOnce(&mut WriterContext) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    state.conn.prepare_cached("SAVEPOINT appointment")?.execute([])?;
    let result = work(state);
    let conn = &state.conn;
    // In autocommit mode SQLite has rolled back the whole transaction, on a full disk for example; the savepoint is
    // gone.
    if result.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK TO appointment")?.execute([])?;
    }
    if !conn.is_autocommit() {
        conn.prepare_cached("RELEASE appointment")?.execute([])?;
    }
    result
}

pub(super) fn book(conn: &Connection, booking: &BookingRequest) -> Result<AppointmentWrite, StoreError> {
    let context = &booking.context;
    let company_id = context.company_id;
    if let Some(earlier) = find_earlier_outcome(conn, context)? {
        return Ok(AppointmentWrite::Unchanged(earlier));
    }
    let slot = &booking.slot;
    let of_same_call = match &booking.call_id {
        Some(call_id) => read::list_overlapping_of_call(conn, company_id, call_id, slot.start_ms, slot.end_ms)?,
        None => Vec::new(),
    };
    let places = find_free_places(conn, company_id, slot, None)?;
    if let Some(repeated) = find_repeated_booking(of_same_call, booking, places.is_none()) {
        return correct_booking(conn, booking, repeated);
    }
    let Some(places) = places else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    let id = insert_appointment(conn, booking)?;
    insert_places(conn, company_id, id, &places)?;
    delete_expired(conn, context)?;
    finish_write(conn, company_id, invocation_stamp(context), BookingAction::Booked, id)
}

/// The appointment of the same call that a booking repeats or corrects. The same name stands for the same person, who
/// can be at one place at a time only. Another spelling of the name counts as a correction only where no other place
/// is free: two people with similar names can book the same time as long as there is room, and no one gets another
/// person's appointment.
fn find_repeated_booking(
    of_same_call: Vec<Appointment>,
    booking: &BookingRequest,
    is_full: bool,
) -> Option<Appointment> {
    let is_same_name = |appointment: &Appointment| appointment.name_key == booking.name_key;
    let is_same_start = |appointment: &Appointment| appointment.start_ms == booking.slot.start_ms;
    let is_respelled = |appointment: &Appointment| name_similarity::is_respelling(&booking.name, &appointment.name);
    let find = |matches: &dyn Fn(&Appointment) -> bool| of_same_call.iter().position(matches);
    // From the strictest match to the loosest.
    let mut position = find(&|appointment| is_same_name(appointment) && is_same_start(appointment));
    if position.is_none() {
        position = find(&is_same_name);
    }
    if position.is_none() && is_full {
        position = find(&|appointment| is_same_start(appointment) && is_respelled(appointment));
    }
    of_same_call.into_iter().nth(position?)
}

/// Applies what a repeated booking says differently about an appointment of the same call: name, time or service.
fn correct_booking(
    conn: &Connection,
    booking: &BookingRequest,
    current: Appointment,
) -> Result<AppointmentWrite, StoreError> {
    let context = &booking.context;
    let slot = &booking.slot;
    // A booking without a service does not take the service away.
    let service = slot.service.clone().or_else(|| current.service.clone());
    let is_same = current.start_ms == slot.start_ms
        && current.end_ms == slot.end_ms
        && current.service == service
        && current.name_key == booking.name_key;
    if is_same {
        insert_invocation(conn, invocation_stamp(context), BookingAction::Booked, &current)?;
        return Ok(AppointmentWrite::unchanged(BookingAction::Booked, current));
    }
    let Some(places) = find_free_places(conn, context.company_id, slot, Some(current.id))? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    conn.prepare_cached("UPDATE appointments SET name = ?2, name_key = ?3 WHERE id = ?1")?.execute(params![
        current.id,
        booking.name,
        booking.name_key
    ])?;
    update_slot(conn, context, current.id, &AppointmentSlot { service, ..slot.clone() }, &places)
}

pub(super) fn move_appointment(conn: &Connection, moving: &AppointmentChange) -> Result<AppointmentWrite, StoreError> {
    let context = &moving.context;
    let slot = &moving.new_slot;
    if let Some(earlier) = find_earlier_outcome(conn, context)? {
        return Ok(AppointmentWrite::Unchanged(earlier));
    }
    let appointment = read::find_by_id(conn, context.company_id, moving.appointment_id)?;
    let Some(current) = appointment.filter(|appointment| !appointment.cancelled) else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::NotFound));
    };
    let Some(places) = find_free_places(conn, context.company_id, slot, Some(current.id))? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    if (current.start_ms, current.end_ms, &current.service) == (slot.start_ms, slot.end_ms, &slot.service) {
        insert_invocation(conn, invocation_stamp(context), BookingAction::Changed, &current)?;
        return Ok(AppointmentWrite::unchanged(BookingAction::Changed, current));
    }
    update_slot(conn, context, current.id, slot, &places)
}

fn update_slot(
    conn: &Connection,
    context: &BookingContext,
    id: i64,
    slot: &AppointmentSlot,
    places: &[(i64, u16)],
) -> Result<AppointmentWrite, StoreError> {
    // The new places were found before the old ones are released, in one transaction: a move never loses the
    // appointment.
    release_places(conn, id)?;
    insert_places(conn, context.company_id, id, places)?;
    conn.prepare_cached(
        "UPDATE appointments SET service = ?2, start_ms = ?3, end_ms = ?4, changed_at_ms = ?5, revision = revision + 1
         WHERE id = ?1",
    )?
    .execute(params![id, slot.service, slot.start_ms, slot.end_ms, context.now_ms])?;
    finish_write(conn, context.company_id, invocation_stamp(context), BookingAction::Changed, id)
}

pub(super) fn cancel(
    conn: &Connection,
    company_id: CompanyId,
    id: i64,
    invocation: Option<&str>,
    now_ms: i64,
) -> Result<AppointmentWrite, StoreError> {
    if let Some(invocation) = invocation
        && let Some(earlier) = read::find_invocation_outcome(conn, company_id, invocation)?
    {
        return Ok(AppointmentWrite::Unchanged(earlier));
    }
    let stamp = InvocationStamp { idempotency_key: invocation, now_ms };
    let Some(current) = read::find_by_id(conn, company_id, id)? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::NotFound));
    };
    if current.cancelled {
        insert_invocation(conn, stamp, BookingAction::Cancelled, &current)?;
        return Ok(AppointmentWrite::unchanged(BookingAction::Cancelled, current));
    }
    release_places(conn, current.id)?;
    conn.prepare_cached(
        "UPDATE appointments SET state = 'cancelled', changed_at_ms = ?2, revision = revision + 1 WHERE id = ?1",
    )?
    .execute(params![current.id, now_ms])?;
    finish_write(conn, company_id, stamp, BookingAction::Cancelled, current.id)
}

fn find_earlier_outcome(conn: &Connection, context: &BookingContext) -> Result<Option<BookingOutcome>, StoreError> {
    match &context.idempotency_key {
        Some(invocation) => read::find_invocation_outcome(conn, context.company_id, invocation),
        None => Ok(None),
    }
}

/// The invocation that makes a change, and its time. Without a key (an operator command) nothing is recorded.
#[derive(Clone, Copy)]
struct InvocationStamp<'a> {
    idempotency_key: Option<&'a str>,
    now_ms: i64,
}

fn invocation_stamp(context: &BookingContext) -> InvocationStamp<'_> {
    InvocationStamp { idempotency_key: context.idempotency_key.as_deref(), now_ms: context.now_ms }
}

fn finish_write(
    conn: &Connection,
    company_id: CompanyId,
    stamp: InvocationStamp<'_>,
    action: BookingAction,
    id: i64,
) -> Result<AppointmentWrite, StoreError> {
    let appointment = read::find_by_id(conn, company_id, id)?
        .ok_or_else(|| StoreError::constraint(format!("appointment {id} not found right after it was written")))?;
    insert_invocation(conn, stamp, action, &appointment)?;
    Ok(AppointmentWrite::Applied(action, Box::new(appointment)))
}

fn insert_invocation(
    conn: &Connection,
    stamp: InvocationStamp<'_>,
    action: BookingAction,
    appointment: &Appointment,
) -> Result<(), StoreError> {
    let Some(invocation) = stamp.idempotency_key else { return Ok(()) };
    // Service and time are copied: a later change of the appointment must not change the outcome of this invocation.
    conn.prepare_cached(
        "INSERT INTO appointment_invocations
           (company_id, invocation, action, appointment_id, service, start_ms, end_ms, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        appointment.company_id,
        invocation,
        action.as_str(),
        appointment.id,
        appointment.service,
        appointment.start_ms,
        appointment.end_ms,
        stamp.now_ms,
    ])?;
    Ok(())
}

/// A free place for each step of the slot, as (start of the step, place); `None` when a step has none left. Places of
/// the appointment `own` count as free: an appointment may be moved to a time that overlaps with its old one.
fn find_free_places(
    conn: &Connection,
    company_id: CompanyId,
    slot: &AppointmentSlot,
    own: Option<i64>,
) -> Result<Option<Vec<(i64, u16)>>, StoreError> {
    // `IS NOT` instead of `<>`: with `own` NULL, every row has to count.
    let mut others = conn.prepare_cached(
        "SELECT place FROM appointment_slots WHERE company_id = ?1 AND start_ms = ?2 AND appointment_id IS NOT ?3
         ORDER BY place",
    )?;
    let mut free = Vec::new();
    for start_ms in (slot.start_ms..slot.end_ms).step_by(usize::try_from(SLOT_STEP_MS).unwrap_or(1)) {
        let rows = others.query_map(params![company_id, start_ms, own], |row| row.get(0))?;
        let occupied: Vec<u16> = rows.collect::<Result<_, _>>()?;
        // Appointments booked while the capacity was larger may hold places beyond it. They count, or a time could
        // get more appointments than the capacity allows now.
        if occupied.len() >= usize::from(slot.capacity) {
            return Ok(None);
        }
        let Some(place) = (0..slot.capacity).find(|place| !occupied.contains(place)) else { return Ok(None) };
        free.push((start_ms, place));
    }
    Ok(Some(free))
}

fn insert_places(conn: &Connection, company_id: CompanyId, id: i64, places: &[(i64, u16)]) -> Result<(), StoreError> {
    // The primary key (company, start, place) is what prevents double bookings, whatever the checks before have seen.
    let mut insert = conn.prepare_cached(
        "INSERT INTO appointment_slots (company_id, start_ms, place, appointment_id) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (start_ms, place) in places {
        insert.execute(params![company_id, start_ms, place, id])?;
    }
    Ok(())
}

fn release_places(conn: &Connection, id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM appointment_slots WHERE appointment_id = ?1")?.execute([id])?;
    Ok(())
}

/// Deletes slots and invocations that are past [`INVOCATION_RETENTION_MS`]; the appointments themselves stay. Done
/// with each booking, so both tables stay small without a task for it.
fn delete_expired(conn: &Connection, context: &BookingContext) -> Result<(), StoreError> {
    let before_ms = context.now_ms - INVOCATION_RETENTION_MS;
    conn.prepare_cached("DELETE FROM appointment_slots WHERE company_id = ?1 AND start_ms < ?2")?
        .execute(params![context.company_id, before_ms])?;
    conn.prepare_cached("DELETE FROM appointment_invocations WHERE at_ms < ?1")?.execute([before_ms])?;
    Ok(())
}

fn insert_appointment(conn: &Connection, booking: &BookingRequest) -> Result<i64, StoreError> {
    let context = &booking.context;
    let slot = &booking.slot;
    let mut is_used = conn.prepare_cached("SELECT 1 FROM appointments WHERE company_id = ?1 AND confirmation = ?2")?;
    let mut unused = None;
    for confirmation in &booking.confirmation_candidates {
        if !is_used.exists(params![context.company_id, confirmation])? {
            unused = Some(confirmation);
            break;
        }
    }
    let Some(confirmation) = unused else {
        let count = booking.confirmation_candidates.len();
        return Err(StoreError::constraint(format!("all {count} confirmation numbers tried are in use already")));
    };
    conn.prepare_cached(
        "INSERT INTO appointments (company_id, confirmation, state, name, name_key, from_number, to_number, call_id,
           service, start_ms, end_ms, time_zone, revision, booked_at_ms, changed_at_ms)
         VALUES (?1, ?2, 'booked', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, ?12)",
    )?
    .execute(params![
        context.company_id,
        confirmation,
        booking.name,
        booking.name_key,
        booking.from_number,
        booking.to_number,
        booking.call_id,
        slot.service,
        slot.start_ms,
        slot.end_ms,
        booking.time_zone,
        context.now_ms,
    ])?;
    Ok(conn.last_insert_rowid())
}
