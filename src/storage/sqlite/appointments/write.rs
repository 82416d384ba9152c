//! Booking, moving, cancelling: inside a transaction of the caller's.

use rusqlite::{Connection, params};

use super::{name_similarity, read};
use crate::storage::{
    Appointment, AppointmentChange, AppointmentSlot, BookingAction, BookingContext, BookingOutcome, BookingRequest,
    SLOT_STEP_MS, StoreError,
};

/// Thirty days after it nobody repeats an invocation, and nobody asks for a time that is past.
const INVOCATION_RETENTION_MS: i64 = 30 * 24 * 3_600_000;

/// What became of it.
pub(super) enum AppointmentWrite {
    /// It was done now.
    Applied(BookingAction, Box<Appointment>),
    /// It was done before, or cannot be done.
    Unchanged(BookingOutcome),
}

impl AppointmentWrite {
    pub(super) fn into_outcome(self) -> BookingOutcome {
        match self {
            Self::Applied(action, appointment) => BookingOutcome::Done(action, appointment),
            Self::Unchanged(arranged) => arranged,
        }
    }
}

/// All of the work or nothing of it: others share the transaction.
pub(super) fn with_savepoint(
    conn: &Connection,
    work: &mut impl FnMut(&Connection) -> Result<AppointmentWrite, StoreError>,
) -> Result<AppointmentWrite, StoreError> {
    conn.prepare_cached("SAVEPOINT appointment")?.execute([])?;
    let change = work(conn);
    if change.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK TO appointment")?.execute([])?;
    }
    if !conn.is_autocommit() {
        conn.prepare_cached("RELEASE appointment")?.execute([])?;
    }
    change
}

pub(super) fn book(conn: &Connection, booking: &BookingRequest) -> Result<AppointmentWrite, StoreError> {
    let asked = &booking.context;
    if let Some(before) = find_earlier_outcome(conn, asked)? {
        return Ok(AppointmentWrite::Unchanged(before));
    }
    let slot = &booking.slot;
    let own = match &booking.call_id {
        Some(call_id) => {
            read::list_overlapping_of_call(conn, (asked.company_id, call_id), (slot.start_ms, slot.end_ms))?
        }
        None => Vec::new(),
    };
    let places = find_free_places(conn, asked.company_id, slot, None)?;
    if let Some(meant) = find_repeated_booking(own, booking, places.is_none()) {
        return correct_booking(conn, booking, meant);
    }
    let Some(places) = places else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    let id = insert_appointment(conn, booking)?;
    insert_places(conn, asked.company_id, id, &places)?;
    delete_expired(conn, asked)?;
    finish_write(conn, asked.company_id, invocation_stamp(asked), BookingAction::Booked, id)
}

/// Which appointment of the same call is spoken of again: one person is at one place at a time, and where there is no other
/// place, another spelling of the name for the same time corrects the first. Another person gets nobody's time.
fn find_repeated_booking(own: Vec<Appointment>, booking: &BookingRequest, full: bool) -> Option<Appointment> {
    let same_name = |it: &Appointment| it.name_key == booking.name_key;
    let same_start = |it: &Appointment| it.start_ms == booking.slot.start_ms;
    let found = own.iter().position(|it| same_name(it) && same_start(it));
    let found = found.or_else(|| own.iter().position(same_name));
    let corrected =
        |it: &Appointment| full && same_start(it) && name_similarity::is_respelling(&booking.name, &it.name);
    let found = found.or_else(|| own.iter().position(corrected));
    found.and_then(|position| own.into_iter().nth(position))
}

/// What the caller said anew of an appointment made in the same call.
fn correct_booking(
    conn: &Connection,
    booking: &BookingRequest,
    it: Appointment,
) -> Result<AppointmentWrite, StoreError> {
    let (asked, slot) = (&booking.context, &booking.slot);
    let service = slot.service.clone().or_else(|| it.service.clone());
    let same = (it.start_ms, it.end_ms, &it.service, &it.name_key)
        == (slot.start_ms, slot.end_ms, &service, &booking.name_key);
    if same {
        insert_invocation(conn, invocation_stamp(asked), BookingAction::Booked, &it)?;
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Done(BookingAction::Booked, Box::new(it))));
    }
    let Some(places) = find_free_places(conn, asked.company_id, slot, Some(it.id))? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    conn.prepare_cached("UPDATE appointments SET name = ?2, name_key = ?3 WHERE id = ?1")?.execute(params![
        it.id,
        booking.name,
        booking.name_key
    ])?;
    update_slot(conn, asked, it.id, &AppointmentSlot { service, ..slot.clone() }, &places)
}

