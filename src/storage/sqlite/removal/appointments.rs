//! A person's appointments.

use rusqlite::Connection;

use super::data_subject::{DataSubject, row_matches};
use crate::storage::StoreError;

/// Appointments in which the number or a call of the person is, by number in the store. There is a row for each that was
/// ever made, some hundred bytes long.
pub(super) fn find_appointments_of(conn: &Connection, person: &DataSubject) -> Result<Vec<i64>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT id, company_id, from_number, to_number, call_id FROM appointments")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if person.includes_company(row.get(1)?) && row_matches(row, 5, person)? {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// Removes them; their times are free again. Says how many there were.
pub(super) fn delete_appointments(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for id in ids {
        conn.prepare_cached("DELETE FROM appointment_slots WHERE appointment_id = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM appointment_invocations WHERE appointment_id = ?1")?.execute([id])?;
        removed += conn.prepare_cached("DELETE FROM appointments WHERE id = ?1")?.execute([id])? as u64;
    }
    Ok(removed)
}
