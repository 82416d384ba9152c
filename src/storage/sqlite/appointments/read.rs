//! Reads appointments and the outcomes of earlier invocations.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::id::CompanyId;
use crate::storage::sqlite::errors::{RowColumn, parse_column};
use crate::storage::{Appointment, AppointmentFilter, BookingAction, BookingOutcome, StoreError};

const SELECT_APPOINTMENTS: &str =
    "SELECT a.id, a.company_id, coalesce(c.slug, ''), a.confirmation, a.state = 'cancelled', a.name,
    a.name_key, a.from_number, a.to_number, a.call_id, a.service, a.start_ms, a.end_ms, a.time_zone, a.revision,
    a.booked_at_ms, a.changed_at_ms FROM appointments a LEFT JOIN companies c ON c.id = a.company_id";

pub(super) fn list_appointments(conn: &Connection, filter: &AppointmentFilter) -> Result<Vec<Appointment>, StoreError> {
    // `?n IS NULL` for a filter that is not set keeps the parameter numbers; a condition like `(?1 IS NULL OR …)` for
    // all of them would keep SQLite from using an index.
    let company = match (&filter.company_id, &filter.company) {
        (Some(_), _) => "a.company_id = ?1 AND (?2 IS NULL OR c.slug = ?2)",
        (None, Some(_)) => "?1 IS NULL AND a.company_id = (SELECT id FROM companies WHERE slug = ?2)",
        (None, None) => "?1 IS NULL AND ?2 IS NULL",
    };
    let confirmation = if filter.confirmation.is_some() { "a.confirmation = ?3" } else { "?3 IS NULL" };
    let name = if filter.name_key.is_some() { "a.name_key = ?4" } else { "?4 IS NULL" };
    let sql = format!(
        "{SELECT_APPOINTMENTS} WHERE {company} AND {confirmation} AND {name}
           AND a.start_ms >= ?5 AND a.start_ms < ?6 AND (NOT ?7 OR a.state = 'booked')
         ORDER BY a.start_ms, a.id LIMIT ?8"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(
        params![
            filter.company_id,
            filter.company,
            filter.confirmation,
            filter.name_key,
            filter.since_ms.unwrap_or(i64::MIN),
            filter.until_ms.unwrap_or(i64::MAX),
            filter.booked_only,
            // SQLite takes -1 as no limit.
            filter.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1),
        ],
        appointment_from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn find_by_id(conn: &Connection, company_id: CompanyId, id: i64) -> Result<Option<Appointment>, StoreError> {
    let sql = format!("{SELECT_APPOINTMENTS} WHERE a.id = ?1 AND a.company_id = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row(params![id, company_id], appointment_from_row).optional()?)
}

struct AppointmentInvocationRow {
    action: BookingAction,
    appointment_id: i64,
    service: Option<String>,
    start_ms: i64,
    end_ms: i64,
    at_ms: i64,
}

/// The outcome of an earlier invocation: the appointment as that invocation left it. A repeated invocation gets the
/// same answer, even when the appointment was changed in between.
pub(super) fn find_invocation_outcome(
    conn: &Connection,
    company_id: CompanyId,
    invocation: &str,
) -> Result<Option<BookingOutcome>, StoreError> {
    let sql = "SELECT action, appointment_id, service, start_ms, end_ms, at_ms FROM appointment_invocations
               WHERE company_id = ?1 AND invocation = ?2";
    let read = |row: &Row| {
        Ok(AppointmentInvocationRow {
            action: parse_column(row, 0, BookingAction::from_name, || RowColumn {
                table: "appointment_invocations",
                row: format!("company id {company_id} and invocation {invocation}"),
                column: "action",
            })?,
            appointment_id: row.get(1)?,
            service: row.get(2)?,
            start_ms: row.get(3)?,
            end_ms: row.get(4)?,
            at_ms: row.get(5)?,
        })
    };
    let recorded = conn.prepare_cached(sql)?.query_row(params![company_id, invocation], read).optional()?;
    let Some(recorded) = recorded else { return Ok(None) };
    let Some(current) = find_by_id(conn, company_id, recorded.appointment_id)? else { return Ok(None) };
    let appointment = Appointment {
        cancelled: recorded.action == BookingAction::Cancelled,
        service: recorded.service,
        start_ms: recorded.start_ms,
        end_ms: recorded.end_ms,
        updated_at_ms: recorded.at_ms,
        ..current
    };
    Ok(Some(BookingOutcome::Done(recorded.action, Box::new(appointment))))
}

/// Appointments booked in a call that overlap with a time.
pub(super) fn list_overlapping_of_call(
    conn: &Connection,
    company_id: CompanyId,
    call_id: &str,
    start_ms: i64,
    end_ms: i64,
) -> Result<Vec<Appointment>, StoreError> {
    let sql = format!(
        "{SELECT_APPOINTMENTS} WHERE a.id IN (SELECT appointment_id FROM appointment_slots
             WHERE company_id = ?1 AND start_ms >= ?3 AND start_ms < ?4)
           AND a.state = 'booked' AND a.call_id = ?2 ORDER BY a.id"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![company_id, call_id, start_ms, end_ms], appointment_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Number of occupied places per step of time, for steps with at least one.
pub(super) fn count_places_taken(
    conn: &Connection,
    company_id: CompanyId,
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<(i64, u16)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT start_ms, count(*) FROM appointment_slots WHERE company_id = ?1 AND start_ms >= ?2 AND start_ms < ?3
         GROUP BY start_ms ORDER BY start_ms",
    )?;
    let rows = statement.query_map(params![company_id, from_ms, to_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn appointment_from_row(row: &Row) -> rusqlite::Result<Appointment> {
    Ok(Appointment {
        id: row.get(0)?,
        company_id: row.get(1)?,
        company: row.get(2)?,
        confirmation: row.get(3)?,
        cancelled: row.get(4)?,
        name: row.get(5)?,
        name_key: row.get(6)?,
        from_number: row.get(7)?,
        to_number: row.get(8)?,
        call_id: row.get(9)?,
        service: row.get(10)?,
        start_ms: row.get(11)?,
        end_ms: row.get(12)?,
        time_zone: row.get(13)?,
        revision: row.get(14)?,
        booked_at_ms: row.get(15)?,
        updated_at_ms: row.get(16)?,
    })
}