pub(super) fn move_appointment(conn: &Connection, moving: &AppointmentChange) -> Result<AppointmentWrite, StoreError> {
    let (asked, slot) = (&moving.context, &moving.new_slot);
    if let Some(before) = find_earlier_outcome(conn, asked)? {
        return Ok(AppointmentWrite::Unchanged(before));
    }
    let Some(now) = read::find_by_id(conn, asked.company_id, moving.appointment_id)?.filter(|now| !now.cancelled)
    else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::NotFound));
    };
    let Some(places) = find_free_places(conn, asked.company_id, slot, Some(now.id))? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Unavailable));
    };
    if (now.start_ms, now.end_ms, &now.service) == (slot.start_ms, slot.end_ms, &slot.service) {
        insert_invocation(conn, invocation_stamp(asked), BookingAction::Changed, &now)?;
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Done(BookingAction::Changed, Box::new(now))));
    }
    update_slot(conn, asked, now.id, slot, &places)
}

fn update_slot(
    conn: &Connection,
    asked: &BookingContext,
    id: i64,
    slot: &AppointmentSlot,
    places: &[(i64, u16)],
) -> Result<AppointmentWrite, StoreError> {
    release_places(conn, id)?;
    insert_places(conn, asked.company_id, id, places)?;
    conn.prepare_cached(
        "UPDATE appointments SET service = ?2, start_ms = ?3, end_ms = ?4, changed_at_ms = ?5, revision = revision + 1
         WHERE id = ?1",
    )?
    .execute(params![id, slot.service, slot.start_ms, slot.end_ms, asked.now_ms])?;
    finish_write(conn, asked.company_id, invocation_stamp(asked), BookingAction::Changed, id)
}

pub(super) fn cancel(
    conn: &Connection,
    (company_id, id): (i64, i64),
    invocation: Option<&str>,
    now_ms: i64,
) -> Result<AppointmentWrite, StoreError> {
    if let Some(invocation) = invocation
        && let Some(before) = read::find_invocation_outcome(conn, company_id, invocation)?
    {
        return Ok(AppointmentWrite::Unchanged(before));
    }
    let asking = (invocation, now_ms);
    let Some(now) = read::find_by_id(conn, company_id, id)? else {
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::NotFound));
    };
    if now.cancelled {
        insert_invocation(conn, asking, BookingAction::Cancelled, &now)?;
        return Ok(AppointmentWrite::Unchanged(BookingOutcome::Done(BookingAction::Cancelled, Box::new(now))));
    }
    release_places(conn, now.id)?;
    conn.prepare_cached(
        "UPDATE appointments SET state = 'cancelled', changed_at_ms = ?2, revision = revision + 1 WHERE id = ?1",
    )?
    .execute([now.id, now_ms])?;
    finish_write(conn, company_id, asking, BookingAction::Cancelled, now.id)
}

fn find_earlier_outcome(conn: &Connection, asked: &BookingContext) -> Result<Option<BookingOutcome>, StoreError> {
    match &asked.idempotency_key {
        Some(invocation) => read::find_invocation_outcome(conn, asked.company_id, invocation),
        None => Ok(None),
    }
}

/// By which invocation, if by one, and when.
type InvocationStamp<'a> = (Option<&'a str>, i64);

fn invocation_stamp(asked: &BookingContext) -> InvocationStamp<'_> {
    (asked.idempotency_key.as_deref(), asked.now_ms)
}

