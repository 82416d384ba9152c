//! Erasure of a person's appointments.

use rusqlite::Connection;

use super::data_subject::row_matches;
use crate::storage::{DataSubject, StoreError};

/// Ids of the appointments that contain the person's phone number, or the id of one of the person's calls.
pub(in crate::storage::sqlite) fn find_appointments_of(
    conn: &Connection,
    person: &DataSubject,
) -> Result<Vec<i64>, StoreError> {
    // A scan of the whole table: a phone number can be spelled in many ways, so no index helps. Rows take some
    // hundred bytes.
    let mut statement =
        conn.prepare_cached("SELECT id, company_id, from_number, to_number, call_id FROM appointments")?;
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if person.includes_company(row.get(1)?) && row_matches(row, 5, person)? {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

/// Deletes appointments and returns how many there were. Their slots become free for other callers.
pub(in crate::storage::sqlite) fn delete_appointments(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for id in ids {
        conn.prepare_cached("DELETE FROM appointment_slots WHERE appointment_id = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM appointment_invocations WHERE appointment_id = ?1")?.execute([id])?;
        removed += conn.prepare_cached("DELETE FROM appointments WHERE id = ?1")?.execute([id])? as u64;
    }
    Ok(removed)
}
