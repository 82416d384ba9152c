//! Booking, moving, cancelling: inside a transaction of the caller's.

use rusqlite::{Connection, params};

use super::{look, spelling};
use crate::storage::{Appointment, Arranged, Asked, Booking, Deed, GRAIN_MS, Moving, Slot, StoreError};

/// Thirty days after it nobody repeats an invocation, and nobody asks for a time that is past.
const FORGOTTEN_MS: i64 = 30 * 24 * 3_600_000;

/// What became of it.
pub(super) enum Change {
    /// It was done now.
    New(Deed, Box<Appointment>),
    /// It was done before, or cannot be done.
    Old(Arranged),
}

impl Change {
    pub(super) fn into_arranged(self) -> Arranged {
        match self {
            Self::New(deed, appointment) => Arranged::Done(deed, appointment),
            Self::Old(arranged) => arranged,
        }
    }
}

/// All of the work or nothing of it: others share the transaction.
pub(super) fn whole(
    conn: &Connection,
    work: &mut impl FnMut(&Connection) -> Result<Change, StoreError>,
) -> Result<Change, StoreError> {
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

pub(super) fn book(conn: &Connection, booking: &Booking) -> Result<Change, StoreError> {
    let asked = &booking.asked;
    if let Some(before) = before(conn, asked)? {
        return Ok(Change::Old(before));
    }
    let slot = &booking.slot;
    let own = match &booking.call_id {
        Some(call_id) => look::of_call(conn, (asked.company_id, call_id), (slot.start_ms, slot.end_ms))?,
        None => Vec::new(),
    };
    let places = places(conn, asked.company_id, slot, None)?;
    if let Some(meant) = meant(own, booking, places.is_none()) {
        return correct(conn, booking, meant);
    }
    let Some(places) = places else {
        return Ok(Change::Old(Arranged::Unavailable));
    };
    let id = insert(conn, booking)?;
    take(conn, asked.company_id, id, &places)?;
    forget(conn, asked)?;
    done(conn, asked.company_id, asking(asked), Deed::Booked, id)
}

/// Which appointment of the same call is spoken of again: one person is at one place at a time, and where there is no other
/// place, another spelling of the name for the same time corrects the first. Another person gets nobody's time.
fn meant(own: Vec<Appointment>, booking: &Booking, full: bool) -> Option<Appointment> {
    let same_name = |it: &Appointment| it.name_key == booking.name_key;
    let same_start = |it: &Appointment| it.start_ms == booking.slot.start_ms;
    let found = own.iter().position(|it| same_name(it) && same_start(it));
    let found = found.or_else(|| own.iter().position(same_name));
    let corrected = |it: &Appointment| full && same_start(it) && spelling::corrects(&booking.name, &it.name);
    let found = found.or_else(|| own.iter().position(corrected));
    found.and_then(|position| own.into_iter().nth(position))
}

/// What the caller said anew of an appointment made in the same call.
fn correct(conn: &Connection, booking: &Booking, it: Appointment) -> Result<Change, StoreError> {
    let (asked, slot) = (&booking.asked, &booking.slot);
    let service = slot.service.clone().or_else(|| it.service.clone());
    let same = (it.start_ms, it.end_ms, &it.service, &it.name_key)
        == (slot.start_ms, slot.end_ms, &service, &booking.name_key);
    if same {
        note(conn, asking(asked), Deed::Booked, &it)?;
        return Ok(Change::Old(Arranged::Done(Deed::Booked, Box::new(it))));
    }
    let Some(places) = places(conn, asked.company_id, slot, Some(it.id))? else {
        return Ok(Change::Old(Arranged::Unavailable));
    };
    conn.prepare_cached("UPDATE appointments SET name = ?2, name_key = ?3 WHERE id = ?1")?.execute(params![
        it.id,
        booking.name,
        booking.name_key
    ])?;
    put(conn, asked, it.id, &Slot { service, ..slot.clone() }, &places)
}

pub(super) fn move_to(conn: &Connection, moving: &Moving) -> Result<Change, StoreError> {
    let (asked, slot) = (&moving.asked, &moving.slot);
    if let Some(before) = before(conn, asked)? {
        return Ok(Change::Old(before));
    }
    let Some(now) = look::by_id(conn, asked.company_id, moving.id)?.filter(|now| !now.cancelled) else {
        return Ok(Change::Old(Arranged::NotFound));
    };
    let Some(places) = places(conn, asked.company_id, slot, Some(now.id))? else {
        return Ok(Change::Old(Arranged::Unavailable));
    };
    if (now.start_ms, now.end_ms, &now.service) == (slot.start_ms, slot.end_ms, &slot.service) {
        note(conn, asking(asked), Deed::Changed, &now)?;
        return Ok(Change::Old(Arranged::Done(Deed::Changed, Box::new(now))));
    }
    put(conn, asked, now.id, slot, &places)
}

fn put(conn: &Connection, asked: &Asked, id: i64, slot: &Slot, places: &[(i64, u16)]) -> Result<Change, StoreError> {
    give_back(conn, id)?;
    take(conn, asked.company_id, id, places)?;
    conn.prepare_cached(
        "UPDATE appointments SET service = ?2, start_ms = ?3, end_ms = ?4, changed_at_ms = ?5, revision = revision + 1
         WHERE id = ?1",
    )?
    .execute(params![id, slot.service, slot.start_ms, slot.end_ms, asked.now_ms])?;
    done(conn, asked.company_id, asking(asked), Deed::Changed, id)
}

pub(super) fn cancel(
    conn: &Connection,
    (company_id, id): (i64, i64),
    invocation: Option<&str>,
    now_ms: i64,
) -> Result<Change, StoreError> {
    if let Some(invocation) = invocation
        && let Some(before) = look::invocation(conn, company_id, invocation)?
    {
        return Ok(Change::Old(before));
    }
    let asking = (invocation, now_ms);
    let Some(now) = look::by_id(conn, company_id, id)? else { return Ok(Change::Old(Arranged::NotFound)) };
    if now.cancelled {
        note(conn, asking, Deed::Cancelled, &now)?;
        return Ok(Change::Old(Arranged::Done(Deed::Cancelled, Box::new(now))));
    }
    give_back(conn, now.id)?;
    conn.prepare_cached(
        "UPDATE appointments SET state = 'cancelled', changed_at_ms = ?2, revision = revision + 1 WHERE id = ?1",
    )?
    .execute([now.id, now_ms])?;
    done(conn, company_id, asking, Deed::Cancelled, now.id)
}

fn before(conn: &Connection, asked: &Asked) -> Result<Option<Arranged>, StoreError> {
    match &asked.invocation {
        Some(invocation) => look::invocation(conn, asked.company_id, invocation),
        None => Ok(None),
    }
}

/// By which invocation, if by one, and when.
type Asking<'a> = (Option<&'a str>, i64);