fn finish_write(
    conn: &Connection,
    company_id: i64,
    asking: InvocationStamp<'_>,
    action: BookingAction,
    id: i64,
) -> Result<AppointmentWrite, StoreError> {
    let appointment = read::find_by_id(conn, company_id, id)?
        .ok_or_else(|| StoreError::InvalidData("an appointment that was just written is not there".into()))?;
    insert_invocation(conn, asking, action, &appointment)?;
    Ok(AppointmentWrite::Applied(action, Box::new(appointment)))
}

fn insert_invocation(
    conn: &Connection,
    (invocation, now_ms): InvocationStamp<'_>,
    action: BookingAction,
    appointment: &Appointment,
) -> Result<(), StoreError> {
    let Some(invocation) = invocation else { return Ok(()) };
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
        now_ms,
    ])?;
    Ok(())
}

/// A free place in each step of the time; `None` when one has none left. What `own` holds counts as free.
fn find_free_places(
    conn: &Connection,
    company_id: i64,
    slot: &AppointmentSlot,
    own: Option<i64>,
) -> Result<Option<Vec<(i64, u16)>>, StoreError> {
    let mut others = conn.prepare_cached(
        "SELECT place FROM appointment_slots WHERE company_id = ?1 AND start_ms = ?2 AND appointment_id IS NOT ?3
         ORDER BY place",
    )?;
    let mut free = Vec::new();
    for start_ms in (slot.start_ms..slot.end_ms).step_by(usize::try_from(SLOT_STEP_MS).unwrap_or(1)) {
        let rows = others.query_map(params![company_id, start_ms, own], |row| row.get(0))?;
        let taken: Vec<u16> = rows.collect::<Result<_, _>>()?;
        // Places beyond the capacity are left from when it was larger, and count.
        let place = (0..slot.capacity).find(|place| !taken.contains(place));
        let Some(place) = place.filter(|_| taken.len() < usize::from(slot.capacity)) else { return Ok(None) };
        free.push((start_ms, place));
    }
    Ok(Some(free))
}

fn insert_places(conn: &Connection, company_id: i64, id: i64, places: &[(i64, u16)]) -> Result<(), StoreError> {
    let mut take = conn.prepare_cached(
        "INSERT INTO appointment_slots (company_id, start_ms, place, appointment_id) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (start_ms, place) in places {
        take.execute(params![company_id, start_ms, place, id])?;
    }
    Ok(())
}

fn release_places(conn: &Connection, id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM appointment_slots WHERE appointment_id = ?1")?.execute([id])?;
    Ok(())
}

/// Removes what no call can need any more; the appointments stay.
fn delete_expired(conn: &Connection, asked: &BookingContext) -> Result<(), StoreError> {
    let before_ms = asked.now_ms - INVOCATION_RETENTION_MS;
    conn.prepare_cached("DELETE FROM appointment_slots WHERE company_id = ?1 AND start_ms < ?2")?
        .execute([asked.company_id, before_ms])?;
    conn.prepare_cached("DELETE FROM appointment_invocations WHERE at_ms < ?1")?.execute([before_ms])?;
    Ok(())
}

fn insert_appointment(conn: &Connection, booking: &BookingRequest) -> Result<i64, StoreError> {
    let (asked, slot) = (&booking.context, &booking.slot);
    let mut known = conn.prepare_cached("SELECT 1 FROM appointments WHERE company_id = ?1 AND confirmation = ?2")?;
    let mut free = None;
    for confirmation in &booking.confirmation_candidates {
        if !known.exists(params![asked.company_id, confirmation])? {
            free = Some(confirmation);
            break;
        }
    }
    let free = free.ok_or_else(|| StoreError::InvalidData("every confirmation number offered is taken".into()))?;
    conn.prepare_cached(
        "INSERT INTO appointments (company_id, confirmation, state, name, name_key, from_number, to_number, call_id,
           service, start_ms, end_ms, time_zone, revision, booked_at_ms, changed_at_ms)
         VALUES (?1, ?2, 'booked', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, ?12)",
    )?
    .execute(params![
        asked.company_id,
        free,
        booking.name,
        booking.name_key,
        booking.from_number,
        booking.to_number,
        booking.call_id,
        slot.service,
        slot.start_ms,
        slot.end_ms,
        booking.time_zone,
        asked.now_ms,
    ])?;
    Ok(conn.last_insert_rowid())
}