fn asking(asked: &Asked) -> Asking<'_> {
    (asked.invocation.as_deref(), asked.now_ms)
}

fn done(conn: &Connection, company_id: i64, asking: Asking<'_>, deed: Deed, id: i64) -> Result<Change, StoreError> {
    let appointment = look::by_id(conn, company_id, id)?
        .ok_or_else(|| StoreError::Refused("an appointment that was just written is not there".into()))?;
    note(conn, asking, deed, &appointment)?;
    Ok(Change::New(deed, Box::new(appointment)))
}

fn note(
    conn: &Connection,
    (invocation, now_ms): Asking<'_>,
    deed: Deed,
    appointment: &Appointment,
) -> Result<(), StoreError> {
    let Some(invocation) = invocation else { return Ok(()) };
    conn.prepare_cached(
        "INSERT INTO appointment_invocations
           (company_id, invocation, deed, appointment_id, service, start_ms, end_ms, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        appointment.company_id,
        invocation,
        deed.as_str(),
        appointment.id,
        appointment.service,
        appointment.start_ms,
        appointment.end_ms,
        now_ms,
    ])?;
    Ok(())
}

/// A free place in each step of the time; `None` when one has none left. What `own` holds counts as free.
fn places(
    conn: &Connection,
    company_id: i64,
    slot: &Slot,
    own: Option<i64>,
) -> Result<Option<Vec<(i64, u16)>>, StoreError> {
    let mut others = conn.prepare_cached(
        "SELECT place FROM appointment_slots WHERE company_id = ?1 AND start_ms = ?2 AND appointment_id IS NOT ?3
         ORDER BY place",
    )?;
    let mut free = Vec::new();
    for start_ms in (slot.start_ms..slot.end_ms).step_by(usize::try_from(GRAIN_MS).unwrap_or(1)) {
        let rows = others.query_map(params![company_id, start_ms, own], |row| row.get(0))?;
        let taken: Vec<u16> = rows.collect::<Result<_, _>>()?;
        // Places beyond the capacity are left from when it was larger, and count.
        let place = (0..slot.capacity).find(|place| !taken.contains(place));
        let Some(place) = place.filter(|_| taken.len() < usize::from(slot.capacity)) else { return Ok(None) };
        free.push((start_ms, place));
    }
    Ok(Some(free))
}

fn take(conn: &Connection, company_id: i64, id: i64, places: &[(i64, u16)]) -> Result<(), StoreError> {
    let mut take = conn.prepare_cached(
        "INSERT INTO appointment_slots (company_id, start_ms, place, appointment_id) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (start_ms, place) in places {
        take.execute(params![company_id, start_ms, place, id])?;
    }
    Ok(())
}

fn give_back(conn: &Connection, id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM appointment_slots WHERE appointment_id = ?1")?.execute([id])?;
    Ok(())
}

/// Removes what no call can need any more; the appointments stay.
fn forget(conn: &Connection, asked: &Asked) -> Result<(), StoreError> {
    let before_ms = asked.now_ms - FORGOTTEN_MS;
    conn.prepare_cached("DELETE FROM appointment_slots WHERE company_id = ?1 AND start_ms < ?2")?
        .execute([asked.company_id, before_ms])?;
    conn.prepare_cached("DELETE FROM appointment_invocations WHERE at_ms < ?1")?.execute([before_ms])?;
    Ok(())
}

fn insert(conn: &Connection, booking: &Booking) -> Result<i64, StoreError> {
    let (asked, slot) = (&booking.asked, &booking.slot);
    let mut known = conn.prepare_cached("SELECT 1 FROM appointments WHERE company_id = ?1 AND confirmation = ?2")?;
    let mut free = None;
    for confirmation in &booking.confirmations {
        if !known.exists(params![asked.company_id, confirmation])? {
            free = Some(confirmation);
            break;
        }
    }
    let free = free.ok_or_else(|| StoreError::Refused("every confirmation number offered is taken".into()))?;
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
